"""What the cells of a library draw: energy an event, and leakage a state, from Liberty.

An event is a change of one pin of a cell: of an output, caused by one of the inputs ("arc"), or of
an input alone ("hidden"). Its energy depends on the edge, on the state that the cell is in
afterwards (`when`), on the slew of the pin, and on the load of the output. What the library calls
internal power has the unit of an energy: voltage squared times capacitance; the energy that charges
the load is not in it. Source: Liberty User Guide, volume 1.

Of a cell with several rails the supplies are added, grounds are left out: their current is that of
the supply again (in ASAP7's tables both agree over a rising and a falling edge).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.synth import liberty, nldm
from narrowgauge.synth.library import Cell

__all__ = ["CellPower", "Event", "read"]

Floats = npt.NDArray[np.float64]

_MOST_VARIABLES = 10


@dataclass(frozen=True, kw_only=True)
class Event:
    """One kind of change at a cell.

    Attributes
    ----------
    pin : the variable that changes, an index into `CellPower.variables`
    output : the output that changes with it, an index into `CellPower.outputs`; None if none does
    rise : whether the output rises, without one whether the pin does
    states : truth table over the variables: the states after the change that it stands for
    rails : tables of energy in fJ over slew and load; of a rail those that hold alike
    pin_rises : share of these changes in which the pin rises, for its slew
    """

    pin: int
    output: int | None
    rise: bool
    states: int
    rails: tuple[tuple[nldm.Table, ...], ...] = field(repr=False)
    pin_rises: float

    def energy(self, slews: npt.NDArray[np.float64], loads: npt.ArrayLike) -> Floats:
        """Energy in fJ for the pin's slews, shape (cells, 2), rise and fall in ps, and loads in fF.

        The load counts for the change of an output alone.
        """
        slew = slews[:, 0] * self.pin_rises + slews[:, 1] * (1 - self.pin_rises)
        load = np.zeros(len(slews)) if self.output is None else np.asarray(loads)
        total = np.zeros(len(slews))
        for tables in self.rails:
            for table in tables:
                total += table(slew, load) / len(tables)
        return total


@dataclass(frozen=True, kw_only=True)
class CellPower:
    """What one cell draws.

    Attributes
    ----------
    cell : the cell
    variables : its inputs, the clock included, and for a flip-flop its state: bit j of a state
        index is variable j
    functions : truth table of each output over the variables
    events : disjoint for each pin and output; a change that none stands for draws nothing
    leakage : in nW, of each state
    """

    cell: Cell
    variables: tuple[str, ...]
    functions: tuple[int, ...]
    events: tuple[Event, ...]
    leakage: Floats = field(repr=False)

    def lookup(self, output: int | None) -> npt.NDArray[np.int32]:
        """Index of the event of each pin and state, shape (variables, states); -1 for none."""
        size = 1 << len(self.variables)
        found = np.full((len(self.variables), size), -1, np.int32)
        for index, event in enumerate(self.events):
            if event.output == output:
                found[event.pin, [s for s in range(size) if event.states >> s & 1]] = index
        return found


def read(tables: nldm.Tables, cell: Cell) -> CellPower:
    """What a cell of a library draws; a malformed entry is a `UsageError`."""
    return _Reader(tables, cell).read()


@dataclass(frozen=True)
class _Entry:
    """One group with a condition: its rail, the states where it holds, whether it is for the rest.

    A group without `when` beside groups with one is for the states that those leave.
    """

    group: liberty.Group
    rail: str
    states: int
    default: bool


def _rails(entries: Sequence[_Entry]) -> list[str]:
    return sorted({entry.rail for entry in entries})


class _Reader:
    """Reads one cell."""

    def __init__(self, tables: nldm.Tables, cell: Cell) -> None:
        self.tables = tables
        self.cell = cell
        self.group = tables.group(cell.name)
        self.variables = (*cell.inputs, *cell.state[:1])
        if len(self.variables) > _MOST_VARIABLES:
            where = f"library {tables.library.name}: cell {cell.name}"
            raise UsageError(f"{where} has {len(cell.inputs)} inputs, more than energy takes")
        self.size = 1 << len(self.variables)
        self.ones = (1 << self.size) - 1
        self.values = {name: liberty.truth_table(name, self.variables) for name in self.variables}
        if cell.sequential:
            state, *inverse = cell.state
            self.values |= dict.fromkeys(inverse, self.values[state] ^ self.ones)
        self.functions = tuple(
            liberty.evaluate(function, self.values, self.ones) for _, function in cell.outputs
        )
        self.values |= {pin: f for (pin, _), f in zip(cell.outputs, self.functions, strict=True)}
        self.grounds = {
            g.name for g in self.group.each("pg_pin") if "ground" in (g.get("pg_type") or "")
        }

    def read(self) -> CellPower:
        """What the cell draws."""
        return CellPower(
            cell=self.cell,
            variables=self.variables,
            functions=self.functions,
            events=tuple(self._events()),
            leakage=self._leakage(),
        )

    def _entries(self, groups: Iterable[liberty.Group]) -> list[_Entry]:
        found = []
        for group in groups:
            rail = group.get("related_pg_pin") or ""
            if rail in self.grounds:
                continue
            when = group.get("when")
            states = liberty.evaluate(when, self.values, self.ones) if when else self.ones
            found.append(_Entry(group, rail, states, not when))
        return found

    @staticmethod
    def _at(entries: Sequence[_Entry], state: int) -> Iterator[list[int]]:
        """For each rail, the entries that hold in a state."""
        for rail in _rails(entries):
            own = [i for i, e in enumerate(entries) if e.rail == rail]
            holding = [i for i in own if not entries[i].default and entries[i].states >> state & 1]
            yield holding or [i for i in own if entries[i].default]

    def _events(self) -> Iterator[Event]:
        pins = {pin.name: pin for pin in self.group.each("pin")}
        for index, (output, _) in enumerate(self.cell.outputs):
            groups = list(pins[output].each("internal_power"))
            for pin, name in enumerate(self.cell.inputs):
                related = [g for g in groups if name in (g.get("related_pin") or "").split()]
                yield from self._group_events(related, pin, index)
        for pin, name in enumerate(self.cell.inputs):
            groups = [g for g in pins[name].each("internal_power") if not g.get("related_pin")]
            yield from self._group_events(groups, pin, None)

    def _group_events(
        self, groups: list[liberty.Group], pin: int, output: int | None
    ) -> Iterator[Event]:
        """The events of one pin and output: states with the same edge and groups make one."""
        entries = self._entries(groups)
        if not entries:
            return
        edges = self.values[self.variables[pin]] if output is None else self.functions[output]
        found: dict[tuple[bool, tuple[tuple[int, ...], ...]], int] = {}
        for state in range(self.size):
            rails = tuple(tuple(holding) for holding in self._at(entries, state))
            if output is not None:
                # Inputs that change together can leave a state that no arc was measured in.
                rails = tuple(
                    holding or tuple(i for i, e in enumerate(entries) if e.rail == rail)
                    for holding, rail in zip(rails, _rails(entries), strict=True)
                )
            key = (bool(edges >> state & 1), rails)
            found[key] = found.get(key, 0) | 1 << state
        for (rise, rails), states in found.items():
            tables = tuple(
                tuple(t for i in holding for t in self._tables(entries[i].group, rise))
                for holding in rails
            )
            if any(tables):
                yield Event(
                    pin=pin,
                    output=output,
                    rise=rise,
                    states=states,
                    rails=tables,
                    pin_rises=self._pin_rises(pin, output, states, rise),
                )

    def _tables(self, group: liberty.Group, rise: bool) -> Iterator[nldm.Table]:
        names = ("rise_power" if rise else "fall_power", "power")
        for table in group.each(*names):
            yield self.tables.table(table, self.tables.units.energy_fj, self.cell.name)

    def _pin_rises(self, pin: int, output: int | None, states: int, rise: bool) -> float:
        if output is None:
            return float(rise)
        if self.variables[pin] == self.cell.clock:
            return 1.0
        function = self.functions[output]
        # The states in which this pin alone decides the output.
        deciding = [
            state >> pin & 1
            for state in range(self.size)
            if states >> state & 1 and (function >> state ^ function >> (state ^ 1 << pin)) & 1
        ]
        return sum(deciding) / len(deciding) if deciding else 0.5

    def _leakage(self) -> Floats:
        entries = self._entries(self.group.each("leakage_power"))
        whole = self.group.get("cell_leakage_power") or self.tables.library.tree.get(
            "default_cell_leakage_power"
        )
        values = [self._number(entry.group.get("value")) for entry in entries]
        leakage = np.full(self.size, self._number(whole or "0"))
        for state in range(self.size):
            rails = [rail for rail in self._at(entries, state) if rail]
            if rails:
                leakage[state] = sum(sum(values[i] for i in r) / len(r) for r in rails)
        return leakage * self.tables.units.leakage_nw

    def _number(self, text: str | None) -> float:
        try:
            return float(text or "")
        except ValueError:
            raise UsageError(
                f"library {self.tables.library.name}: cell {self.cell.name}: leakage must be a"
                f" number, got {text!r}"
            ) from None
