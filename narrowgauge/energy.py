"""Energy of a point's mapped netlist on its own vectors: pJ an operation and a MAC, and where.

from narrowgauge import energy

energy.energy("mx_dot/w4a4_l32", vectors=("random", "real"))
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from narrowgauge import design, registry, tasks, workers
from narrowgauge import output as outputs
from narrowgauge.cache import Cache, fingerprint
from narrowgauge.doctor import require
from narrowgauge.gates import netlists
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.registry import Point
from narrowgauge.synth import flow, library, memory_model, origin, sta, stream
from narrowgauge.synth import glitch as simulator
from narrowgauge.synth.activity import Activity, Counter
from narrowgauge.synth.energy import PARTS, Energy, Model
from narrowgauge.synth.gates import Gates, build
from narrowgauge.synth.power import Power, power
from narrowgauge.synth.simulation import Words

__all__ = ["GOALS", "STREAMS", "VECTORS", "energy", "measure"]

VECTORS = ("random", "real")
"""Level `smoke` of the unit's vectors, and its recorded tensors."""

GOALS = ("area", "speed")
"""The mappings of a design."""

STREAMS = 64
"""Streams simulated at once; each is reset, warms up, and plays its part of the vectors."""

GLITCH_SHARE = 4
"""One in so many operations is simulated with delays."""

_PJ = 1e-3
"""fJ in pJ."""


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """What decides a measurement of a point, beside point, netlist and library."""

    vectors: tuple[str, ...]
    glitch: bool
    operations: int
    seed: int


def _random(point: Point, count: int, seed: int) -> Batch:
    """Transactions of level `smoke`, of as many seeds as it takes; a component's are shuffled.

    A component is tried in order of its codes, which is no picture of its work.
    """
    golden, rng = point.entry.golden, np.random.default_rng(seed)
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


