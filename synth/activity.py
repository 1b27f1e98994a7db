"""Counts of what happens at every net, cell and memory while a netlist plays its beats.

Without delays a net changes at most once a cycle. Where several inputs of a cell change in the same
cycle, each of them is counted as a cause, and the evaluation shares the output's change among them.
The clock is high in the first half of a cycle. Data of a flip-flop arrive in either half with the
same chance: half of their changes count while the clock is high, and half of them are not there yet
when it falls.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from narrowgauge.synth.cell_power import CellPower
from narrowgauge.synth.gates import Gates, Instance
from narrowgauge.synth.power import Power
from narrowgauge.synth.simulation import Words

__all__ = ["Accesses", "Activity", "Cells", "Counter", "by_kind", "state"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Cells:
    """All cells of one kind.

    Attributes
    ----------
    power : what the kind draws
    members : indices into `Gates.cells`
    inputs : nets of the input pins, shape (inputs, cells)
    outputs : nets of the output pins, shape (outputs, cells); -1 where a pin is not wired
    """

    power: CellPower
    members: Ints
    inputs: Ints
    outputs: Ints

    @property
    def sequential(self) -> bool:
        """Whether they are flip-flops."""
        return self.power.cell.sequential


def by_kind(gates: Gates, power: Power) -> dict[str, Cells]:
    """The cells of a netlist by their kind."""
    members: dict[str, list[int]] = {}
    for index, cell in enumerate(gates.cells):
        members.setdefault(cell.kind, []).append(index)
    found = {}
    for kind, indices in members.items():
        known = gates.library.cells[kind]
        group = [gates.cells[index] for index in indices]
        found[kind] = Cells(
            power=power.cell(kind),
            members=np.array(indices, np.intp),
            inputs=_nets(group, known.inputs),
            outputs=_nets(group, [pin for pin, _ in known.outputs]),
        )
    return found


def _nets(cells: Sequence[Instance], pins: Sequence[str]) -> Ints:
    return np.array([[cell.pins.get(pin, -1) for cell in cells] for pin in pins], np.intp)


@dataclass(kw_only=True)
class Accesses:
    """Accesses of one memory: reads and writes of a word, over all ports."""

    reads: float = 0.0
    writes: float = 0.0


@dataclass(kw_only=True)
class Activity:
    """Counts over some stream cycles.

    Attributes
    ----------
    cycles : clock cycles counted, summed over the streams
    toggles : changes of each net, the clock apart
    rises : those of them to 1
    events : kind -> changes that each event of `CellPower.events` stands for, shape (events, cells)
    states : kind -> cycles in each state, shape (states, cells)
    accesses : memory -> its accesses
    """

    cycles: float
    toggles: Floats
    rises: Floats
    events: dict[str, Floats] = field(default_factory=dict)
    states: dict[str, Floats] = field(default_factory=dict)
    accesses: dict[str, Accesses] = field(default_factory=dict)


def _popcount(words: Words) -> Floats:
    """Ones in each row."""
    return np.bitwise_count(words).sum(axis=-1, dtype=np.float64)


def _select(
    table: int, variables: Sequence[Words], ones: Words, known: dict[tuple[int, int], Words]
) -> Words | None:
    """A truth table over bit-parallel variables; None is never true."""
    size = 1 << len(variables)
    if not table:
        return None
    if table == (1 << size) - 1:
        return ones
    key = (len(variables), table)
    if key not in known:
        half = size >> 1
        top = variables[-1]
        low = _select(table & ((1 << half) - 1), variables[:-1], ones, known)
        high = _select(table >> half, variables[:-1], ones, known)
        if low is high:
            assert low is not None
            known[key] = low
        else:
            parts = [] if low is None else [low & ~top]
            parts += [] if high is None else [high & top]
            known[key] = parts[0] if len(parts) == 1 else parts[0] | parts[1]
    return known[key]


class Counter:
    """Counts without delays, as an observer of `narrowgauge.synth.stream.play`.

    Parameters
    ----------
    gates : the netlist that is played
    power : of its library
    """

    def __init__(self, gates: Gates, power: Power) -> None:
        self.gates = gates
        self.cells = by_kind(gates, power)
        self.activity = Activity(
            cycles=0.0, toggles=np.zeros(gates.nets), rises=np.zeros(gates.nets)
        )
        for kind, cells in self.cells.items():
            count = len(cells.members)
            self.activity.events[kind] = np.zeros((len(cells.power.events), count))
            self.activity.states[kind] = np.zeros((len(cells.power.leakage), count))
        for memory in gates.memories:
            self.activity.accesses[memory.name] = Accesses()

    def __call__(self, before: Words, after: Words, active: Words) -> None:
        """Take in one cycle: settled values before and after its edge, and what counts."""
        if not active.any():
            return
        changed = (before ^ after) & active
        changed[self.gates.clock] = 0
        activity = self.activity
        activity.cycles += float(_popcount(active))
        activity.toggles += _popcount(changed)
        activity.rises += _popcount(changed & after)
        for kind, cells in self.cells.items():
            count = self._flip_flops if cells.sequential else self._logic
            count(kind, cells, before, after, changed, active)
        self._memories(before, changed, active)

    def _logic(
        self, kind: str, cells: Cells, _: Words, after: Words, changed: Words, active: Words
    ) -> None:
        ones = np.full((len(cells.members), len(active)), ~np.uint64(0))
        variables = [after[nets] for nets in cells.inputs]
        moved = [changed[nets] for nets in cells.inputs]
        answers = [changed[nets] for nets in cells.outputs]
        known: dict[tuple[int, int], Words] = {}
        for index, event in enumerate(cells.power.events):
            states = _select(event.states, variables, ones, known)
            if states is not None:
                seen = moved[event.pin] & states
                if event.output is not None:
                    seen &= answers[event.output]
                self.activity.events[kind][index] += _popcount(seen)
        self._states(kind, variables, active, 1.0)

    def _states(self, kind: str, variables: Sequence[Words], active: Words, weight: float) -> None:
        parts = [np.broadcast_to(active, variables[0].shape)]
        for variable in variables:
            parts = [part & ~variable for part in parts] + [part & variable for part in parts]
        for state, part in enumerate(parts):
            self.activity.states[kind][state] += weight * _popcount(part)

    def _flip_flops(
        self, kind: str, cells: Cells, before: Words, after: Words, changed: Words, active: Words
    ) -> None:
        cell, power = cells.power.cell, cells.power
        clock = cell.inputs.index(cell.clock)
        ones = np.full((len(cells.members), len(active)), ~np.uint64(0))
        old, new = (state(cells, values) for values in (before, after))
        data = [before[nets] for nets in cells.inputs]
        fresh = [after[nets] for nets in cells.inputs]
        moved = [changed[nets] for nets in cells.inputs]
        flipped = (old ^ new) & active

        def view(pins: Sequence[Words], high: bool, state: Words) -> Callable[[int], Words | None]:
            values = [*pins, state]
            values[clock] = ones if high else ~ones
            known: dict[tuple[int, int], Words] = {}
            return lambda table: _select(table, values, ones, known)

        # What the cell sees at the rising edge, and afterwards with data old or new.
        rising, taken = view(data, True, old), view(data, True, new)
        late, early = view(data, False, new), view(fresh, False, new)
        high = view(fresh, True, new)
        for index, event in enumerate(power.events):
            seen: list[tuple[Callable[[int], Words | None], Words, float]]
            if event.pin == clock and event.output is not None:
                seen = [(taken, flipped, 1.0)]
            elif event.pin == clock and event.rise:
                seen = [(rising, active, 1.0)]
            elif event.pin == clock:
                seen = [(late, active, 0.5), (early, active, 0.5)]
            elif event.output is None:
                seen = [(high, moved[event.pin], 0.5), (early, moved[event.pin], 0.5)]
            else:
                continue  # a set or a reset, which nothing moves here
            for look, mask, weight in seen:
                states = look(event.states)
                if states is not None:
                    self.activity.events[kind][index] += weight * _popcount(states & mask)
        for level in (ones, ~ones):
            values = [*fresh, new]
            values[clock] = level
            self._states(kind, values, active, 0.5)

    def _memories(self, before: Words, changed: Words, active: Words) -> None:
        for memory in self.gates.memories:
            seen = self.activity.accesses[memory.name]
            for write in memory.writes:
                enabled = np.bitwise_or.reduce(before[list(write.enable)], axis=0)
                seen.writes += float(_popcount(enabled & active))
            for read in memory.reads:
                if read.clocked:
                    seen.reads += float(_popcount(before[read.enable] & active))
                else:
                    # Without a clock, a read is a new address.
                    moved = np.bitwise_or.reduce(changed[list(read.address)], axis=0)
                    seen.reads += float(_popcount(moved))


def state(cells: Cells, values: Words) -> Words:
    """The state of flip-flops, read off whichever output is wired."""
    found = np.zeros((len(cells.members), values.shape[1]), np.uint64)
    plain = _table_of_state(cells.power)
    for function, nets in zip(cells.power.functions, cells.outputs, strict=True):
        wired = nets >= 0
        shown = values[nets[wired]]
        found[wired] = shown if function == plain else ~shown
    return found


def _table_of_state(power: CellPower) -> int:
    """Truth table of the last variable: the upper half of the states."""
    half = 1 << (len(power.variables) - 1)
    return ((1 << half) - 1) << half
