"""Energy of a point's mapped netlist on its own vectors: pJ an operation and a MAC, and where.

`docs/energy.md` says what the figures mean.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge import design, tasks, workers
from narrowgauge import output as outputs
from narrowgauge.arguments import Names, need_real, once, one_of, seeded, select
from narrowgauge.cache import Cache, fingerprint
from narrowgauge.doctor import require
from narrowgauge.gates import GOALS, netlists
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.hdl.emit import Emitted
from narrowgauge.registry import Point
from narrowgauge.synth import flow, library, origin, sta, stream
from narrowgauge.synth import glitch as simulator
from narrowgauge.synth.energy import Model
from narrowgauge.synth.energy_record import STREAMS, Subject, Work
from narrowgauge.synth.gates import build
from narrowgauge.synth.power import power

__all__ = ["OPERATIONS", "VECTORS", "beats", "energy", "measure", "subject", "work"]

VECTORS = ("random", "real")
"""Level `smoke` of the unit's vectors, and its recorded tensors."""

OPERATIONS = {"arith": 1024, "units": 1024, "cores": 64}
"""Transactions that are counted of each kind of vectors, by layer."""

_UNKNOWN = 64
"""Cycles of warm-up where a unit declares no latency."""


def work(point: Point, emitted: Emitted, kind: str, operations: int, seed: int) -> Work:
    """At least so many transactions, warm-up apart.

    `kind` is "random", the vectors of level smoke, or "real", the recorded ones; a unit that has
    none of these is a `UsageError`.
    """
    latency = _UNKNOWN if emitted.latency is None else emitted.latency
    # Where no interval is declared, as many cycles as beats at least.
    interval = emitted.interval or _every(point, seed)
    # A core starts each program from rest: one of them leaves nothing of the reset.
    whole = point.entry.layer == "cores"
    warming = 1 if whole else math.ceil((latency + interval + 2) / interval)
    each = warming + math.ceil(operations / STREAMS)
    if kind == "real":
        batch = _real(point, each, seed)
    else:
        batch = _random(point, each * STREAMS, seed)
    sent = beats(point, batch)
    return Work(beats=sent, warm_up=warming * interval, every=len(sent.data) / len(sent.ends))


def _every(point: Point, seed: int) -> int:
    """Beats of the shortest transactions there are, about."""
    sent = beats(point, point.entry.golden.vectors(point.params, "smoke", seed))
    return int(np.diff(sent.ends, prepend=0).min())


def _random(point: Point, count: int, seed: int) -> Batch:
    """Transactions of level `smoke`, of as many seeds as it takes; a component's are shuffled.

    A component is tried in order of its codes, which is no picture of its work. Of a core those of
    one seed come again: they are long, and of another length with another seed.
    """
    golden, rng = point.entry.golden, np.random.default_rng(seed)
    if point.entry.layer == "cores":
        some: Batch = golden.vectors(point.params, "smoke", seed)
        index = np.arange(count) % len(next(iter(some.values())))
        return {name: values[index] for name, values in some.items()}
    parts: list[Batch] = []
    while sum(len(next(iter(part.values()))) for part in parts) < count:
        part: Batch = golden.vectors(point.params, "smoke", seed + len(parts))
        if point.entry.layer == "arith":
            order = rng.permutation(len(next(iter(part.values()))))
            part = {name: values[order] for name, values in part.items()}
        parts.append(part)
    return {name: np.concatenate([p[name] for p in parts])[:count] for name in parts[0]}


def _real(point: Point, each: int, seed: int) -> Batch:
    """Recorded transactions: for each stream `each` in a row, from places spread evenly."""
    batch: Batch = point.entry.golden.vectors(point.params, "real", seed)
    total = len(next(iter(batch.values())))
    starts = np.arange(STREAMS) * total // STREAMS
    index = (starts[:, None] + np.arange(each)).ravel() % total
    return {name: values[index] for name, values in batch.items()}


