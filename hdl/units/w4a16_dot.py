"""bf16 activations times INT weights on one fixed-point window, accumulated in FP32.

Every lane multiplies a significand by a weight's magnitude exactly (8 x (w_bits - 1) bits), while a
tree finds the largest exponent of the activations; its product, in one's complement, is shifted
right by the distance to it and added with all others by full adders. The weights' scale meets the
sum in its exponent alone. One conversion and one FP32 addition a beat follow
(`window.Accumulator`).

Latency 3, one beat a cycle.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.units.w4a16_dot import Params
from narrowgauge.hdl.arith.carry_save import CarrySave
from narrowgauge.hdl.arith.sorting import largest
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.window import Accumulator, Bf16Operand, align, any_of

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
        beat = self.i.payload
        lanes = [_Lane(p.w_bits, p.shift) for _ in range(p.lanes)]
        reference = Signal(8)
        size = 8 + p.w_bits - 1 + p.shift + 1 + (p.lanes - 1).bit_length()
        m.submodules.largest = top = Module()
        m.submodules.sum = adders = Module()
        window = CarrySave(adders, size, "window")
        for i, lane in enumerate(lanes):
            m.submodules[f"lane{i}"] = lane
            m.d.comb += [lane.a.eq(beat.a[i]), lane.w.eq(beat.w[i]), lane.reference.eq(reference)]
            # One's complement lacks one in the last place where it is negative.
            window.add(Cat(lane.term, lane.sign).as_signed())
            window.add_bit(lane.sign, 0)
        m.d.comb += reference.eq(largest(top, [lane.field for lane in lanes], "largest"))

        m.submodules.accumulator = accumulator = Accumulator(total=size, fraction=p.fraction)
        held = Signal.like(accumulator.i.payload, reset_less=True)
        valid = Signal()
        total = window.total()
        run = accumulator.i.ready
        m.d.comb += [
            self.i.ready.eq(run),
            accumulator.i.valid.eq(valid),
            accumulator.i.payload.eq(held),
        ]
        with m.If(run):
            m.d.sync += [
                valid.eq(self.i.valid),
                held.total.eq(total),
                held.exponent.eq(reference + beat.w_scale),
                held.nan.eq(beat.w_scale.all() | any_of([lane.nan for lane in lanes])),
                held.pos_inf.eq(any_of([lane.pos_inf for lane in lanes])),
                held.neg_inf.eq(any_of([lane.neg_inf for lane in lanes])),
                held.last.eq(beat.last),
            ]
        wiring.connect(m, accumulator.o, wiring.flipped(self.o))
        return m
