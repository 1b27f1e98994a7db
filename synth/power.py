"""The power of a library: its voltage, and what its cells draw; `synth.cell_power` reads those."""

from dataclasses import dataclass, field

from narrowgauge.golden.errors import UsageError
from narrowgauge.synth import cell_power, nldm
from narrowgauge.synth.cell_power import CellPower
from narrowgauge.synth.library import Library

__all__ = ["Power", "power"]


@dataclass(frozen=True)
class Power:
    """The power of a library, read cell by cell when it is asked for.

    `voltage` is that of the library's operating conditions, in V.
    """

    library: Library = field(repr=False)
    voltage: float
    _tables: nldm.Tables = field(repr=False)
    _cells: dict[str, CellPower] = field(default_factory=dict, repr=False)

    def timing(self, name: str) -> nldm.CellTiming:
        """The pins of a cell with their capacitances."""
        return self._tables.cell(name)

    def cell(self, name: str) -> CellPower:
        """What a cell draws."""
        if name not in self._cells:
            self._cells[name] = cell_power.read(self._tables, self.library.cells[name])
        return self._cells[name]


def power(library: Library) -> Power:
    """The power of a library.

    Raises
    ------
    UsageError : a library without a voltage, without internal power or without leakage
    """
    tables = nldm.tables(library)
    groups = [tables.group(name) for name in library.cells]
    internal = any(any(pin.each("internal_power")) for g in groups for pin in g.each("pin"))
    leakage = any(g.get("cell_leakage_power") or any(g.each("leakage_power")) for g in groups)
    if not internal or not leakage:
        missing = "internal_power" if not internal else "leakage"
        raise UsageError(
            f"library {library.name} has no {missing}: energy needs a library with power tables,"
            " such as nangate45"
        )
    return Power(library, _voltage(library) * tables.units.voltage_v, tables)


def _voltage(library: Library) -> float:
    """The voltage of the default operating conditions, else the nominal one."""
    tree = library.tree
    wanted = tree.get("default_operating_conditions")
    given = [g.get("voltage") for g in tree.each("operating_conditions") if g.name == wanted]
    text = next((value for value in given if value), None) or tree.get("nom_voltage")
    try:
        value = float(text or "nan")
    except ValueError:
        value = float("nan")
    if not value > 0:
        raise UsageError(f"library {library.name} states no voltage, got {text!r}")
    return value
