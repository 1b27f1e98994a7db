"""The forward passes of range batch normalisation, see `range_bn`: statistics, constants, y."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import FloatFormat, vector
from narrowgauge.golden.units.range_bn import (
    FP10,
    ROOM,
    Blocks,
    Layer,
    RangeBn,
    blocks_of,
    gained,
    place,
)
from narrowgauge.golden.units.range_bn_steps import CONSTANT, affine, centre, deviation
from narrowgauge.golden.units.window import FP32

__all__ = [
    "CONSTANT",
    "MOST_EPSILON",
    "Constants",
    "Statistics",
    "coarsest",
    "constants",
    "normalize",
    "scaled",
    "statistics",
]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


MOST_EPSILON = (1 << 48) - 1
"""The largest epsilon in the unit of c R; a layer's is below, but for a window far below 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """What the first pass gathers of each channel.

    Parameters
    ----------
    base : exponent of the window; its unit is 2**(base + 1 - window)
    total : (channels,), the sum
    spread : (channels,), the sum of the chunks' ranges
    largest, least : (chunks, channels), positions of the extremes in the tensor
    clipped : (channels,), whether a value did not fit the window
    """

    base: int
    total: Ints
    spread: Ints
    largest: Ints
    least: Ints
    clipped: Bools


def statistics(params: RangeBn, layer: Layer, x: Blocks, base: int | None = None) -> Statistics:
    """The first pass over x; without `base` the window begins at x's largest exponent."""
    if len(x.codes) != layer.count:
        raise UsageError(f"x must have {layer.count} positions, got {len(x.codes)}")
    top = x.base if base is None else base
    placed, clipped = place(x, params.window, top)
    starts = layer.starts()
    ends = np.append(starts[1:], layer.count)
    # The first of equal ones: argmax and argmin tell it.
    largest = [a + placed[a:b].argmax(axis=0) for a, b in zip(starts, ends, strict=True)]
    least = [a + placed[a:b].argmin(axis=0) for a, b in zip(starts, ends, strict=True)]
    channels = np.arange(placed.shape[1])
    high, low = np.array(largest), np.array(least)
    return Statistics(
        base=top,
        total=placed.sum(axis=0),
        spread=(placed[high, channels] - placed[low, channels]).sum(axis=0),
        largest=high,
        least=low,
        clipped=np.logical_or.reduce(clipped, axis=0),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Constants:
    """What the second pass multiplies and adds, of each channel; every array is (channels,).

    Parameters
    ----------
    exponent : e; `CONSTANT` in a channel that is
    mean : mu in the unit 2**(e - fraction), clipped
    scale : s_q; s = s_q 2**-(precision + e). 0 in a channel that is constant
    gain : gamma s in 2**(unit + fraction - precision - e)
    offset : beta - gamma s mu in 2**unit
    unit : exponent of the unit of y's sums, the same for the channels of a block
    slope, slope_unit : gamma s = slope 2**slope_unit, for gradients; one unit a block as well
    """

    exponent: Ints
    mean: Ints
    scale: Ints
    gain: Ints
    offset: Ints
    unit: Ints
    slope: Ints
    slope_unit: Ints


def coarsest(units: Ints, group: int) -> Ints:
    """The largest of each block's units, for all of its channels."""
    return np.repeat(units.reshape(-1, group).max(axis=1), group)


def constants(
    params: RangeBn, layer: Layer, stats: Statistics, gamma: npt.ArrayLike, beta: npt.ArrayLike
) -> Constants:
    """Mean, exponent and scale from statistics, gain and offset with gamma and beta.

    Parameters
    ----------
    gamma : (channels,), finite codes of `FP10`
    beta : (channels,), finite FP32 codes
    """
    P, f = params.precision, params.fraction
    unit = stats.base + 1 - params.window
    # c R + eps is in 2**-(16 + chunk bits) of the window's unit.
    place_of = unit - 16 - (params.chunks.bit_length() - 1)
    epsilon = min(round(layer.epsilon * 2.0**-place_of), MOST_EPSILON)
    exponent, scale = deviation(P, stats.spread, layer.c, epsilon, place_of)
    inverse, shift = layer.inverse
    mean = centre(f, scale, stats.total, inverse, shift + exponent - f - unit)
    made = affine(
        P,
        f,
        (exponent, scale, mean),
        _decoded(FP10, gamma, "gamma"),
        _decoded(FP32, beta, "beta"),
        lambda units: coarsest(units, params.group),
    )
    return Constants(exponent=exponent, mean=mean, scale=scale, **made)


def _decoded(fmt: FloatFormat, codes: npt.ArrayLike, name: str) -> tuple[Ints, Ints, Ints]:
    """Sign, significand and exponent of finite codes."""
    array = np.asarray(codes, np.int64)
    u = vector.unpack(fmt, array)
    bad = array[u.is_nan | u.is_inf]
    if bad.size:
        raise UsageError(f"{name} must be finite, got code {int(bad[0]):#x} of {fmt.name}")
    return u.sign, u.significand, u.exponent


def scaled(params: RangeBn, exponent: Ints, gain: Ints, x: Blocks) -> Ints:
    """The products gain x in the unit of y's sums; shape of `x.codes`.

    `exponent` and `gain` are those of `Constants`, of each channel or of each element.
    """
    return gained(params, x, gain, exponent + ROOM - 1 - x.exponents())


def normalize(params: RangeBn, made: Constants, x: Blocks) -> Blocks:
    """The second pass: y, in blocks; a NaN block stays one."""
    total = scaled(params, made.exponent, made.gain, x) + made.offset
    return blocks_of(params.forward, total, made.unit, x.nan)
