"""Tables of a Liberty library as arrays: delays, slews, constraints and energies, in ps and fF.

A table is read as OpenSTA reads it: bilinear between the four nearest entries, and linear beyond
the ends of the axes. Times are in ps, capacitances in fF, voltages in V. What a library would add
by default, a wire load model and default slews, is left out. Source: Liberty User Guide, volume 1.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.synth import liberty
from narrowgauge.synth.library import Library

__all__ = ["Arc", "CellTiming", "Pin", "Sense", "Table", "Tables", "Units", "tables"]

Floats = npt.NDArray[np.float64]
Sense = Literal["positive_unate", "negative_unate", "non_unate"]

_EXPONENTS = {"k": 3, "": 0, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15}
_QUANTITY = re.compile(r"([\d.eE+-]*?)\s*([munpfk]?)(s|V|A|W|F|ohm)", re.I)
_FIRST = frozenset({"input_net_transition", "input_transition_time", "constrained_pin_transition"})
_SECOND = frozenset({"total_output_net_capacitance", "related_pin_transition"})
_TRANSITIONS = ("input_net_transition", "input_transition_time", "pin_transition")


@dataclass(frozen=True, kw_only=True)
class Units:
    """What one unit of the library is: time in ps, capacitance in fF, voltage in V, leakage in nW.

    `energy_fj` is the unit of the energies in internal power tables, in fJ: V squared times the
    unit of capacitance.
    """

    time_ps: float
    capacitance_ff: float
    voltage_v: float
    leakage_nw: float

    @property
    def energy_fj(self) -> float:
        """The unit of energy in fJ."""
        return self.capacitance_ff * self.voltage_v**2


@dataclass(frozen=True)
class Table:
    """Values over two axes.

    Attributes
    ----------
    x : shape (n,), n >= 2, rising: slew of the input in ps; in a constraint that of the data
    y : shape (m,), m >= 2, rising: load in fF; in a constraint the slew of the clock in ps
    values : shape (n, m)

    An axis that the library leaves out, or that has one entry, is two entries of equal values.
    """

    x: Floats
    y: Floats
    values: Floats

    def __call__(self, x: npt.ArrayLike, y: npt.ArrayLike = 0.0) -> Floats:
        """The value at each pair of x and y, which broadcast."""
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        i = np.clip(np.searchsorted(self.x, x, "right") - 1, 0, len(self.x) - 2)
        j = np.clip(np.searchsorted(self.y, y, "right") - 1, 0, len(self.y) - 2)
        s = (x - self.x[i]) / (self.x[i + 1] - self.x[i])
        t = (y - self.y[j]) / (self.y[j + 1] - self.y[j])
        v = self.values
        near = v[i, j] * (1 - t) + v[i, j + 1] * t
        far = v[i + 1, j] * (1 - t) + v[i + 1, j + 1] * t
        result: Floats = near * (1 - s) + far * s
        return result


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One pin; its capacitance in fF when it rises and when it falls."""

    name: str
    direction: str
    rise: float
    fall: float


@dataclass(frozen=True, kw_only=True)
class Arc:
    """One timing group: from `related` to `pin`.

    Attributes
    ----------
    kind : the Liberty timing type: "combinational", "rising_edge", "setup_rising", ...
    sense : which edges of `related` make which edges of `pin`
    when : the condition as the library writes it, or an empty string
    rise, fall : delay in ps until `pin` rises, falls; in a constraint, the time in ps before the
        clock's edge (a setup) when `pin` rises, falls; None where the library has no table
    rise_slew, fall_slew : slew of `pin` in ps; None in a constraint
    """

    related: str
    pin: str
    kind: str
    sense: Sense
    when: str
    rise: Table | None
    fall: Table | None
    rise_slew: Table | None
    fall_slew: Table | None


@dataclass(frozen=True, kw_only=True)
class CellTiming:
    """Pins and arcs of one cell, in the order of the library."""

    name: str
    pins: Mapping[str, Pin]
    arcs: tuple[Arc, ...]


