"""A second opinion on energy: one cell, one stream and one cycle at a time, straight from Liberty.

Shares nothing with `narrowgauge.synth.{power,activity,energy,glitch}`: conditions are Python
expressions, tables are read with loops, events are counted one by one.
"""

import bisect
import heapq
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from narrowgauge.synth.gates import Gates
from narrowgauge.synth.sta import Timing

Bits = Sequence[int]


def expression(text: str) -> Any:
    """A Liberty function as Python code."""
    text = re.sub(r"([A-Za-z_]\w*)\s*'", r"(not \1)", text.replace("!", " not "))
    for sign, word in (("&", " and "), ("*", " and "), ("|", " or "), ("+", " or "), ("^", " != ")):
        text = text.replace(sign, word)
    # Python's `not` binds less tightly than `!=`.
    text = re.sub(r"not\s+([A-Za-z_]\w*)", r"(not \1)", text)
    return compile(text.strip(), "function", "eval")


def numbers(text: str) -> list[float]:
    """The numbers of an index or of values."""
    return [float(word) for word in re.findall(r"[-\d.eE]+", text)]


def read_table(group: Any, x: float, y: float) -> float:
    """A table of NanGate45: over slew in ns alone, over slew and load in fF, or scalar."""
    lists = dict(group.lists)
    values = numbers(lists["values"])
    if "index_1" not in lists:
        return values[0]
    rows = numbers(lists["index_1"])
    columns = numbers(lists["index_2"]) if "index_2" in lists else [0.0, 1.0]
    width = len(columns) if "index_2" in lists else 1

    def cell(i: int, j: int) -> float:
        return values[i * width + (j if width > 1 else 0)]

    def place(axis: list[float], at: float) -> tuple[int, float]:
        i = min(max(bisect.bisect_right(axis, at) - 1, 0), len(axis) - 2)
        return i, (at - axis[i]) / (axis[i + 1] - axis[i])

    i, s = place(rows, x)
    j, t = place(columns, y)
    top = cell(i, j) + (cell(i, j + 1) - cell(i, j)) * t
    low = cell(i + 1, j) + (cell(i + 1, j + 1) - cell(i + 1, j)) * t
    return top + (low - top) * s


