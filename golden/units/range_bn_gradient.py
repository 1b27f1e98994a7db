"""The backward pass of range batch normalisation, see `range_bn`.

    dbeta = sum g    dgamma = s sum g d    dx = gamma s (g - dbeta / N -+ (c / K) dgamma)

The first pass over g and x adds up g, placed on a window of its own, and the products of the codes
of both; the mean of x is taken off their sum. dbeta and dgamma are rounded to FP32 once. The second
is over g alone: the products of its codes with gamma s, and constants for the mean and, at the
extremes, for the patch, which have `GUARD` bits below the window of g, to nearest; the patch is
clipped to 2^`ABOVE` times the window. The sum is rounded once, to its block.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.units.range_bn import (
    ROOM,
    Blocks,
    Layer,
    RangeBn,
    blocks_of,
    chunk_of,
    gained,
    place,
    place_product,
    rounded_shift,
)
from narrowgauge.golden.units.range_bn_passes import Constants, Statistics
from narrowgauge.golden.units.range_bn_steps import (
    ABOVE,
    GUARD,
    centred,
    factor,
    fp32,
    patch,
    taken_off,
)

__all__ = [
    "ABOVE",
    "GUARD",
    "Gradients",
    "gathered",
    "gradients",
    "moments",
    "propagate",
    "shifts",
    "sloped",
    "totals",
]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Gradients:
    """What the first pass gathers of each channel; every array is (channels,).

    Parameters
    ----------
    base : exponent of the window of g
    total : the sum of g, in the window's unit
    moment : the sum of g x, in 2**(base + 1 + e - fraction)
    product : that of g (x - mu) in the same unit, 0 in a channel that is constant
    dbeta, dgamma : FP32 codes
    clipped : whether a value of g did not fit the window
    """

    base: int
    total: Ints
    moment: Ints
    product: Ints
    dbeta: Ints
    dgamma: Ints
    clipped: Bools


def gradients(
    params: RangeBn, made: Constants, x: Blocks, g: Blocks, base: int | None = None
) -> Gradients:
    """The first pass over g and x; without `base` the window begins at g's largest exponent."""
    if x.codes.shape != g.codes.shape:
        raise UsageError(f"g must be of shape {x.codes.shape} as x, got {g.codes.shape}")
    top = g.base if base is None else base
    placed, clipped = place(g, params.gradient_window, top)
    total = placed.sum(axis=0)
    moment = moments(params, made.exponent, top, x, g).sum(axis=0)
    return gathered(params, made, top, total, moment, np.logical_or.reduce(clipped, axis=0))


def gathered(
    params: RangeBn, made: Constants, base: int, total: Ints, moment: Ints, clipped: Bools
) -> Gradients:
    """The first pass's answer from its sums, see `Gradients`."""
    product = centred(params.gradient_window, total, moment, made.scale, made.mean)
    units = np.array([[1 - params.gradient_window], [1 - params.fraction - params.precision]])
    dbeta, dgamma = fp32(np.stack([total, product * made.scale]), base + units)
    return Gradients(
        base=base,
        total=total,
        moment=moment,
        product=product,
        dbeta=dbeta,
        dgamma=dgamma,
        clipped=clipped,
    )


def moments(params: RangeBn, exponent: Ints, base: npt.ArrayLike, x: Blocks, g: Blocks) -> Ints:
    """The products g x in 2**(base + 1 + exponent - fraction); shape of the codes."""
    bits = x.fmt.mantissa_bits + g.fmt.mantissa_bits
    codes = np.where(x.nan | g.nan, 0, x.codes * g.codes)
    right = exponent + ROOM - 1 - x.exponents() + (np.asarray(base, np.int64) - g.exponents())
    moved = place_product(np.abs(codes), bits, right, params.product)
    return np.where(codes < 0, -moved, moved)


def shifts(params: RangeBn, layer: Layer, made: Constants, sums: Gradients) -> tuple[Ints, Ints]:
    """What the mean of g takes off, and what the patch takes off at the largest; (channels,).

    In the unit of dx's sums, 2**(precision + slope_unit + base + 1 - product).
    """
    inverse, shift = layer.inverse
    mean = rounded_shift(sums.total * inverse, shift - GUARD)
    # Of (c / K) dgamma, c has 16 bits, s the precision, and the sum the fraction.
    window, product = params.gradient_window, params.product
    right = params.fraction + params.precision + params.chunks.bit_length() - 1 - window
    extreme = patch(sums.product, factor(made.scale, layer.c), right, window)
    off, at_extreme = (
        taken_off(params.precision, window, product, made.slope, each) for each in (mean, extreme)
    )
    return off, at_extreme


def sloped(params: RangeBn, base: npt.ArrayLike, slope: Ints, g: Blocks) -> Ints:
    """The products slope g in the unit of dx's sums; shape of `g.codes`."""
    return gained(params, g, slope, np.asarray(base, np.int64) - g.exponents())


def totals(
    params: RangeBn,
    layer: Layer,
    stats: Statistics,
    made: Constants,
    sums: Gradients,
    g: Blocks,
) -> Ints:
    """The sums that dx is rounded from, in their unit (see `shifts`); shape of `g.codes`."""
    if g.codes.shape != (layer.count, len(made.scale)):
        raise UsageError(
            f"g must be of shape {(layer.count, len(made.scale))}, got {g.codes.shape}"
        )
    mean, patch = shifts(params, layer, made, sums)
    position = np.arange(layer.count)
    chunk = chunk_of(layer, position)
    total = sloped(params, sums.base, made.slope, g) - mean
    total -= np.where(stats.largest[chunk] == position[:, None], patch, 0)
    total += np.where(stats.least[chunk] == position[:, None], patch, 0)
    return total


def propagate(
    params: RangeBn,
    layer: Layer,
    stats: Statistics,
    made: Constants,
    sums: Gradients,
    g: Blocks,
) -> Blocks:
    """The second pass: dx, in blocks; a NaN block stays one."""
    total = totals(params, layer, stats, made, sums, g)
    unit = params.precision + made.slope_unit + sums.base + 1 - params.product
    return blocks_of(params.backward, total, unit, g.nan)
