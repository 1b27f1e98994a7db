"""Constants of batch normalisation from its sums, in FP32, one channel after the other.

    0 mean       first = second = -(x / n)
    1 scale      s = 1 / root(x / n + epsilon)    first = s    second = a s
    2 gradient   first = e = -(a (y / n))         second = b = -(a (s (s (x / n))))

For the passes of `fp32_bn`, with n the number of positions: mean takes x = sum(x) and gives shift;
scale takes x = sum(d d) and a = gamma and gives s and the gain a of y; gradient takes x = sum(g d),
y = sum(g), that s and that a as slope, and gives offset e and gain b of dx. Mode 3 is mode 2.

Every operation is FP32, rounded once (nearest even), quotients and roots too, in the order of the
brackets; subnormals, Inf and NaN as IEEE 754: 0 / 0, Inf / Inf and the root of a number below 0 are
NaN, always the canonical one, x / 0 is Inf, the root of -0 is -0. What a mode does not name is not
read.

Source: IEEE 754-2019, 5.4.1.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.ieee import corners, finish
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Overflow, Rounding, vector
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units.fp32_lanes import (
    NAN,
    ONE,
    SIGN,
    add,
    code_of,
    multiply,
    real_tensors,
    value_of,
)
from narrowgauge.golden.units.stimuli import blocks as transactions
from narrowgauge.golden.units.window import FP32

__all__ = ["Params", "divide", "model", "negative", "root", "vectors"]

Ints = npt.NDArray[np.int64]
_NAMES = ("x", "y", "a", "s", "n")


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: epsilon.

    Parameters
    ----------
    epsilon : added to the variance, 2^-149 to 1, rounded to FP32
    """

    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if not 2.0**-149 <= self.epsilon <= 1:
            raise UsageError(f"epsilon must be 2**-149..1, got {self.epsilon}")

    @property
    def epsilon_code(self) -> int:
        """Epsilon as an FP32 code."""
        return int(code_of(self.epsilon))

    @property
    def input(self) -> Payload:
        """Sums and constants of a channel."""
        words = (Field(name=n, width=32, format="fp32") for n in _NAMES)
        return Payload((*words, Field(name="mode", width=2)))

    @property
    def output(self) -> Payload:
        """Its constants."""
        return Payload(tuple(Field(name=n, width=32, format="fp32") for n in ("first", "second")))


def divide(a: Ints, b: Ints) -> Ints:
    """Quotients of codes, rounded once."""
    left, right = vector.unpack(FP32, a), vector.unpack(FP32, b)
    up = 24 - vector.bit_length(left.significand)
    down = 24 - vector.bit_length(right.significand)
    # By Inf, and by 0 where that matters not, anything is 0.
    numerator = np.where(right.significand == 0, 0, left.significand << (up + 26))
    denominator = np.maximum(right.significand << down, 1)
    return finish(
        FP32,
        left.sign ^ right.sign,
        numerator // denominator,
        left.exponent - up - right.exponent + down - 26,
        sticky=numerator % denominator != 0,
        infinite=left.is_inf | right.is_zero,
        nan=left.is_nan
        | right.is_nan
        | (left.is_inf & right.is_inf)
        | (left.is_zero & right.is_zero),
        rounding=Rounding.RNE,
        overflow=Overflow.NONFINITE,
    )


def root(a: Ints) -> Ints:
    """Square roots of codes, rounded once."""
    u = vector.unpack(FP32, a)
    # An even exponent, and 52 or 53 bits, whose root in float64 is one off at most.
    up = 52 - vector.bit_length(u.significand)
    up = up + ((u.exponent - up) & 1)
    radicand = u.significand << up
    found = np.sqrt(radicand.astype(np.float64)).astype(np.int64)
    found -= found * found > radicand
    found += (found + 1) * (found + 1) <= radicand
    return finish(
        FP32,
        u.sign,
        found,
        (u.exponent - up) >> 1,
        sticky=found * found != radicand,
        infinite=u.is_inf,
        nan=u.is_nan | ((u.sign == 1) & ~u.is_zero),
        rounding=Rounding.RNE,
        overflow=Overflow.NONFINITE,
    )


def negative(a: Ints) -> Ints:
    """Codes with their signs turned; NaN stays the canonical one."""
    return np.where((a & FP32.magnitude_mask) > FP32.exponent_mask, NAN, a ^ SIGN)


def model(params: Params, batch: Batch) -> Batch:
    """Sums to constants."""
    beats = params.input.check(batch)
    x, y, a, s, n = (beats[name] for name in _NAMES)
    share = divide(x, n)
    mean = negative(share)
    one, epsilon = np.full_like(x, ONE), np.full_like(x, params.epsilon_code)
    scale = divide(one, root(add(share, epsilon)))
    e = negative(multiply(a, divide(y, n)))
    b = negative(multiply(a, multiply(s, multiply(s, share))))
    mode = np.minimum(beats["mode"], 2)
    return {
        "first": np.choose(mode, [mean, scale, e]),
        "second": np.choose(mode, [mean, multiply(a, scale), b]),
    }


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Ordinary sums, corners with corners, any codes, and results about the least and largest."""
    rng = np.random.default_rng(seed)
    if level == "real":
        return _real(params)
    size = transactions(level, smoke=3_000)
    edge = corners(FP32)
    ordinary = {name: code_of(rng.normal(0, 30, size)) for name in _NAMES}
    ordinary["x"] &= FP32.magnitude_mask
    ordinary["n"] = code_of(rng.integers(1, 1 << 20, size).astype(np.float32))
    kind = rng.integers(0, 4, size)
    # Quotients and roots of short significands are exact, or ties.
    short = rng.integers(0, 1 << 12, size) << 20
    made: Batch = {}
    for name, plain in ordinary.items():
        anything = rng.integers(0, 1 << 32, size)
        corner = rng.choice(edge, size)
        close = (rng.integers(100, 156, size) << 23) | rng.integers(0, 1 << 23, size)
        other = np.choose(rng.integers(0, 4, size), [plain, corner, anything, short])
        made[name] = np.choose(kind, [plain, corner, other, close])
    # Tiny over large, and back, so that quotients are subnormal or overflow.
    far = rng.random(size) < 0.1
    field = rng.choice(np.array([0, 1, 2, 120, 250, 254]), size) << 23
    made["x"] = np.where(far, (made["x"] & ~FP32.exponent_mask) | field, made["x"])
    made["mode"] = rng.choice([0, 1, 1, 2, 3], size)
    return made


def _real(params: Params) -> Batch:
    """Sums of the captured layer, and what follows from them, with gamma = 1."""
    parts: list[Batch] = []
    for x, g in real_tensors(16):
        left, right = value_of(x), value_of(g)
        count = np.float32(len(left))
        sums = {"x": left.sum(axis=0), "n": np.full(16, count)}
        d = left - sums["x"] / count
        squares = sums | {"x": (d * d).sum(axis=0), "a": np.ones(16)}
        scale = 1 / np.sqrt(squares["x"] / count + np.float32(params.epsilon))
        products = {"x": (right * d).sum(axis=0), "y": right.sum(axis=0)}
        last = sums | products | {"a": scale, "s": scale}
        for mode, each in enumerate((sums, squares, last)):
            codes = {name: code_of(value) for name, value in each.items()}
            parts.append(params.input.beats(16, mode=mode, **codes))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
