"""bf16 activations times INT weights on one fixed-point window, accumulated in FP32.

Every lane multiplies a significand by a weight's magnitude exactly (8 x (w_bits - 1) bits), while a
tree finds the largest exponent of the activations; its product, in one's complement, is shifted
right by the distance to it and added with all others by full adders. The weights' scale meets the
sum in its exponent alone. One conversion and one FP32 addition a beat follow
(`window.Accumulator`).

Latency 3, one beat a cycle.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.units.w4a16_dot import Params
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.window import Bf16Operand, align, sum_of_lanes

__all__ = ["W4a16Dot"]


class _Lane(wiring.Component):
    """One product, aligned: `term` in one's complement with its `sign`, and its special cases.

    Ports
    -----
    a : In, bf16 code
    w : In, sign and magnitude
    reference : In, the largest `field` of all lanes
    field : Out, exponent field of `a`
    term, sign : Out, the product on the window
    nan, pos_inf, neg_inf : Out; where a lane is NaN its infinity does not matter
    """

    def __init__(self, w_bits: int, shift: int) -> None:
        self._product = 8 + w_bits - 1
        self._width = self._product + shift
        super().__init__(
            {
                "a": In(16),
                "w": In(w_bits),
                "reference": In(8),
                "field": Out(8),
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
        a = Bf16Operand(m, self.a, "a")
        magnitude = self.w[:-1]
        product = Signal(self._product)
        complemented = Signal(self._product)
        distance = Signal(8)
        none = Signal()
        m.d.comb += [
            product.eq(a.significand * magnitude),
            self.sign.eq(a.sign ^ self.w[-1]),
            complemented.eq(product ^ self.sign.replicate(self._product)),
            self.field.eq(a.field),
            distance.eq(self.reference - a.field),
            none.eq(~magnitude.any()),
            self.nan.eq(a.nan | (a.special & none)),
            self.pos_inf.eq(a.special & ~self.sign),
            self.neg_inf.eq(a.special & self.sign),
        ]
        term = align(
            m, complemented, self._width, distance, high=self.sign, low=self.sign, name="term"
        )
        m.d.comb += self.term.eq(term)
        return m


class W4a16Dot(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.w4a16_dot.Params`

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
        lanes = [_Lane(p.w_bits, p.shift) for _ in range(p.lanes)]
        sum_of_lanes(
            m,
            self,
            lanes,
            operands=("a", "w"),
            fraction=p.fraction,
            scale=self.i.payload.w_scale,
        )
        return m