def beats(point: Point, batch: Batch, ends: npt.NDArray[np.int64] | None = None) -> stream.Beats:
    """The transactions as beats of the port, and where groups that do not touch each other end.

    Without `ends` every transaction may be the first of a stream.
    """
    payload = point.params.input
    sent = design.beats(point, batch)
    raw = payload.data.pack({f.name: sent[f.name] for f in payload.data.fields})
    raw = np.pad(raw, ((0, 0), (0, payload.data_width // 8 - raw.shape[1])))
    transactions = len(next(iter(batch.values())))
    last = sent["last"].astype(np.uint8) if payload.has_last else None
    lengths = getattr(point.entry.golden, "lengths", None)
    if ends is None:
        same = len(raw) // transactions * np.arange(1, transactions + 1)
        ends = same if lengths is None else np.cumsum(lengths(point.params, batch))
    return stream.Beats(data=raw, last=last, ends=ends)


def _has_real(point: Point) -> bool:
    """Whether the unit has recorded vectors."""
    try:
        point.entry.golden.vectors(point.params, "real", 1)
    except UsageError:
        return False
    return True


def subject(point: Point, liberty: str, cache: Path, goal: str, period_ps: float | None) -> Subject:
    """A point's netlist, with what all vectors share; `period_ps` None is its shortest."""
    cells = library.load(liberty)
    drawn = power(cells)
    made = netlists(point, liberty, cache)
    gates = build(made.mapped(goal), point.identifier, cells)
    timing = sta.analyze(gates)
    period = _period(point, timing, period_ps)
    emitted = design.emitted(point, cache)
    seen = work(point, emitted, "random", OPERATIONS[point.entry.layer] // 2, 1).beats
    traced = origin.trace(made.rtl, gates, emitted.text, seen, streams=STREAMS)
    return Subject(
        gates=gates,
        model=Model(gates, drawn, timing),
        power=drawn,
        timing=timing,
        paths=traced.paths,
        macs=point.macs,
        period_ps=period,
    )


def _period(point: Point, timing: sta.Timing, wanted: float | None) -> float:
    """The period asked for, else the shortest; one that the netlist does not meet is an error."""
    if wanted is None:
        return timing.period_ps
    if not (math.isfinite(wanted) and wanted >= timing.period_ps):
        raise UsageError(
            f"a period of {wanted:g} ps cannot be met: {point.full_name} needs"
            f" {timing.period_ps:.1f} ps"
        )
    return wanted


def measure(
    *,
    name: str,
    overrides: Mapping[str, Any],
    liberty: str,
    cache: Path,
    goal: str = "speed",
    period_ps: float | None = None,
    vectors: Sequence[str] = VECTORS,
    glitch: bool = True,
    operations: int | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """The energy of one point as plain JSON; see `docs/energy.md` for its fields.

    Vectors of a kind that the unit does not have are left out. `operations` is by default 1024, and
    64 programs of a core.
    """
    point = tasks.find(name, overrides)
    if operations is None:
        operations = OPERATIONS[point.entry.layer]
    cells = library.load(liberty)
    kinds = tuple(k for k in vectors if k != "real" or _has_real(point))
    kept = Cache(cache / "energy")
    key = {
        "name": point.full_name,
        "parameters": point.parameters,
        "flow": flow.flow_digest(cells),
        "goal": goal,
        "period_ps": period_ps,
        "vectors": list(kinds),
        "glitch": glitch,
        "operations": operations,
        "seed": seed,
        "sources": fingerprint("golden", "hdl", "synth"),
        "own": Path(__file__).read_text(encoding="utf-8"),
        "tools": design.tools("amaranth", "numpy", "pyosys"),
    }
    stored: dict[str, Any] | None = kept.get(key)
    if stored is None:
        made = subject(point, liberty, cache, goal, period_ps)
        emitted = design.emitted(point, cache)
        stored = {
            "period_ps": made.period_ps,
            "library": cells.name,
            "library_digest": cells.digest,
            "voltage": made.power.voltage,
            "netlist": goal,
            "vectors": {
                kind: made.record(
                    work(point, emitted, kind, operations, seed), glitch=glitch, seed=seed
                )
                for kind in kinds
            },
        }
        kept.put(key, stored)
    return stored


def energy(
    names: Names = (),
    *,
    liberty: str = "nangate45",
    goal: str = "speed",
    period_ps: float | None = None,
    vectors: Sequence[str] = VECTORS,
    glitch: bool = True,
    operations: int | None = None,
    seed: int = 1,
    overrides: Mapping[str, Any] | None = None,
    cache: Any = "build/cache",
    output: Any = None,
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """The energy of each point: name -> what `measure` returns; `output` also gets it as JSON.

    Parameters
    ----------
    goal : the mapping, "speed" or "area"
    period_ps : of the clock; by default the shortest of each netlist
    vectors : of `VECTORS`; recorded ones are left out where a unit has none
    glitch : whether a part of the operations is simulated with delays too
    operations : transactions counted of each kind of vectors, at least; see `measure`

    Raises
    ------
    UsageError : a library without power, a period that cannot be met, an unknown kind of vectors,
        a seed that is none
    MissingToolError : no Yosys, or no compiler for the simulation with delays
    """
    selected = select(names, overrides)
    one_of("goal", goal, GOALS)
    for kind in vectors or ("",):
        one_of("vectors", kind, VECTORS)
    once("kind of vectors", vectors)
    seeded(seed)
    if period_ps is not None and not 0 < period_ps < math.inf:
        raise UsageError(f"a period must be more than 0 ps, got {period_ps:g}")
    if operations is not None and operations < 1:
        raise UsageError(f"operations must be at least 1, got {operations}")
    if period_ps is not None and not 0 < period_ps < math.inf:
        raise UsageError(f"a period must be more than 0 ps, got {period_ps:g}")
    if set(vectors) == {"real"}:
        for point in selected:
            need_real(point, seed)
    require("synth")
    power(library.load(liberty))
    if glitch:
        simulator.library()
    target = None if output is None else outputs.folder(output)
    arguments = {
        "liberty": liberty,
        "cache": outputs.folder(cache),
        "goal": goal,
        "period_ps": period_ps,
        "vectors": tuple(vectors),
        "glitch": glitch,
        "operations": operations,
        "seed": seed,
    }
    plan = [
        tasks.task("energy", point, "narrowgauge.energy:measure", **arguments) for point in selected
    ]
    found = workers.run(plan, jobs=jobs, progress=progress)
    results = {point.full_name: value for point, value in zip(selected, found, strict=True)}
    if target is not None:
        for point in selected:
            text = json.dumps(results[point.full_name], indent=2) + "\n"
            outputs.write(target, {f"{point.identifier}.energy.json": text})
    return results
