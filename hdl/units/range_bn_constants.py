"""Constants of channels, one after the other: one adder, one shifter, a block that waits in a ring.

    sum := 2 sum +- operand    multiplies by a bit a cycle, divides by a bit of the quotient a cycle
    sum >> n, or without leading zeros    one shifter, one increment: every rounding

The first word of the ring is the channel that is worked on. Operands are the fields of the beat,
which is taken when its channel is done, so that they need no registers.

Forward a channel takes 37 + P cycles, and 11 + P to be answered; a block one more, and one for each
channel that it is short of. Backward a channel takes 50 + f + 4 P cycles.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.data import View

from narrowgauge.golden.units.range_bn_constants import Params
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.range_bn_engine import Engine, State, negated

__all__ = ["RangeBnConstants"]


class RangeBnConstants(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.range_bn_constants.Params`

    Ports
    -----
    i : stream of `params.input`
    o : stream of `params.output`, one beat for each of `i`
    """

    latency = None
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """The states, in the order in which they follow each other."""
        m = Module()
        e, x = Engine(m, self._params), self.i.payload
        back, floor, field = Signal(), Signal(6), Signal(6)
        m.d.comb += [
            back.eq(x.backward & ~e.place.any()),
            field.eq(Cat(x.base[:5], x.base[5] & back)),
            floor.eq(field | ~field.any()),
        ]
        with m.Switch(e.state):
            with m.Case(State.FIRST):
                m.d.comb += [e.serial.eq(1), e.step.eq(self.i.valid), e.source.eq(x.c)]
                m.d.comb += e.operand.eq(Mux(back, x.scale, x.spread))
                with m.If(self.i.valid & e.done):
                    m.d.sync += e.state.eq(State.FACTOR)
                    with m.If(~back):
                        m.d.sync += e.state.eq(State.EPSILON)
            self._channel(m, e, x, floor)
            self._block(m, e)
            self._backward(m, e, x, floor)
            with m.Default():
                # Everything by name, so that every case of the Verilog is complete.
                m.d.comb += [wire.eq(wire.init) for wire in e.wires]
                m.d.comb += [self.i.ready.eq(0), self.o.valid.eq(0), self.o.payload.eq(0)]
                m.d.sync += [register.eq(register) for register in e.registers]
        return m

    def _channel(self, m: Module, e: Engine, x: View, floor: Value) -> None:
        """A channel's exponent, scale and mean; gamma and beta as they are."""
        p, P, W = self._params, self._params.precision, self._params.window
        with m.Case(State.EPSILON):
            # Twice what it is, as the sum is doubled with it.
            m.d.comb += [e.operand.eq(x.epsilon << 1), e.step.eq(1)]
            m.d.sync += e.state.eq(State.NORMALISE)
        with m.Case(State.NORMALISE):
            m.d.comb += [e.normal.eq(1), e.clear.eq(1), e.begin.eq(1)]
            e.place_at(e.size - 18 - x.chunk_bits, negated(e.count))
            m.d.sync += [
                e.mean.eq(e.leading[-P - 3 :]),
                e.exponent.eq(e.at),
                e.gamma.eq(x.gamma),
                e.beta.eq(Cat(x.beta[: e.cut + 1].any(), x.beta[e.cut + 1 :])),
                e.index.eq(P - 1),
            ]
            m.d.sync += e.state.eq(State.DIVIDE)
        with m.Case(State.DIVIDE):
            # Without restoring: what went below 0 is added to. `mean` is the divisor.
            m.d.comb += [e.operand.eq(e.mean[: P + 3]), e.minus.eq(~e.negative), e.step.eq(1)]
            m.d.sync += [
                e.scale.eq(Cat(~e.next[-1] & x.spread.any(), e.scale[:-1])),
                e.index.eq(e.index - 1),
            ]
            with m.If(e.done):
                m.d.comb += e.clear.eq(1)
                m.d.sync += e.index.eq(15)
                m.d.sync += e.state.eq(State.CENTRE)
        with m.Case(State.CENTRE):
            m.d.comb += [e.operand.eq(x.total), e.source.eq(x.inverse)]
            self._multiply(m, e, State.MEAN)
        with m.Case(State.MEAN):
            # Of a constant channel nothing is left.
            base = Mux(x.spread.any(), e.size + p.fraction + 2, -64)
            e.place_at(base, negated(x.shift), ~e.exponent)
            m.d.comb += e.clear.eq(1)
            m.d.sync += e.mean.eq(e.clipped(e.mean_clip))
            m.d.sync += e.state.eq(State.EXPONENT)
        with m.Case(State.EXPONENT):
            # It was without the unit of the window.
            with m.If(x.spread.any()):
                e.place_at(p.exponent_offset - 14 - W, e.exponent, floor)
            with m.Else():
                e.place_at(p.exponent_offset + p.constant)
            m.d.sync += e.exponent.eq(e.at)
            m.d.sync += e.state.eq(State.STORE)
        with m.Case(State.STORE):
            # The block's units so far.
            e.place_at(p.exponent_offset - 13 - P, e.own_field, ~e.exponent)
            with m.If(~e.place.any() | (e.own_grid > e.grid)):
                m.d.sync += e.grid.eq(e.own_grid)
            with m.If(~e.place.any() | (e.at > e.slope_unit)):
                m.d.sync += e.slope_unit.eq(e.at)
            m.d.comb += [self.i.ready.eq(1), e.turn.eq(1)]
            m.d.sync += [e.index.eq(15), e.final.eq(e.place), e.last.eq(x.last)]
            m.d.sync += e.state.eq(State.FIRST)
            with m.If(x.last | (e.place == p.group - 1)):
                m.d.sync += e.state.eq(State.ALIGN)

    def _block(self, m: Module, e: Engine) -> None:
        """The answers to a block, whose first channel is brought to where it is worked on."""
        p, P, f, y = self._params, self._params.precision, self._params.fraction, self.o.payload
        with m.Case(State.ALIGN):
            with m.If(e.place.any()):
                m.d.comb += e.turn.eq(1)
            with m.Else():
                m.d.sync += e.state.eq(State.BETA)
        with m.Case(State.BETA):
            digits = e.digits << e.cut
            m.d.comb += [e.operand.eq(digits), e.minus.eq(e.beta_sign), e.step.eq(1)]
            m.d.sync += e.bad_held.eq(e.bad)
            m.d.sync += e.state.eq(State.OFFSET)
        with m.Case(State.OFFSET):
            above = e.beta_field | ~e.beta_field.any()
            e.place_at(e.size - 23 + p.reach + f, above, negated(e.grid))
            m.d.comb += e.clear.eq(1)
            m.d.sync += [e.moved.eq(e.rounded), e.index.eq(4)]
            m.d.sync += e.state.eq(State.GAMMA)
        with m.Case(State.GAMMA):
            m.d.comb += [e.operand.eq(e.scale), e.source.eq(e.significand)]
            self._multiply(m, e, State.GAIN)
        with m.Case(State.GAIN):
            e.place_at(e.size + 108 + p.reach, e.gamma_field, negated(e.grid))
            m.d.sync += e.gain.eq(e.rounded)
            m.d.sync += e.state.eq(State.SLOPE)
        with m.Case(State.SLOPE):
            base = e.size - 17 - P + p.exponent_offset
            e.place_at(base, e.gamma_field, ~e.slope_unit, ~e.exponent)
            m.d.comb += e.clear.eq(1)
            m.d.sync += e.slope.eq(e.rounded)
            m.d.sync += e.state.eq(State.START)
        with m.Case(State.START):
            # Doubled with the product, from which it takes half a unit's parity.
            m.d.comb += [e.operand.eq(e.moved.as_signed()), e.step.eq(1)]
            m.d.sync += e.index.eq(P - 1)
            m.d.sync += e.state.eq(State.SHIFT)
        with m.Case(State.SHIFT):
            m.d.comb += [
                e.operand.eq(e.mean[: p.mean_bits].as_signed()),
                e.source.eq(e.gain),
                e.minus.eq(~e.minus_gain),
            ]
            self._multiply(m, e, State.FORWARD)
        with m.Case(State.FORWARD):
            e.place_at(e.size - P)
            ends = e.place == e.final
            m.d.comb += [
                self.o.valid.eq(1),
                e.odd.eq(e.moved[0]),
                y.exponent.eq(e.exponent),
                y.mean.eq(e.mean),
                y.scale.eq(e.scale),
                y.gain.eq(Cat(e.gain, e.minus_gain & e.gain.any())),
                y.offset.eq(e.rounded),
                y.unit.eq(e.grid - (126 + p.reach + f)),
                y.slope.eq(Cat(e.slope, e.minus_gain & e.slope.any())),
                y.slope_unit.eq(e.slope_unit),
                y.bad.eq(e.bad_held),
                y.last.eq(e.last & ends),
            ]
            with m.If(self.o.ready):
                m.d.comb += [e.clear.eq(1), e.turn.eq(1)]
                m.d.sync += e.index.eq(15)
                m.d.sync += e.state.eq(State.BETA)
                with m.If(ends):
                    m.d.sync += e.place.eq(0)
                    m.d.sync += e.state.eq(State.FIRST)

    def _backward(self, m: Module, e: Engine, x: View, floor: Value) -> None:
        """A channel of g, whose answer takes the beat; 0 of a scale 0 whatever the product is."""
        p, P, f, y = self._params, self._params.precision, self._params.fraction, self.o.payload
        window, plus = p.gradient_window, ~x.slope[-1]
        with m.Case(State.FACTOR):
            e.place_at(e.size - 16)
            m.d.comb += e.clear.eq(1)
            m.d.sync += [e.scale.eq(e.rounded), e.index.eq(p.mean_bits - 1)]
            m.d.sync += e.state.eq(State.CENTRE_OF_X)
        with m.Case(State.CENTRE_OF_X):
            # The first bit is the mean's sign.
            m.d.comb += [e.operand.eq(x.total), e.source.eq(x.mean)]
            m.d.comb += e.minus.eq(e.index != p.mean_bits - 1)
            self._multiply(m, e, State.MOMENT)
        with m.Case(State.MOMENT):
            # What is added at the bit that is cut off carries where half goes up.
            up = e.sum[: window - 1].any() | e.sum[window]
            m.d.comb += [e.operand.eq(Cat(up, x.moment).as_signed() << window), e.step.eq(1)]
            m.d.sync += e.state.eq(State.PRODUCT)
        with m.Case(State.PRODUCT):
            m.d.comb += e.clear.eq(1)
            m.d.sync += [e.product.eq(e.sum[window + 1 :]), e.index.eq(P - 1)]
            m.d.sync += e.state.eq(State.DGAMMA)
        with m.Case(State.DGAMMA):
            m.d.comb += [e.operand.eq(e.product.as_signed()), e.source.eq(x.scale)]
            m.d.comb += e.minus.eq(e.product[-1])
            self._multiply(m, e, State.FP32_DGAMMA)
        with m.Case(State.FP32_DGAMMA):
            m.d.comb += e.clear.eq(1)
            m.d.sync += [
                e.beta[:32].eq(e.fp32(e.product[-1], 95 - P - f, floor)),
                e.index.eq(P - 1),
            ]
            m.d.sync += e.state.eq(State.PATCH)
        with m.Case(State.PATCH):
            m.d.comb += [e.operand.eq(e.product.as_signed()), e.source.eq(e.scale)]
            self._multiply(m, e, State.CLIP)
        with m.Case(State.CLIP):
            e.place_at(e.size - P - f + window + p.guard - x.chunk_bits)
            m.d.comb += e.clear.eq(1)
            m.d.sync += [e.mean.eq(e.clipped(e.patch_clip).as_signed()), e.index.eq(P - 1)]
            m.d.sync += e.state.eq(State.PATCH_SLOPE)
        with m.Case(State.PATCH_SLOPE):
            m.d.comb += [e.operand.eq(e.mean.as_signed()), e.source.eq(x.slope[:-1])]
            m.d.comb += e.minus.eq(plus)
            self._multiply(m, e, State.PATCH_UNIT)
        with m.Case(State.PATCH_UNIT):
            e.place_at(e.size - P - window - p.guard + p.mean_bits - 1)
            m.d.comb += e.clear.eq(1)
            m.d.sync += [e.patch.eq(e.rounded), e.index.eq(15)]
            m.d.sync += e.state.eq(State.MEAN_OF_G)
        with m.Case(State.MEAN_OF_G):
            m.d.comb += [e.operand.eq(x.total), e.source.eq(x.inverse)]
            self._multiply(m, e, State.ROUND)
        with m.Case(State.ROUND):
            e.place_at(e.size + 1 + p.guard, negated(x.shift))
            m.d.comb += e.clear.eq(1)
            mean = e.rounded[: p.mean_of_g_bits].as_signed()
            m.d.sync += [e.mean.eq(mean), e.index.eq(P - 1)]
            m.d.sync += e.state.eq(State.MEAN_SLOPE)
        with m.Case(State.MEAN_SLOPE):
            m.d.comb += [e.operand.eq(e.mean.as_signed()), e.source.eq(x.slope[:-1])]
            m.d.comb += e.minus.eq(plus)
            self._multiply(m, e, State.MEAN_UNIT)
        with m.Case(State.MEAN_UNIT):
            e.place_at(e.size - P - window - p.guard + p.mean_bits - 1)
            m.d.comb += e.clear.eq(1)
            m.d.sync += e.mean.eq(e.rounded)
            m.d.sync += e.state.eq(State.TOTAL)
        with m.Case(State.TOTAL):
            m.d.comb += [e.operand.eq(x.total), e.minus.eq(x.total[-1]), e.step.eq(1)]
            # Of dx; no block has begun that needs it.
            e.place_at(P - 30 - (p.mean_bits - 1), x.slope_unit, floor)
            m.d.sync += e.slope_unit.eq(e.at)
            m.d.sync += e.state.eq(State.BACKWARD)
        with m.Case(State.BACKWARD):
            m.d.comb += [
                self.o.valid.eq(1),
                self.i.ready.eq(self.o.ready),
                y.offset.eq(e.mean),
                y.patch.eq(e.patch),
                y.unit.eq(e.slope_unit),
                y.dbeta.eq(e.fp32(x.total[-1], 95 - window, floor)),
                y.dgamma.eq(e.beta),
                y.last.eq(x.last),
            ]
            with m.If(self.o.ready):
                m.d.comb += e.clear.eq(1)
                m.d.sync += e.index.eq(15)
                m.d.sync += e.state.eq(State.FIRST)

    def _multiply(self, m: Module, e: Engine, then: State) -> None:
        """Steps of a product, the last of which leads on."""
        m.d.comb += [e.serial.eq(1), e.step.eq(1)]
        with m.If(e.done):
            m.d.sync += e.state.eq(then)
