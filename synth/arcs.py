"""The timing graph of a mapped netlist: every arc of every cell as a row of arrays.

A node is an edge of a net: 2 * net when it rises, 2 * net + 1 when it falls. Beside the nets of the
netlist there is the ideal clock, which rises at time 0 with a slew of 0.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from narrowgauge.synth.boundary import (
    Boundary,
    Sram,
    constant,
    fo4_ps,
    ideal_arc,
    inverter,
    read_arc,
    register,
)
from narrowgauge.synth.gates import Gates, Instance
from narrowgauge.synth.nldm import Arc, Table, Tables

__all__ = ["PORT", "End", "Graph", "graph", "memory_number"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PORT = -1
"""The cell number of a register at a port."""

_CAUSES = {
    "positive_unate": ((0,), (1,)),
    "negative_unate": ((1,), (0,)),
    "non_unate": ((0, 1), (0, 1)),
}
"""Sense -> the edges of the input that make the output rise, and fall."""


def memory_number(index: int) -> int:
    """The cell number of a memory; its own inverse."""
    return -2 - index


@dataclass(frozen=True)
class End:
    """Input pins that a path ends at.

    Attributes
    ----------
    nets, cells : of each pin; a cell is an index, `PORT`, or `memory_number(m)`
    pin : its name
    rise, fall : setup in ps when the pin rises and falls, over its slew; None is 0
    """

    nets: Ints
    cells: Ints
    pin: str
    rise: Table | None
    fall: Table | None


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Arcs by level, and by target within a level.

    Attributes
    ----------
    source, target : nodes
    delay, slew : index into `tables`
    cell : index of the cell, `PORT`, or `memory_number(m)`
    pins : index into `pin_pairs`, of (input pin, output pin)
    bounds : the arcs of level k are bounds[k]:bounds[k + 1]
    load : shape (nets + 1, 2), fF on each net as it rises and as it falls
    ends : where paths end
    clock : the ideal clock's net
    port_cell : the flip-flop that stands at each port, or "port" where there is none
    """

    source: Ints
    target: Ints
    delay: Ints
    slew: Ints
    cell: Ints
    pins: Ints
    bounds: Ints
    tables: tuple[Table, ...] = field(repr=False)
    pin_pairs: tuple[tuple[str, str], ...]
    load: Floats
    ends: tuple[End, ...]
    clock: int
    port_cell: str


def graph(gates: Gates, tables: Tables, boundary: Boundary, sram: Sram) -> Graph:
    """The timing graph; a cell without timing tables is a `UsageError`."""
    return _Builder(gates, tables).build(boundary, sram)


