"""The backward pass of range batch normalisation, see `range_bn`.

    dbeta = sum g    dgamma = s sum g d    dx = gamma s (g - dbeta / N -+ (c / K) dgamma)

g is placed on a window of its own. The first pass over g and x adds up g and g d exactly; dbeta and
dgamma are rounded to FP32 once. The second is over g alone: mean and patch have `GUARD` bits below
the window, to nearest; the patch is clipped to 2^`ABOVE` times the window. The bracket's product
with gamma s is exact and rounded once, to its block.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Overflow, Rounding, vector
from narrowgauge.golden.units.range_bn import (
    Blocks,
    Layer,
    RangeBn,
    blocks_of,
    chunk_of,
    place,
    rounded_shift,
)
from narrowgauge.golden.units.range_bn_passes import Constants, Statistics, differences
from narrowgauge.golden.units.window import FP32

__all__ = ["ABOVE", "GUARD", "Gradients", "brackets", "gradients", "patches", "propagate"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

GUARD, ABOVE = 2, 2
"""Bits of mean and patch below the window's unit, and of the patch above the window."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Gradients:
    """What the first pass gathers of each channel; every array is (channels,).

    Parameters
    ----------
    base : exponent of the window of g
    total, product : the sums of g and of g d, in the units of the window and of the differences
    dbeta, dgamma : FP32 codes
    clipped : whether a value of g did not fit the window
    """

    base: int
    total: Ints
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
    apart = differences(params.fraction, made.exponent, made.mean, x)
    product = (placed * apart).sum(axis=0)
    unit = top + 1 - params.gradient_window
    # In a constant channel a difference is the rounding of mu, and no gradient.
    exact = np.where(made.scale == 0, 0, product * made.scale)
    return Gradients(
        base=top,
        total=total,
        product=product,
        dbeta=_fp32(total, unit),
        dgamma=_fp32(exact, unit - params.precision - params.fraction),
        clipped=np.logical_or.reduce(clipped, axis=0),
    )


def _fp32(values: Ints, unit: int) -> Ints:
    return vector.round_pack(
        FP32,
        values < 0,
        np.abs(values),
        unit,
        rounding=Rounding.RNE,
        overflow=Overflow.NONFINITE,
    )


def patches(params: RangeBn, layer: Layer, made: Constants, sums: Gradients) -> tuple[Ints, Ints]:
    """The mean of g and the clipped (c / K) dgamma, in 2**-`GUARD` of the window's unit."""
    inverse, shift = layer.inverse
    mean = rounded_shift(sums.total * inverse, shift - GUARD)
    # Of (c / K) dgamma, c has 16 bits, s the precision, and d the fraction.
    factor = rounded_shift(made.scale * layer.c, 16)
    chunk_bits = params.chunks.bit_length() - 1
    patch = rounded_shift(
        sums.product * factor, params.precision + params.fraction + chunk_bits - GUARD
    )
    most = (1 << (params.gradient_window + GUARD + ABOVE)) - 1
    return mean, np.clip(patch, -most, most)


def brackets(
    params: RangeBn,
    layer: Layer,
    stats: Statistics,
    made: Constants,
    sums: Gradients,
    g: Blocks,
) -> Ints:
    """What gamma s multiplies, in 2**-`GUARD` of the window's unit; shape of `g.codes`."""
    if g.codes.shape != (layer.count, len(made.scale)):
        raise UsageError(
            f"g must be of shape {(layer.count, len(made.scale))}, got {g.codes.shape}"
        )
    placed, _ = place(g, params.gradient_window, sums.base)
    mean, patch = patches(params, layer, made, sums)
    position = np.arange(layer.count)
    chunk = chunk_of(layer, position)
    total = (placed << GUARD) - mean
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
    total = brackets(params, layer, stats, made, sums, g) * made.slope
    unit = made.slope_unit + sums.base + 1 - params.gradient_window - GUARD
    return blocks_of(params.backward, total, unit, g.nan)
