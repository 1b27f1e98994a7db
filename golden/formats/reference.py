"""Formats one number at a time, in Python integers and fractions: the specification.

Written to be read beside the standards; `vector` and `tensor` are the fast twins, tested equal.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats.bfp import BFP
from narrowgauge.golden.formats.block import MXOpal, OcpMX
from narrowgauge.golden.formats.element import (
    E8M0,
    FloatFormat,
    Format,
    IntFormat,
    Overflow,
    Rounding,
)
from narrowgauge.golden.formats.table import BF16

__all__ = [
    "Block",
    "Number",
    "decode",
    "dequantize_block",
    "encode",
    "floor_log2",
    "quantize_bfp",
    "quantize_ocp",
    "quantize_opal",
]


class Number(NamedTuple):
    """A signed value: a fraction, or "inf" or "nan". Zero has a sign."""

    sign: int
    magnitude: Fraction
    special: str = ""

    def scaled(self, exponent: int) -> "Number":
        """The number times 2**exponent."""
        return self._replace(magnitude=self.magnitude * Fraction(2) ** exponent)


NAN = Number(0, Fraction(0), "nan")


def floor_log2(value: Fraction) -> int:
    """The exponent e with 2**e <= value < 2**(e+1), value > 0."""
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if Fraction(2) ** guess <= value else guess - 1


def decode(fmt: Format, code: int) -> Number:
    """What a code means."""
    if isinstance(fmt, IntFormat):
        return Number(int(code < 0), Fraction(abs(code)))
    if isinstance(fmt, E8M0):
        return NAN if code == 255 else Number(0, Fraction(2) ** (code - 127))
    sign, magnitude = divmod(code, fmt.sign_mask)
    field, mantissa = divmod(magnitude, 1 << fmt.mantissa_bits)
    if fmt.specials == "ieee" and field == (1 << fmt.exponent_bits) - 1:
        return NAN if mantissa else Number(sign, Fraction(0), "inf")
    if fmt.specials == "nan" and magnitude == fmt.magnitude_mask:
        return NAN
    if field == 0:
        return Number(sign, mantissa * Fraction(2) ** (fmt.emin - fmt.mantissa_bits))
    fraction = 1 + Fraction(mantissa, 1 << fmt.mantissa_bits)
    return Number(sign, fraction * Fraction(2) ** (field - fmt.bias))


def _step(fmt: Format, magnitude: Fraction) -> Fraction:
    """Distance of the format's values around a magnitude, were its exponent unbounded above."""
    if isinstance(fmt, IntFormat):
        return Fraction(1)
    bits = 0 if isinstance(fmt, E8M0) else fmt.mantissa_bits
    exponent = fmt.emin if magnitude == 0 else max(floor_log2(magnitude), fmt.emin)
    return Fraction(2) ** (exponent - bits)


def _code(fmt: FloatFormat | E8M0, magnitude: Fraction) -> int:
    """Code of a magnitude that lies on the format's grid, the exponent unbounded above."""
    if magnitude < Fraction(2) ** fmt.emin:
        return 0 if isinstance(fmt, E8M0) else int(magnitude / Fraction(2) ** fmt.quantum)
    exponent = floor_log2(magnitude)
    if isinstance(fmt, E8M0):
        return exponent + fmt.bias
    mantissa = (magnitude / Fraction(2) ** exponent - 1) * (1 << fmt.mantissa_bits)
    return ((exponent + fmt.bias) << fmt.mantissa_bits) + int(mantissa)


def encode(
    fmt: Format,
    number: Number,
    *,
    rounding: Rounding,
    overflow: Overflow,
    random: int = 0,
    random_bits: int = 0,
) -> int:
    """The code of a number; `element.Rounding` and `element.Overflow` state the rules."""
    if isinstance(fmt, IntFormat) and overflow is not Overflow.SATURATE:
        raise UsageError(f"format {fmt.name} has no Inf and no NaN: overflow must saturate")
    if number.special == "nan":
        if isinstance(fmt, IntFormat) or fmt.nan_code is None:
            raise UsageError(f"format {fmt.name} has no NaN")
        return fmt.nan_code

    overflows = number.special == "inf"
    rounded = Fraction(0)
    if not overflows:
        step = _step(fmt, number.magnitude)
        count = number.magnitude // step
        rest = number.magnitude / step - count
        lower = count
        if isinstance(fmt, E8M0):
            lower = _code(fmt, count * step)
        up = {
            Rounding.RTZ: False,
            Rounding.RNE: rest > Fraction(1, 2) or (rest == Fraction(1, 2) and lower % 2 == 1),
            Rounding.RNA: rest >= Fraction(1, 2),
            Rounding.STOCHASTIC: rest * 2**random_bits // 1 + random >= 2**random_bits,
        }[rounding]
        rounded = (count + up) * step

    if isinstance(fmt, IntFormat):
        if overflows:
            return fmt.min if number.sign else fmt.max
        return max(fmt.min, min(fmt.max, int(-rounded if number.sign else rounded)))
    if isinstance(fmt, E8M0) and number.sign and (overflows or number.magnitude):
        return fmt.nan_code
    limit = fmt.overflow_code(overflow)
    if overflows or rounded > decode(fmt, fmt.max_code).magnitude:
        code = fmt.max_code if rounding is Rounding.RTZ and not overflows else limit
    else:
        code = _code(fmt, rounded)
    if isinstance(fmt, E8M0) or code == fmt.nan_code:
        return code
    return code | (fmt.sign_mask if number.sign else 0)


