"""Floating-point adder: one path, operands ordered by magnitude, one shifter each way."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.arith.fp_add import Params
from narrowgauge.golden.formats import Overflow, Rounding
from narrowgauge.hdl.arith.rounder import add, normalise, pack, round_up
from narrowgauge.hdl.arith.shifter import leading_zeros, shift_right

__all__ = ["FpAdd"]


class FpAdd(wiring.Component):
    """`o = round(a + b)`, IEEE 754 with subnormals.

    Combinational. The larger magnitude goes first, so the sum is never negative and only that
    operand is asked whether it is special; the smaller is aligned to it with three bits below.

    Parameters
    ----------
    params : see `narrowgauge.golden.arith.fp_add.Params`

    Ports
    -----
    a, b : In, 1 + exp_bits + man_bits bits
    o : Out, 1 + exp_bits + man_bits bits
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        width = params.format.width
        super().__init__({"a": In(width), "b": In(width), "o": Out(width)})

    def elaborate(self, platform: object) -> Module:
        """Order, align, add, normalise, round, pack."""
        m = Module()
        fmt = self._params.format
        rounding = Rounding(self._params.rounding)
        E, M = fmt.exponent_bits, fmt.mantissa_bits

        # Unpack; field 0 has the exponent of field 1 and no hidden bit.
        exponents: list[Signal] = []
        significands: list[Signal] = []
        for name, code in (("a", self.a), ("b", self.b)):
            hidden = Signal(1, name=f"{name}_hidden")
            exponents.append(Signal(E, name=f"{name}_exponent"))
            significands.append(Signal(M + 1, name=f"{name}_significand"))
            m.d.comb += [
                hidden.eq(code[M:-1].any()),
                exponents[-1].eq(code[M:-1] | ~hidden),
                significands[-1].eq(Cat(code[:M], hidden)),
            ]

        # Order by magnitude.
        difference = Signal(signed(E + M + 2), name="difference")
        swap, subtract = Signal(1, name="swap"), Signal(1, name="subtract")
        first_sign = Signal(1, name="first_sign")
        exponent = Signal(E, name="exponent")
        larger, smaller = Signal(M + 1, name="larger"), Signal(M + 1, name="smaller")
        m.d.comb += [
            difference.eq(Cat(significands[0], exponents[0]) - Cat(significands[1], exponents[1])),
            swap.eq(difference[-1]),
            subtract.eq(self.a[-1] ^ self.b[-1]),
            first_sign.eq(Mux(swap, self.b[-1], self.a[-1])),
            exponent.eq(Mux(swap, exponents[1], exponents[0])),
            larger.eq(Mux(swap, significands[1], significands[0])),
            smaller.eq(Mux(swap, significands[0], significands[1])),
        ]

        # Align. The distance does not wait for the order, but for its last increment. From M + 3
        # on it leaves the sticky bit alone, as all ones does.
        apart, distance = Signal(E, name="apart"), Signal(E, name="distance")
        m.d.comb += [
            apart.eq(exponents[0] - exponents[1]),
            distance.eq((apart ^ swap.replicate(E)) + swap),
        ]
        bits = min(E, (M + 3).bit_length())
        places = Signal(bits, name="places")
        m.d.comb += places.eq(distance[:bits] | distance[bits:].any().replicate(bits))
        aligned, lost = shift_right(m, Cat(Const(0, 2), smaller), places, keep=M + 3, name="align")

        # Add; the carry is the top bit, which a subtraction never sets.
        addend = Signal(M + 5, name="addend")
        m.d.comb += addend.eq(Cat(lost, aligned, 0) ^ subtract.replicate(M + 5))
        total = add(m, Cat(Const(0, 3), larger, Const(0, 1)), addend, subtract, "total")

        # Below the guard bit there is something only where at most one leading bit cancelled.
        count, zero = leading_zeros(m, total[2:], "total")
        normal = normalise(
            m,
            total,
            Cat(exponent, Const(0, 1)).as_signed(),
            count,
            zero,
            lowest=1,
            keep=M + 2,
            name="normal",
        )
        significand = Signal(M + 1, name="significand")
        m.d.comb += significand.eq(normal.kept[1:])
        up = round_up(
            m,
            odd=significand[0],
            guard=normal.kept[0],
            sticky=normal.sticky,
            rounding=rounding,
            name="up",
        )

        # Equal infinities of opposite sign are the only ones that cancel.
        special, nan, sign = (Signal(1, name=name) for name in ("special", "nan", "sign"))
        cancelled = Signal(1, name="cancelled")
        m.d.comb += [
            special.eq(exponent.all()),
            cancelled.eq(zero & subtract),
            nan.eq(special & (larger[:M].any() | cancelled)),
            sign.eq(first_sign & ~cancelled),
        ]
        code = pack(
            m,
            fmt,
            sign=sign,
            exponent=normal.exponent[:E],
            significand=significand,
            up=up,
            rounding=rounding,
            overflow=Overflow(self._params.overflow),
            infinite=special,
            nan=nan,
            name="result",
        )
        m.d.comb += self.o.eq(code)
        return m
