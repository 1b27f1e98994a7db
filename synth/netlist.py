"""Counts, areas and logic depth of a mapped netlist, read from the JSON that Yosys writes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.synth.library import Library

__all__ = ["MEMORY", "Memory", "Netlist", "SynthesisError", "bit_names", "read"]

MEMORY = "$mem_v2"
"""The type of a memory that was kept apart."""


class SynthesisError(NarrowgaugeError):
    """The flow could not turn the design into cells."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One memory kept apart: its name, words, bits a word, and its ports."""

    name: str
    words: int
    width: int
    read_ports: int
    write_ports: int

    @property
    def bits(self) -> int:
        """Bits of the whole memory."""
        return self.words * self.width


@dataclass(frozen=True, kw_only=True)
class Netlist:
    """What a mapped netlist holds.

    Attributes
    ----------
    cells : number of cells of each type, sorted by name; memories are not among them
    area, sequential_area : in the library's unit
    flip_flops : number of flip-flop cells
    memories : kept apart, outside the area
    depth : cells on the longest path between registers, memories and ports; inverters and buffers
        count, flip-flops do not
    start, end : where that path starts and ends, as `port i_a[3]`, `register acc[0]`,
        `memory m` or `constant`
    """

    cells: Mapping[str, int]
    area: float
    sequential_area: float
    flip_flops: int
    memories: tuple[Memory, ...]
    depth: int
    start: str
    end: str


def read(document: Mapping[str, Any], top: str, library: Library) -> Netlist:
    """Measure the module `top` of a JSON netlist; a cell outside the library is an error."""
    module = document["modules"][top]
    counts: dict[str, int] = {}
    memories = []
    for name, cell in module["cells"].items():
        kind = cell["type"]
        if kind == MEMORY:
            memories.append(_memory(name, cell["parameters"]))
        elif kind in library.cells:
            counts[kind] = counts.get(kind, 0) + 1
        else:
            raise SynthesisError(f"{top}: cell {name} of type {kind} has no match in the library")
    sequential = {kind: n for kind, n in counts.items() if library.cells[kind].sequential}
    depth, start, end = _longest_path(module, library)
    return Netlist(
        cells=dict(sorted(counts.items())),
        area=_area(counts, library),
        sequential_area=_area(sequential, library),
        flip_flops=sum(sequential.values()),
        memories=tuple(sorted(memories, key=lambda m: m.name)),
        depth=depth,
        start=start,
        end=end,
    )


def _area(counts: Mapping[str, int], library: Library) -> float:
    return round(math.fsum(n * library.cells[kind].area for kind, n in counts.items()), 6)


def _memory(name: str, parameters: Mapping[str, str]) -> Memory:
    return Memory(
        name=name,
        words=int(parameters["SIZE"], 2),
        width=int(parameters["WIDTH"], 2),
        read_ports=int(parameters["RD_PORTS"], 2),
        write_ports=int(parameters["WR_PORTS"], 2),
    )


def bit_names(module: Mapping[str, Any]) -> dict[int, str]:
    """Net -> the shortest of its public names."""
    names: dict[int, str] = {}
    for name, net in module["netnames"].items():
        if net.get("hide_name"):
            continue
        for index, bit in enumerate(net["bits"]):
            label = f"{name}[{index}]" if len(net["bits"]) > 1 else name
            if isinstance(bit, int) and (len(label), label) < (
                len(names.get(bit, label + " ")),
                names.get(bit, label + " "),
            ):
                names[bit] = label
    return names


def _longest_path(module: Mapping[str, Any], library: Library) -> tuple[int, str, str]:
    """Depth, start and end of the longest path, in time linear in the netlist."""
    names = bit_names(module)
    driver: dict[int, tuple[str, list[Any]]] = {}
    start: dict[Any, str] = {}
    level: dict[Any, int] = {}
    ends: list[tuple[str, list[Any]]] = []

    for port, description in module["ports"].items():
        bits = description["bits"]
        labels = [
            f"port {port}[{i}]" if len(bits) > 1 else f"port {port}" for i in range(len(bits))
        ]
        if description["direction"] == "input":
            start.update(zip(bits, labels, strict=True))
        else:
            ends += [(label, [bit]) for label, bit in zip(labels, bits, strict=True)]
    for name, cell in module["cells"].items():
        kind, pins = cell["type"], cell["connections"]
        if kind == MEMORY:
            label = f"memory {name}"
            start.update(dict.fromkeys(pins["RD_DATA"], label))
            ends.append(
                (label, [b for pin, bits in pins.items() if pin != "RD_DATA" for b in bits])
            )
            continue
        record = library.cells[kind]
        outputs = [b for pin, _ in record.outputs for b in pins.get(pin, [])]
        inputs = [b for pin in record.inputs for b in pins.get(pin, [])]
        if record.sequential:
            label = f"register {next((names[b] for b in outputs if b in names), '(unnamed)')}"
            start.update(dict.fromkeys(outputs, label))
            ends.append((label, inputs))
        else:
            driver.update(dict.fromkeys(outputs, (name, inputs)))

    level.update(dict.fromkeys(start, 0))
    for root in [bit for _, bits in ends for bit in bits]:
        _settle(root, driver, level, start)
    longest = (0, "constant", "constant")
    for label, bits in ends:
        for bit in bits:
            if level[bit] > longest[0]:
                longest = (level[bit], start[bit], label)
    return longest


def _settle(
    root: Any,
    driver: Mapping[int, tuple[str, list[Any]]],
    level: dict[Any, int],
    start: dict[Any, str],
) -> None:
    """Level and start of one net and of all that it depends on; a loop is an error."""
    stack = [root]
    open_nets: set[Any] = set()
    while stack:
        net = stack[-1]
        if net in level:
            stack.pop()
            continue
        if net not in driver:
            level[net], start[net] = 0, "constant"
            continue
        name, inputs = driver[net]
        waiting = [bit for bit in inputs if bit not in level]
        if waiting:
            if net in open_nets:
                raise SynthesisError(f"combinational loop through cell {name}")
            open_nets.add(net)
            stack += waiting
            continue
        deepest = max(inputs, key=lambda bit: level[bit])
        level[net], start[net] = level[deepest] + 1, start[deepest]