@dataclass(frozen=True)
class Tables:
    """The tables of a library, read cell by cell when they are asked for."""

    library: Library = field(repr=False)
    units: Units
    _groups: Mapping[str, liberty.Group] = field(repr=False)
    _templates: Mapping[str, liberty.Group] = field(repr=False)
    _cells: dict[str, CellTiming] = field(default_factory=dict, repr=False)

    def group(self, cell: str) -> liberty.Group:
        """The Liberty group of a cell."""
        return self._groups[cell]

    def cell(self, name: str) -> CellTiming:
        """Pins and arcs of a cell; one without timing tables is a `UsageError`."""
        if name not in self._cells:
            self._cells[name] = self._cell(name)
        return self._cells[name]

    def _cell(self, name: str) -> CellTiming:
        group = self._groups[name]
        pins, arcs = {}, []
        for pin in group.each("pin"):
            direction = pin.get("direction") or ""
            usual = self.library.tree.get(f"default_{direction}_pin_cap") or "0"
            plain = pin.get("capacitance") or usual
            where = f"library {self.library.name}: cell {name}: capacitance of {pin.name}"
            rise, fall = _numbers(
                (pin.get("rise_capacitance") or plain, pin.get("fall_capacitance") or plain), where
            )
            unit = self.units.capacitance_ff
            pins[pin.name] = Pin(
                name=pin.name, direction=direction, rise=rise * unit, fall=fall * unit
            )
            for timing in pin.each("timing"):
                arcs += [
                    self._arc(timing, related, pin, name)
                    for related in (timing.get("related_pin") or "").split()
                ]
        driven = {a.pin for a in arcs if (a.rise and a.rise_slew) or (a.fall and a.fall_slew)}
        for output, _ in self.library.cells[name].outputs:
            if output not in driven:
                raise UsageError(
                    f"library {self.library.name}: cell {name} has no timing tables"
                    f" for its output {output}"
                )
        return CellTiming(name=name, pins=pins, arcs=tuple(arcs))

    def _arc(self, timing: liberty.Group, related: str, pin: liberty.Group, cell: str) -> Arc:
        kind = timing.get("timing_type") or "combinational"
        constraint = any(timing.each("rise_constraint", "fall_constraint"))
        names = ("rise_constraint", "fall_constraint") if constraint else ("cell_rise", "cell_fall")
        found = {group.kind: group for group in timing.groups}

        def get(table: str) -> Table | None:
            group = found.get(table)
            return None if group is None else self.table(group, self.units.time_ps, cell)

        return Arc(
            related=related,
            pin=pin.name,
            kind=kind,
            sense=_sense(timing, related, pin),
            when=timing.get("when") or "",
            rise=get(names[0]),
            fall=get(names[1]),
            rise_slew=get("rise_transition"),
            fall_slew=get("fall_transition"),
        )

    def table(self, group: liberty.Group, scale: float, cell: str) -> Table:
        """A table group of any kind, its values multiplied with `scale`.

        Raises
        ------
        UsageError : more than two axes, an axis of another quantity, or not as many values as the
            axes ask for; the message names the library and `cell`
        """
        where = f"library {self.library.name}: cell {cell}: table {group.kind} ({group.name})"
        template = self._templates.get(group.name)
        rows = [_numbers([row], where) for row in group.values("values")]
        flat = np.array([number for row in rows for number in row])
        axes, kinds = [], []
        for index in (1, 2, 3):
            variable = template.get(f"variable_{index}") if template else None
            if variable is None:
                continue
            if index == 3 or variable not in _FIRST | _SECOND:
                raise UsageError(f"{where}: cannot be read over {variable}")
            default = template.values(f"index_{index}") if template else ()
            axis = np.array(_numbers(group.values(f"index_{index}") or default, where))
            axes.append(axis * self._scale(variable))
            kinds.append(variable)
        if flat.size != np.prod([len(axis) for axis in axes], dtype=int) or not flat.size:
            raise UsageError(f"{where}: {flat.size} values do not fit its axes")
        if any((np.diff(axis) <= 0).any() for axis in axes):
            raise UsageError(f"{where}: an axis does not rise")
        values = flat.reshape([len(axis) for axis in axes]) * scale
        if len(axes) == 2 and kinds[0] in _SECOND:
            axes, kinds, values = axes[::-1], kinds[::-1], values.T
        if len(axes) == 2 and (kinds[0] in _SECOND or kinds[1] in _FIRST):
            raise UsageError(f"{where}: cannot be read over {' and '.join(kinds)}")
        if len(axes) < 2:
            first = bool(kinds) and kinds[0] in _FIRST
            given = axes[0] if kinds else np.zeros(1)
            axes = [given, np.zeros(1)] if first else [np.zeros(1), given]
            values = values.reshape(len(axes[0]), len(axes[1]))
        for side in (0, 1):
            if len(axes[side]) == 1:
                axes[side] = np.array([axes[side][0], axes[side][0] + 1.0])
                values = values.repeat(2, axis=side)
        return Table(axes[0], axes[1], np.ascontiguousarray(values))

    def _scale(self, variable: str) -> float:
        time = variable.endswith(_TRANSITIONS)
        return self.units.time_ps if time else self.units.capacitance_ff


def _numbers(texts: "tuple[str, ...] | list[str]", where: str) -> list[float]:
    try:
        return [float(word) for text in texts for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def _sense(timing: liberty.Group, related: str, pin: liberty.Group) -> Sense:
    """The sense as given, else as the pin's function has it."""
    senses: tuple[Sense, ...] = ("positive_unate", "negative_unate", "non_unate")
    for sense in senses:
        if timing.get("timing_sense") == sense:
            return sense
    function = pin.get("function") or ""
    names = sorted(set(re.findall(r"[A-Za-z_]\w*", function)))
    if related not in names:
        return "non_unate"
    names = [related, *(name for name in names if name != related)]
    table = liberty.truth_table(function, names)
    pairs = [(table >> k & 1, table >> k + 1 & 1) for k in range(0, 1 << len(names), 2)]
    rises, falls = (0, 1) in pairs, (1, 0) in pairs
    if rises == falls:
        return "non_unate"
    return "positive_unate" if rises else "negative_unate"


def _unit(text: str, exponent: int) -> float:
    """A unit such as "10ps", in units of 10 ** exponent."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UsageError(f"no unit of a library: {text!r}")
    return float(match.group(1) or 1.0) * 10.0 ** (_EXPONENTS[match.group(2).lower()] - exponent)


_KEPT: dict[str, Tables] = {}


def tables(library: Library) -> Tables:
    """The tables of a library; kept by its digest."""
    if library.digest not in _KEPT:
        tree = library.tree
        load = tree.values("capacitive_load_unit") or ("1", "pf")
        _KEPT[library.digest] = Tables(
            library,
            Units(
                time_ps=_unit(tree.get("time_unit") or "1ns", -12),
                capacitance_ff=_unit("".join(load), -15),
                voltage_v=_unit(tree.get("voltage_unit") or "1V", 0),
                leakage_nw=_unit(tree.get("leakage_power_unit") or "1nW", -9),
            ),
            {group.name: group for group in tree.each("cell")},
            {group.name: group for group in tree.each("lu_table_template", "power_lut_template")},
        )
    return _KEPT[library.digest]
