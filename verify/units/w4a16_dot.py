"""Coverage of `w4a16_dot`: operand classes, distances on the window, special values, results."""

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.w4a16_dot import Params
from narrowgauge.verify.units.dot import Bins, operand_bins, result_bins

__all__ = ["coverage"]


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat."""
    a, w, scale = batch["a"], batch["w"], batch["w_scale"]
    field = np.maximum((a >> 7) & 0xFF, 1)
    distance = field.max(axis=1)[:, None] - field
    infinite = a & 0x7FFF == 0x7F80
    top = (1 << (params.w_bits - 1)) - 1
    product = params.w_bits + 7
    return {
        **operand_bins("a", a),
        "w_zero": (w == 0).any(axis=1),
        "w_most": (w == top).any(axis=1),
        "w_least": (w == -top).any(axis=1),
        "w_scale_zero": scale == 0,
        "w_scale_nan": scale == 255,
        "inf_times_zero": (infinite & (w == 0)).any(axis=1),
        "all_in_window": (distance <= params.shift).all(axis=1),
        "cut_off": (distance > params.shift).any(axis=1),
        "beyond_window": (distance > params.shift + product).any(axis=1),
        **result_bins(batch, outputs),
    }
