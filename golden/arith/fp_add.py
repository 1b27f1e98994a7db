"""Floating-point addition, rounded once.

    o = round(a + b)

Subnormals are read and made. A sum of exactly zero is +0 unless both operands are -0. NaN in, or
Inf - Inf, gives the canonical NaN, sign 0. Too large a magnitude gives Inf or the largest finite
value by `overflow`; with `rtz` the latter, unless an operand is infinite.
Source: IEEE 754-2019, 5.4.1, 6.1-6.3 and 7.4; `saturate` after OCP OFP8 1.0.
"""

from dataclasses import dataclass

import numpy as np

from narrowgauge.golden.arith.ieee import (
    codes_near,
    corners,
    finish,
    ieee_format,
    pairs,
    rounding_of,
    sizes,
)
from narrowgauge.golden.formats import FloatFormat, Overflow, Rounding, vector
from narrowgauge.golden.payload import Batch, Field, Payload

__all__ = ["Params", "exact_sum", "model", "vectors"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of an adder.

    Parameters
    ----------
    exp_bits, man_bits : operands and result, 2..8 and 1..23
    rounding : rne, rtz or rna
    overflow : nonfinite or saturate; saturating, no result is infinite
    """

    exp_bits: int
    man_bits: int
    rounding: str = Rounding.RNE
    overflow: str = Overflow.NONFINITE

    def __post_init__(self) -> None:
        ieee_format(self.exp_bits, self.man_bits)
        rounding, overflow = rounding_of(self.rounding, self.overflow)
        object.__setattr__(self, "rounding", rounding)
        object.__setattr__(self, "overflow", overflow)

    @property
    def format(self) -> FloatFormat:
        """Format of operands and result."""
        return ieee_format(self.exp_bits, self.man_bits)

    @property
    def input(self) -> Payload:
        """Fields `a` and `b`."""
        fmt = self.format
        return Payload(tuple(Field(name=n, width=fmt.width, format=fmt.name) for n in "ab"))

    @property
    def output(self) -> Payload:
        """Field `o`."""
        return Payload((Field(name="o", width=self.format.width, format=self.format.name),))


def exact_sum(
    fmt: FloatFormat, a: vector.Unpacked, b: vector.Unpacked
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sign, significand, exponent and sticky of a + b, as `round_pack` takes them.

    The operand with the larger exponent moves up, M + 4 places at most; what of the other then
    still lies below becomes the sticky bit, which is too low to matter otherwise.
    """
    swap = a.exponent < b.exponent
    high, low = (
        np.where(swap, b.significand, a.significand),
        np.where(swap, a.significand, b.significand),
    )
    high_sign, low_sign = np.where(swap, b.sign, a.sign), np.where(swap, a.sign, b.sign)
    distance = np.abs(a.exponent - b.exponent)
    up = np.minimum(distance, fmt.mantissa_bits + 4)
    down = np.minimum(distance - up, 62)
    exponent = np.maximum(a.exponent, b.exponent) - up
    sticky = (low & ((np.int64(1) << down) - 1)) != 0
    subtract = high_sign != low_sign
    # high - (low + fraction) = (high - low - 1) + (1 - fraction)
    magnitude = (high << up) + np.where(subtract, -1, 1) * (low >> down) - (subtract & sticky)
    sign = np.where(magnitude < 0, low_sign, high_sign)
    sign = np.where((magnitude == 0) & ~sticky, a.sign & b.sign, sign)
    return sign, np.abs(magnitude), exponent, sticky


def model(params: Params, batch: Batch) -> Batch:
    """Add every pair."""
    checked = params.input.check(batch)
    fmt = params.format
    a, b = vector.unpack(fmt, checked["a"]), vector.unpack(fmt, checked["b"])
    sign, significand, exponent, sticky = exact_sum(fmt, a, b)
    infinite = a.is_inf | b.is_inf
    nan = a.is_nan | b.is_nan | (a.is_inf & b.is_inf & (a.sign != b.sign))
    code = finish(
        fmt,
        np.where(infinite, np.where(a.is_inf, a.sign, b.sign), sign),
        significand,
        exponent,
        sticky=sticky,
        infinite=infinite,
        nan=nan,
        rounding=Rounding(params.rounding),
        overflow=Overflow(params.overflow),
    )
    return {"o": code}


def vectors(params: Params, level: str, seed: int) -> Batch:
    """All pairs up to 16 bits; else corners with corners, any pairs, and pairs that meet.

    Half of the random pairs lie within M + 4 exponents of each other, where bits cancel, tie and
    fall off; an eighth are neighbours of opposite sign, an eighth are ties.
    """
    fmt = params.format
    size = sizes(level, 2_000, 120_000)
    if 2 * fmt.width <= 16:
        a, b = pairs(np.arange(1 << fmt.width), np.arange(1 << fmt.width))
        return {"a": a, "b": b}
    rng = np.random.default_rng(seed)
    edge = corners(fmt)
    a, b = pairs(edge, edge)
    any_a, any_b = rng.integers(0, 1 << fmt.width, (2, size // 4))
    near_a = rng.integers(0, 1 << fmt.width, size // 2)
    near_b = codes_near(fmt, near_a, fmt.mantissa_bits + 4, rng)
    close_a = rng.integers(0, 1 << fmt.width, size // 8)
    close_b = close_a ^ fmt.sign_mask
    step = rng.integers(-3, 4, close_a.shape) << rng.integers(0, fmt.mantissa_bits, close_a.shape)
    close_b = (close_b & fmt.sign_mask) | ((close_b + step) & fmt.magnitude_mask)
    tie_a, tie_b = _ties(fmt, size // 8, rng)
    return {
        "a": np.concatenate([a, any_a, near_a, close_a, tie_a]),
        "b": np.concatenate([b, any_b, near_b, close_b, tie_b]),
    }


def _ties(fmt: FloatFormat, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pairs whose sum lies half-way between two codes, and off that by one bit at every place.

    Every distance of exponents meets every place four times, or more often to make `size` pairs.
    """
    M = fmt.mantissa_bits
    distance, place = pairs(np.arange(1, M + 3), np.arange(-1, M))
    repeats = max(4, size // len(distance))
    distance, place = np.tile(distance, repeats), np.tile(place, repeats)
    a = rng.integers(0, 1 << fmt.width, distance.shape)
    # Half-way goes down to an even code, so that one more bit turns it.
    a &= ~(place >= 0).astype(np.int64)
    field = np.maximum(((a & fmt.exponent_mask) >> M) - distance, 0)
    # The last one of b stands at half a unit of a's last place.
    low = np.clip(distance - 1, 0, M)
    b = ((rng.integers(0, fmt.mantissa_mask + 1, a.shape) >> low | 1) << low) & fmt.mantissa_mask
    off = np.where((place >= 0) & (place < low), np.int64(1) << np.maximum(place, 0), 0)
    b = np.clip(b + rng.choice([1, 1, 1, -1], a.shape) * off, 0, fmt.mantissa_mask)
    return a, b | (field << M) | (rng.integers(0, 2, a.shape) << (fmt.width - 1))
