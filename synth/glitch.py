"""Activity with delays: what nets do on the way from one settled state to the next.

A cycle begins with the settled nets of the simulation without delays. Registers, ports and memories
change at their clock-to-output times; every cell answers after the delay of its arc, rise and fall
apart, at the slews and loads of the netlist, as `narrowgauge.synth.sta` has them. Delays are
inertial. The cycle ends when nothing moves any more, and must end where the simulation without
delays ends. So a cycle is a sample of its own, and any of them can be taken.

The simulator is `glitch.cpp`, compiled by the system's compiler at the first use.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.synth.activity import Activity, Cells, Counter, state
from narrowgauge.synth.gates import HIGH, Gates
from narrowgauge.synth.netlist import SynthesisError
from narrowgauge.synth.power import CellPower, Power
from narrowgauge.synth.simulation import Words
from narrowgauge.synth.sta import Timing

__all__ = ["FS", "Glitches", "Layout", "library"]

FS = 1000
"""Steps of simulated time a ps."""

_FLAGS = ("-std=c++17", "-O2", "-shared", "-fPIC")
_POINTERS = (
    *("kind", "first", "pins", "delay", "out", "counter", "table", "functions", "lookup", "arcs"),
    *("hidden", "fanout_first", "fanout_cell", "fanout_pin", "source", "source_time"),
)
_SIZES = ("nets", "cells", "logic", "sources", "words")


class _Netlist(ctypes.Structure):
    _fields_ = [(n, ctypes.c_int64) for n in _SIZES] + [(n, ctypes.c_void_p) for n in _POINTERS]


def _cache_folder() -> Path:
    own = os.environ.get("NARROWGAUGE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(own) if own else Path(base) / "narrowgauge"


def library() -> ctypes.CDLL:
    """The compiled simulator, out of the user's cache folder where its source is the same.

    Raises
    ------
    MissingToolError : no C++17 compiler, or one that fails
    """
    source = Path(__file__).with_name("glitch.cpp")
    compiler = os.environ.get("CXX", "g++")
    found = shutil.which(compiler)
    if found is None:
        raise MissingToolError(
            f"energy with glitches needs a C++17 compiler, {compiler} is not there"
            " (Debian: apt install g++); --no-glitch leaves it out"
        )
    digest = hashlib.sha256(source.read_bytes())
    digest.update(" ".join((os.path.realpath(found), *_FLAGS)).encode())
    folder = _cache_folder() / "glitch"
    made = folder / f"{digest.hexdigest()[:24]}.so"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            target = Path(aside) / made.name
            command = [found, *_FLAGS, str(source), "-o", str(target)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip() or "no message").splitlines()[0]
                raise MissingToolError(f"{compiler} cannot compile the glitch simulator: {reason}")
            os.replace(target, made)
    return ctypes.CDLL(str(made))


class Layout:
    """A netlist as the simulator's arrays.

    Parameters
    ----------
    gates : the netlist
    cells : its cells by kind, from `narrowgauge.synth.activity.by_kind`
    timing : delays and arrivals
    period_ps : the clock falls in the middle of it

    A flip-flop is a sink with its input pins and its state as variables. States have nets of their
    own behind those of the netlist; they hold what the clock has made of them all cycle long.
    """

    def __init__(
        self, gates: Gates, cells: dict[str, Cells], timing: Timing, period_ps: float
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

    def structure(self, words: int) -> _Netlist:
        """The arrays as the simulator takes them; valid as long as this object is."""
        for name, array in self.arrays.items():
            self.arrays[name] = np.ascontiguousarray(array)
        pointers = {name: self.arrays[name].ctypes.data for name in _POINTERS}
        return _Netlist(
            nets=self.nets,
            cells=len(self.gates.cells),
            logic=len(self.gates.levels),
            sources=len(self.arrays["source"]),
            words=words,
            **pointers,
        )


def _steps(time: float) -> int:
    """A time in steps; at least one, also where tables go below zero or nothing ever moves."""
    return max(1, round(time * FS)) if np.isfinite(time) else 1


class Glitches:
    """Samples cycles and simulates them with delays, as an observer of `synth.stream.play`.

    Parameters
    ----------
    gates, power, timing : the netlist
    period_ps : of the clock
    share : chance that a stream's cycle is simulated
    seed : of the choice

    Attributes
    ----------
    latest_ps : when the last net of any cycle settled
    layout : what the simulator works on
    """

    def __init__(
        self,
        gates: Gates,
        power: Power,
        timing: Timing,
        *,
        period_ps: float,
        share: float,
        seed: int = 0,
    ) -> None:
        if not 0 < share <= 1:
            raise UsageError(f"the share of simulated cycles must be in 0..1, got {share}")
        self.gates = gates
        self.share = share
        self.latest_ps = 0.0
        self._settled = Counter(gates, power)
        self.layout = Layout(gates, self._settled.cells, timing, period_ps)
        self._simulator = library()
        self._simulator.simulate.restype = ctypes.c_int64
        self._rng = np.random.default_rng(seed)
        self._toggles = np.zeros(self.layout.nets)
        self._rises = np.zeros(self.layout.nets)
        self._counts = np.zeros(max(1, int(self.layout.counter[-1])))

    def __call__(self, before: Words, after: Words, active: Words) -> None:
        """Take in one cycle."""
        bits = np.unpackbits(active.astype("<u8").view(np.uint8), bitorder="little")
        candidates = np.flatnonzero(bits)
        chosen = candidates[self._rng.random(len(candidates)) < self.share].astype(np.int32)
        if not len(chosen):
            return
        mask = np.zeros(len(bits), np.uint8)
        mask[chosen] = 1
        self._settled(before, after, np.packbits(mask, bitorder="little").view("<u8"))
        self.run(before, after, chosen)

    def run(self, before: Words, after: Words, streams: Sequence[int] | npt.ArrayLike) -> None:
        """Simulate the cycle of some streams; the result is in `activity`."""
        first, last = self.layout.settled(before), self.layout.settled(after)
        # The clock has risen: states are new, and everything else is as it was.
        first[self.gates.nets :] = last[self.gates.nets :]
        chosen = np.ascontiguousarray(streams, np.int32)
        latest = ctypes.c_int64(0)
        structure = self.layout.structure(first.shape[1])
        wrong = self._simulator.simulate(
            ctypes.byref(structure),
            *(ctypes.c_void_p(array.ctypes.data) for array in (first, last, chosen)),
            ctypes.c_int64(len(chosen)),
            *(
                ctypes.c_void_p(array.ctypes.data)
                for array in (self._toggles, self._rises, self._counts)
            ),
            ctypes.byref(latest),
        )
        if wrong >= 0:
            name = self.gates.names.get(int(wrong), f"number {wrong}")
            raise SynthesisError(
                f"{self.gates.top}: net {name} does not settle at the value that it has"
                " without delays"
            )
        self.latest_ps = max(self.latest_ps, latest.value / FS)

    @property
    def settled(self) -> Activity:
        """The activity without delays of the cycles that were simulated."""
        return self._settled.activity

    @property
    def activity(self) -> Activity:
        """The activity with delays; what the clock's edge does is as without them."""
        settled = self._settled.activity
        events: dict[str, npt.NDArray[np.float64]] = {}
        for kind, cells in self.layout.cells.items():
            start = self.layout.counter[cells.members]
            rows = [self._counts[start + index] for index in range(len(cells.power.events))]
            for index, event in enumerate(cells.power.events):
                clocked = cells.sequential and (
                    event.output is not None
                    or (event.rise and cells.power.variables[event.pin] == cells.power.cell.clock)
                )
                if clocked:
                    rows[index] = settled.events[kind][index]
            events[kind] = np.array(rows).reshape(-1, len(cells.members))
        return Activity(
            cycles=settled.cycles,
            toggles=self._toggles[: self.gates.nets],
            rises=self._rises[: self.gates.nets],
            events=events,
            states=settled.states,
            accesses=settled.accesses,
        )
