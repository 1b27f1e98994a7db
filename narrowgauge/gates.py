"""The mapped netlists of a point: equal to the golden model on vectors, and to the RTL by proof.

`netlists` and `stimulus` are also what timing and energy begin with.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge import design, tasks, workers
from narrowgauge import output as outputs
from narrowgauge.arguments import Names, select, stimuli
from narrowgauge.cache import Cache, fingerprint
from narrowgauge.doctor import require
from narrowgauge.golden.payload import Batch
from narrowgauge.registry import Point
from narrowgauge.synth import equivalence, flow, library, origin, stream
from narrowgauge.synth.gates import Gates, build
from narrowgauge.synth.job import Netlists
from narrowgauge.synth.origin import Origin
from narrowgauge.verify.beats import Beats, groups, stream_beats

__all__ = [
    "GOALS",
    "Stimulus",
    "check",
    "compare",
    "gates",
    "hierarchy",
    "netlists",
    "played",
    "stimulus",
    "trace",
]

GOALS = ("area", "speed")
"""The mappings of a design."""


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """A batch of transactions as beats of both sides; a group is what `verify.beats` makes one."""

    transactions: int
    input: Beats
    output: Beats


def stimulus(point: Point, batch: Batch) -> Stimulus:
    """Beats to send, and those that the golden model answers with."""
    golden, params = point.entry.golden, point.params
    ends = groups(batch)
    outputs: Batch = golden.model(params, batch)
    return Stimulus(
        transactions=int(ends[-1]),
        input=stream_beats(golden, params, batch, "input", len(ends)),
        output=stream_beats(golden, params, outputs, "output", len(ends)),
    )


def played(beats: Beats) -> stream.Beats:
    """The same beats for a netlist."""
    raw = beats.raw()
    last = np.ascontiguousarray(raw[:, -1]) if beats.last else None
    return stream.Beats(data=np.ascontiguousarray(raw[:, :-1]), last=last, ends=beats.ends)


def netlists(point: Point, liberty: str, cache: Path) -> Netlists:
    """The point's netlists, out of the cache where it has them."""
    return flow.netlists(
        name=point.identifier,
        rtlil=design.emitted(point, cache).text,
        library=library.load(liberty),
        macs=point.macs,
        parameters=point.parameters,
        cache_dir=cache / "synth",
    )


def compare(netlist: Gates, sent: Stimulus, *, seed: int, streams: int = 64) -> str | None:
    """Play the stimulus with random gaps and stalls; the first difference, or None.

    Registers and memories hold random bits before reset, and the groups are cut into `streams`
    parts, each played from reset.
    """
    result = stream.play(
        netlist, played(sent.input), streams=streams, valid=0.8, ready=0.8, seed=seed
    )
    wanted = played(sent.output).rows
    if len(result.output) != len(wanted):
        return f"{len(result.output)} output beats, expected {len(wanted)}"
    wrong = np.flatnonzero((result.output != wanted).any(axis=1))
    if not len(wrong):
        return None
    beat = int(wrong[0])
    transaction, _ = sent.output.transaction(beat)
    return (
        f"{len(wrong)} of {len(wanted)} output beats differ; group {transaction}, beat {beat}: "
        f"expected {_hex(wanted[beat])}, got {_hex(result.output[beat])}"
    )


def _hex(row: npt.NDArray[np.uint8]) -> str:
    return "0x" + bytes(row[::-1]).hex()


_TRACED = 4096
"""Beats that signals are told apart by."""


def trace(point: Point, liberty: str, goal: str, cache: Path) -> Origin:
    """The RTL's names and modules in a netlist of the point, by its smoke vectors; kept."""
    cells = library.load(liberty)
    kept = Cache(cache / "origin")
    key = {
        "name": point.full_name,
        "parameters": point.parameters,
        "flow": flow.flow_digest(cells),
        "goal": goal,
        "sources": fingerprint("golden", "hdl", "synth"),
        "tools": design.tools("amaranth", "numpy", "pyosys"),
    }
    stored = kept.get(key)
    if stored is None:
        made = netlists(point, liberty, cache)
        netlist = build(made.mapped(goal), point.identifier, cells)
        beats = played(stimulus(point, point.entry.golden.vectors(point.params, "smoke", 1)).input)
        ends = beats.ends[: max(64, int(np.searchsorted(beats.ends, _TRACED)))]
        part = slice(0, int(ends[-1]))
        last = None if beats.last is None else beats.last[part]
        found = origin.trace(
            made.rtl,
            netlist,
            design.emitted(point, cache).text,
            stream.Beats(data=beats.data[part], last=last, ends=ends),
        )
        stored = {
            "labels": {str(net): label for net, label in found.labels.items()},
            "paths": found.paths,
            "matched": found.matched,
        }
        kept.put(key, stored)
    return Origin(
        labels={int(net): label for net, label in stored["labels"].items()},
        paths=tuple(stored["paths"]),
        matched=stored["matched"],
    )


