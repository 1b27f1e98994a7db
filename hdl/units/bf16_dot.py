"""bf16 dot product on one fixed-point window, accumulated in FP32: the baseline.

Every lane multiplies exactly (8 x 8 bits), its exponent joins a tree that finds the largest, and
its product, in one's complement, is shifted right by the distance and added with all others by
full adders. One conversion and one FP32 addition a beat follow (`window.Accumulator`).

Latency 3, one beat a cycle.
"""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.units.bf16_dot import Params
from narrowgauge.hdl.arith.carry_save import CarrySave
from narrowgauge.hdl.arith.multiplier import multiply
from narrowgauge.hdl.arith.sorting import largest
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.window import Accumulator, Bf16Operand, align, any_of

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
        beat = self.i.payload
        lanes = [_Lane(p.shift) for _ in range(p.lanes)]
        reference = Signal(9)
        size = 16 + p.shift + 1 + (p.lanes - 1).bit_length()
        m.submodules.largest = top = Module()
        m.submodules.sum = adders = Module()
        window = CarrySave(adders, size, "window")
        for i, lane in enumerate(lanes):
            m.submodules[f"lane{i}"] = lane
            m.d.comb += [lane.a.eq(beat.a[i]), lane.b.eq(beat.b[i]), lane.reference.eq(reference)]
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
                held.exponent.eq(reference),
                held.nan.eq(any_of([lane.nan for lane in lanes])),
                held.pos_inf.eq(any_of([lane.pos_inf for lane in lanes])),
                held.neg_inf.eq(any_of([lane.neg_inf for lane in lanes])),
                held.last.eq(beat.last),
            ]
        wiring.connect(m, accumulator.o, wiring.flipped(self.o))
        return m
