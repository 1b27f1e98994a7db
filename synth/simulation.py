"""Zero-delay simulation of a mapped netlist: many independent streams at once, one bit each.

A net is a row of 64-bit words, and bit k of word j is stream 64 j + k. Each stream starts from
registers and memories of random content, goes through reset, and then plays its own part of the
beats, so that a few cycles run thousands of operations: `synth.stream` does that.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.synth import liberty
from narrowgauge.synth.gates import HIGH, LOW, Gates, Instance, MemoryInstance, ReadPort
from narrowgauge.synth.library import Cell
from narrowgauge.synth.netlist import SynthesisError

__all__ = ["Simulator", "Words", "columns", "rows"]

T = TypeVar("T")

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

ONES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


def columns(bits: npt.NDArray[Any]) -> Words:
    """Bits of streams, shape (streams, nets), as rows of words, shape (nets, words)."""
    packed = np.packbits(bits.astype(bool).T, axis=1, bitorder="little")
    padded = np.zeros((packed.shape[0], -(-packed.shape[1] // 8) * 8), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view("<u8")


def rows(words: Words, streams: int) -> npt.NDArray[np.uint8]:
    """The reverse of `columns`: shape (streams, nets)."""
    contiguous = np.ascontiguousarray(words, "<u8").view(np.uint8)
    return np.unpackbits(contiguous, axis=1, bitorder="little", count=streams).T


class _Memory:
    """The content of one memory in every stream, a byte a bit: shape (streams, words, width)."""

    def __init__(self, memory: MemoryInstance, streams: int) -> None:
        self.memory = memory
        self.streams = streams
        self.content = np.zeros((streams, memory.words, memory.width), np.uint8)

    def address(self, values: Words, nets: Sequence[int]) -> Ints:
        """The word that each stream names; beyond the end it is the last."""
        bits = rows(values[list(nets)], self.streams).astype(np.int64)
        named: Ints = (bits << np.arange(len(nets))).sum(axis=1)
        return np.minimum(named, self.memory.words - 1)

    def read(self, values: Words, port: ReadPort) -> npt.NDArray[np.uint8]:
        """What the port's address names, shape (streams, width)."""
        return self.content[np.arange(self.streams), self.address(values, port.address)]

    def tick(self, values: Words) -> list[tuple[Sequence[int], Words]]:
        """Take the writes; the nets of clocked read ports with their new values."""
        before = [
            (port, self.read(values, port), self.address(values, port.address))
            for port in self.memory.reads
            if port.clocked
        ]
        every = np.arange(self.streams)
        writes = []
        for write in self.memory.writes:
            where = self.address(values, write.address)
            mask = rows(values[list(write.enable)], self.streams)
            data = rows(values[list(write.data)], self.streams)
            kept = self.content[every, where]
            self.content[every, where] = np.where(mask, data, kept)
            writes.append((where, mask, data))
        results: list[tuple[Sequence[int], Words]] = []
        for port, data, where in before:
            for shown, (to, mask, new) in zip(port.transparent, writes, strict=True):
                if shown:
                    data = np.where(mask & (where == to)[:, None], new, data)
            enabled = values[port.enable]
            nets = list(port.data)
            fresh = columns(data)
            results.append((nets, (fresh & enabled) | (values[nets] & ~enabled)))
        return results


@dataclass(frozen=True)
class _Logic:
    """Cells of one kind and level: function, and the nets of each pin."""

    function: str
    inputs: dict[str, npt.NDArray[np.intp]]
    output: npt.NDArray[np.intp]


@dataclass(frozen=True)
class _Registers:
    """Flip-flops of one kind: nets of the pins that decide the next state, and of each output."""

    cell: Cell
    inputs: dict[str, npt.NDArray[np.intp]]
    outputs: tuple[tuple[str, npt.NDArray[np.intp], npt.NDArray[np.intp]], ...]
    """Function of the state, which of the flip-flops have the pin wired, and its nets."""

    def show(self, values: Words, state: Words) -> None:
        """Put a state, shape (flip-flops, words), on the outputs."""
        named = dict(zip(self.cell.state, (state, ~state), strict=False))
        for function, wired, nets in self.outputs:
            values[nets] = liberty.evaluate(function, named, ONES)[wired]


