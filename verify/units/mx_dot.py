"""Coverage of `mx_dot`: scales, outliers, distances on the window, special values, results."""

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.mx_dot import Params
from narrowgauge.verify.units.dot import Bins, operand_bins, result_bins

__all__ = ["coverage"]


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a block."""
    a, w, scale = batch["a"], batch["w"], batch["a_scale"]
    top = ((1 << (params.a_bits - 1)) - 1) * ((1 << (params.w_bits - 1)) - 1)
    int_sum = (a * w).sum(axis=1)
    bins: Bins = {
        "a_scale_zero": scale == 0,
        "a_scale_nan": scale == 255,
        "w_scale_zero": batch["w_scale"] == 0,
        "w_scale_nan": batch["w_scale"] == 255,
        "int_sum_zero": int_sum == 0,
        "int_sum_most": int_sum == params.k * top,
        "int_sum_least": int_sum == -params.k * top,
        **result_bins(batch, outputs),
    }
    if not params.n:
        return bins
    outliers = batch["outliers"]
    field = np.maximum((outliers >> 7) & 0xFF, 1)
    reference = np.maximum(field.max(axis=1), scale)
    distance = reference[:, None] - field
    weights = np.take_along_axis(w, batch["positions"], axis=1)
    slots = np.take_along_axis(a, batch["positions"], axis=1)
    infinite = outliers & 0x7FFF == 0x7F80
    bins |= operand_bins("outlier", outliers)
    bins |= {
        "scale_is_reference": scale == reference,
        "int_sum_cut_off": (reference - scale > params.int_shift) & (int_sum < 0),
        "int_sum_beyond_window": reference - scale > params.int_shift + params.sum_bits,
        "outlier_cut_off": (distance > params.outlier_shift).any(axis=1),
        "outlier_beyond_window": (distance > params.outlier_shift + 16).any(axis=1),
        "slots_zero": (slots == 0).all(axis=1),
        "slot_in_use": (slots != 0).any(axis=1),
        "inf_times_zero": (infinite & (weights == 0)).any(axis=1),
        "first_position": (batch["positions"] == 0).any(axis=1),
        "final_position": (batch["positions"] == params.k - 1).any(axis=1),
    }
    if params.n > 1:
        ordered = np.sort(batch["positions"], axis=1)
        bins["positions_coincide"] = (np.diff(ordered, axis=1) == 0).any(axis=1)
    return bins