class _Builder:
    """Collects arcs, loads and ends."""

    def __init__(self, gates: Gates, tables: Tables) -> None:
        self.gates, self.tables = gates, tables
        self.clock = gates.nets
        self.load = np.zeros((gates.nets + 1, 2))
        self.level = np.zeros(gates.nets + 1, np.int64)
        self.rows: list[tuple[Ints, ...]] = []
        self.ends: list[End] = []
        self.table_list: list[Table] = []
        self.table_index: dict[int, int] = {}
        self.pairs: dict[tuple[str, str], int] = {}

    def build(self, boundary: Boundary, sram: Sram) -> Graph:
        self.cells()
        self.ports(boundary)
        self.memories(sram)
        columns = [np.concatenate(column) for column in zip(*self.rows, strict=True)]
        source, target, delay, slew, cell, pins = columns
        level = self.level[target // 2]
        order = np.lexsort((target, level))
        deepest = int(level.max(initial=0))
        return Graph(
            source=source[order],
            target=target[order],
            delay=delay[order],
            slew=slew[order],
            cell=cell[order],
            pins=pins[order],
            bounds=np.searchsorted(level[order], np.arange(deepest + 2)),
            tables=tuple(self.table_list),
            pin_pairs=tuple(self.pairs),
            load=self.load,
            ends=tuple(self.ends),
            clock=self.clock,
            port_cell=register(self.gates.library) if boundary.kind == "registers" else "port",
        )

    def add(self, arc: Arc, source: Ints, target: Ints, cell: Ints) -> None:
        """One arc of many cells: nets in, nets out. An edge of the clock makes both edges."""
        pair = self.pairs.setdefault((arc.related, arc.pin), len(self.pairs))
        full = np.full_like
        for edge, tables in enumerate(((arc.rise, arc.rise_slew), (arc.fall, arc.fall_slew))):
            if tables[0] is None or tables[1] is None:
                continue
            delay, slew = (self._number(table) for table in tables if table is not None)
            causes = (0,) if arc.kind == "rising_edge" else _CAUSES[arc.sense][edge]
            for cause in causes:
                ends = (2 * source + cause, 2 * target + edge)
                same = (full(target, delay), full(target, slew), cell, full(target, pair))
                self.rows.append((*ends, *same))

    def _number(self, table: Table) -> int:
        index = self.table_index.setdefault(id(table), len(self.table_list))
        if index == len(self.table_list):
            self.table_list.append(table)
        return index

    def weigh(self, nets: Ints, rise: float, fall: float) -> None:
        """Add a pin's capacitance to nets."""
        np.add.at(self.load, nets[nets >= 0], (rise, fall))

    def cells(self) -> None:
        """Arcs, loads and ends of the cells."""
        kinds: dict[str, list[int]] = {}
        for index, cell in enumerate(self.gates.cells):
            kinds.setdefault(cell.kind, []).append(index)
        levels = np.array([*self.gates.levels, *(0 for _ in self.gates.flip_flops)], np.int64)
        for kind, indices in kinds.items():
            known, timing = self.gates.library.cells[kind], self.tables.cell(kind)
            members = np.array(indices)
            instances = [self.gates.cells[index] for index in indices]
            nets = {pin: _nets(instances, pin) for pin in timing.pins}
            for pin in known.inputs:
                self.weigh(nets[pin], timing.pins[pin].rise, timing.pins[pin].fall)
            for pin, _ in known.outputs:
                used = nets[pin] >= 0
                self.level[nets[pin][used]] = levels[members[used]]
            for arc in timing.arcs:
                used = (nets[arc.related] >= 0) & (nets[arc.pin] >= 0)
                target, cells = nets[arc.pin][used], members[used]
                if not known.sequential and arc.kind.startswith("combinational"):
                    self.add(arc, nets[arc.related][used], target, cells)
                elif arc.related == known.clock and arc.kind == "rising_edge":
                    self.add(arc, np.full_like(target, self.clock), target, cells)
            if known.sequential:
                for end in _setups(timing.arcs, known.clock, known.inputs):
                    used = nets[end.pin] >= 0
                    self.ends.append(replace(end, nets=nets[end.pin][used], cells=members[used]))

    def ports(self, boundary: Boundary) -> None:
        """What stands at the ports."""
        gates = self.gates
        inputs = _array(n for nets in gates.inputs.values() for n in nets if n != gates.clock)
        outputs = _array(n for nets in gates.outputs.values() for n in nets)
        clock, here = np.full_like(inputs, self.clock), np.full_like(inputs, PORT)
        there = np.full_like(outputs, PORT)
        if boundary.kind == "ideal":
            self.add(ideal_arc(), clock, inputs, here)
            self.ends.append(End(outputs, there, "", None, None))
            return
        cell = gates.library.cells[register(gates.library)]
        timing = self.tables.cell(cell.name)
        data = next(pin for pin in cell.inputs if pin in re.findall(r"\w+", cell.next_state))
        for arc in timing.arcs:
            if arc.kind == "rising_edge" and arc.pin == cell.outputs[0][0]:
                self.add(arc, clock, inputs, here)
        self.weigh(outputs, timing.pins[data].rise, timing.pins[data].fall)
        for end in _setups(timing.arcs, cell.clock, (data,)):
            self.ends.append(replace(end, nets=outputs, cells=there))

    def memories(self, sram: Sram) -> None:
        """Reads as arcs, all else that goes into a memory as ends."""
        if not self.gates.memories:
            return
        fo4 = fo4_ps(self.tables)
        cell = self.tables.cell(inverter(self.gates.library))
        pin = next(p for p in cell.pins.values() if p.direction == "input")
        setup = constant(sram.setup_fo4 * fo4)
        for index, memory in enumerate(self.gates.memories):
            ends = [
                net
                for port in memory.writes
                # A memory has one enable pin for all the bits that one net enables.
                for net in (*port.address, *port.data, *dict.fromkeys(port.enable))
            ]
            access = sram.access_fo4(memory.words * memory.width) * fo4
            for port in memory.reads:
                data = _array(port.data)
                ends += [port.enable, *port.address] if port.clocked else []
                number = np.full_like(data, memory_number(index))
                for net in [self.clock] if port.clocked else port.address:
                    arc = read_arc(self.tables, access, clocked=port.clocked)
                    self.add(arc, np.full_like(data, net), data, number)
                if not port.clocked:
                    self.weigh(_array(port.address), sram.load * pin.rise, sram.load * pin.fall)
            nets = _array(ends)
            self.weigh(nets, sram.load * pin.rise, sram.load * pin.fall)
            numbers = np.full_like(nets, memory_number(index))
            self.ends.append(End(nets, numbers, "input", setup, setup))
        self._asynchronous_levels()

    def _asynchronous_levels(self) -> None:
        """Data of asynchronous ports settle after their addresses; ports may feed each other."""
        ports = [p for m in self.gates.memories for p in m.reads if not p.clocked]
        for _ in ports:
            for port in ports:
                self.level[list(port.data)] = self.level[list(port.address)].max() + 1


def _array(nets: Iterable[int]) -> Ints:
    return np.fromiter(nets, np.int64)


def _nets(instances: Sequence[Instance], pin: str) -> Ints:
    """The net of a pin of each cell, -1 where it is not connected."""
    return _array(instance.pins.get(pin, -1) for instance in instances)


def _setups(arcs: Iterable[Arc], clock: str, pins: Iterable[str]) -> list[End]:
    """The data pins of a flip-flop with their setup tables, those without any among them."""
    none = np.zeros(0, np.int64)
    ends = []
    for pin in pins:
        found = [
            a for a in arcs if a.pin == pin and a.related == clock and a.kind == "setup_rising"
        ]
        ends += [End(none, none, pin, a.rise, a.fall) for a in found]
        if not found and pin != clock:
            ends.append(End(none, none, pin, None, None))
    return ends