def hierarchy(point: Point, liberty: str, goal: str, cache: Path) -> list[dict[str, Any]]:
    """Area by module, in GE, the largest first: {"path", "ge"}, numbered siblings together."""
    cells = library.load(liberty)
    netlist = build(netlists(point, liberty, cache).mapped(goal), point.identifier, cells)
    found = trace(point, liberty, goal, cache)
    areas: dict[str, list[float]] = {}
    for cell, path in zip(netlist.cells, found.paths, strict=True):
        areas.setdefault(origin.grouped(path), []).append(cells.cells[cell.kind].area)
    rows = [{"path": p, "ge": math.fsum(a) / cells.nand2_area} for p, a in areas.items()]
    return sorted(rows, key=lambda row: (-row["ge"], row["path"]))


def check(
    *,
    name: str,
    overrides: Mapping[str, Any],
    liberty: str,
    level: str,
    seed: int,
    seconds: int,
    cache: Path,
) -> dict[str, Any]:
    """Both netlists of a point against golden model and RTL, as plain JSON.

    "beats" compared in all, "equal", the first "mismatch" or None, and "netlists": for each goal
    these and "proof", see `synth.equivalence.Equivalence`, with "against": "RTL" for a component
    without registers, "front end" (the design before mapping, register by register) for a unit.
    """
    point = tasks.find(name, overrides)
    cells = library.load(liberty)
    kept = Cache(cache / "gates")
    key = {
        "name": point.full_name,
        "parameters": point.parameters,
        "flow": flow.flow_digest(cells),
        "level": level,
        "seed": seed,
        "seconds": seconds,
        "sources": fingerprint("golden", "hdl", "synth", "verify"),
        "tools": design.tools("amaranth", "numpy", "pyosys"),
    }
    stored: dict[str, Any] | None = kept.get(key)
    if stored is not None:
        return stored
    made = netlists(point, liberty, cache)
    sent = stimulus(point, point.entry.golden.vectors(point.params, level, seed))
    if point.entry.layer == "arith":
        against = "RTL"
        text = design.emitted(point, cache).text
        reference = equivalence.plain(text, point.identifier, cells)
    else:
        against = "front end"
        reference = equivalence.simple(made.rtl, point.identifier, cells)
    results: dict[str, dict[str, Any]] = {}
    for goal in GOALS:
        netlist = build(made.mapped(goal), point.identifier, cells)
        mismatch = compare(netlist, sent, seed=seed)
        proof = equivalence.prove(reference, netlist, seconds=seconds)
        results[goal] = {
            "beats": sent.output.count,
            "equal": mismatch is None,
            "mismatch": mismatch,
            "proof": {**asdict(proof), "against": against},
        }
    value = {
        "netlist": ", ".join(results),
        "beats": sum(each["beats"] for each in results.values()),
        "equal": all(each["equal"] for each in results.values()),
        "mismatch": next((each["mismatch"] for each in results.values() if each["mismatch"]), None),
        "netlists": results,
    }
    kept.put(key, value)
    return value


def gates(
    names: Names = (),
    *,
    level: str = "smoke",
    seed: int = 1,
    liberty: str = "nangate45",
    overrides: Mapping[str, Any] | None = None,
    cache: Any = "build/cache",
    seconds: int = 300,
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Check the mapped netlists of each point; name of the point -> what `check` returns.

    A difference is in the results, not an exception. `seconds` limits each proof.
    """
    selected = select(names, overrides)
    stimuli(selected, level, seed)
    require("synth")
    library.load(liberty)
    arguments = {
        "liberty": liberty,
        "level": level,
        "seed": seed,
        "seconds": seconds,
        "cache": outputs.folder(cache),
    }
    work = [
        tasks.task("gates", point, "narrowgauge.gates:check", **arguments) for point in selected
    ]
    results = workers.run(work, jobs=jobs, progress=progress)
    return {point.full_name: result for point, result in zip(selected, results, strict=True)}