class Block(NamedTuple):
    """One block: element codes, scale byte, and the outliers with their positions."""

    codes: list[int]
    scale: int
    outliers: list[int]
    positions: list[int]


def quantize_opal(fmt: MXOpal, codes: Sequence[int]) -> Block:
    """One block of k bf16 codes to MX-OPAL; `MXOpal` states the rules."""
    order = sorted(range(fmt.k), key=lambda i: (-(codes[i] & 0x7FFF), i))
    positions = order[: fmt.n]
    outliers = [codes[i] for i in positions]
    scale = (codes[order[fmt.n]] & 0x7FFF) >> 7
    quantized = [0] * fmt.k
    if scale != 255:
        for i in order[fmt.n :]:
            number = decode(BF16, codes[i]).scaled(fmt.b - 2 - (scale - 127))
            quantized[i] = encode(
                fmt.element, number, rounding=fmt.rounding, overflow=Overflow.SATURATE
            )
    return Block(quantized, scale, outliers, positions)


def quantize_ocp(fmt: OcpMX, numbers: Sequence[Number]) -> Block:
    """One block of k numbers to a concrete OCP MX format; `OcpMX` states the rules."""
    if not fmt.keeps_specials and any(x.special for x in numbers):
        return Block([0] * fmt.k, 255, [], [])
    largest = max((x.magnitude for x in numbers if not x.special), default=Fraction(0))
    exponent = -127
    if largest:
        exponent = max(-127, min(127, floor_log2(largest) - fmt.emax))
    codes = []
    for x in numbers:
        overflow = Overflow.NONFINITE if x.special else Overflow.SATURATE
        scaled = x.scaled(fmt.fraction_bits - exponent)
        codes.append(encode(fmt.element, scaled, rounding=fmt.rounding, overflow=overflow))
    return Block(codes, exponent + 127, [], [])


def quantize_bfp(
    fmt: BFP, numbers: Sequence[Number], random: Sequence[int] = (), random_bits: int = 0
) -> Block:
    """One block of k numbers to block floating point; `bfp` states the rules."""
    if any(x.special for x in numbers):
        return Block([0] * fmt.k, fmt.nan_field, [], [])
    largest = max(x.magnitude for x in numbers)
    exponent = 1 - fmt.bias
    if largest:
        exponent = min(max(floor_log2(largest), 1 - fmt.bias), fmt.nan_field - 1 - fmt.bias)
    codes = [
        encode(
            fmt.element,
            x.scaled(fmt.mantissa_bits - 1 - exponent),
            rounding=fmt.rounding,
            overflow=Overflow.SATURATE,
            random=word,
            random_bits=random_bits,
        )
        for x, word in zip(numbers, random or [0] * fmt.k, strict=True)
    ]
    return Block(codes, exponent + fmt.bias, [], [])


def dequantize_block(fmt: MXOpal | OcpMX | BFP, block: Block) -> list[Number]:
    """What the k elements of a block mean."""
    if isinstance(fmt, BFP):
        nan, exponent = block.scale == fmt.nan_field, max(block.scale, 1) - fmt.bias
    else:
        nan, exponent = block.scale == 255, block.scale - 127
    if nan:
        numbers = [NAN] * fmt.k
    else:
        place = exponent - fmt.fraction_bits
        numbers = [decode(fmt.element, c).scaled(place) for c in block.codes]
    for position, outlier in zip(block.positions, block.outliers, strict=True):
        numbers[position] = decode(BF16, outlier)
    return numbers
