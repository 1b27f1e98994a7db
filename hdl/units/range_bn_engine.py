"""What `range_bn_constants` works with: a ring of channels, a sum that is doubled, a shifter."""

from enum import Enum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from narrowgauge.golden.units.range_bn_constants import Params
from narrowgauge.hdl.arith.rounder import add
from narrowgauge.hdl.arith.shifter import leading_zeros, window

__all__ = ["Engine", "State", "negated"]

LEADING = 24
"""Place in the shifter's result of the leading one, where it normalises."""


class State(Enum):
    """What is done in a cycle; in the order in which the states follow each other."""

    FIRST = 0
    EPSILON = 1
    NORMALISE = 2
    DIVIDE = 3
    CENTRE = 4
    MEAN = 5
    EXPONENT = 6
    STORE = 7
    ALIGN = 8
    BETA = 9
    OFFSET = 10
    GAMMA = 11
    GAIN = 12
    SLOPE = 13
    START = 14
    SHIFT = 15
    FORWARD = 16
    FACTOR = 17
    CENTRE_OF_X = 18
    MOMENT = 19
    PRODUCT = 20
    DGAMMA = 21
    FP32_DGAMMA = 22
    PATCH = 23
    CLIP = 24
    PATCH_SLOPE = 25
    PATCH_UNIT = 26
    MEAN_OF_G = 27
    ROUND = 28
    MEAN_SLOPE = 29
    MEAN_UNIT = 30
    TOTAL = 31
    BACKWARD = 32


def negated(value: Value) -> Value:
    """-value - 1 of an unsigned value."""
    return Cat(~value, Const(1, 1)).as_signed()


