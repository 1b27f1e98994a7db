"""A netlist as the arrays of the event-driven simulator, `glitch.cpp`."""

import ctypes

import numpy as np
import numpy.typing as npt

from narrowgauge.synth.activity import Cells, state
from narrowgauge.synth.cell_power import CellPower
from narrowgauge.synth.gates import HIGH, Gates
from narrowgauge.synth.simulation import Words
from narrowgauge.synth.sta import Timing

__all__ = ["FS", "Layout", "Structure"]

FS = 1000
"""Steps of simulated time a ps."""

_POINTERS = (
    *("kind", "first", "pins", "delay", "out", "counter", "table", "functions", "lookup", "arcs"),
    *("hidden", "fanout_first", "fanout_cell", "fanout_pin", "source", "source_time"),
    "swing",
)
_SIZES = ("nets", "cells", "logic", "sources", "words")


class Structure(ctypes.Structure):
    """`Netlist` of `glitch.cpp`."""

    _fields_ = [(n, ctypes.c_int64) for n in _SIZES] + [(n, ctypes.c_void_p) for n in _POINTERS]


class Layout:
    """A netlist as the simulator's arrays.

    Parameters
    ----------
    gates : the netlist
    cells : its cells by kind, from `narrowgauge.synth.activity.by_kind`
    timing : delays and arrivals
    period_ps : the clock falls in the middle of it
    swings : whether nets take time from rail to rail; without, every change is a whole one

    A flip-flop is a sink with its input pins and its state as variables. States have nets of their
    own behind those of the netlist; they hold what the clock has made of them all cycle long.
    """

    def __init__(
        self,
        gates: Gates,
        cells: dict[str, Cells],
        timing: Timing,
        period_ps: float,
        *,
        swings: bool = True,
    ) -> None:
        self.gates, self.cells = gates, cells
        self.states = np.full(len(gates.cells), -1, np.int64)
        sequential = np.arange(len(gates.levels), len(gates.cells))
        self.states[sequential] = gates.nets + np.arange(len(sequential))
        self.nets = gates.nets + len(sequential) + 1
        # Logic alone has no clock; a net that nothing reads stands for it.
        self.clock = gates.clock if gates.clock > HIGH else self.nets - 1
        self.order = list(cells)
        counts = np.zeros(len(gates.cells), np.int64)
        for each in cells.values():
            counts[each.members] = len(each.power.events)
        self.counter = np.concatenate([[0], np.cumsum(counts)])
        self.arrays: dict[str, npt.NDArray[np.generic]] = {}
        self._kinds()
        self._cells(timing)
        self._sources(timing, period_ps)
        swing = np.zeros((self.nets, 2))
        if swings:
            swing[: gates.nets] = np.nan_to_num(timing.slew) * _whole(gates)
        self.arrays["swing"] = np.rint(swing * FS).astype(np.int64)

    def _kinds(self) -> None:
        powers: list[CellPower] = [self.cells[kind].power for kind in self.order]
        functions, arcs, hidden = [], [], []
        table, lookup = [0], [0]
        for power in powers:
            size = 1 << len(power.variables)
            bits = [power.functions[0] >> state & 1 for state in range(size)]
            functions.append(np.array(bits, np.uint8))
            arcs.append(power.lookup(0).ravel())
            hidden.append(power.lookup(None).ravel())
            table.append(table[-1] + size)
            lookup.append(lookup[-1] + size * len(power.variables))
        self.arrays |= {
            "functions": np.concatenate(functions),
            "arcs": np.concatenate(arcs),
            "hidden": np.concatenate(hidden),
            "table": np.array(table, np.int64),
            "lookup": np.array(lookup, np.int64),
        }

    def _cells(self, timing: Timing) -> None:
        gates = self.gates
        total = len(gates.cells)
        kind = np.zeros(total, np.int32)
        sizes = np.zeros(total, np.int64)
        for number, name in enumerate(self.order):
            each = self.cells[name]
            kind[each.members] = number
            sizes[each.members] = len(each.power.variables)
        first = np.concatenate([[0], np.cumsum(sizes)])
        pins = np.zeros(first[-1], np.int32)
        delay = np.zeros((first[-1], 2), np.int64)
        out = np.zeros(max(1, len(gates.levels)), np.int32)
        for each in self.cells.values():
            start = first[each.members]
            for pin in range(len(each.inputs)):
                pins[start + pin] = each.inputs[pin]
            if each.sequential:
                pins[start + len(each.inputs)] = self.states[each.members]
                continue
            out[each.members] = each.outputs[0]
            cell = each.power.cell
            output = cell.outputs[0][0]
            for pin, name in enumerate(cell.inputs):
                for edge in (0, 1):
                    delay[start + pin, edge] = [
                        _steps(timing.delay(member, name, output, edge))
                        for member in each.members.tolist()
                    ]
        owner = np.repeat(np.arange(total), sizes)
        position = np.arange(first[-1]) - first[:-1].repeat(sizes)
        by_net = np.argsort(pins, kind="stable")
        # Nothing moves a constant or a state, so nobody waits for them.
        bounds = np.searchsorted(pins[by_net], np.arange(self.nets + 1))
        self.arrays |= {
            "kind": kind,
            "first": first,
            "pins": pins,
            "delay": delay,
            "out": out,
            "counter": self.counter,
            "fanout_first": bounds.astype(np.int64),
            "fanout_cell": owner[by_net].astype(np.int32),
            "fanout_pin": position[by_net].astype(np.int32),
        }

    def _sources(self, timing: Timing, period_ps: float) -> None:
        gates = self.gates
        nets = [net for port in gates.inputs.values() for net in port]
        for cell in gates.flip_flops:
            outputs = gates.library.cells[cell.kind].outputs
            nets += [cell.pins[pin] for pin, _ in outputs if pin in cell.pins]
        nets += [net for memory in gates.memories for port in memory.reads for net in port.data]
        sources = sorted(set(nets) - {gates.clock})
        times = [[_steps(period_ps / 2)] * 2]
        times += [[_steps(time) for time in timing.arrival[net].tolist()] for net in sources]
        self.arrays |= {
            "source": np.array([self.clock, *sources], np.int32),
            "source_time": np.array(times, np.int64),
        }

    def settled(self, values: Words) -> Words:
        """The nets with those of the states behind them."""
        nets = np.zeros((self.nets, values.shape[1]), np.uint64)
        nets[: len(values)] = values
        for cells in self.cells.values():
            if cells.sequential:
                nets[self.states[cells.members]] = state(cells, values)
        return nets

    def structure(self, words: int) -> Structure:
        """The arrays as the simulator takes them; valid as long as this object is."""
        for name, array in self.arrays.items():
            self.arrays[name] = np.ascontiguousarray(array)
        pointers = {name: self.arrays[name].ctypes.data for name in _POINTERS}
        return Structure(
            nets=self.nets,
            cells=len(self.gates.cells),
            logic=len(self.gates.levels),
            sources=len(self.arrays["source"]),
            words=words,
            **pointers,
        )


def _whole(gates: Gates) -> float:
    """Time from rail to rail over the library's slew, which is that between its thresholds."""
    tree = gates.library.tree

    def threshold(which: str, otherwise: float) -> float:
        edges = [tree.get(f"slew_{which}_threshold_pct_{edge}") for edge in ("rise", "fall")]
        return sum(otherwise if each is None else float(each) for each in edges) / 2

    derate = float(tree.get("slew_derate_from_library") or 1.0)
    return derate * 100 / (threshold("upper", 80.0) - threshold("lower", 20.0))


def _steps(time: float) -> int:
    """A time in steps; at least one, also where tables go below zero or nothing ever moves."""
    return max(1, round(time * FS)) if np.isfinite(time) else 1
