"""States of the blocks of `lightnorm`: what the memories hold of each."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.cores.lightnorm import Params
from narrowgauge.hdl.cores.lightnorm_commands import State

__all__ = ["States"]


class States(wiring.Component):
    """See the module; at most one of the events comes in a cycle.

    Parameters
    ----------
    params : of the core

    Ports
    -----
    asked, state : In, Out, a block, and its state
    empties, solves, kind : In, `asked` holds nothing any more; CONSTANTS of this kind begins
    ends, block, backward : In, a pass over `block` that gathers has ended, over g
    clear, rewritten, of : In, `of` holds nothing, new statistics
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        blocks = (params.blocks - 1).bit_length()
        super().__init__(
            {
                **{name: In(blocks) for name in ("asked", "block", "of")},
                **{name: In(1) for name in ("empties", "solves", "ends", "backward")},
                **{name: In(1) for name in ("clear", "rewritten")},
                "kind": In(2),
                "state": Out(3),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """A memory that is read in the header's own cycle."""
        m = Module()
        m.submodules.memory = memory = Memory(shape=3, depth=self._params.blocks, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        solved = Mux(self.kind[0], State.SOLVED, Mux(self.kind[1], State.INFERRING, State.READY))
        m.d.comb += [
            read.addr.eq(self.asked),
            self.state.eq(read.data),
            write.en.eq(self.empties | self.solves | self.ends | self.clear | self.rewritten),
            write.addr.eq(self.asked),
            write.data.eq(Mux(self.solves, solved, State.EMPTY)),
        ]
        with m.If(self.ends):
            m.d.comb += [
                write.addr.eq(self.block),
                write.data.eq(Mux(self.backward, State.GATHERED, State.SUMMED)),
            ]
        with m.If(self.clear | self.rewritten):
            m.d.comb += [
                write.addr.eq(self.of),
                write.data.eq(Mux(self.clear, State.EMPTY, State.SUMMED)),
            ]
        return m
