"""Floating-point multiplication, rounded once; operands and result may differ in format.

    o = round(a * b)

Subnormals are read and made; the sign of a zero is that of the product. NaN in, or Inf * 0, gives
the canonical NaN, sign 0. Too large a magnitude gives Inf or the largest finite value by
`overflow`; with `rtz` the latter, unless an operand is infinite. A product of two bf16 is exact in
fp32, but for those below its smallest normal value.
Source: IEEE 754-2019, 5.4.1 formatOf-multiplication, 6.1-6.3, 7.4; `saturate` after OCP OFP8 1.0.
"""

from dataclasses import dataclass

import numpy as np

from narrowgauge.golden.arith.ieee import (
    corners,
    finish,
    ieee_format,
    pairs,
    rounding_of,
    sizes,
)
from narrowgauge.golden.formats import FloatFormat, Overflow, Rounding, vector
from narrowgauge.golden.payload import Batch, Field, Payload

__all__ = ["Params", "model", "vectors"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of a multiplier.

    Parameters
    ----------
    exp_bits, man_bits : operand `a`, 2..8 and 1..23
    b_exp_bits, b_man_bits : operand `b`; None is as `a`
    out_exp_bits, out_man_bits : the result; None is as `a`
    rounding : rne, rtz or rna
    overflow : nonfinite or saturate; saturating, no result is infinite
    """

    exp_bits: int
    man_bits: int
    b_exp_bits: int | None = None
    b_man_bits: int | None = None
    out_exp_bits: int | None = None
    out_man_bits: int | None = None
    rounding: str = Rounding.RNE
    overflow: str = Overflow.NONFINITE

    def __post_init__(self) -> None:
        for name in ("exp_bits", "man_bits"):
            for prefix in ("b_", "out_"):
                if getattr(self, prefix + name) is None:
                    object.__setattr__(self, prefix + name, getattr(self, name))
        for prefix in ("", "b_", "out_"):
            self._format(prefix)
        rounding, overflow = rounding_of(self.rounding, self.overflow)
        object.__setattr__(self, "rounding", rounding)
        object.__setattr__(self, "overflow", overflow)

    def _format(self, prefix: str) -> FloatFormat:
        exp_bits, man_bits = (getattr(self, f"{prefix}{n}") for n in ("exp_bits", "man_bits"))
        return ieee_format(exp_bits, man_bits, prefix)

    @property
    def a_format(self) -> FloatFormat:
        """Format of `a`."""
        return self._format("")

    @property
    def b_format(self) -> FloatFormat:
        """Format of `b`."""
        return self._format("b_")

    @property
    def format(self) -> FloatFormat:
        """Format of the result."""
        return self._format("out_")

    @property
    def input(self) -> Payload:
        """Fields `a` and `b`."""
        formats = {"a": self.a_format, "b": self.b_format}
        return Payload(
            tuple(Field(name=n, width=f.width, format=f.name) for n, f in formats.items())
        )

    @property
    def output(self) -> Payload:
        """Field `o`."""
        return Payload((Field(name="o", width=self.format.width, format=self.format.name),))


def model(params: Params, batch: Batch) -> Batch:
    """Multiply every pair."""
    checked = params.input.check(batch)
    a = vector.unpack(params.a_format, checked["a"])
    b = vector.unpack(params.b_format, checked["b"])
    code = finish(
        params.format,
        a.sign ^ b.sign,
        a.significand * b.significand,
        a.exponent + b.exponent,
        infinite=a.is_inf | b.is_inf,
        nan=a.is_nan | b.is_nan | (a.is_inf & b.is_zero) | (a.is_zero & b.is_inf),
        rounding=Rounding(params.rounding),
        overflow=Overflow(params.overflow),
    )
    return {"o": code}


def vectors(params: Params, level: str, seed: int) -> Batch:
    """All pairs up to 16 bits; else corners with corners, any pairs, and products at the edges.

    A quarter of the random products lies about the smallest subnormal, normal or largest value of
    the result, an eighth has a subnormal operand, an eighth has few significand bits (ties), an
    eighth lies half-way between two subnormal results, and an eighth is just above half of the
    smallest.
    """
    fa, fb = params.a_format, params.b_format
    size = sizes(level, 2_000, 120_000)
    if fa.width + fb.width <= 16:
        a, b = pairs(np.arange(1 << fa.width), np.arange(1 << fb.width))
        return {"a": a, "b": b}
    rng = np.random.default_rng(seed)
    a, b = pairs(corners(fa), corners(fb))
    any_a, any_b = _random(fa, size, rng), _random(fb, size, rng)
    part = rng.integers(0, 8, size)

    fo = params.format
    target = rng.choice([fo.quantum, fo.emin, fo.emax], size)
    target = target + rng.integers(-fo.mantissa_bits - 3, fo.mantissa_bits + 4, size)
    field = target - (((any_a & fa.exponent_mask) >> fa.mantissa_bits) - fa.bias) + fb.bias
    field = np.clip(field, 0, (1 << fb.exponent_bits) - 1) << fb.mantissa_bits
    any_b = np.where(part < 2, (any_b & ~np.int64(fb.exponent_mask)) | field, any_b)
    # Few bits: a product of an odd 2 M + 2 bits at most is a tie far more often.
    short_a = any_a & ~((np.int64(1) << rng.integers(0, fa.mantissa_bits + 1, size)) - 1)
    short_b = any_b & ~((np.int64(1) << rng.integers(0, fb.mantissa_bits + 1, size)) - 1)
    short = (part == 2) | (part == 0)
    any_a, any_b = np.where(short, short_a, any_a), np.where(short, short_b, any_b)
    any_b = np.where(part == 6, _placed(params, short_a, short_b, leading=False), any_b)
    any_a = np.where(part == 6, short_a, any_a)
    # One bit, of any weight, beside the leading one.
    lone_a = any_a & ~np.int64(fa.mantissa_mask)
    lone_a |= np.int64(1) << rng.integers(0, fa.mantissa_bits, size)
    lone_b = _placed(params, lone_a, any_b & ~np.int64(fb.mantissa_mask), leading=True)
    any_a, any_b = np.where(part == 7, lone_a, any_a), np.where(part == 7, lone_b, any_b)
    length = rng.integers(0, fa.mantissa_bits + 1, size)
    small = (any_a & fa.sign_mask) | ((any_a & fa.mantissa_mask) >> length)
    any_a = np.where(part == 3, small, any_a)
    flip = (fa == fb) & (rng.integers(0, 2, size) == 1)
    any_a, any_b = np.where(flip, any_b, any_a), np.where(flip, any_a, any_b)
    return {"a": np.concatenate([a, any_a]), "b": np.concatenate([b, any_b])}


def _placed(params: Params, a: np.ndarray, b: np.ndarray, *, leading: bool) -> np.ndarray:
    """`b` with the exponent that puts the leading or the last one of a * b at half a subnormal."""
    fb = params.b_format
    b = (b & ~np.int64(fb.exponent_mask)) | (fb.bias << fb.mantissa_bits)
    left, right = vector.unpack(params.a_format, a), vector.unpack(fb, b)
    product = left.significand * right.significand
    place = vector.bit_length(product if leading else product & -product) - 1
    step = params.format.quantum - 1 - (left.exponent + right.exponent + place)
    field = np.clip(fb.bias + step, 0, (1 << fb.exponent_bits) - 1) << fb.mantissa_bits
    return (b & ~np.int64(fb.exponent_mask)) | field


def _random(fmt: FloatFormat, size: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 1 << fmt.width, size)
