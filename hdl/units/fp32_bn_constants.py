"""Constants of batch normalisation: one serial engine for products, quotients and square roots.

A beat waits at the input until its constants are offered, so that no register holds an operand. An
operation takes its operands apart, moves their leading ones to the top, makes a bit a cycle with
one adder, moves the result to its exponent, and rounds it; sums have an adder of their own.

    product     rest = (rest + multiplicand or 0) / 2      bits out of `digits`, lowest first
    quotient    rest = 2 (rest - divisor), or 2 rest       bits into `digits`
    root        rest = 4 rest + next two bits of the radicand - (4 root + 1), or without that
"""

from enum import IntEnum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from narrowgauge.golden.arith.fp_add import Params as AddParams
from narrowgauge.golden.formats import FloatFormat, Overflow, Rounding
from narrowgauge.golden.units.fp32_bn_constants import Params
from narrowgauge.hdl.arith.fp_add import FpAdd
from narrowgauge.hdl.arith.rounder import pack, round_up
from narrowgauge.hdl.stream import StreamUnit

__all__ = ["Fp32BnConstants"]

_ONE = 0x3F800000
_FORMAT = FloatFormat.ieee(8, 23)


class _State(IntEnum):
    """What the cycle does."""

    IDLE = 0
    ALIGN = 1
    RUN = 2
    PLACE = 3
    WRITE = 4
    DONE = 5


class _Step:
    """What the step of a mode does, decoded.

    Every mode begins with a quotient by n. Steps of mean, scale and gradient:
        0      x / n             x / n             y / n
        1                        + epsilon         a (first)
        2                        root              x / n
        3                        1 / (first)       s
        4                        a                 s
        5                                          a
    """

    def __init__(self, m: Module, step: Value, mode: Value) -> None:
        scale, gradient = Signal(), Signal()
        at = [Signal(name=f"at{i}") for i in range(6)]
        self.adds, self.roots, self.divides = Signal(), Signal(), Signal()
        self.by_n, self.keeps, self.final, self.negates = Signal(), Signal(), Signal(), Signal()
        self.x, self.y, self.a, self.s, self.one = (Signal(name=f"takes_{n}") for n in "xyas1")
        m.d.comb += [
            scale.eq(mode == 1),
            gradient.eq(mode[1]),
            *(each.eq(step == i) for i, each in enumerate(at)),
            self.adds.eq(scale & at[1]),
            self.roots.eq(scale & at[2]),
            self.by_n.eq(at[0] | (gradient & at[2])),
            self.one.eq(scale & at[3]),
            self.divides.eq(self.by_n | self.one),
            self.y.eq(gradient & at[0]),
            self.x.eq(self.by_n & ~self.y),
            self.s.eq(gradient & (at[3] | at[4])),
            self.a.eq((gradient & (at[1] | at[5])) | (scale & at[4])),
            self.keeps.eq(Mux(gradient, at[1], Mux(scale, at[3], 1))),
            self.final.eq(Mux(gradient, at[5], Mux(scale, at[4], 1))),
            self.negates.eq(~scale & (self.keeps | self.final)),
        ]


