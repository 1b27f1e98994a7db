"""Coverage bins that floating-point components share."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import FloatFormat, vector
from narrowgauge.golden.payload import Payload

__all__ = ["Bins", "class_bins", "prefixed", "reachable", "rounding_bins"]

Bins = dict[str, npt.NDArray[np.bool_]]
Ints = npt.NDArray[np.int64]


def prefixed(prefix: str, bins: Bins) -> Bins:
    """The same bins, each name after a prefix."""
    return {f"{prefix}_{name}": hit for name, hit in bins.items()}


def reachable(bins: Bins, stimulus: Payload, shortest: int) -> Bins:
    """The bins that some input hits, where all inputs, or all significands, are sure to be driven.

    `shortest` is the precision of the shortest significand. Very short ones do not meet every way
    to round; wider ones meet all of them.
    """
    if stimulus.width > 16 and shortest > 3:
        return bins
    return {name: hit for name, hit in bins.items() if hit.any()}


def class_bins(fmt: FloatFormat, codes: Ints) -> Bins:
    """Both zeros, subnormal, normal, largest, both infinities, quiet and other NaN."""
    u = vector.unpack(fmt, codes)
    field = (codes & fmt.exponent_mask) >> fmt.mantissa_bits
    quiet = u.is_nan & (codes == fmt.nan_code)
    bins = {
        "plus_zero": u.is_zero & (u.sign == 0),
        "minus_zero": u.is_zero & (u.sign == 1),
        "subnormal": (field == 0) & ~u.is_zero,
        "normal": (field > 0) & ~u.is_nan & ~u.is_inf,
        "max": (codes & fmt.magnitude_mask) == fmt.max_code,
        "plus_inf": u.is_inf & (u.sign == 0),
        "minus_inf": u.is_inf & (u.sign == 1),
        "nan": quiet,
        "other_nan": u.is_nan & ~quiet,
    }
    return bins


def rounding_bins(fmt: FloatFormat, significand: Ints, exponent: Ints, sticky: Ints) -> Bins:
    """Where significand * 2**exponent, plus less than its last bit if `sticky`, lies in the grid.

    Computed apart from `round_pack`, by remainders: significands below 2**62.
    """
    length = vector.bit_length(significand)
    last = np.maximum(exponent + length - fmt.precision, fmt.quantum)
    shift = np.clip(last - exponent, 0, 62)
    far = last - exponent > 62
    half = np.where(shift > 0, np.int64(1) << np.clip(shift - 1, 0, 62), 0)
    rest = np.where(far, 0, significand % (np.int64(1) << shift))
    odd = ((significand >> shift) & 1) == 1
    some = significand > 0
    more = sticky.astype(bool)
    tie = (rest == half) & (shift > 0) & ~more & ~far
    above = ((rest > half) | ((rest == half) & more)) & (shift > 0) & ~far
    ones = (significand >> shift) == (1 << fmt.precision) - 1
    return {
        "exact": some & (rest == 0) & ~more & ~far,
        "below_half": some & ~tie & ~above & ((rest > 0) | more | far),
        "tie_to_even": some & tie & ~odd,
        "tie_from_odd": some & tie & odd,
        "above_half": some & above,
        "carry_to_next_exponent": ones & (tie | above),
    }
