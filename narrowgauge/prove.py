"""The claims about each point, settled: proved, refuted with a counterexample, or unknown.

A claim is settled in one task or several (`Claim.parts`), in worker processes where there are some;
what has been proved is kept by content, part by part, so that an interrupted run goes on where it
ended. Claims that take long are settled at level `full` alone; at `smoke` they are listed as not
run, unless they have been proved before.
"""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from narrowgauge import design, registry, tasks, workers
from narrowgauge import output as outputs
from narrowgauge.arguments import Names, one_of, select
from narrowgauge.cache import Cache, fingerprint
from narrowgauge.golden.errors import UsageError

if TYPE_CHECKING:
    from narrowgauge.verify.prove.claims import Claim, Proof

__all__ = ["LEVELS", "Proofs", "claims", "measure", "prove", "settle"]

LEVELS = ("smoke", "full")
"""Claims of about a minute at most; all claims."""

_TOOLS = ("amaranth", "pyosys", "numpy", "bitwuzla", "cvc5", "z3-solver")


@dataclass(frozen=True, kw_only=True)
class Proofs:
    """What came of the claims about one point.

    Parameters
    ----------
    name : of the point
    proofs : one a claim that was settled, or tried
    not_run : claims left out at this level
    """

    name: str
    proofs: "Sequence[Proof]"
    not_run: "Sequence[Claim]" = field(default=())

    @property
    def passed(self) -> bool:
        """Whether something was proved, and nothing refuted or left unknown."""
        return bool(self.proofs) and all(proof.status == "proved" for proof in self.proofs)

    def to_json(self) -> dict[str, Any]:
        """Plain values: "claims" as settled, and "not_run" with their words."""
        return {
            "name": self.name,
            "claims": [proof.to_json() for proof in self.proofs],
            "not_run": [
                {"claim": claim.claim, "method": claim.method, "size": claim.size}
                for claim in self.not_run
            ],
        }


def claims(point: registry.Point) -> "tuple[Claim, ...]":
    """What is claimed of a point: by its bench where that states claims, or of every stream."""
    if hasattr(point.entry.bench, "claims"):
        stated: tuple[Claim, ...] = point.entry.bench.claims(point.params)
        return stated
    from narrowgauge.verify.prove.stream import claims as of_streams

    return of_streams(point.params)


def _key(point: registry.Point, claim: "Claim", part: int) -> dict[str, Any]:
    return {
        "name": point.full_name,
        "parameters": point.parameters,
        "claim": [claim.claim, claim.method, claim.size],
        "part": [part, claim.parts],
        "sources": fingerprint("golden", "hdl", "verify"),
        "tools": design.tools(*_TOOLS),
    }


def settle(
    *, name: str, overrides: Mapping[str, Any], index: int, part: int, cache: Path, limit: float
) -> "Proof":
    """One part of one claim of a point; one proved before with the same sources is not again."""
    from narrowgauge.verify.prove.claims import Context

    point = tasks.find(name, overrides)
    claim = claims(point)[index]
    kept, key = Cache(cache / "proofs"), _key(point, claim, part)
    stored = kept.get(key)
    if stored is not None:
        return claim.proof("proved", stored["seconds"], reason=stored["reason"])
    context = Context(
        name=point.full_name,
        design=design.emitted(point, cache),
        params=point.params,
        golden=point.entry.golden,
        folder=outputs.folder(cache / "proving" / point.identifier),
        limit=limit,
        part=part,
    )
    proof = claim.settle(context)
    if proof.status == "proved":
        kept.put(key, {"seconds": proof.seconds, "reason": proof.reason})
    return proof


def _wanted(point: registry.Point, claim: "Claim", level: str, cache: Path) -> bool:
    """Whether a claim is settled at a level; a long one whose proof is kept costs nothing."""
    if level == "full" or not claim.long:
        return True
    kept = Cache(cache / "proofs")
    return all(kept.file(_key(point, claim, part)).exists() for part in range(claim.parts))


def _tasks(
    point: registry.Point, index: int, claim: "Claim", cache: Path, limit: float
) -> list[workers.Task]:
    made = []
    for part in range(claim.parts):
        piece = f" ({part + 1}/{claim.parts})" if claim.parts > 1 else ""
        made.append(
            workers.Task(
                label=f"prove {point.full_name}: {claim.claim}{piece}",
                function="narrowgauge.prove:settle",
                arguments={
                    "name": f"{point.entry.name}/{point.name}",
                    "overrides": dict(point.overrides),
                    "index": index,
                    "part": part,
                    "cache": cache,
                    "limit": limit,
                },
            )
        )
    return made


def prove(
    names: Names = (),
    *,
    level: str = "smoke",
    overrides: Mapping[str, Any] | None = None,
    output: str | os.PathLike[str] = "build/prove",
    cache: str | os.PathLike[str] = "build/cache",
    limit: float = 600.0,
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> list[Proofs]:
    """Settle the claims of each point; a refuted claim is in the result, not an exception.

    Parameters
    ----------
    names, overrides, jobs, progress : as for the other calls
    level : "smoke" or "full"
    output : gets the batch of each counterexample as `NAME_counterexample_N.npz`
    cache : where what has been proved is kept
    limit : seconds for one part of a claim; what is not done by then is unknown
    """
    one_of("level", level, LEVELS)
    if not limit > 0:
        raise UsageError(f"limit must be above 0 s, got {limit}")
    selected = select(names, overrides)
    target, kept = outputs.folder(output), outputs.folder(cache)
    from narrowgauge.verify.prove.claims import merge

    stated = {
        (point.full_name, index): (claim, _wanted(point, claim, level, kept))
        for point in selected
        for index, claim in enumerate(claims(point))
    }
    by_name = {point.full_name: point for point in selected}
    work = {
        key: _tasks(by_name[key[0]], key[1], claim, kept, limit)
        for key, (claim, wanted) in stated.items()
        if wanted
    }
    flat = [task for each in work.values() for task in each]
    settled = iter(workers.run(flat, jobs=jobs, progress=progress))
    proofs = {
        key: merge(stated[key][0], [next(settled) for _ in each]) for key, each in work.items()
    }
    return [
        Proofs(
            name=point.full_name,
            proofs=[
                _written(point, number, proof, target)
                for number, proof in enumerate(
                    proof for (name, _), proof in proofs.items() if name == point.full_name
                )
            ],
            not_run=[
                claim
                for (name, _), (claim, wanted) in stated.items()
                if name == point.full_name and not wanted
            ],
        )
        for point in selected
    ]


def _written(point: registry.Point, number: int, proof: "Proof", target: Path) -> "Proof":
    """The proof, with the batch of its counterexample in a file."""
    shown = proof.counterexample
    if shown is None or not shown.batch:
        return proof
    buffer = io.BytesIO()
    arrays = {name: np.array(values, np.int64) for name, values in shown.batch.items()}
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    name = f"{point.identifier}_counterexample_{number}.npz"
    (path,) = outputs.write(target, {name: buffer.getvalue()})
    return replace(proof, counterexample=replace(shown, file=path.as_posix()))


def measure(
    *, name: str, overrides: Mapping[str, Any], level: str = "smoke", cache: Path
) -> dict[str, Any]:
    """The claims of one point as plain values, for sweeps and the report."""
    (result,) = prove(name, level=level, overrides=overrides, output=cache / "proofs", cache=cache)
    return {key: value for key, value in result.to_json().items() if key != "name"}
