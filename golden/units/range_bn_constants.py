"""Between the passes of range batch normalisation: constants of channels from their sums.

Forward, of the sums over x, gamma and beta, in blocks of `group` channels:

    s = 1 / (c R + eps)    mu = total / N    gain = slope = gamma s    offset = beta - gain mu

Backward, of the sums over g and what the forward answer gave, channel by channel:

    dbeta = total    dgamma = s (moment - mu total)    offset = -slope total / N
    patch = -slope (c / K) dgamma

Gain, offset, unit and patch are as `range_bn_array` loads them for y and for dx, and `exponent` as
it does for y and g x: e + `exponent_offset`. Units, and that of slope, are one a block.

A beat is a channel, and answered by one beat, in order. A block ends with `group` channels or with
`last`, after fewer; its answers begin when it has ended, since units are the coarsest of its
channels. `last` comes back with the answer of its own channel. A backward beat is answered by
itself; in a block that has begun every beat counts as forward.

Everything is as in `range_bn_steps`, for any codes of the fields; fields of the other direction are
0. A channel whose gamma or beta is NaN or Inf is `bad`: both count as 0. Beyond what a layer can
give, means of g, sums of g (x - mu) and units of dx wrap; the exponent of x's window is that of the
low bits of `base`.

Source: `golden.units.range_bn`, which cites the papers.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import FloatFormat, vector
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.range_bn import FP10, rounded_shift, wrapped
from narrowgauge.golden.units.range_bn_channels import vectors
from narrowgauge.golden.units.range_bn_fields import Channels
from narrowgauge.golden.units.range_bn_steps import (
    GUARD,
    affine,
    centre,
    centred,
    deviation,
    factor,
    fp32,
    patch,
    taken_off,
)
from narrowgauge.golden.units.scores import rows_of
from narrowgauge.golden.units.window import FP32

__all__ = ["Params", "answered", "model", "output_lengths", "vectors"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Params(Channels):
    """What: group, window, gradient_window, fraction, precision, chunks, position_bits.

    Parameters
    ----------
    group : channels of a block, a power of two, 1..64
    window, gradient_window : bits of the windows of x and g, 8..20
    fraction : f, bits of y's sums below gamma times the channel's power of two, 6..16
    precision : P, bits of s, of gains and slopes, 6..16
    chunks : most chunks of a tensor, a power of two, 1..16
    position_bits : bits of a position, 4..20
    """


def answered(params: Params, batch: Batch) -> tuple[Bools, Ints]:
    """Which beats are forward, and the block of each; -1 in a block without an end."""
    forward, block = [], []
    size, number = 0, 0
    for backward, last in zip(batch["backward"].tolist(), batch["last"].tolist(), strict=True):
        forward.append(size > 0 or not backward)
        block.append(number)
        size += 1
        if last or not forward[-1] or size == params.group:
            size, number = 0, number + 1
    blocks = np.array(block, np.int64)
    return np.array(forward, np.bool_), np.where(blocks == number, -1, blocks)


def model(params: Params, batch: Batch) -> Batch:
    """Channels to constants."""
    beats = params.input.check(batch)
    forward, block = answered(params, beats)
    kept = block >= 0
    made = params.output.beats(int(kept.sum()), last=beats["last"][kept])
    for here, there, work in (
        (forward & kept, forward[kept], _forward),
        (~forward, ~forward[kept], _backward),
    ):
        rows = {name: values[here] for name, values in beats.items()}
        for name, values in work(params, rows, block[here]).items():
            made[name][there] = values
    return made


def _infinite(fmt: FloatFormat, codes: Ints) -> Bools:
    assert fmt.inf_code is not None
    return (codes & fmt.magnitude_mask) >= fmt.inf_code


def _decoded(fmt: FloatFormat, codes: Ints) -> tuple[Ints, Ints, Ints]:
    u = vector.unpack(fmt, codes)
    return u.sign, u.significand, u.exponent


def _forward(params: Params, x: Batch, block: Ints) -> Batch:
    P, f = params.precision, params.fraction
    fmt = params.formats[0]
    base = np.maximum(x["base"] & fmt.nan_field, 1) - fmt.bias
    unit = base + 1 - params.window
    exponent, scale = deviation(P, x["spread"], x["c"], x["epsilon"], unit - 16 - x["chunk_bits"])
    mean = centre(f, scale, x["total"], x["inverse"], x["shift"] + exponent - f - unit)
    bad = _infinite(FP10, x["gamma"]) | _infinite(FP32, x["beta"])
    gamma = _decoded(FP10, np.where(bad, 0, x["gamma"]))
    beta = _decoded(FP32, np.where(bad, 0, x["beta"]))

    def coarsest(units: Ints) -> Ints:
        """The largest of each block."""
        numbers, where = np.unique(block, return_inverse=True)
        most = np.full(len(numbers), -(1 << 20), np.int64)
        np.maximum.at(most, where, units)
        return most[where]

    return {
        "exponent": exponent + params.exponent_offset,
        "mean": mean,
        "scale": scale,
        "bad": bad.astype(np.int64),
        **affine(P, f, (exponent, scale, mean), gamma, beta, coarsest),
    }


def _backward(params: Params, g: Batch, block: Ints) -> Batch:
    """Channel by channel, so that blocks do not matter."""
    del block
    P, f, window = params.precision, params.fraction, params.gradient_window
    base = np.maximum(g["base"], 1) - params.formats[1].bias
    scale = g["scale"]
    product = wrapped(
        centred(window, g["total"], g["moment"], scale, g["mean"]), params.product_bits
    )
    mean = rounded_shift(g["total"] * g["inverse"], g["shift"] - GUARD)
    extreme = patch(product, factor(scale, g["c"]), P + f + g["chunk_bits"] - window, window)
    wide = params.arithmetic.product
    off, at_extreme = (
        taken_off(P, window, wide, g["slope"], each)
        for each in (wrapped(mean, params.mean_of_g_bits), extreme)
    )
    return {
        "offset": -off,
        "patch": -at_extreme,
        "unit": wrapped(P + g["slope_unit"] + base + 1 - wide, params.output["unit"].width),
        "dbeta": fp32(g["total"], base + 1 - window),
        "dgamma": fp32(product * scale, base + 1 - f - P),
    }


def output_lengths(params: Params, outputs: Batch) -> Ints:
    """Beats that answer each transaction."""
    return rows_of(outputs["last"]).lengths
