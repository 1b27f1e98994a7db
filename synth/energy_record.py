"""Plays vectors through a netlist and records the energy: totals, parts, modules, memories."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from narrowgauge.synth import memory_model
from narrowgauge.synth.activity import Activity, Counter
from narrowgauge.synth.energy import PARTS, Energy, Model
from narrowgauge.synth.gates import Gates
from narrowgauge.synth.glitch import Glitches
from narrowgauge.synth.power import Power
from narrowgauge.synth.simulation import Words
from narrowgauge.synth.sta import Timing
from narrowgauge.synth.stream import Beats, play

__all__ = ["GLITCH_BUDGET", "STREAMS", "Subject", "Work"]

STREAMS = 64
"""Streams simulated at once; each is reset, warms up, and plays its part of the vectors."""

GLITCH_BUDGET = 50_000_000
"""Cells times beats that are simulated with delays, about a minute; of more a part is taken."""

_PJ = 1e-3
"""fJ in pJ."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Beats to play.

    Attributes
    ----------
    beats : of the input, about equally many in each stream
    warm_up : cycles at the beginning of each stream that do not count
    every : beats of a transaction, in the mean
    """

    beats: Beats = field(repr=False)
    warm_up: int
    every: float


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A netlist with everything that is the same for all vectors.

    Attributes
    ----------
    gates, model, power, timing : the netlist, its energies an event, its library's, its timing
    paths : the module of each cell
    macs : multiply-accumulates a beat, or None
    period_ps : of the clock
    """

    gates: Gates
    model: Model
    power: Power
    timing: Timing
    paths: Sequence[str]
    macs: int | None
    period_ps: float

    def record(self, task: Work, *, glitch: bool, seed: int) -> dict[str, Any]:
        """Play some work and evaluate what it does: `docs/energy.md` has the fields."""
        counter = Counter(self.gates, self.power)
        observers: list[Callable[[Words, Words, Words], None]] = [counter]
        glitches = None
        if glitch:
            glitches = Glitches(
                self.gates,
                self.power,
                self.timing,
                period_ps=self.period_ps,
                share=min(1.0, GLITCH_BUDGET / (len(self.gates.cells) * len(task.beats.data))),
                seed=seed,
            )
            observers.append(glitches)

        def observe(before: Words, after: Words, active: Words) -> None:
            for observer in observers:
                observer(before, after, active)

        played = play(
            self.gates,
            task.beats,
            streams=STREAMS,
            warm_up=task.warm_up,
            seed=seed,
            observer=observe,
        )
        operations = played.accepted / task.every
        zero = self.model.evaluate(counter.activity, self.period_ps)
        macs = None if self.macs is None else float(self.macs * task.every)
        record: dict[str, Any] = {
            "operations": round(operations),
            "cycles_per_operation": played.counted / operations,
            "macs_per_operation": macs,
            "zero_delay": _parts(zero, operations, macs),
            "glitch": None,
            "glitch_operations": 0,
            "memory": self._memory(counter.activity, operations),
        }
        late, sampled = None, 0.0
        if glitches is not None:
            late = self.model.evaluate(glitches.activity, self.period_ps)
            sampled = operations * late.cycles / zero.cycles
            record["glitch"] = _parts(late, sampled, macs)
            record["glitch_operations"] = round(sampled)
            record["settled_ps"] = glitches.latest_ps
        record["split"] = self._split(zero, late, operations, sampled)
        return record

    def _split(self, zero: Energy, glitch: Energy | None, each: float, share: float) -> list[Any]:
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

    def _memory(self, activity: Activity, operations: float) -> dict[str, Any] | None:
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


def _parts(spent: Energy, operations: float, macs: float | None) -> dict[str, Any]:
    total = spent.total * _PJ / operations
    return {
        "pj_per_op": total,
        "pj_per_mac": None if macs is None else total / macs,
        **{part: spent.parts[part] * _PJ / operations for part in PARTS},
    }
