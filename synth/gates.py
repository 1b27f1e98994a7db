"""A mapped netlist as a graph of cells and nets, in order of evaluation.

Made of the JSON netlist that the flow keeps; timing, activity, equivalence and energy read it.
Nets are numbered from 0: `LOW` and `HIGH` are the constants, an undefined bit is `LOW`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from narrowgauge.synth.library import Library
from narrowgauge.synth.netlist import MEMORY, SynthesisError, bit_names

__all__ = ["HIGH", "LOW", "Gates", "Instance", "MemoryInstance", "build"]

LOW, HIGH = 0, 1


@dataclass(frozen=True, slots=True)
class Instance:
    """One cell: its name, its library cell, pin -> net, and whether it is a flip-flop."""

    name: str
    kind: str
    pins: Mapping[str, int]
    sequential: bool


@dataclass(frozen=True, slots=True)
class MemoryInstance:
    """One memory kept apart; nets of each port, least significant bit first.

    Attributes
    ----------
    words, width : its size
    reads : a port each: address, data, enable, whether it is clocked, and which write ports it
        shows through (their data where both name the same word)
    writes : a port each: address, data, enable of every bit; all clocked
    """

    name: str
    words: int
    width: int
    reads: tuple["ReadPort", ...]
    writes: tuple["WritePort", ...]


@dataclass(frozen=True, slots=True)
class ReadPort:
    """See `MemoryInstance`; `level` is that of its data, 0 for a clocked port."""

    address: tuple[int, ...]
    data: tuple[int, ...]
    enable: int
    clocked: bool
    transparent: tuple[bool, ...]
    level: int = 0


@dataclass(frozen=True, slots=True)
class WritePort:
    """See `MemoryInstance`."""

    address: tuple[int, ...]
    data: tuple[int, ...]
    enable: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Gates:
    """A netlist.

    Attributes
    ----------
    top : the module's name
    nets : number of nets, constants included
    names : net -> its shortest public name, for the nets that have one
    inputs, outputs : port -> its nets, least significant bit first
    clock : the net of the clock
    cells : combinational cells first, so that each stands after the cells that it reads from, then
        the flip-flops
    levels : of each combinational cell, one more than that of the deepest cell or asynchronous
        read port that it reads from; ports, registers and constants are 0
    memories : kept apart
    """

    top: str
    nets: int
    names: Mapping[int, str]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    clock: int
    cells: tuple[Instance, ...] = field(repr=False)
    levels: tuple[int, ...] = field(repr=False)
    memories: tuple[MemoryInstance, ...]
    library: Library = field(repr=False)

    @property
    def logic(self) -> tuple[Instance, ...]:
        """The combinational cells, in order of evaluation."""
        return self.cells[: len(self.levels)]

    @property
    def flip_flops(self) -> tuple[Instance, ...]:
        """The flip-flops."""
        return self.cells[len(self.levels) :]


def build(document: Mapping[str, Any], top: str, library: Library) -> Gates:
    """The module `top` of a JSON netlist of cells of `library` and memories kept apart.

    Raises
    ------
    SynthesisError : a cell is not in the library, a combinational loop, a flip-flop or memory on
        anything but the rising edge of the one clock
    """
    module = document["modules"][top]
    nets: dict[Any, int] = {"0": LOW, "1": HIGH, "x": LOW, "z": LOW}

    def net(bit: Any) -> int:
        return nets.setdefault(bit, len(nets) - 2)

    ports: dict[str, dict[str, tuple[int, ...]]] = {"input": {}, "output": {}}
    for port, description in module["ports"].items():
        ports[description["direction"]][port] = tuple(map(net, description["bits"]))
    logic: list[Instance] = []
    flip_flops: list[Instance] = []
    memories: list[MemoryInstance] = []
    clocks: set[int] = set()
    for name, cell in module["cells"].items():
        kind = cell["type"]
        if kind == MEMORY:
            memories.append(_memory(name, cell, net, clocks))
            continue
        if kind not in library.cells:
            raise SynthesisError(f"{top}: cell {name} of type {kind} has no match in the library")
        known = library.cells[kind]
        pins = {pin: net(bits[0]) for pin, bits in cell["connections"].items() if bits}
        instance = Instance(name, kind, pins, known.sequential)
        (flip_flops if known.sequential else logic).append(instance)
        if known.sequential:
            if known.clock not in pins:
                raise SynthesisError(f"{top}: flip-flop {name} is clocked on {known.clock!r}")
            clocks.add(pins[known.clock])
    if len(clocks) > 1:
        raise SynthesisError(f"{top}: {len(clocks)} clocks, expected one")
    ordered, levels, memories = _order(top, logic, memories, library)
    return Gates(
        top=top,
        nets=len(nets) - 2,
        names={nets[bit]: name for bit, name in bit_names(module).items() if bit in nets},
        inputs=ports["input"],
        outputs=ports["output"],
        clock=clocks.pop() if clocks else ports["input"].get("clk", (LOW,))[0],
        cells=(*ordered, *flip_flops),
        levels=levels,
        memories=tuple(memories),
        library=library,
    )


def _memory(name: str, cell: Mapping[str, Any], net: Any, clocks: set[int]) -> MemoryInstance:
    """A `$mem_v2` cell; the flow leaves neither resets nor wide ports on one."""
    parameters = {
        key: value if set(value) - set("01") else int(value, 2)
        for key, value in cell["parameters"].items()
        if key not in ("INIT", "MEMID")
    }
    pins = {pin: [net(bit) for bit in bits] for pin, bits in cell["connections"].items()}
    words, width = parameters["SIZE"], parameters["WIDTH"]
    reads, writes = parameters["RD_PORTS"], parameters["WR_PORTS"]
    address = parameters["ABITS"]

    def flag(parameter: str, index: int) -> bool:
        return bool(parameters[parameter] >> index & 1)

    def part(pin: str, index: int, size: int) -> tuple[int, ...]:
        return tuple(pins[pin][index * size : (index + 1) * size])

    for i in range(writes):
        if not (flag("WR_CLK_ENABLE", i) and flag("WR_CLK_POLARITY", i)):
            raise SynthesisError(f"memory {name}: write port {i} is not on the rising edge")
        clocks.add(pins["WR_CLK"][i])
    for i in range(reads):
        if flag("RD_CLK_ENABLE", i):
            if not flag("RD_CLK_POLARITY", i) or pins["RD_ARST"][i] or pins["RD_SRST"][i]:
                raise SynthesisError(f"memory {name}: read port {i} has a reset or falling edge")
            clocks.add(pins["RD_CLK"][i])
    return MemoryInstance(
        name=name,
        words=words,
        width=width,
        reads=tuple(
            ReadPort(
                address=part("RD_ADDR", i, address),
                data=part("RD_DATA", i, width),
                enable=pins["RD_EN"][i],
                clocked=flag("RD_CLK_ENABLE", i),
                transparent=tuple(
                    flag("RD_TRANSPARENCY_MASK", i * writes + w) for w in range(writes)
                ),
            )
            for i in range(reads)
        ),
        writes=tuple(
            WritePort(
                address=part("WR_ADDR", i, address),
                data=part("WR_DATA", i, width),
                enable=part("WR_EN", i, width),
            )
            for i in range(writes)
        ),
    )


def _order(
    top: str, logic: list[Instance], memories: list[MemoryInstance], library: Library
) -> tuple[list[Instance], tuple[int, ...], list[MemoryInstance]]:
    """Combinational cells in order of evaluation, with levels; memories with theirs; no loops."""
    readers: dict[int, list[int]] = {}
    waiting: list[int] = []
    asynchronous = [port for m in memories for port in m.reads if not port.clocked]
    inputs = [
        *([cell.pins[pin] for pin in library.cells[cell.kind].inputs] for cell in logic),
        *(list(port.address) for port in asynchronous),
    ]
    outputs = [
        *([cell.pins[pin] for pin, _ in library.cells[cell.kind].outputs] for cell in logic),
        *(list(port.data) for port in asynchronous),
    ]
    driven = {net for nets in outputs for net in nets}
    for index, nets in enumerate(inputs):
        due = {net for net in nets if net in driven}
        waiting.append(len(due))
        for net in due:
            readers.setdefault(net, []).append(index)
    level = [1] * len(inputs)
    ready = [index for index, count in enumerate(waiting) if not count]
    order: list[int] = []
    for index in ready:
        order.append(index)
        for net in set(outputs[index]):
            for reader in readers.get(net, ()):
                level[reader] = max(level[reader], level[index] + 1)
                waiting[reader] -= 1
                if not waiting[reader]:
                    ready.append(reader)
    if len(order) < len(inputs):
        stuck = next(i for i, count in enumerate(waiting) if count)
        name = logic[stuck].name if stuck < len(logic) else "of a memory"
        raise SynthesisError(f"{top}: combinational loop through cell {name}")
    order = sorted((i for i in order if i < len(logic)), key=lambda i: level[i])
    settled = iter(level[len(logic) :])
    memories = [
        replace(
            memory,
            reads=tuple(
                port if port.clocked else replace(port, level=next(settled))
                for port in memory.reads
            ),
        )
        for memory in memories
    ]
    return [logic[i] for i in order], tuple(level[i] for i in order), memories
