"""What is worked out of a channel between the passes of range batch normalisation, see `range_bn`.

Every function takes arrays of channels; parameters of a layer may be arrays too.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import Overflow, Rounding, vector
from narrowgauge.golden.units.range_bn import REACH, ROOM, rounded_shift
from narrowgauge.golden.units.window import FP32

__all__ = [
    "ABOVE",
    "CONSTANT",
    "GUARD",
    "affine",
    "centre",
    "centred",
    "deviation",
    "factor",
    "fp32",
    "patch",
    "taken_off",
]

Ints = npt.NDArray[np.int64]
Decoded = tuple[Ints, Ints, Ints]
"""Signs, significands and exponents."""

CONSTANT = 40
"""The exponent of a channel that is constant: above that of any other."""

GUARD, ABOVE = 2, 2
"""Bits of mean and patch below the window's unit, and of the patch above the window."""


def deviation(
    precision: int, spread: Ints, c: npt.ArrayLike, epsilon: npt.ArrayLike, place: npt.ArrayLike
) -> tuple[Ints, Ints]:
    """Exponent e and scale of channels, from c R + eps with `place` the exponent of its unit.

    Parameters
    ----------
    spread : K R
    c : the layer's factor
    epsilon : in the unit of spread times c
    """
    product = spread * np.asarray(c, np.int64) + np.asarray(epsilon, np.int64)
    length = vector.bit_length(product)
    exponent = length - 1 + np.asarray(place, np.int64)
    # Three more bits than s has, cut off.
    bits = precision + 3
    divisor = np.where(length > bits, product >> np.clip(length - bits, 0, 62), 0)
    divisor |= np.where(length <= bits, product << np.clip(bits - length, 0, 62), 0)
    most = (1 << precision) - 1
    scale = np.minimum((1 << (2 * precision + 2)) // np.maximum(divisor, 1), most)
    # A constant channel makes no unit coarser than its neighbours need it.
    return np.where(spread == 0, CONSTANT, exponent), np.where(spread == 0, 0, scale)


def centre(fraction: int, scale: Ints, total: Ints, inverse: npt.ArrayLike, right: Ints) -> Ints:
    """The mean, total times inverse and 2**-right, in the channel's unit; clipped.

    0 in a channel that is constant: far below one unit of its exponent.
    """
    most = (1 << (fraction + ROOM)) - 1
    exact = total * np.asarray(inverse, np.int64)
    # What is shifted left is clipped before, so that it fits.
    exact = np.where(right < 0, np.clip(exact, -most, most), exact)
    made = np.clip(rounded_shift(exact, np.maximum(right, -fraction - ROOM)), -most, most)
    return np.where(scale == 0, 0, made)


def affine(
    precision: int,
    fraction: int,
    channel: tuple[Ints, Ints, Ints],
    gamma: Decoded,
    beta: Decoded,
    coarsest: Callable[[Ints], Ints],
) -> dict[str, Ints]:
    """Gain, offset, their unit, slope and its unit.

    Parameters
    ----------
    channel : exponent, scale and mean
    gamma, beta : of `FP10` and FP32 codes
    coarsest : units of channels -> the largest of each one's block
    """
    exponent, scale, mean = channel
    negative, significand, place_of = gamma
    minus, digits, at = beta
    # gamma s in units of 2**(gamma's - P - 1) / 2**e: its five bits and the P of s.
    exact = significand * scale
    gamma_exponent = place_of + 4
    reach = vector.bit_length(digits) - 1 + at
    grid = np.where(digits > 0, np.maximum(gamma_exponent, reach - REACH), gamma_exponent)
    grid = coarsest(grid)
    own = gamma_exponent + 1 - precision - exponent
    slope_unit = coarsest(own)
    unit = grid + 1 - fraction
    sign = 1 - 2 * negative
    gain = sign * rounded_shift(exact, 5 + grid - gamma_exponent)
    # 2**(fraction + REACH) at most, where beta gives the unit and is carried.
    moved = (1 - 2 * minus) * rounded_shift(digits, unit - at)
    return {
        "gain": gain,
        "offset": moved - rounded_shift(gain * mean, precision),
        "unit": unit,
        "slope": sign * rounded_shift(exact, 5 + slope_unit - own),
        "slope_unit": slope_unit,
    }


def centred(window: int, total: Ints, moment: Ints, scale: Ints, mean: Ints) -> Ints:
    """The sum of g (x - mu) from those of g, on its window, and of g x."""
    # In a constant channel what is left is the rounding of mu, and no gradient.
    return np.where(scale == 0, 0, moment - rounded_shift(total * mean, window))


def factor(scale: Ints, c: npt.ArrayLike) -> Ints:
    """The product of c and s, in the bits of s."""
    return rounded_shift(scale * np.asarray(c, np.int64), 16)


def patch(product: Ints, factor: Ints, right: npt.ArrayLike, window: int) -> Ints:
    """(c / K) dgamma in 2**-`GUARD` of the unit of g's window, clipped; `right` without guard."""
    most = (1 << (window + GUARD + ABOVE)) - 1
    exact = rounded_shift(product * factor, np.asarray(right, np.int64) - GUARD)
    return np.clip(exact, -most, most)


def taken_off(precision: int, window: int, product: int, slope: Ints, value: Ints) -> Ints:
    """Mean or patch of g times gamma s, in the unit of dx's sums.

    Parameters
    ----------
    window, product : bits of the windows of g and of a product
    """
    return rounded_shift(slope * value, precision + window + GUARD - product)


def fp32(values: Ints, unit: npt.ArrayLike) -> Ints:
    """FP32 codes of values times 2**unit, rounded once."""
    return vector.round_pack(
        FP32,
        values < 0,
        np.abs(values),
        unit,
        rounding=Rounding.RNE,
        overflow=Overflow.NONFINITE,
    )
