"""Coverage of `mx_quantize`: number classes, scales, ties in search and rounding, saturation."""

import numpy as np

from narrowgauge.golden.formats import BF16, vector
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.mx_quantize import Params
from narrowgauge.verify.units.dot import Bins, operand_bins

__all__ = ["coverage"]

_SEARCH = (
    *("outlier_tie_inside", "outlier_tie_at_the_edge", "outlier_of_the_scale", "outlier_far_above"),
    *("specials_all_kept", "specials_too_many", "first_position", "final_position"),
)
"""Bins of the search for outliers, which a block without them does not show."""


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a block."""
    x, scale, codes = batch["x"], outputs["scale"], outputs["codes"]
    magnitude = x & 0x7FFF
    ordered = -np.sort(-magnitude, axis=1)
    special = (magnitude >= 0x7F80).sum(axis=1)
    low_codes = batch["low"] == 1 if params.b_low else np.zeros(len(x), np.bool_)
    plain = batch["plain"] == 1 if params.b_low else np.zeros(len(x), np.bool_)
    kept = np.ones(x.shape, np.bool_)
    if params.n:
        np.put_along_axis(kept, outputs["positions"], plain[:, None], axis=1)
    # Distance of kept elements from the block's grid, in half steps of the last code.
    u = vector.unpack(BF16, x)
    bits = np.where(low_codes, params.b_low, params.b)[:, None]
    fraction = bits - 2 if params.element == "int" else 1
    low = u.exponent - (scale[:, None] - 127) + fraction
    rest = u.significand & ((np.int64(1) << np.clip(-low, 0, 40)) - 1)
    tie = kept & (low < 0) & (low > -40) & (rest == np.int64(1) << np.clip(-low - 1, 0, 40))
    most = (1 << (bits - 1)) - 1
    whole = u.significand >> np.clip(-low, 0, 62)
    even = whole % 2 == 0
    bins: Bins = {
        **operand_bins("x", x),
        "zero_block": (magnitude == 0).all(axis=1),
        "scale_zero": (scale == 0) & (magnitude > 0).any(axis=1),
        "scale_one": scale == 1,
        "scale_largest": scale == (254 if params.element == "int" else 252),
        "scale_nan": scale == 255,
        "code_most": ((codes & most) == most).any(axis=1) & (scale < 255)
        if params.element != "int"
        else (codes == most).any(axis=1),
        "tie_to_even": (tie & even).any(axis=1) & (scale < 255),
        "tie_from_odd": (tie & ~even).any(axis=1) & (scale < 255),
    }
    if params.element == "int":
        bins["code_least"] = (codes == -most).any(axis=1)
        clipped = kept & (whole >= most) & (rest << 1 >= np.int64(1) << np.clip(-low, 0, 40))
        bins["saturated"] = (clipped & (low < 0)).any(axis=1) & (scale < 255)
    if params.b_low:
        before = np.roll(low_codes, 1)
        bins |= {
            "low": low_codes & ~plain,
            "low_plain": low_codes & plain,
            "high_plain": ~low_codes & plain,
            "low_after_high": low_codes & ~before,
            "high_after_low": ~low_codes & before,
            "low_saturated": bins["saturated"] & low_codes,
            "low_scale_nan": (scale == 255) & low_codes,
            "low_scale_zero": bins["scale_zero"] & low_codes,
            "low_scale_largest": (scale == 254) & low_codes,
            "plain_zero_block": bins["zero_block"] & plain,
            "plain_first_elements_kept": plain & codes[:, : max(params.n, 1)].any(axis=1),
        }
    if params.n:
        n = params.n
        first, final = outputs["positions"] == 0, outputs["positions"] == params.k - 1
        bins |= {
            "outlier_tie_inside": (ordered[:, : n - 1] == ordered[:, 1:n]).any(axis=1)
            if n > 1
            else ordered[:, 0] == ordered[:, 1],
            "outlier_tie_at_the_edge": ordered[:, n - 1] == ordered[:, n],
            "outlier_of_the_scale": (ordered[:, n - 1] >> 7) == (ordered[:, n] >> 7),
            "outlier_far_above": (ordered[:, 0] >> 7) > (ordered[:, n] >> 7) + 8,
            "specials_all_kept": (special > 0) & (special <= n),
            "specials_too_many": special > n,
            "first_position": first.any(axis=1),
            "final_position": final.any(axis=1),
        }
        if params.b_low:
            bins |= {name: hit & ~plain for name, hit in bins.items() if name in _SEARCH}
            bins["plain_special"] = plain & (special > 0)
    return bins
