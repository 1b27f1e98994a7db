"""Buffer trees on nets that weigh far more than their driver may carry.

ABC buffers the nets between the gates that it maps. It neither sees a net that starts in a
register, a memory or a port, nor what the pins of memories weigh: one bit of control over 128 lanes
then hangs on one small flip-flop. Every other net it keeps near the limit, so only nets beyond
twice the limit are touched, and a design without such nets is left as it is.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from narrowgauge.synth import liberty
from narrowgauge.synth.boundary import Sram, inverter, register
from narrowgauge.synth.library import Library
from narrowgauge.synth.netlist import MEMORY
from narrowgauge.synth.nldm import Arc, Tables, tables

__all__ = ["BEYOND", "repair"]

BEYOND = 2.0
"""A net is repaired from this multiple of its driver's `max_capacitance` on: in netlists of this
flow, what ABC has buffered itself stays below 1.5."""

_SHARES = (0.0625, 0.125, 0.25, 0.5)
"""Loads of a buffer that are tried, of its limit."""

_SLEW = 20.0
"""In ps, of what a driver is driven by, in estimates."""

_NEAR = 1.1
"""Of the trees within so much of the least delay, the smallest is taken."""


@dataclass(frozen=True, slots=True)
class _Sink:
    """Where a net ends: positions of a pin of a cell, or of a port, and what they weigh in fF."""

    owner: str
    pin: str
    positions: tuple[int, ...]
    load: float


@dataclass(frozen=True, slots=True)
class _Buffer:
    """A buffer of the library."""

    name: str
    input: str
    output: str
    area: float
    load: float
    limit: float
    arc: Arc


@dataclass(frozen=True, slots=True)
class _Tree:
    """What a tree is made of: the buffer and the most load that each of them gets."""

    buffer: _Buffer
    most: float
    delay: float
    area: float


def repair(document: dict[str, Any], top: str, library: Library) -> dict[str, Any]:
    """The mapped netlist with buffer trees; the very same object where nothing had to be done.

    The buffers have the library's cells and drives for the least estimated delay; the logic and the
    names of all other cells stay as they are. Libraries without buffers or without limits are not
    repaired.
    """
    work = _Repair(document, top, library)
    loaded = list(work.loaded())
    if not work.buffers or not loaded:
        return document
    for bit, driver, limit in loaded:
        work.grow(bit, driver, limit)
    return {**document, "modules": {**document["modules"], top: work.module}}


def _limit(known: Tables, cell: str, pin: str) -> float:
    """The most load of an output in fF."""
    for group in known.group(cell).each("pin"):
        if group.name == pin and group.get("max_capacitance"):
            return float(group.get("max_capacitance") or 0) * known.units.capacitance_ff
    return math.inf


class _Repair:
    """One netlist under repair."""

    def __init__(self, document: Mapping[str, Any], top: str, library: Library) -> None:
        module = document["modules"][top]
        cells = {n: {**c, "connections": {**c["connections"]}} for n, c in module["cells"].items()}
        ports = {n: {**p} for n, p in module["ports"].items()}
        self.module: dict[str, Any] = {**module, "cells": cells, "ports": ports}
        self.library = library
        self.tables = tables(library)
        self.buffers = sorted(self._buffers(), key=lambda each: (each.area, each.name))
        self.sinks: dict[Any, list[_Sink]] = {}
        for bit, sink in self._sinks() if self.buffers else ():
            self.sinks.setdefault(bit, []).append(sink)
        bits = [b for c in cells.values() for each in c["connections"].values() for b in each]
        self.fresh = max((b for b in bits if isinstance(b, int)), default=1) + 1

    def _buffers(self) -> Iterator[_Buffer]:
        for name in self.library.cells.keys() - self.library.dont_use:
            cell = self.library.cells[name]
            if len(cell.inputs) != 1 or len(cell.outputs) != 1 or cell.sequential:
                continue
            (source,), ((output, function),) = cell.inputs, cell.outputs
            limit = _limit(self.tables, name, output)
            if liberty.truth_table(function, cell.inputs) != 0b10 or limit == math.inf:
                continue
            timing = self.tables.cell(name)
            pin = timing.pins[source]
            load = max(pin.rise, pin.fall)
            if 2 * load > _SHARES[-1] * limit:
                continue
            arc = next(a for a in timing.arcs if a.pin == output and a.rise and a.fall)
            yield _Buffer(name, source, output, cell.area, load, limit, arc)

    def loaded(self) -> Iterator[tuple[Any, Arc, float]]:
        """The nets to repair: bit, an arc of the driver, the driver's limit."""
        for bit, cell, pin in self._drivers():
            limit = _limit(self.tables, cell, pin)
            if sum(sink.load for sink in self.sinks.get(bit, ())) > BEYOND * limit:
                yield bit, self._arc(cell, pin), limit

    def _drivers(self) -> Iterator[tuple[Any, str, str]]:
        """The start of every net: bit, cell and pin; ports and memories drive as a flip-flop."""
        usual = register(self.library)
        output = self.library.cells[usual].outputs[0][0]
        for port in self.module["ports"].values():
            if port["direction"] == "input":
                yield from ((bit, usual, output) for bit in port["bits"])
        for cell in self.module["cells"].values():
            if cell["type"] == MEMORY:
                yield from ((bit, usual, output) for bit in cell["connections"]["RD_DATA"])
                continue
            for pin, _ in self.library.cells[cell["type"]].outputs:
                yield from ((bit, cell["type"], pin) for bit in cell["connections"].get(pin, ()))

    def _arc(self, cell: str, output: str) -> Arc:
        """The slowest of the arcs to an output, at a middling load."""
        arcs = [a for a in self.tables.cell(cell).arcs if a.pin == output and (a.rise or a.fall)]
        return max(arcs, key=lambda arc: _through(arc, _SLEW, 20.0)[0])

    def _sinks(self) -> Iterator[tuple[Any, _Sink]]:
        """The ends of all nets; the clock is ideal and has none."""
        cell = self.tables.cell(inverter(self.library))
        pin = next(p for p in cell.pins.values() if p.direction == "input")
        of_memory = Sram().load * max(pin.rise, pin.fall)
        for name, each in self.module["cells"].items():
            if each["type"] == MEMORY:
                for pin_name, bit, where in _memory_pins(each):
                    yield bit, _Sink(name, pin_name, where, of_memory)
                continue
            known, timing = self.library.cells[each["type"]], self.tables.cell(each["type"])
            for pin_name in known.inputs:
                if pin_name != known.clock and each["connections"].get(pin_name):
                    found = timing.pins[pin_name]
                    bit = each["connections"][pin_name][0]
                    yield bit, _Sink(name, pin_name, (0,), max(found.rise, found.fall))
        usual = self.library.cells[register(self.library)]
        pins = self.tables.cell(usual.name).pins
        at_port = max(pins[p].rise for p in usual.inputs if p != usual.clock)
        for name, port in self.module["ports"].items():
            for index, bit in enumerate(port["bits"] if port["direction"] == "output" else ()):
                yield bit, _Sink(name, "", (index,), at_port)

    def grow(self, bit: Any, driver: Arc, limit: float) -> None:
        """Put a tree of buffers between a net's driver and its ends."""
        sinks = self.sinks.get(bit, [])
        tree = self._tree(sinks, driver, limit)
        while True:
            above = []
            for cluster in _clusters(sinks, tree.most):
                number, self.fresh = self.fresh, self.fresh + 1
                name = f"$repair${number}"
                for sink in cluster:
                    self._move(sink, number)
                self.module["cells"][name] = {
                    "hide_name": 1,
                    "type": tree.buffer.name,
                    "parameters": {},
                    "attributes": {},
                    "connections": {tree.buffer.input: [bit], tree.buffer.output: [number]},
                }
                above.append(_Sink(name, tree.buffer.input, (0,), tree.buffer.load))
            sinks = above
            if len(sinks) == 1 or sum(sink.load for sink in sinks) <= min(limit, tree.most):
                return

    def _move(self, sink: _Sink, bit: int) -> None:
        if sink.pin:
            pins = self.module["cells"][sink.owner]["connections"]
            place = list(pins[sink.pin])
            pins[sink.pin] = place
        else:
            place = list(self.module["ports"][sink.owner]["bits"])
            self.module["ports"][sink.owner]["bits"] = place
        for position in sink.positions:
            place[position] = bit

    def _tree(self, sinks: Sequence[_Sink], driver: Arc, limit: float) -> _Tree:
        """The smallest of the trees that are estimated to be about as fast as the fastest."""
        heaviest = max(sink.load for sink in sinks)
        total = sum(sink.load for sink in sinks)
        trees = []
        for buffer in self.buffers:
            for share in _SHARES:
                most = max(share * buffer.limit, heaviest)
                if most < 2 * buffer.load:
                    continue  # the tree would not get narrower
                loads: list[tuple[int, float]] = []
                weight = total
                while not loads or (loads[-1][0] > 1 and weight > min(limit, most)):
                    number = math.ceil(weight / most)
                    loads.append((number, weight / number))
                    weight = number * buffer.load
                delay, slew = _through(driver, _SLEW, weight)
                for _, load in reversed(loads):
                    step, slew = _through(buffer.arc, slew, load)
                    delay += step
                area = buffer.area * sum(number for number, _ in loads)
                trees.append(_Tree(buffer, most, delay, area))
        fastest = min(tree.delay for tree in trees)
        near = [tree for tree in trees if tree.delay <= _NEAR * fastest]
        return min(near, key=lambda tree: (tree.area, tree.delay))


