"""What a unit's timing stands on beside its own cells: registers at the ports, and memories."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from narrowgauge.golden.errors import UsageError
from narrowgauge.synth import liberty
from narrowgauge.synth.library import Library
from narrowgauge.synth.nldm import Arc, Table, Tables

__all__ = [
    "Boundary",
    "Sram",
    "constant",
    "fo4_ps",
    "ideal_arc",
    "inverter",
    "read_arc",
    "register",
]


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """What stands at the ports.

    Parameters
    ----------
    kind : "registers": each input comes from a flip-flop of the library (`register`) and each
        output goes to one, with its clock-to-output time, slew, capacitance and setup time; so the
        figures are those of the unit between units with registered ports. "ideal": inputs arrive
        at the clock's edge with a slew of 0, outputs have no load and no setup time
    """

    kind: Literal["registers", "ideal"] = "registers"

    def __post_init__(self) -> None:
        if self.kind not in ("registers", "ideal"):
            raise UsageError(f"boundary must be registers or ideal, got {self.kind!r}")


@dataclass(frozen=True, kw_only=True)
class Sram:
    """Timing of a memory kept apart, in FO4: delays of an inverter with four such loads.

    A read takes log2(bits) + `offset_fo4` from the clock or, for an asynchronous port, from the
    address; what it takes in is there `setup_fo4` before the clock's edge. An output drives as the
    library's smallest flip-flop does, an input weighs `load` inverter inputs.

    One FO4 for each doubling up to 1 Mb: Amrutur and Horowitz, Speed and Power Scaling of SRAMs,
    IEEE JSSC 35(2), 2000. The other figures fit what CACTI gives at 45 nm, by the fakeram45 macros
    of OpenROAD-flow-scripts: 207 ps for 64 x 32 bits, 305 ps for 512 x 64, setup 50 ps, 5 fF a pin.
    """

    offset_fo4: float = -1.0
    setup_fo4: float = 2.5
    load: float = 3.0

    def access_fo4(self, bits: int) -> float:
        """The time of a read of a memory of so many bits."""
        return max(1.0, math.log2(bits) + self.offset_fo4)


def register(library: Library) -> str:
    """The smallest flip-flop on a rising edge; of those without set and reset if there are any."""
    cells = [library.cells[name] for name in library.flip_flops]
    usable = [cell for cell in cells if cell.clock in cell.inputs]
    if not usable:
        raise UsageError(f"library {library.name} has no flip-flop on a rising edge")
    return min(usable, key=lambda c: (len(c.inputs) > 2, c.area, c.name)).name


def inverter(library: Library) -> str:
    """The smallest inverter."""
    found = [
        (cell.area, cell.name)
        for cell in library.cells.values()
        if len(cell.inputs) == 1
        and not cell.sequential
        and liberty.truth_table(cell.outputs[0][1], cell.inputs) == 0b01
    ]
    if not found:
        raise UsageError(f"library {library.name} has no inverter")
    return min(found)[1]


def fo4_ps(tables: Tables) -> float:
    """Delay of the smallest inverter in a chain of such, each with four of its inputs as load."""
    cell = tables.cell(inverter(tables.library))
    arc = next(a for a in cell.arcs if a.rise and a.fall and a.rise_slew and a.fall_slew)
    assert arc.rise
    assert arc.fall
    assert arc.rise_slew
    assert arc.fall_slew
    pin = cell.pins[arc.related]
    load = 2 * (pin.rise + pin.fall)
    rise, fall = 0.0, 0.0
    for _ in range(32):
        rise, fall = float(arc.rise_slew(fall, load)), float(arc.fall_slew(rise, load))
    return float(arc.rise(fall, load) + arc.fall(rise, load)) / 2


def constant(value: float) -> Table:
    """A table of one value."""
    return Table(np.arange(2.0), np.arange(2.0), np.full((2, 2), value))


def ideal_arc() -> Arc:
    """From the clock to an input port at once, with a slew of 0."""
    zero = constant(0.0)
    return Arc(
        related="",
        pin="",
        kind="rising_edge",
        sense="non_unate",
        when="",
        rise=zero,
        fall=zero,
        rise_slew=zero,
        fall_slew=zero,
    )


def read_arc(tables: Tables, access: float, *, clocked: bool) -> Arc:
    """A memory's read: `access` ps without load, and the drive of the smallest flip-flop."""
    cell = tables.library.cells[register(tables.library)]
    arcs = tables.cell(cell.name).arcs
    arc = next(a for a in arcs if a.kind == "rising_edge" and a.pin == cell.outputs[0][0])

    def of_load(table: Table | None, unloaded: float | None) -> Table | None:
        if table is None:
            return None
        row = table.values[:1].repeat(2, axis=0)
        offset = 0.0 if unloaded is None else unloaded - float(table(0.0, 0.0))
        return Table(np.arange(2.0), table.y, row + offset)

    return Arc(
        related="clock" if clocked else "address",
        pin="data",
        kind="rising_edge" if clocked else "combinational",
        sense="non_unate",
        when="",
        rise=of_load(arc.rise, access),
        fall=of_load(arc.fall, access),
        rise_slew=of_load(arc.rise_slew, None),
        fall_slew=of_load(arc.fall_slew, None),
    )
