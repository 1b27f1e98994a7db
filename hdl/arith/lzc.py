"""Leading-zero count: log-depth, any width."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.arith.lzc import Params
from narrowgauge.hdl.arith.shifter import leading_zeros

__all__ = ["Lzc"]


class Lzc(wiring.Component):
    """Zeros above the first one of a word.

    Combinational. The word 0 counts width - 1 and raises `zero`: the lowest bit never changes the
    count, which is what makes the tree smallest.

    Parameters
    ----------
    params : see `narrowgauge.golden.arith.lzc.Params`

    Ports
    -----
    word : In, width bits
    count : Out, ceil(log2(width)) bits
    zero : Out, 1 bit
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(
            {
                "word": In(params.width),
                "count": Out(params.output["count"].width),
                "zero": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """A tree of halves."""
        m = Module()
        count, zero = leading_zeros(m, self.word, "word")
        m.d.comb += [self.count.eq(count), self.zero.eq(zero)]
        return m
