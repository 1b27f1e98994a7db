"""bf16 dot product on one fixed-point window, accumulated in FP32: the baseline.

Every lane multiplies exactly (8 x 8 bits), its exponent joins a tree that finds the largest, and
its product, in one's complement, is shifted right by the distance and added with all others by
full adders. One conversion and one FP32 addition a beat follow (`window.Accumulator`).

Latency 3, one beat a cycle.
"""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.units.bf16_dot import Params
from narrowgauge.hdl.arith.carry_save import CarrySave
from narrowgauge.hdl.payload import layout
from narrowgauge.hdl.units.window import Accumulator, Bf16Operand, align, any_of, largest

__all__ = ["Bf16Dot"]


class _Lane:
    """One product: `term` in one's complement with its `sign`, exponent `field`, special cases."""

    def __init__(self, m: Module, a_code: Value, b_code: Value, name: str) -> None:
        a, b = Bf16Operand(m, a_code, f"{name}_a"), Bf16Operand(m, b_code, f"{name}_b")
        self.sign = Signal(name=f"{name}_sign")
        self.field = Signal(9, name=f"{name}_field")
        self.term = Signal(16, name=f"{name}_term")
        self.nan = Signal(name=f"{name}_nan")
        infinite = Signal(name=f"{name}_inf")
        product = Signal(16, name=f"{name}_product")
        m.d.comb += [
            product.eq(a.significand * b.significand),
            self.sign.eq(a.sign ^ b.sign),
            self.field.eq(a.field + b.field),
            self.term.eq(product ^ self.sign.replicate(16)),
            self.nan.eq(a.nan | b.nan | (a.special & b.zero) | (b.special & a.zero)),
            infinite.eq(a.special | b.special),
        ]
        # Where the lane is NaN its infinity does not matter.
        self.pos_inf = infinite & ~self.sign
        self.neg_inf = infinite & self.sign


class Bf16Dot(wiring.Component):
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
        super().__init__(
            {
                "i": In(stream.Signature(layout(params.input))),
                "o": Out(stream.Signature(layout(params.output))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Lanes, alignment, sum, register, accumulator."""
        m = Module()
        p = self._params
        beat = self.i.payload
        lanes = [_Lane(m, beat.a[i], beat.b[i], f"lane{i}") for i in range(p.lanes)]
        reference = Signal(9)
        m.d.comb += reference.eq(largest(m, [lane.field for lane in lanes], "largest"))

        width = 16 + p.shift
        size = width + 1 + (p.lanes - 1).bit_length()
        window = CarrySave(m, size, "window")
        for i, lane in enumerate(lanes):
            distance = Signal(9, name=f"lane{i}_distance")
            m.d.comb += distance.eq(reference - lane.field)
            aligned = align(
                m, lane.term, width, distance, high=lane.sign, low=lane.sign, name=f"lane{i}_align"
            )
            # One's complement lacks one in the last place where it is negative.
            window.add(Cat(aligned, lane.sign).as_signed())
            window.add_bit(lane.sign, 0)

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
