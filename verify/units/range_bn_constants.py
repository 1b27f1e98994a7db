"""Coverage of `range_bn_constants`: blocks, channels at their ends, ties of every rounding."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import vector
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.range_bn import FP10, rounded_shift
from narrowgauge.golden.units.range_bn_constants import Params, answered
from narrowgauge.golden.units.window import FP32
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as stream_claims
from narrowgauge.verify.units.dot import Bins, Bools, Ints, per_dot

__all__ = ["claims", "coverage"]


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake: blocks differ in length."""
    return stream_claims(params, HANDSHAKE)


def _tie(values: Ints, right: npt.ArrayLike) -> Bools:
    """Whether values times 2**-right lie half-way between two integers."""
    places = np.clip(np.asarray(right, np.int64), 1, 61)
    half = np.int64(1) << (places - 1)
    return (places == right) & (values & (2 * half - 1) == half)


def _tie_fp32(values: Ints) -> Bools:
    magnitude = np.abs(values)
    return _tie(magnitude, vector.bit_length(magnitude) - 24)


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat of the input."""
    forward, block = answered(params, batch)
    kept = block >= 0
    rows = {name: values[kept] for name, values in batch.items()}
    there, backward = forward[kept], ~forward[kept]
    bins = _of_forward(params, rows, outputs, there) | _of_backward(params, rows, outputs, backward)
    number = block[kept]
    size = np.bincount(number)[number]
    final = np.append(np.diff(number) > 0, [True])[: len(number)]
    turned = np.append([False], np.diff(there.astype(np.int8)) != 0)[: len(there)]
    bins |= {
        "whole_block": there & (size == params.group),
        "block_without_last": there & final & (rows["last"] == 0),
        "block_with_last": there & final & (rows["last"] == 1),
        "direction_changes": turned,
        "backward_last": backward & (rows["last"] == 1),
    }
    if params.group > 1:
        bins |= {
            "short_block": there & (size < params.group),
            "block_of_one": there & (size == 1),
            "backward_in_a_block": there & (rows["backward"] == 1),
        }
    return {name: per_dot(kept, hit) for name, hit in bins.items()}


def _of_forward(params: Params, x: Batch, y: Batch, there: Bools) -> Bins:
    P, f = params.precision, params.fraction
    base = np.maximum(x["base"] & 31, 1) - params.formats[0].bias
    unit = base + 1 - params.window
    spread, total = x["spread"], x["total"]
    product = spread * x["c"]
    live = there & (spread > 0)
    mean_bits = params.mean_bits - 1
    most = (1 << mean_bits) - 1
    exponent = y["exponent"] - params.exponent_offset
    right = x["shift"] + exponent - f - unit
    gamma, beta = vector.unpack(FP10, x["gamma"]), vector.unpack(FP32, x["beta"])
    exact = gamma.significand * y["scale"]
    grid = y["unit"] - 1 + f
    gain_right = 5 + grid - (gamma.exponent + 4)
    slope_right = 5 + y["slope_unit"] - (gamma.exponent + 5 - P - exponent)
    offset_right = y["unit"] - beta.exponent
    good = there & (y["bad"] == 0)
    # Where beta gives the unit, it fills so many bits before it is rounded.
    beta_bits = f + params.reach
    moved = beta.significand / 2.0 ** np.clip(offset_right, -60, 60)
    taken = y["gain"] * y["mean"]
    vanishes = good & (exact > 0) & (y["slope"] == 0)
    return {
        "forward": there,
        "base_0": there & (x["base"] == 0),
        "base_above": there & (x["base"] > 31),
        "constant": there & (spread == 0) & (total != 0),
        "nothing": there & (spread == 0) & (total == 0),
        "without_epsilon": live & (x["epsilon"] == 0),
        "epsilon_dominates": live & (x["epsilon"] > product << 4),
        "deviation_0": live & (product + x["epsilon"] == 0),
        "deviation_small": live & (product + x["epsilon"] < 1 << (P + 3)),
        "power_of_two": live & (y["scale"] == (1 << P) - 1),
        "mean_clipped_above": there & (y["mean"] == most),
        "mean_clipped_below": there & (y["mean"] == -most),
        "mean_just_fits": there & (np.abs(y["mean"]) >> (mean_bits - 1) == 1),
        "mean_tie": live & _tie(total * x["inverse"], right),
        "mean_shifted_left": live & (right < 0) & (total != 0),
        "mean_vanishes": live & (y["mean"] == 0) & (total * x["inverse"] != 0),
        "gamma_zero": there & gamma.is_zero & (gamma.sign == 0),
        "gamma_minus_zero": there & gamma.is_zero & (gamma.sign == 1),
        "gamma_subnormal": there & ~gamma.is_zero & (x["gamma"] & 0x1F0 == 0),
        "gamma_negative": live & good & (y["gain"] < 0),
        "gamma_bad": there & (gamma.is_nan | gamma.is_inf),
        "beta_zero": there & beta.is_zero,
        "beta_subnormal": there & ~beta.is_zero & (x["beta"] & 0x7F800000 == 0),
        "beta_bad": there & (beta.is_nan | beta.is_inf),
        "beta_gives_unit": good & (moved >= 1 << beta_bits - 1),
        "beta_vanishes": good & (moved <= 0.5) & (beta.significand > 0),
        "beta_carried": good & (moved >= (1 << beta_bits) - 0.5),
        "beta_tie": good & _tie(beta.significand, offset_right),
        "offset_tie_even": good & _tie(taken, P) & (np.rint(moved) % 2 == 0),
        "offset_tie_odd": good & _tie(taken, P) & (np.rint(moved) % 2 == 1),
        "offset_above_product": good & (np.abs(y["offset"]) >> mean_bits > 0),
        "gain_times_mean_vanishes": good & (taken != 0) & (np.abs(taken) < 1 << P - 1),
        "gain_tie": good & _tie(exact, gain_right),
        "slope_tie": good & _tie(exact, slope_right),
        "gain_vanishes": good & (exact > 0) & (y["gain"] == 0),
        **({"slope_vanishes": vanishes} if params.group > 1 else {}),
    }


def _of_backward(params: Params, g: Batch, y: Batch, there: Bools) -> Bins:
    P, f, K = params.precision, params.fraction, g["chunk_bits"]
    window, guard, bits = params.gradient_window, params.guard, params.product_bits
    centred = np.where(
        g["scale"] == 0, 0, g["moment"] - rounded_shift(g["total"] * g["mean"], window)
    )
    product = (centred + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
    both = rounded_shift(g["scale"] * g["c"], 16)
    extreme = rounded_shift(product * both, P + f + K - window - guard)
    most = (1 << window + guard + params.above) - 1
    mean = rounded_shift(g["total"] * g["inverse"], g["shift"] - guard)
    off = g["slope"] * mean
    right = P + window + guard - (params.mean_bits - 1)
    # Where results have more fraction bits than the factors, nothing is rounded.
    ties = {
        "patch_slope_tie": there & _tie(g["slope"] * np.clip(extreme, -most, most), right),
        "mean_slope_tie": there & _tie(off, right),
    }
    return {
        "backward": there,
        "total_negative": there & (g["total"] < 0),
        "total_0": there & (g["total"] == 0),
        "total_exact": there & (g["total"] != 0) & (np.abs(g["total"]) < 1 << 24),
        "mean_of_x_negative": there & (g["total"] * g["mean"] != 0) & (g["mean"] < 0),
        "mean_of_x_least": there & (g["mean"] == params.input["mean"].limits[0]),
        "product_negative": there & (product * g["scale"] < 0),
        "product_tie": there & (g["scale"] > 0) & _tie(g["total"] * g["mean"], window),
        "product_wraps": there & (centred != product),
        "scale_0": there & (g["scale"] == 0) & (g["moment"] != 0),
        "dgamma_0": there & (product * g["scale"] == 0),
        "dgamma_tie": there & _tie_fp32(product * g["scale"]),
        "mean_of_g_tie": there & _tie(g["total"] * g["inverse"], g["shift"] - guard),
        "mean_of_g_shifted_left": there & (g["shift"] < guard) & (g["total"] != 0),
        "factor_tie": there & _tie(g["scale"] * g["c"], 16),
        "patch_tie": there & _tie(product * both, P + f + K - window - guard),
        "patch_clipped_above": there & (extreme > most),
        "patch_clipped_below": there & (extreme < -most),
        "patch_just_fits": there & (np.abs(extreme) <= most) & (np.abs(extreme) > most // 2),
        "slope_0": there & (g["slope"] == 0) & (g["total"] != 0),
        "slope_negative": there & (g["slope"] < 0) & (y["offset"] != 0) & (y["patch"] != 0),
        **(ties if right > 0 else {}),
    }
