"""Headers of `lightnorm`: what they are, and which are refused."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from narrowgauge.golden.cores.lightnorm import Params
from narrowgauge.hdl.cores.commands import Status
from narrowgauge.hdl.cores.lightnorm_commands import Kind, Opcode, State, Table
from narrowgauge.hdl.payload import layout

__all__ = ["Header"]


class Header:
    """A header at the input, with signals that are added to a module.

    Parameters
    ----------
    m : module that gets them
    params : of the core
    word : the input's bits

    Attributes
    ----------
    fields : view of the header
    kind : opcode -> whether it is this one
    passed : it is a pass over positions
    block : its block, of as many bits as blocks take
    """

    def __init__(self, m: Module, params: Params, word: Value) -> None:
        self._params = params
        self.fields: Any = data.View(layout(params.header), word[: params.header.width])
        self.kind = {each: Signal(name=f"is_{each.name.lower()}") for each in Opcode}
        self.passed = Signal(name="is_pass")
        self.block: Value = self.fields.block[: (params.blocks - 1).bit_length()]
        opcode = self.fields.opcode
        m.d.comb += [flag.eq(opcode == each) for each, flag in self.kind.items()]
        m.d.comb += self.passed.eq(opcode[1] & ~opcode[3])

    def is_(self, *opcodes: Opcode) -> Value:
        """Whether it is one of these."""
        flags: Value = self.kind[opcodes[0]]
        for each in opcodes[1:]:
            flags = flags | self.kind[each]
        return flags

    def refused(self, m: Module, *, state: Value, known: Value, same: Value, limit: Value) -> Value:
        """The status of what is no command, or no command now; else 0.

        Parameters
        ----------
        state : of the header's block
        known : there is a layer
        same : a pass of the same kind over the same block is under way
        limit : positions that a tile may have
        """
        h = self.fields
        illegal, order, beyond = Signal(), Signal(), Signal()
        constants, write, read = (
            self.kind[each] for each in (Opcode.CONSTANTS, Opcode.WRITE, Opcode.READ)
        )
        some = self.passed | constants | write | read
        backward, second, forth, table = h.opcode[2], h.opcode[0], h.table[2], h.table
        ready = (state == State.READY) | (state == State.GATHERED)
        inferring, solved = state == State.INFERRING, state == State.SOLVED
        # What a first tile needs: nothing, constants of x, or constants for dx.
        apt = Mux(backward, Mux(second, solved, ready), ~second | ready | inferring)
        summed = (state == State.SUMMED) | (state == State.READY)
        m.d.comb += [
            illegal.eq(
                ~(some | self.is_(Opcode.LAYER, Opcode.NOP))
                | (some & (h.block >= self._params.blocks))
                | (self.passed & ~h.positions.any())
                | (constants & h.kind.all())
                | (write & forth)
                | (read & Mux(forth, table[:2].any(), ~table[:2].any()))
            ),
            order.eq(
                ((self.passed | constants) & ~known)
                | (self.passed & ~Mux(h.first, apt, same))
                | (constants & (h.kind == Kind.FORWARD) & ~summed)
                | (constants & (h.kind == Kind.BACKWARD) & (state != State.GATHERED))
                | (read & table[0] & (inferring | (state == State.EMPTY)))
                | (read & forth & ~solved)
                | ((read | write) & (table == Table.PLACES) & ~known)
            ),
            beyond.eq(self.passed & (h.positions > limit)),
        ]
        return Mux(
            illegal, Status.ILLEGAL, Mux(order, Status.ORDER, Mux(beyond, Status.ILLEGAL, 0))
        )