class Slow:
    """A netlist of NanGate45 cells, evaluated slowly."""

    def __init__(self, gates: Gates, timing: Timing) -> None:
        self.gates, self.timing = gates, timing
        self.groups = {g.name: g for g in gates.library.tree.each("cell")}

    def pin(self, kind: str, name: str) -> Any:
        """The Liberty group of a pin."""
        return next(p for p in self.groups[kind].each("pin") if p.name == name)

    def pins(self, cell: Any, values: Bits, **changed: int) -> dict[str, int]:
        """Pin and state names with their values."""
        found = {name: values[net] for name, net in cell.pins.items()} | changed
        if cell.sequential and "Q" in found:
            found |= {"IQ": found["Q"], "QN": 1 - found["Q"]}
        elif cell.sequential:
            found |= {"IQ": 1 - found["QN"], "Q": 1 - found["QN"]}
        return found

    def draw(self, cell: Any, source: str, output: str | None, pins: Mapping[str, int]) -> float:
        """Energy of a change of `source`, and of `output` with it; `pins` are those after it."""
        edge = pins[output or source]
        related = [
            g
            for g in self.pin(cell.kind, output or source).each("internal_power")
            if (g.get("related_pin") or None) == (source if output else None)
        ]
        holding = [g for g in related if not g.get("when")] or [
            g for g in related if eval(expression(g.get("when")), {}, dict(pins))
        ]
        if output and not holding:
            holding = related
        if not holding:
            return 0.0
        rise, fall = self.timing.slew[cell.pins[source]]
        if output is None or cell.sequential:
            slew = rise if (output or pins[source]) else fall
        else:
            slew = self.slew(cell, source, output, edge, holding, related, rise, fall)
        net = cell.pins.get(output, -1) if output else -1
        load = self.timing.load[net][0 if edge else 1] if net >= 0 else 0.0
        name = "rise_power" if edge else "fall_power"
        tables = [next(g.each(name)) for g in holding]
        return sum(read_table(t, slew / 1000, load) for t in tables) / len(tables)

    def slew(
        self,
        cell: Any,
        source: str,
        output: str,
        edge: int,
        holding: list[Any],
        related: list[Any],
        rise: float,
        fall: float,
    ) -> float:
        """Mean over the states of this arc and edge in which the source alone decides."""
        others = [p for p in self.gates.library.cells[cell.kind].inputs if p != source]
        code = expression(self.pin(cell.kind, output).get("function"))
        found = []
        for k in range(1 << len(others)):
            state = {p: k >> i & 1 for i, p in enumerate(others)}
            ends = [bool(eval(code, {}, state | {source: s})) for s in (0, 1)]
            for s in (0, 1):
                held = [g for g in related if not g.get("when")] or [
                    g
                    for g in related
                    if eval(expression(g.get("when")), {}, state | {source: s, output: ends[s]})
                ]
                if ends[0] != ends[1] and ends[s] == bool(edge) and (held or related) == holding:
                    found.append(rise if s else fall)
        return sum(found) / len(found) if found else (rise + fall) / 2

    def energy(self, cycles: Sequence[tuple[Bits, Bits]], volts: float, period_ps: float) -> dict:
        """Parts in fJ over cycles, each settled values before and after its edge."""
        parts = dict.fromkeys(("switching", "internal", "clock", "leakage"), 0.0)
        for cell in self.gates.cells:
            known = self.gates.library.cells[cell.kind]
            arcs: dict[int, list[float]] = {0: [], 1: []}
            changes = [0, 0]
            for before, after in cycles:
                now = self.pins(cell, after)
                if known.sequential:
                    self.register(cell, before, after, volts, parts)
                else:
                    ((output, _),) = known.outputs
                    moved = before[cell.pins[output]] != after[cell.pins[output]]
                    changes[now[output]] += moved
                    for pin in known.inputs:
                        if before[cell.pins[pin]] != after[cell.pins[pin]]:
                            parts["internal"] += self.draw(cell, pin, None, now)
                            if moved:
                                arcs[now[output]].append(self.draw(cell, pin, output, now))
                leak = [
                    self.leakage(cell, {**now, "CK": level} if known.sequential else now)
                    for level in ((0, 1) if known.sequential else (0,))
                ]
                parts["leakage"] += sum(leak) / len(leak) * period_ps * 1e-6
            for edge, drawn in arcs.items():
                if drawn:
                    parts["internal"] += changes[edge] * sum(drawn) / len(drawn)
        for before, after in cycles:
            for net in range(self.gates.nets):
                if before[net] != after[net] and net != self.gates.clock:
                    parts["switching"] += sum(self.timing.load[net]) / 4 * volts**2
        return parts

    def register(
        self, cell: Any, before: Bits, after: Bits, volts: float, parts: dict[str, float]
    ) -> None:
        """One cycle of a flip-flop: rise, outputs, data in either half, fall."""
        old, new = self.pins(cell, before, CK=1), self.pins(cell, after, CK=1)
        pin = self.pin(cell.kind, "CK")
        both = float(pin.get("rise_capacitance")) + float(pin.get("fall_capacitance"))
        parts["clock"] += both / 2 * volts**2 + self.draw(cell, "CK", None, old)
        for data in (old["D"], new["D"]):
            parts["clock"] += self.draw(cell, "CK", None, {**new, "D": data, "CK": 0}) / 2
        if old["D"] != new["D"]:
            for level in (0, 1):
                parts["internal"] += self.draw(cell, "D", None, {**new, "CK": level}) / 2
        if old["Q"] != new["Q"]:
            for output in ("Q", "QN"):
                parts["internal"] += self.draw(cell, "CK", output, {**new, "D": old["D"]})

    def leakage(self, cell: Any, pins: Mapping[str, int]) -> float:
        """In nW, in one state."""
        group = self.groups[cell.kind]
        for entry in group.each("leakage_power"):
            if eval(expression(entry.get("when") or "True"), {}, dict(pins)):
                return float(entry.get("value") or 0)
        return float(group.get("cell_leakage_power") or 0)

    def glitches(
        self, before: Bits, after: Bits, delays: Mapping[tuple[int, str, int], int]
    ) -> tuple[dict[int, int], dict[tuple[int, str], int]]:
        """Changes of each net, and of each logic cell's output by the input that caused it.

        `delays` are those of (cell, pin, 1 for a rise), and of (-1, net, ...) for what moves first.
        """
        gates, values = self.gates, list(before)
        readers: dict[int, list[tuple[int, str]]] = defaultdict(list)
        code = {}
        for index, cell in enumerate(gates.logic):
            known = gates.library.cells[cell.kind]
            code[index] = expression(known.outputs[0][1])
            for pin in known.inputs:
                readers[cell.pins[pin]].append((index, pin))
        driven = {cell.pins[gates.library.cells[cell.kind].outputs[0][0]] for cell in gates.logic}
        queue: list[tuple[int, int, int, str]] = [
            (delays[-1, str(net), after[net]], net, -1, "")
            for net in range(gates.nets)
            if net not in driven and before[net] != after[net]
        ]
        heapq.heapify(queue)
        due: dict[int, tuple[int, str]] = {}
        toggles: dict[int, int] = defaultdict(int)
        causes: dict[tuple[int, str], int] = defaultdict(int)
        while queue:
            now = queue[0][0]
            moved: dict[int, list[str]] = defaultdict(list)
            while queue and queue[0][0] == now:
                _, net, owner, cause = heapq.heappop(queue)
                if owner >= 0:
                    if due.get(owner) != (now, cause):
                        continue
                    del due[owner]
                    causes[owner, cause] += 1
                values[net] ^= 1
                toggles[net] += 1
                for index, pin in readers[net]:
                    moved[index].append(pin)
            for index, pins in moved.items():
                cell = gates.logic[index]
                known = gates.library.cells[cell.kind]
                net = cell.pins[known.outputs[0][0]]
                wanted = int(bool(eval(code[index], {}, self.pins(cell, values))))
                heading = values[net] ^ (index in due)
                if wanted == heading:
                    continue
                if index in due:
                    del due[index]
                    continue
                order = [p for p in known.inputs if p in pins]
                cause = min(order, key=lambda p: delays[index, p, wanted])
                due[index] = (now + delays[index, cause, wanted], cause)
                heapq.heappush(queue, (*due[index][:1], net, index, cause))
        assert values == list(after)
        return toggles, causes