def _beats(point: Point, batch: Batch) -> stream.Beats:
    """The transactions as beats of the port; every transaction may be the first of a stream."""
    payload = point.params.input
    beats = design.beats(point, batch)
    raw = payload.data.pack({f.name: beats[f.name] for f in payload.data.fields})
    raw = np.pad(raw, ((0, 0), (0, payload.data_width // 8 - raw.shape[1])))
    transactions = len(next(iter(batch.values())))
    last = beats["last"].astype(np.uint8) if payload.has_last else None
    every = len(raw) // transactions
    return stream.Beats(data=raw, last=last, ends=every * np.arange(1, transactions + 1))


@dataclass(frozen=True, kw_only=True)
class _Netlist:
    """A netlist with everything that is the same for all vectors."""

    point: Point
    gates: Gates
    model: Model
    power: Power
    timing: sta.Timing
    paths: Sequence[str]
    period_ps: float

    def split(self, zero: Energy, glitch: Energy | None, each: float, share: float) -> list[Any]:
        """Energy and area by module, the largest first."""
        cells = self.gates.library.cells
        area: dict[str, float] = {}
        for path, cell in zip(self.paths, self.gates.cells, strict=True):
            area[path] = area.get(path, 0.0) + cells[cell.kind].area / self.gates.library.nand2_area
        spent = zero.split(self.paths)
        late = {} if glitch is None else glitch.split(self.paths)
        rows = [
            {
                "path": path,
                "pj_per_op": value * _PJ / each,
                "glitch_pj_per_op": late[path] * _PJ / share if glitch is not None else None,
                "ge": area.get(path, 0.0),
            }
            for path, value in spent.items()
        ]
        return sorted(rows, key=lambda row: -float(row["pj_per_op"] or 0.0))

    def memory(self, activity: Activity, operations: float) -> dict[str, Any] | None:
        """Accesses of the memories and what they cost by the model; None without memories."""
        if not self.gates.memories:
            return None
        known = memory_model.MemoryModel()
        rows, total = [], 0.0
        for memory in self.gates.memories:
            bits = memory.words * memory.width
            seen = activity.accesses[memory.name]
            cost = known.access(bits, memory.width, self.power) * _PJ
            total += cost * (seen.reads + seen.writes) / operations
            rows.append(
                {
                    "name": memory.name,
                    "words": memory.words,
                    "width": memory.width,
                    "reads_per_op": seen.reads / operations,
                    "writes_per_op": seen.writes / operations,
                    "pj_per_access": cost,
                    "ge": known.area_ge(bits),
                }
            )
        return {"pj_per_op": total, "model": memory_model.DESCRIPTION, "memories": rows}

    def record(self, kind: str, setting: _Setting) -> dict[str, Any]:
        """Play one kind of vectors and evaluate what it does."""
        emitted = design.emitted(self.point, None)
        warm_up = emitted.latency + emitted.interval + 2
        warming = math.ceil(warm_up / emitted.interval)
        each = warming + max(1, math.ceil(setting.operations / STREAMS))
        batch = (
            _random(self.point, each * STREAMS, setting.seed)
            if kind == "random"
            else _real(self.point, each, setting.seed)
        )
        beats = _beats(self.point, batch)
        every = len(beats.data) / (each * STREAMS)
        counter = Counter(self.gates, self.power)
        observers: list[Callable[[Words, Words, Words], None]] = [counter]
        glitches = None
        if setting.glitch:
            glitches = simulator.Glitches(
                self.gates,
                self.power,
                self.timing,
                period_ps=self.period_ps,
                share=1 / GLITCH_SHARE,
                seed=setting.seed,
            )
            observers.append(glitches)

        def observe(before: Words, after: Words, active: Words) -> None:
            for observer in observers:
                observer(before, after, active)

        played = stream.play(
            self.gates,
            beats,
            streams=STREAMS,
            warm_up=warming * emitted.interval,
            seed=setting.seed,
            observer=observe,
        )
        operations = played.accepted / every
        zero = self.model.evaluate(counter.activity, self.period_ps)
        macs = None if self.point.macs is None else self.point.macs * every
        record: dict[str, Any] = {
            "operations": round(operations),
            "cycles_per_operation": played.counted / operations,
            "macs_per_operation": macs,
            "zero_delay": _parts(zero, operations, macs),
            "glitch": None,
            "glitch_operations": 0,
            "memory": self.memory(counter.activity, operations),
        }
        late, sampled = None, 0.0
        if glitches is not None:
            late = self.model.evaluate(glitches.activity, self.period_ps)
            sampled = operations * late.cycles / zero.cycles
            record["glitch"] = _parts(late, sampled, macs)
            record["glitch_operations"] = round(sampled)
            record["settled_ps"] = glitches.latest_ps
        record["split"] = self.split(zero, late, operations, sampled)
        return record


def _parts(spent: Energy, operations: float, macs: float | None) -> dict[str, Any]:
    total = spent.total * _PJ / operations
    return {
        "pj_per_op": total,
        "pj_per_mac": None if macs is None else total / macs,
        **{part: spent.parts[part] * _PJ / operations for part in PARTS},
    }


def _netlist(
    point: Point, liberty: str, cache: Path, goal: str, period_ps: float | None
) -> _Netlist:
    cells = library.load(liberty)
    drawn = power(cells)
    made = netlists(point, liberty, cache)
    gates = build(made.mapped(goal), point.identifier, cells)
    timing = sta.analyze(gates)
    period = _period(point, timing, period_ps)
    emitted = design.emitted(point, cache)
    each = 8 + math.ceil((emitted.latency + 1) / emitted.interval)
    beats = _beats(point, _random(point, each * STREAMS, seed=1))
    traced = origin.trace(made.rtl, gates, emitted.text, beats, streams=STREAMS)
    return _Netlist(
        point=point,
        gates=gates,
        model=Model(gates, drawn, timing),
        power=drawn,
        timing=timing,
        paths=traced.paths,
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


def _has_real(point: Point) -> bool:
    try:
        point.entry.golden.vectors(point.params, "real", 1)
    except UsageError:
        return False
    return True


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
    operations: int = 1024,
    seed: int = 1,
) -> dict[str, Any]:
    """The energy of one point as plain JSON; see `docs/energy.md` for its fields.

    Vectors of a kind that the unit does not have are left out.
    """
    point = tasks.find(name, overrides)
    cells = library.load(liberty)
    kinds = tuple(k for k in vectors if k != "real" or _has_real(point))
    setting = _Setting(vectors=kinds, glitch=glitch, operations=operations, seed=seed)
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
        made = _netlist(point, liberty, cache, goal, period_ps)
        stored = {
            "period_ps": made.period_ps,
            "library": cells.name,
            "library_digest": cells.digest,
            "voltage": made.power.voltage,
            "netlist": goal,
            "vectors": {kind: made.record(kind, setting) for kind in kinds},
        }
        kept.put(key, stored)
    return stored


def energy(
    names: str | Sequence[str] = (),
    *,
    liberty: str = "nangate45",
    goal: str = "speed",
    period_ps: float | None = None,
    vectors: Sequence[str] = VECTORS,
    glitch: bool = True,
    operations: int = 1024,
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
    operations : transactions counted of each kind of vectors, at least

    Raises
    ------
    UsageError : a library without power, a period that cannot be met, an unknown kind of vectors
    MissingToolError : no Yosys, or no compiler for the simulation with delays
    """
    listed = (names,) if isinstance(names, str) else tuple(names)
    selected = registry.points(*listed, **(overrides or {}))
    if not selected:
        raise UsageError("nothing to measure")
    for what, given, known in (("goal", (goal,), GOALS), ("vectors", tuple(vectors), VECTORS)):
        for each in given or ("",):
            if each not in known:
                raise UsageError(f"{what} must be of {', '.join(known)}, got {each!r}")
    if operations < 1:
        raise UsageError(f"operations must be at least 1, got {operations}")
    if set(vectors) == {"real"}:
        for point in selected:
            point.entry.golden.vectors(point.params, "real", seed)
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
    work = [
        workers.Task(
            label=f"energy {point.full_name}",
            function="narrowgauge.energy:measure",
            arguments={
                "name": f"{point.entry.name}/{point.name}",
                "overrides": dict(point.overrides),
                **arguments,
            },
        )
        for point in selected
    ]
    found = workers.run(work, jobs=jobs, progress=progress)
    results = {point.full_name: value for point, value in zip(selected, found, strict=True)}
    if target is not None:
        for point in selected:
            text = json.dumps(results[point.full_name], indent=2) + "\n"
            outputs.write(target, {f"{point.identifier}.energy.json": text})
    return results
