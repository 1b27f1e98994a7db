"""Coverage of `bf16_dot`: operand classes, distances on the window, special values, results."""

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.bf16_dot import Params
from narrowgauge.verify.units.dot import Bins, operand_bins, result_bins

__all__ = ["coverage"]


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat."""
    a, b = batch["a"], batch["b"]
    field = np.maximum((a >> 7) & 0xFF, 1) + np.maximum((b >> 7) & 0xFF, 1)
    distance = field.max(axis=1)[:, None] - field
    infinite = [x & 0x7FFF == 0x7F80 for x in (a, b)]
    zero = [x & 0x7FFF == 0 for x in (a, b)]
    return {
        **operand_bins("a", a),
        **operand_bins("b", b),
        "inf_times_zero": (infinite[0] & zero[1] | infinite[1] & zero[0]).any(axis=1),
        "all_in_window": (distance <= params.shift).all(axis=1),
        "cut_off": (distance > params.shift).any(axis=1),
        "beyond_window": (distance > params.shift + 16).any(axis=1),
        **result_bins(batch, outputs),
    }
