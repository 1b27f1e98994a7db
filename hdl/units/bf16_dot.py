"""bf16 dot product on one fixed-point window, accumulated in FP32: the baseline.

Every lane multiplies exactly (8 x 8 bits), its exponent joins a tree that finds the largest, and
its product, in one's complement, is shifted right by the distance and added with all others by
full adders. One conversion and one FP32 addition a beat follow (`window.Accumulator`).

Latency 3, one beat a cycle.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.units.bf16_dot import Params
from narrowgauge.hdl.arith.multiplier import multiply
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.window import Bf16Operand, align, sum_of_lanes

__all__ = ["Bf16Dot"]


class _Lane(wiring.Component):
    """One product, aligned: `term` in one's complement with its `sign`, and its special cases.

    Ports
    -----
    a, b : In, bf16 codes
    reference : In, the largest `field` of all lanes
    field : Out, sum of the exponent fields
    term, sign : Out, the product on the window
    nan, pos_inf, neg_inf : Out; where a lane is NaN its infinity does not matter
    """

    def __init__(self, shift: int) -> None:
        self._width = 16 + shift
        super().__init__(
            {
                "a": In(16),
                "b": In(16),
                "reference": In(9),
                "field": Out(9),
                "term": Out(self._width),
                "sign": Out(1),
                "nan": Out(1),
                "pos_inf": Out(1),
                "neg_inf": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Multiply, complement, align."""
        m = Module()
        a, b = Bf16Operand(m, self.a, "a"), Bf16Operand(m, self.b, "b")
        product = multiply(m, a.significand, b.significand, "product")
        complemented = Signal(16)
        distance = Signal(9)
        infinite = Signal()
        m.d.comb += [
            self.sign.eq(a.sign ^ b.sign),
            complemented.eq(product ^ self.sign.replicate(16)),
            self.field.eq(a.field + b.field),
            distance.eq(self.reference - self.field),
            infinite.eq(a.special | b.special),
            self.nan.eq(a.nan | b.nan | (a.special & b.zero) | (b.special & a.zero)),
            self.pos_inf.eq(infinite & ~self.sign),
            self.neg_inf.eq(infinite & self.sign),
        ]
        term = align(
            m, complemented, self._width, distance, high=self.sign, low=self.sign, name="term"
        )
        m.d.comb += self.term.eq(term)
        return m


class Bf16Dot(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.bf16_dot.Params`

    Ports
    -----
    i : stream of `params.input`, one beat a cycle
    o : stream of `params.output`, one for every `last`
    """

    latency = 3
    interval = 1

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Lanes, alignment, sum, register, accumulator."""
        m = Module()
        p = self._params
        lanes = [_Lane(p.shift) for _ in range(p.lanes)]
        sum_of_lanes(
            m,
            self,
            lanes,
            operands=("a", "b"),
            fraction=p.fraction,
        )
        return m