class Engine:
    """Registers and what hangs on them; the states of the unit drive what has no driver here.

    Parameters
    ----------
    m : the unit's module
    params : its parameters
    """

    def __init__(self, m: Module, params: Params) -> None:
        self.m, self.p = m, params
        p, P = params, params.precision
        self.mean_clip = p.mean_bits - 1
        self.patch_clip = p.gradient_window + p.guard + p.above
        # Digits of beta that lie below every offset's guard bit are one.
        self.cut = 22 - p.fraction - p.reach
        self.size = max(
            p.total_bits + 16,
            # A sum of g (x - mu) above what is cut off of it.
            p.product_bits + max(P, p.gradient_window + 1),
            max(p.epsilon_bits, p.input["spread"].width + 16) + 3,
        )
        self.keep = max(LEADING + 1, p.patch_bits + 1)
        self.state = Signal(State, name="state", init=State.FIRST)
        self._channels()
        self._sum()
        self._exponents()
        self._shifter()

    def _channels(self) -> None:
        """The channel that is worked on, those that wait, and what is known of their block."""
        m, p, P, cut = self.m, self.p, self.p.precision, self.cut
        self.exponent = Signal(signed(7), name="exponent", reset_less=True)
        mean_bits = max(p.offset_bits, self.patch_clip + 1, P + 3)
        self.mean = Signal(mean_bits, name="mean", reset_less=True)
        self.scale = Signal(P, name="scale", reset_less=True)
        self.gamma = Signal(10, name="gamma", reset_less=True)
        moved_bits = p.fraction + p.reach + 2
        self.beta = Signal(max(32, moved_bits + P), name="beta", reset_less=True)
        more = max(p.patch_bits - 17, p.product_bits - 17 - mean_bits, P - 9, 1)
        self.more = Signal(more, name="more", reset_less=True)
        # Where results of other states go: magnitudes of gain and slope, beta in y's unit.
        self.moved = self.beta[:moved_bits]
        self.gain = self.beta[moved_bits:][:P]
        self.slope = Cat(self.gamma[:9], self.more)[:P]
        self.minus_gain = self.gamma[9]
        self.patch = Cat(self.gamma, self.exponent, self.more)[: p.patch_bits]
        self.product = Cat(self.gamma, self.exponent, self.more, self.mean)[: p.product_bits]

        word = Cat(
            self.exponent,
            self.mean[: self.mean_clip + 1],
            self.scale,
            self.gamma,
            self.beta[: 32 - cut],
        )
        ring = [Signal(len(word), name=f"ring{i}", reset_less=True) for i in range(1, p.group)]
        bits = max(1, (p.group - 1).bit_length())
        self.turn, self.place = Signal(name="turn"), Signal(bits, name="place")
        if ring:
            with m.If(self.turn):
                m.d.sync += [new.eq(old) for new, old in zip(ring, [word, *ring], strict=False)]
                m.d.sync += [word.eq(ring[-1]), self.place.eq(self.place + 1)]
        self.final = Signal(bits, name="final", reset_less=True)
        self.last = Signal(name="last", reset_less=True)
        self.grid = Signal(8, name="grid", reset_less=True)
        self.slope_unit = Signal(signed(8), name="slope_unit", reset_less=True)

        self.bad, self.bad_held = Signal(name="bad"), Signal(name="bad_held", reset_less=True)
        self.gamma_field = Signal(5, name="gamma_field")
        self.beta_field = Signal(8, name="beta_field")
        self.digits = Signal(24 - cut, name="digits")
        self.significand = Signal(5, name="significand")
        self.beta_sign = self.beta[31 - cut]
        # Of the channel: gamma's exponent, and a unit in steps from 2^-131 on, as beta's are.
        self.own_field, by_gamma = Signal(5, name="own_field"), Signal(8, name="by_gamma")
        self.own_grid = Signal(8, name="own_grid")
        m.d.comb += [
            self.own_field.eq(Mux(self.bad, 1, self.gamma_field)),
            by_gamma.eq(self.own_field + (112 + p.reach)),
            self.own_grid.eq(Mux(by_gamma > self.beta_field, by_gamma, self.beta_field)),
        ]
        gamma, beta = self.gamma[4:9], self.beta[23 - cut : 31 - cut]
        digits = Cat(self.beta[: 23 - cut], beta.any())
        m.d.comb += [
            self.bad.eq(gamma.all() | beta.all()),
            self.gamma_field.eq(gamma | ~gamma.any()),
            self.beta_field.eq(beta & (~self.bad).replicate(8)),
            self.digits.eq(digits & (~self.bad).replicate(24 - cut)),
            self.significand.eq(Cat(self.gamma[:4], gamma.any()) & (~self.bad_held).replicate(5)),
        ]

    def _sum(self) -> None:
        """The sum, doubled, and the operand times a bit of `source` (1 where not `serial`)."""
        m, size = self.m, self.size
        self.sum = Signal(signed(size), name="sum")
        self.operand = Signal(signed(size), name="operand")
        self.source = Signal(max(16, self.p.mean_bits), name="source")
        self.index = Signal(range(len(self.source)), name="index", init=15)
        self.serial, self.minus = Signal(name="serial"), Signal(name="minus")
        self.step, self.clear, self.begin = (Signal(name=n) for n in ("step", "clear", "begin"))
        self.done, chosen = Signal(name="done"), Signal(size, name="chosen")
        taken = self.source.bit_select(self.index, 1) | ~self.serial
        m.d.comb += [
            self.done.eq(self.index == 0),
            chosen.eq((self.operand & taken.replicate(size)) ^ self.minus.replicate(size)),
        ]
        self.next = add(m, Cat(Const(0, 1), self.sum[:-1]), chosen, self.minus, "next")
        with m.If(self.step):
            m.d.sync += self.sum.eq(self.next)
        with m.If(self.clear):
            m.d.sync += self.sum.eq(self.begin << (self.p.precision + 2))
        with m.If(self.step & self.serial):
            m.d.sync += self.index.eq(self.index - 1)

    def _exponents(self) -> None:
        """The sum of exponents: one of them, or how far to the left the shifter goes."""
        self._terms = [Signal(signed(9), name=f"term{i}") for i in range(4)]
        self.at = Signal(signed(9), name="at")
        self.m.d.comb += self.at.eq(sum(self._terms[1:], self._terms[0]))

    def _shifter(self) -> None:
        """The sum's bits from `size - at` on, or from its leading one; rounded to nearest."""
        m, keep, size = self.m, self.keep, self.size
        self.negative = self.sum[-1]
        digits = Signal(size - 1, name="significant")
        m.d.comb += digits.eq(self.sum[:-1] ^ self.negative.replicate(size - 1))
        self.count, none = leading_zeros(m, digits, "leading")
        self.normal, self._zero = Signal(name="normal"), Signal(name="zero")
        left, top = Signal(7, name="left"), Signal(7, name="top")
        m.d.comb += [
            self._zero.eq(none & ~self.negative),
            top.eq(self.count + (LEADING + 1)),
            left.eq(Mux(self.normal, top, self.at[:7] & (~self.at[-1]).replicate(7))),
        ]
        field = Cat(Const(0, 1), self.sum, self.negative.replicate(keep - 1))
        kept, sticky = window(m, field, left, keep=keep, limit=127, name="shifted")
        self.leading = kept[: LEADING + 1]
        self._whole, self._far = Signal(keep - 1, name="whole"), Signal(name="far")
        self.edge, self.odd, up = (Signal(name=name) for name in ("edge", "odd", "up"))
        self.rounded = Signal(keep, name="rounded")
        m.d.comb += [
            self._whole.eq(kept[1:]),
            # What would be carried beyond a clip is not, and one below it is; half goes to even,
            # beside what is `odd` and was added before.
            up.eq(Mux(self.edge, self.negative, kept[0] & (sticky | (kept[1] ^ self.odd)))),
            self.rounded.eq(self._whole + up),
            self._far.eq((self.at > top) & ~self._zero),
        ]

    @property
    def wires(self) -> tuple[Signal, ...]:
        """What the states drive."""
        named = (self.serial, self.step, self.operand, self.source, self.minus, self.clear)
        return (*named, self.begin, self.normal, self.edge, self.odd, self.turn, *self._terms)

    @property
    def registers(self) -> tuple[Value, ...]:
        """What the states load."""
        channel = (self.exponent, self.mean, self.scale, self.gamma, self.beta, self.more)
        block = (self.final, self.last, self.grid, self.slope_unit, self.bad_held, self.place)
        return (*channel, *block, self.index, self.state)

    def place_at(self, base: Value | int, *exponents: Value) -> None:
        """Let `at` be the sum of a constant and some exponents."""
        for term, value in zip(self._terms, (base, *exponents), strict=False):
            self.m.d.comb += term.eq(value)

    def clipped(self, bits: int) -> Value:
        """Rounded, and clipped to so many bits and a sign."""
        self.m.d.comb += self.edge.eq(self._beyond(0, bits).all())
        ends = Cat(Const(1, 1), (~self.negative).replicate(bits - 1), self.negative)
        above = self._beyond(bits, min(self.keep - 1, LEADING + 1)).any()
        return Mux(self._far | above, ends, self.rounded[: bits + 1])

    def _beyond(self, low: int, high: int) -> Value:
        return self._whole[low:high] ^ self.negative.replicate(high - low)

    def fp32(self, sign: Value, base: int, field: Value) -> Value:
        """FP32 of the sum, whose sign is taken off, times 2^(field - bias + base)."""
        self.m.d.comb += self.normal.eq(1)
        self.place_at(self.size + base, negated(self.count), field)
        body = Cat(Const(0, LEADING - 1), self.at[:8]) + self.rounded[: LEADING + 1]
        return Cat(body[:31], sign) & (~self._zero).replicate(32)
