"""Floating-point multiplier: subnormals are normalised after the product, with one shifter."""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.arith.fp_mul import Params
from narrowgauge.golden.formats import FloatFormat, Overflow, Rounding
from narrowgauge.hdl.arith.multiplier import multiply
from narrowgauge.hdl.arith.rounder import add, normalise, pack, round_up
from narrowgauge.hdl.arith.shifter import leading_zeros

__all__ = ["FpMul"]


class _Operand:
    """One operand taken apart into named signals."""

    def __init__(self, m: Module, fmt: FloatFormat, code: Value, name: str) -> None:
        M = fmt.mantissa_bits
        field = code[M:-1]
        self.sign = code[-1]
        self.hidden = Signal(1, name=f"{name}_hidden")
        self.exponent = Signal(fmt.exponent_bits, name=f"{name}_exponent")
        self.significand = Signal(fmt.precision, name=f"{name}_significand")
        self.special = Signal(1, name=f"{name}_special")
        self.nan = Signal(1, name=f"{name}_nan")
        self.zero = Signal(1, name=f"{name}_zero")
        mantissa = Signal(1, name=f"{name}_has_mantissa")
        m.d.comb += [
            self.hidden.eq(field.any()),
            # Field 0 has the exponent of field 1 and no hidden bit.
            self.exponent.eq(field | ~self.hidden),
            self.significand.eq(Cat(code[:M], self.hidden)),
            mantissa.eq(code[:M].any()),
            self.special.eq(field.all()),
            self.nan.eq(self.special & mantissa),
            self.zero.eq(~(self.hidden | mantissa)),
        ]


class FpMul(wiring.Component):
    """`o = round(a * b)`, IEEE 754 with subnormals.

    Combinational. The significands are multiplied as they come; a product with leading zeros moves
    left as far as its exponent allows, one below the least exponent moves right.

    Parameters
    ----------
    params : see `narrowgauge.golden.arith.fp_mul.Params`

    Ports
    -----
    a, b : In, the operands' codes
    o : Out, the result's code
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(
            {
                "a": In(params.a_format.width),
                "b": In(params.b_format.width),
                "o": Out(params.format.width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Unpack, multiply, normalise, round, pack."""
        m = Module()
        p, fmt = self._params, self._params.format
        rounding = Rounding(p.rounding)
        a = _Operand(m, p.a_format, self.a, "a")
        b = _Operand(m, p.b_format, self.b, "b")
        sign, zero, infinite, nan = (
            Signal(1, name=name) for name in ("sign", "zero", "infinite", "nan")
        )
        m.d.comb += [
            sign.eq(a.sign ^ b.sign),
            zero.eq(a.zero | b.zero),
            infinite.eq(a.special | b.special),
            nan.eq(a.nan | b.nan | (infinite & zero)),
        ]

        product = multiply(m, a.significand, b.significand, "product")

        offset = fmt.bias - p.a_format.bias - p.b_format.bias
        lowest = offset + 2
        highest = offset + (1 << len(a.exponent)) + (1 << len(b.exponent)) - 2
        size = max(lowest.bit_length(), highest.bit_length())
        base = Signal(signed(1 + size), name="base")
        # Biases are powers of two less one: a carry-in leaves a short constant to add.
        wide, narrow = (a, b) if len(a.exponent) >= len(b.exponent) else (b, a)
        exponents = add(
            m, Cat(wide.exponent, Const(0, 1)), narrow.exponent, Const(1, 1), "exponents"
        )
        m.d.comb += base.eq(exponents + (offset - 1))

        # Two subnormals make more zeros than one, but then the exponent mostly allows no shift.
        needed = max(p.a_format.precision, p.b_format.precision) + 1
        counted = needed if lowest < needed else len(product)
        count, _ = leading_zeros(m, product[-counted:], "product")
        normal = normalise(
            m,
            product,
            base,
            count,
            zero,
            lowest=lowest,
            keep=fmt.mantissa_bits + 2,
            name="normal",
        )
        significand = Signal(fmt.precision, name="significand")
        m.d.comb += significand.eq(normal.kept[1:])
        up = round_up(
            m,
            odd=significand[0],
            guard=normal.kept[0],
            sticky=normal.sticky,
            rounding=rounding,
            name="up",
        )
        code = pack(
            m,
            fmt,
            sign=sign,
            exponent=normal.exponent,
            significand=significand,
            up=up,
            rounding=rounding,
            overflow=Overflow(p.overflow),
            infinite=infinite,
            nan=nan,
            name="result",
        )
        m.d.comb += self.o.eq(code)
        return m