class Simulator:
    """A netlist with the values of all its nets in every stream.

    Parameters
    ----------
    gates : the netlist
    streams : how many; a multiple of 64
    seed : of the content that registers and memories have before reset; None is all zeros

    Attributes
    ----------
    values : shape (nets, words); `evaluate` settles them from inputs and registers
    """

    def __init__(self, gates: Gates, streams: int, seed: int | None = 0) -> None:
        if streams < 64 or streams % 64:
            raise UsageError(f"streams must be a multiple of 64, got {streams}")
        self.gates = gates
        self.streams = streams
        self.values: Words = np.zeros((gates.nets, streams // 64), np.uint64)
        self.values[HIGH] = ONES
        self._memories = [_Memory(memory, streams) for memory in gates.memories]
        self._steps = self._schedule()
        self._registers = [
            _registers(gates, gates.library.cells[kind], cells)
            for kind, cells in _by(gates.flip_flops, lambda cell: cell.kind).items()
        ]

        self._fill(None if seed is None else np.random.default_rng(seed))

    def _fill(self, rng: np.random.Generator | None) -> None:
        """Random content in registers and memories, or zeros."""

        def noise(count: int) -> Words:
            shape = (count, self.streams // 64)
            if rng is None:
                return np.zeros(shape, np.uint64)
            return rng.integers(0, ONES, shape, np.uint64, endpoint=True)

        for registers in self._registers:
            registers.show(self.values, noise(len(next(iter(registers.inputs.values())))))
        for memory in self._memories:
            if rng is not None:
                memory.content[:] = rng.integers(0, 2, memory.content.shape, np.uint8)
            for port in memory.memory.reads:
                if port.clocked:
                    self.values[list(port.data)] = noise(len(port.data))

    def _schedule(self) -> list[_Logic | tuple[_Memory, ReadPort]]:
        """Groups of cells, and asynchronous read ports, in order of evaluation."""
        steps: dict[int, list[_Logic | tuple[_Memory, ReadPort]]] = {}
        placed = list(zip(self.gates.levels, self.gates.logic, strict=True))
        for (level, kind), cells in _by(placed, lambda each: (each[0], each[1].kind)).items():
            known = self.gates.library.cells[kind]
            pins = {pin: np.array([c.pins[pin] for _, c in cells], np.intp) for pin in known.inputs}
            for pin, function in known.outputs:
                output = np.array([cell.pins[pin] for _, cell in cells], np.intp)
                steps.setdefault(level, []).append(_Logic(function, pins, output))
        for memory in self._memories:
            for port in memory.memory.reads:
                if not port.clocked:
                    steps.setdefault(port.level, []).append((memory, port))
        return [step for level in sorted(steps) for step in steps[level]]

    def evaluate(self) -> None:
        """Settle all combinational nets."""
        values = self.values
        for step in self._steps:
            if isinstance(step, _Logic):
                pins = {pin: values[nets] for pin, nets in step.inputs.items()}
                values[step.output] = liberty.evaluate(step.function, pins, ONES)
            else:
                memory, port = step
                values[list(port.data)] = columns(memory.read(values, port))

    def tick(self) -> None:
        """One rising edge of the clock, on settled values."""
        values = self.values
        states = [
            liberty.evaluate(
                each.cell.next_state,
                {pin: values[nets] for pin, nets in each.inputs.items()},
                ONES,
            )
            for each in self._registers
        ]
        read = [result for memory in self._memories for result in memory.tick(values)]
        for each, state in zip(self._registers, states, strict=True):
            each.show(values, state)
        for nets, data in read:
            values[nets] = data


def _by(items: Iterable[T], key: Callable[[T], Any]) -> dict[Any, list[T]]:
    groups: dict[Any, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _registers(gates: Gates, cell: Cell, group: Sequence[Instance]) -> _Registers:
    known = next(each for each in gates.library.tree.each("cell") if each.name == cell.name)
    for name in ("clear", "preset"):
        function = next(known.each("ff")).get(name)
        for each in group if function else ():
            # Reset is synchronous and made of gates: what a cell has beside is tied off.
            tied = {pin: net == HIGH for pin, net in each.pins.items() if net in (LOW, HIGH)}
            try:
                active = liberty.evaluate(str(function), tied, True)
            except UsageError:
                active = True
            if active:
                raise SynthesisError(f"flip-flop {each.name}: {name} {function!r} is not tied off")
    outputs = []
    for pin, function in cell.outputs:
        wired = np.array([i for i, each in enumerate(group) if pin in each.pins], np.intp)
        nets = np.array([group[i].pins[pin] for i in wired], np.intp)
        outputs.append((function, wired, nets))
    return _Registers(
        cell=cell,
        inputs={pin: np.array([each.pins[pin] for each in group], np.intp) for pin in cell.data},
        outputs=tuple(outputs),
    )