class Fp32BnConstants(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.fp32_bn_constants.Params`

    Ports
    -----
    i : stream of `params.input`, taken when it is answered
    o : stream of `params.output`
    """

    latency = None
    interval = None

    def __init__(self, params: Params) -> None:
        self._epsilon = params.epsilon_code
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Operands, states, adder, result."""
        m = Module()
        beat = self.i.payload
        state, step, left, right = Signal(_State), Signal(3), Signal(32), Signal(32)
        does = _Step(m, step, beat.mode)
        result, kept = Signal(32, reset_less=True), Signal(32, reset_less=True)
        m.d.comb += [
            left.eq(
                (beat.x & does.x.replicate(32))
                | (beat.y & does.y.replicate(32))
                | (beat.a & does.a.replicate(32))
                | (beat.s & does.s.replicate(32))
                | (Const(_ONE, 32) & (does.one | does.roots).replicate(32))
            ),
            right.eq(Mux(does.by_n, beat.n, result)),
        ]
        a, b = _Operand(m, left, "left"), _Operand(m, right, "right")
        sign, nan, infinite, zero, apart = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            sign.eq((~does.roots & a.sign) ^ b.sign ^ does.negates),
            nan.eq(
                a.nan
                | b.nan
                | Mux(
                    does.divides,
                    (a.inf & b.inf) | (a.zero & b.zero),
                    (a.inf & b.zero) | (a.zero & b.inf) | (does.roots & b.sign & ~b.zero),
                )
            ),
            infinite.eq(a.inf | Mux(does.divides, b.zero, b.inf)),
            zero.eq(a.zero | Mux(does.divides, b.inf, b.zero)),
            apart.eq(nan | infinite | zero),
        ]

        rest, digits = Signal(27, reset_less=True), Signal(26, reset_less=True)
        other = Signal(25, reset_less=True)
        exponent, count = Signal(signed(11), reset_less=True), Signal(5, reset_less=True)
        sticky = Signal(reset_less=True)
        rest_next, bit, lost = self._iterate(m, does, rest, digits, other)

        # The result, where its leading one is on top or its exponent is the least.
        up = round_up(
            m,
            odd=digits[2],
            guard=digits[1],
            sticky=digits[0] | sticky,
            rounding=Rounding.RNE,
            name="up",
        )
        code = pack(
            m,
            _FORMAT,
            sign=sign,
            exponent=Mux(zero, 0, exponent - 1)[:10],
            significand=digits[2:] & (~zero).replicate(24),
            up=up & ~zero,
            rounding=Rounding.RNE,
            overflow=Overflow.NONFINITE,
            infinite=infinite,
            nan=nan,
            name="result",
        )
        m.submodules.epsilon_add = adder = FpAdd(AddParams(exp_bits=8, man_bits=23))
        aligned, placed = Signal(), Signal()
        m.d.comb += [
            adder.a.eq(result),
            adder.b.eq(self._epsilon),
            aligned.eq(other[23] & digits[25]),
            placed.eq(Mux(digits[25], exponent >= 1, exponent == 1)),
            self.o.valid.eq(state == _State.DONE),
            self.i.ready.eq(self.o.valid & self.o.ready),
            self.o.payload.first.eq(kept),
            self.o.payload.second.eq(result),
        ]
        with m.If(state == _State.IDLE):
            m.d.sync += [
                digits.eq(Cat(Const(0, 2), a.significand)),
                other.eq(b.significand),
                rest.eq(0),
                sticky.eq(0),
                count.eq(Mux(does.divides | does.roots, 25, 23)),
                exponent.eq(
                    Mux(
                        does.roots,
                        b.exponent,
                        a.exponent + Mux(does.divides, 127 - b.exponent, b.exponent - 126),
                    )
                ),
            ]
            with m.If(self.i.valid):
                m.d.sync += state.eq(Mux(does.adds | apart, _State.WRITE, _State.ALIGN))
        with m.If(state == _State.ALIGN):
            with m.If(aligned):
                m.d.sync += state.eq(_State.RUN)
                with m.If(does.divides):
                    m.d.sync += rest.eq(digits[2:])
                with m.If(does.roots):
                    # The power of two of an odd field is even, and the first bits are 01.
                    m.d.sync += exponent.eq(((exponent + 1) >> 1) + 63)
                    with m.If(~exponent[0]):
                        m.d.sync += other.eq(other << 1)
                with m.If(does.divides | does.roots):
                    m.d.sync += digits.eq(0)
            with m.Else():
                # A product of two subnormals vanishes, whatever its exponent.
                m.d.sync += exponent.eq(
                    Mux(does.divides & ~other[23], exponent + digits[25], exponent - 1)
                )
                with m.If(~other[23]):
                    m.d.sync += other.eq(other << 1)
                with m.If(~digits[25]):
                    m.d.sync += digits.eq(digits << 1)
        with m.If(state == _State.RUN):
            m.d.sync += [rest.eq(rest_next), count.eq(count - 1)]
            with m.If(does.divides | does.roots):
                m.d.sync += [digits.eq(Cat(bit, digits)), sticky.eq(rest_next.any())]
            with m.Else():
                m.d.sync += [digits.eq(digits >> 1), sticky.eq(sticky | lost)]
            with m.If(does.roots):
                m.d.sync += other.eq(other << 2)
            with m.If(count == 0):
                m.d.sync += state.eq(_State.PLACE)
                with m.If(~(does.divides | does.roots)):
                    m.d.sync += digits.eq(rest_next)
        with m.If(state == _State.PLACE):
            with m.If(placed):
                m.d.sync += state.eq(_State.WRITE)
            with m.Elif(exponent < 1):
                m.d.sync += [
                    digits.eq(digits >> 1),
                    sticky.eq(sticky | digits[0]),
                    exponent.eq(exponent + 1),
                ]
            with m.Else():
                m.d.sync += [digits.eq(digits << 1), exponent.eq(exponent - 1)]
        with m.If(state == _State.WRITE):
            m.d.sync += [
                result.eq(Mux(does.adds, adder.o, code)),
                state.eq(Mux(does.final, _State.DONE, _State.IDLE)),
                step.eq(Mux(does.final, 0, step + 1)),
            ]
            with m.If(does.keeps):
                m.d.sync += kept.eq(code)
        with m.If((state == _State.DONE) & self.o.ready):
            m.d.sync += state.eq(_State.IDLE)
        return m

    def _iterate(
        self, m: Module, does: _Step, rest: Value, digits: Value, other: Value
    ) -> tuple[Signal, Signal, Signal]:
        """The next rest, the bit of a quotient or root, and what a product drops."""
        base, term = Signal(29), Signal(29)
        total, following = Signal(30), Signal(27)
        down, bit, lost = Signal(), Signal(), Signal()
        m.d.comb += [
            down.eq(does.divides | does.roots),
            base.eq(Mux(does.roots, Cat(other[23:25], rest), rest)),
            term.eq(
                Mux(
                    does.roots,
                    Cat(Const(1, 2), digits),
                    Mux(
                        does.divides,
                        other,
                        Cat(Const(0, 2), other[:24]) & digits[2].replicate(26),
                    ),
                )
            ),
            # A difference as the sum with the complement, one adder for both.
            total.eq(base + (term ^ down.replicate(29)) + down),
            bit.eq(total[29]),
            lost.eq(total[0]),
        ]
        unchanged = Mux(bit, total[:29], base)
        m.d.comb += following.eq(
            Mux(does.roots, unchanged, Mux(does.divides, Cat(Const(0, 1), unchanged), total[1:]))
        )
        return following, bit, lost


class _Operand:
    """A code taken apart."""

    def __init__(self, m: Module, code: Value, name: str) -> None:
        hidden, special, fraction = (
            Signal(name=f"{name}_{what}") for what in ("hidden", "special", "fraction")
        )
        self.sign = code[31]
        self.significand = Signal(24, name=f"{name}_significand")
        self.exponent = Signal(8, name=f"{name}_exponent")
        self.nan, self.inf, self.zero = (
            Signal(name=f"{name}_{what}") for what in ("nan", "inf", "zero")
        )
        m.d.comb += [
            hidden.eq(code[23:31].any()),
            special.eq(code[23:31].all()),
            fraction.eq(code[:23].any()),
            self.significand.eq(Cat(code[:23], hidden)),
            self.exponent.eq(code[23:31] | ~hidden),
            self.nan.eq(special & fraction),
            self.inf.eq(special & ~fraction),
            self.zero.eq(~hidden & ~fraction),
        ]