def _through(arc: Arc, slew: float, load: float) -> tuple[float, float]:
    """The larger delay and slew of an arc's two edges, in ps."""
    delays = [float(t(slew, load)) for t in (arc.rise, arc.fall) if t is not None]
    slews = [float(t(slew, load)) for t in (arc.rise_slew, arc.fall_slew) if t is not None]
    return max(delays), max(slews)


def _clusters(sinks: Sequence[_Sink], most: float) -> Iterator[list[_Sink]]:
    """The ends in their order, as many to a buffer as it may carry, spread evenly."""
    weights = np.cumsum([sink.load for sink in sinks])
    number = max(1, math.ceil(weights[-1] / most))
    groups: dict[int, list[_Sink]] = {}
    for sink, weight in zip(sinks, weights, strict=True):
        middle = (weight - sink.load / 2) * number / weights[-1]
        groups.setdefault(min(int(middle), number - 1), []).append(sink)
    yield from groups.values()


def _memory_pins(cell: Mapping[str, Any]) -> Iterator[tuple[str, Any, tuple[int, ...]]]:
    """The pins of a memory but its clocks; one enable pin for all bits that one net enables."""
    parameters = cell["parameters"]
    width = int(parameters["WIDTH"], 2)
    for pin in ("RD_ADDR", "RD_EN", "WR_ADDR", "WR_DATA"):
        for index, bit in enumerate(cell["connections"][pin]):
            yield pin, bit, (index,)
    enables = cell["connections"]["WR_EN"]
    for first in range(0, len(enables), width):
        port = enables[first : first + width]
        for bit in dict.fromkeys(port):
            yield "WR_EN", bit, tuple(first + i for i, each in enumerate(port) if each == bit)
