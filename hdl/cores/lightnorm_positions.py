"""Positions of a pass of `lightnorm`: ends of tiles, chunks and the tensor."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.cores.lightnorm import Params

__all__ = ["Positions"]


class Positions(wiring.Component):
    """See the module.

    Parameters
    ----------
    params : of the core

    Ports
    -----
    begin, moved : In, a pass begins; a position goes on
    tile, positions : In, a tile may begin, of so many
    length, chunk_bits : In, N and log2 K of the layer
    remaining : Out, positions that have not come
    tile_last, chunk_last, pass_last : Out, the next position ends its tile, its chunk, the tensor
    chunk, chunk_before : Out, the next position's chunk, the one that ended last
    """

    def __init__(self, params: Params) -> None:
        p = self._params = params
        chunk_bits = (p.chunks - 1).bit_length()
        ends = ("tile_last", "chunk_last", "pass_last")
        super().__init__(
            {
                **{name: In(1) for name in ("begin", "moved", "tile")},
                **{name: In(p.count_bits) for name in ("positions", "length")},
                "chunk_bits": In(p.layer["chunk_bits"].width),
                "remaining": Out(p.count_bits),
                **{name: Out(1) for name in ends},
                **{name: Out(chunk_bits) for name in ("chunk", "chunk_before")},
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Counters of what is left; chunk k ends where (t + 1) K reaches (k + 1) N."""
        m = Module()
        size = self._params.count_bits
        left, remaining, beyond = (
            Signal(size, name=name, reset_less=True) for name in ("left", "rest", "beyond")
        )
        along, over = Signal(size + 1), Signal(size + 2)
        m.d.comb += [
            # What lies beyond the end of the chunk before, and of this one.
            along.eq(beyond + (Const(1) << self.chunk_bits)),
            over.eq(along - self.length),
            self.remaining.eq(remaining),
            self.chunk_last.eq(~over[-1]),
            self.pass_last.eq(remaining == 1),
            self.tile_last.eq(left == 1),
        ]
        with m.If(self.tile):
            m.d.sync += left.eq(self.positions)
        with m.If(self.begin):
            m.d.sync += [remaining.eq(self.length), beyond.eq(0), self.chunk.eq(0)]
        with m.If(self.moved):
            m.d.sync += [
                left.eq(left - 1),
                remaining.eq(remaining - 1),
                beyond.eq(Mux(self.chunk_last, over, along)),
            ]
            with m.If(self.chunk_last):
                m.d.sync += [self.chunk.eq(self.chunk + 1), self.chunk_before.eq(self.chunk)]
        return m
