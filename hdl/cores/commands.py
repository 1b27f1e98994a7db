"""What the cores' parts tell each other of commands: header, status, order of answers, limits."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

__all__ = ["HEADER", "Limits", "Opcode", "Source", "Status", "order", "refusal"]

HEADER = data.StructLayout(
    {
        "opcode": 4,
        "high": 1,
        "plain": 1,
        "out": 2,
        "release": 1,
        "unused": 7,
        "length": 16,
        "rows": 16,
        "reference": 8,
    }
)
"""The first beat of a packet, from bit 0 of `word`."""


class Opcode(IntEnum):
    NOP = 0
    LOAD = 1
    MATVEC = 2
    ATTEND = 3
    PASS = 4


class Status(IntEnum):
    """How a command ended."""

    OK = 0
    ILLEGAL = 1
    ORDER = 2
    CUT = 3
    OVERRUN = 4


class Source(IntEnum):
    """Where an answer's elements come from: nowhere, the input, the array, the attention."""

    BARE = 0
    BEATS = 1
    ROWS = 2
    HEADS = 3


def order(head: int) -> data.StructLayout:
    """What the collector is told of an answer.

    `source`; `status` of BARE and HEADS, the others bring their own; `blocks`: through the
    quantiser, with `low` and `plain`; `memory`: a vector for the operand memory, of which the
    answer tells the status alone; `width`: elements of the head less one.
    """
    return data.StructLayout(
        {
            "source": 2,
            "status": 3,
            "blocks": 1,
            "memory": 1,
            "low": 1,
            "plain": 1,
            "width": max(1, (head - 1).bit_length()),
        }
    )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a core can do.

    Parameters
    ----------
    q_lanes : elements of a beat of LOAD and PASS, a power of two
    lanes : products a cycle of low operands, a power of two
    vector, head, length : elements of the longest vector and widest head, most positions
    mixed : operands are low or high, a high one on either side halves the elements of a beat;
        commands can answer with blocks
    transposed : ATTEND's second part is `length` rows of `rows` elements, else `rows` beats
    """

    q_lanes: int
    lanes: int
    vector: int
    head: int
    length: int
    mixed: bool
    transposed: bool

    @property
    def beat_bits(self) -> int:
        """Bits of the number of a beat in its row."""
        longest = max(self.vector, self.length) if self.transposed else self.vector
        unit = self.lanes // 4 if self.mixed else self.lanes
        return max(1, (-(-longest // unit) - 1).bit_length())


def refusal(m: Module, limits: Limits, header: Any, held: Value, fits: Value) -> Value:
    """The status of a header that is no command, or no command now; else 0.

    Parameters
    ----------
    held : vectors in the operand memory, 0..2
    fits : whether the oldest is what ATTEND asks for
    """
    rows, length = header.rows, header.length
    legal, wrong = Signal(name="legal"), Signal(name="wrong")
    with m.Switch(header.opcode):
        with m.Case(Opcode.LOAD):
            m.d.comb += [legal.eq(length.any() & (length <= limits.vector)), wrong.eq(held[1])]
        with m.Case(Opcode.PASS):
            m.d.comb += [legal.eq(length.any()), wrong.eq(0)]
        with m.Case(Opcode.MATVEC):
            m.d.comb += [legal.eq(rows.any()), wrong.eq(~held.any())]
        with m.Case(Opcode.ATTEND):
            wide, long = length > limits.head, rows > limits.length
            m.d.comb += legal.eq(length.any() & ~wide & rows.any() & ~long)
            m.d.comb += wrong.eq(~fits)
        with m.Default():
            m.d.comb += [legal.eq(0), wrong.eq(0)]
    if not limits.mixed:
        # Such a core makes no blocks.
        blocks = Signal(name="blocks_asked")
        m.d.comb += blocks.eq(header.out.any() & (header.opcode != Opcode.LOAD))
        legal = legal & ~blocks
    return Mux(~legal, Status.ILLEGAL, Mux(wrong, Status.ORDER, Status.OK))
