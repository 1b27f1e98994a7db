"""Codes and values of the element formats, in NumPy; the twin of `reference`, tested equal to it.

`round_pack` is the one place where the golden models round: arithmetic is exact in integers, then
rounded here once. Every function takes arrays or scalars, broadcasts, and returns int64 codes.

Zero keeps its sign. Subnormals are read and made. A NaN result is the format's canonical NaN.
Rounding and overflow have no default.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats.element import (
    E8M0,
    FloatFormat,
    Format,
    IntFormat,
    Overflow,
    Rounding,
)

__all__ = ["Unpacked", "bit_length", "decode", "encode", "round_pack", "unpack"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_SIGNIFICAND_LIMIT = 1 << 62
_FAR = 1 << 40
"""Beyond every exponent that matters: clamping to it keeps int64 sums from wrapping."""


class Unpacked(NamedTuple):
    """Codes taken apart: value = (-1)**sign * significand * 2**exponent.

    NaN and Inf have significand 0; `is_zero` is false for them. The exponent is that of the last
    bit of the significand, also for zero and subnormals (the format's quantum).
    """

    sign: Ints
    exponent: Ints
    significand: Ints
    is_nan: Bools
    is_inf: Bools
    is_zero: Bools


def bit_length(values: npt.ArrayLike) -> Ints:
    """Bits of non-negative integers below 2**62, 0 for 0; exact, unlike a float logarithm."""
    x = np.asarray(values, np.int64)
    length = np.zeros(x.shape, np.int64)
    for step in (32, 16, 8, 4, 2, 1):
        high = x >> step
        length += np.where(high > 0, step, 0)
        x = np.where(high > 0, high, x)
    return length + x


def _check_codes(fmt: Format, codes: npt.ArrayLike) -> Ints:
    array = np.asarray(codes)
    if array.dtype.kind not in "iu":
        raise UsageError(f"codes of {fmt.name} must be integers, got {array.dtype}")
    low, high = 0, (1 << fmt.width) - 1
    if isinstance(fmt, IntFormat):
        low, high = -fmt.max - 1, fmt.max
    if array.size and (array.min() < low or array.max() > high):
        bad = int(array.min() if array.min() < low else array.max())
        raise UsageError(f"codes of {fmt.name} lie in {low}..{high}, got {bad}")
    return array.astype(np.int64)


def unpack(fmt: Format, codes: npt.ArrayLike) -> Unpacked:
    """Take codes apart, exactly; a code outside the format's width is a `UsageError`."""
    c = _check_codes(fmt, codes)
    no = np.zeros(c.shape, np.bool_)
    if isinstance(fmt, IntFormat):
        return Unpacked((c < 0).astype(np.int64), np.zeros_like(c), np.abs(c), no, no, c == 0)
    if isinstance(fmt, E8M0):
        is_nan = c == fmt.nan_code
        significand = np.where(is_nan, 0, 1)
        return Unpacked(np.zeros_like(c), c - fmt.bias, significand, is_nan, no, no)
    magnitude = c & fmt.magnitude_mask
    field = magnitude >> fmt.mantissa_bits
    mantissa = magnitude & fmt.mantissa_mask
    is_inf = magnitude == fmt.inf_code if fmt.inf_code is not None else no
    is_nan = (magnitude > fmt.max_code) & ~is_inf
    significand = mantissa | np.where(field > 0, 1 << fmt.mantissa_bits, 0)
    return Unpacked(
        sign=c >> (fmt.width - 1),
        exponent=np.maximum(field, 1) - 1 + fmt.quantum,
        significand=np.where(is_inf | is_nan, 0, significand),
        is_nan=is_nan,
        is_inf=is_inf,
        is_zero=magnitude == 0,
    )


def decode(fmt: Format, codes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Values of codes, exact in float64."""
    u = unpack(fmt, codes)
    value = np.ldexp(u.significand.astype(np.float64), u.exponent.astype(np.intc))
    value = np.where(u.is_inf, np.inf, value)
    value = np.where(u.is_nan, np.nan, value)
    return np.where(u.sign == 1, -value, value)


def _round_up(
    rounding: Rounding, shift: Ints, odd: Bools, rest: Ints, sticky: Bools, random: Ints, bits: int
) -> Bools:
    """Whether the magnitude goes up; `rest` is the `shift` bits dropped below the last one kept."""
    if rounding is Rounding.RTZ:
        return np.zeros(shift.shape, np.bool_)
    if rounding is Rounding.STOCHASTIC:
        top = (rest >> np.clip(shift - bits, 0, 62)) << np.clip(bits - shift, 0, bits)
        return top + random >= 1 << bits
    # From 63 dropped bits on, a significand below 2**62 is less than half.
    half = np.where(shift > 0, np.int64(1) << np.clip(shift - 1, 0, 62), _SIGNIFICAND_LIMIT)
    if rounding is Rounding.RNA:
        return rest >= half
    return (rest > half) | ((rest == half) & (sticky | odd))


def _check_random(
    rounding: Rounding, random: npt.ArrayLike | None, bits: int | None
) -> tuple[Ints, int]:
    if rounding is not Rounding.STOCHASTIC:
        if random is not None or bits is not None:
            raise UsageError(f"random words are for stochastic rounding, not for {rounding}")
        return np.zeros((), np.int64), 0
    if random is None or bits is None:
        raise UsageError("stochastic rounding needs random and random_bits")
    if not 1 <= bits <= 32:
        raise UsageError(f"random_bits must be 1..32, got {bits}")
    words = np.asarray(random)
    if words.dtype.kind not in "iu" or (words.size and (words.min() < 0 or words.max() >> bits)):
        raise UsageError(f"random words must be integers of {bits} bits")
    return words.astype(np.int64), bits


def round_pack(
    fmt: Format,
    sign: npt.ArrayLike,
    significand: npt.ArrayLike,
    exponent: npt.ArrayLike,
    *,
    rounding: Rounding,
    overflow: Overflow,
    sticky: npt.ArrayLike | None = None,
    random: npt.ArrayLike | None = None,
    random_bits: int | None = None,
) -> Ints:
    """Round (-1)**sign * significand * 2**exponent to a format, once; returns its codes.

    Parameters
    ----------
    fmt : target; significand 0 makes the signed zero of a `FloatFormat`, 0 of an `IntFormat`, and
        the smallest scale of `E8M0`, in which a negative value is NaN
    sign : 0 or 1
    significand : 0 .. 2**62 - 1
    exponent : any int64
    rounding, overflow : see `Rounding` and `Overflow`; integers always saturate, so they refuse
        NONFINITE
    sticky : true where a nonzero fraction below 1 is to be added to the significand. It must lie
        below what rounding looks at (at least one dropped bit for RNE and RNA, none for RTZ,
        `random_bits` for STOCHASTIC), else `UsageError`: keep two more significand bits
    random, random_bits : for STOCHASTIC, words of that many bits
    """
    rounding, overflow = Rounding(rounding), Overflow(overflow)
    words, bits = _check_random(rounding, random, random_bits)
    s, x, e, st, words = np.broadcast_arrays(
        np.asarray(sign, np.int64),
        np.asarray(significand, np.int64),
        np.asarray(exponent, np.int64),
        np.asarray(False if sticky is None else sticky, np.bool_),
        words,
    )
    if x.size and (x.min() < 0 or x.max() >= _SIGNIFICAND_LIMIT):
        raise UsageError(f"significand must be 0..2**62-1, got {x.min()}..{x.max()}")
    if s.size and (s.min() < 0 or s.max() > 1):
        raise UsageError(f"sign must be 0 or 1, got {s.min()}..{s.max()}")
    e = np.clip(e, -_FAR, _FAR)

    # The last bit kept has weight 2**last: precision bits from the leading one down, but never
    # below the quantum, so that a subnormal is rounded here and only here.
    length = bit_length(x)
    if isinstance(fmt, IntFormat):
        quantum, last = 0, np.zeros_like(e)
    else:
        quantum, mantissa_bits = _grid(fmt)
        last = np.where(x == 0, quantum, np.maximum(e + length - 1 - mantissa_bits, quantum))
    shift = last - e
    needed = {Rounding.RTZ: 0, Rounding.STOCHASTIC: bits}.get(rounding, 1)
    if np.any(st & (shift < needed)):
        raise UsageError(
            f"sticky needs a significand with {needed} or more bits below the last one kept"
        )

    drop = np.clip(shift, 0, 63)
    rest = x & ((np.int64(1) << np.minimum(drop, 62)) - 1)
    fits = (x == 0) | (length - shift <= 62)
    kept = np.where(fits, (x >> drop) << np.clip(-shift, 0, 62), _SIGNIFICAND_LIMIT)
    odd = ((last + fmt.bias if isinstance(fmt, E8M0) else kept) & 1) == 1
    kept = kept + _round_up(rounding, np.clip(shift, 0, _FAR), odd, rest, st, words, bits)

    if isinstance(fmt, IntFormat):
        if overflow is not Overflow.SATURATE:
            raise UsageError(f"format {fmt.name} has no Inf and no NaN: overflow must saturate")
        return np.clip(np.where(s == 1, -kept, kept), fmt.min, fmt.max)
    limit = fmt.overflow_code(overflow)
    if rounding is Rounding.RTZ:
        limit = fmt.max_code
    if isinstance(fmt, E8M0):
        code = np.minimum(last - quantum + (kept > 1), 255)
        code = np.where(code > fmt.max_code, limit, code)
        return np.where((s == 1) & ((x > 0) | st), fmt.nan_code, code)
    # The hidden bit of the significand adds one to the exponent field below which it is put, and
    # a carry of the rounding another.
    field = np.clip(last - quantum, 0, 1 << fmt.exponent_bits)
    code = (field << fmt.mantissa_bits) + kept
    code = np.where(code > fmt.max_code, limit, code)
    signed = code | (s << (fmt.width - 1))
    return signed if fmt.nan_code is None else np.where(code == fmt.nan_code, code, signed)


def _grid(fmt: FloatFormat | E8M0) -> tuple[int, int]:
    """Exponent of the smallest step, and bits below the leading one."""
    return (fmt.quantum, fmt.mantissa_bits) if isinstance(fmt, FloatFormat) else (fmt.emin, 0)


def encode(
    fmt: Format,
    values: npt.ArrayLike,
    *,
    rounding: Rounding,
    overflow: Overflow,
    random: npt.ArrayLike | None = None,
    random_bits: int | None = None,
) -> Ints:
    """Codes of float64 values, rounded once (float32 and float16 arrays widen exactly).

    An infinite value is treated as one that overflows. NaN gives the canonical NaN, and is a
    `UsageError` in a format without one, as is any other dtype.
    """
    v = np.asarray(values)
    if v.dtype.kind != "f" or v.dtype.itemsize > 8:
        raise UsageError(f"values must be float64, float32 or float16, got {v.dtype}")
    v = v.astype(np.float64)
    is_nan, is_inf = np.isnan(v), np.isinf(v)
    fraction, exponent = np.frexp(np.where(is_nan | is_inf, 0.0, np.abs(v)))
    sign = np.signbit(v).astype(np.int64)
    codes = round_pack(
        fmt,
        sign,
        np.ldexp(fraction, 53).astype(np.int64),
        exponent.astype(np.int64) - 53,
        rounding=rounding,
        overflow=overflow,
        random=random,
        random_bits=random_bits,
    )
    if is_inf.any():
        limit = round_pack(fmt, sign, 1, _FAR, rounding=Rounding.RNE, overflow=overflow)
        codes = np.where(is_inf, limit, codes)
    if is_nan.any():
        if isinstance(fmt, IntFormat) or fmt.nan_code is None:
            raise UsageError(f"format {fmt.name} has no NaN")
        codes = np.where(is_nan, fmt.nan_code, codes)
    return codes
