"""Coverage of `shift_attend`: codes, distances, sums of probabilities, special rows, results."""

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.scores import rows_of
from narrowgauge.golden.units.shift_attend import Params
from narrowgauge.verify.units.dot import Bins

__all__ = ["coverage"]


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat of the input; what holds of a row counts at its first beat."""
    rows = rows_of(batch["last"])
    size = len(batch["code"])
    live = batch["zero"] == 0
    distance = batch["reference"] - batch["scale"] + batch["code"]
    share = np.where(live, np.int64(1) << (params.sum_fraction - batch["code"]), 0)
    total = np.add.reduceat(share, rows.starts)
    limit = np.int64(1) << (params.sum_fraction + params.sum_bits)
    result = outputs["result"]
    magnitude = result & 0x7FFF
    finite = magnitude < 0x7F80
    whole = np.logical_and.reduceat(batch["nan"] == 0, rows.starts)

    def at_start(flags: np.ndarray | np.bool_) -> np.ndarray:
        made = np.zeros(size, np.bool_)
        made[rows.starts] = flags
        return made

    return {
        "code_0": live & (batch["code"] == 0),
        "code_most": live & (batch["code"] == params.sum_fraction),
        "zero": ~live,
        "nan": batch["nan"] == 1,
        "v_most": live & (batch["v"] == (1 << (params.v_bits - 1)) - 1).any(axis=1),
        "v_least": live & (batch["v"] == 1 - (1 << (params.v_bits - 1))).any(axis=1),
        "scale_equal": live & (batch["scale"] == batch["reference"]),
        "scale_below": live & (batch["scale"] < batch["reference"]),
        "scale_above": live & (batch["scale"] > batch["reference"]),
        "scale_above_masked": ~live & (batch["scale"] > batch["reference"]),
        "scale_nan": live & (batch["scale"] == 255),
        "reference_nan": live & (batch["reference"] == 255),
        "cut_off": live & (distance > params.fraction - params.v_bits + 2),
        "beyond": live & (distance > params.fraction + 1) & (distance < 255),
        "one_position": at_start(rows.lengths == 1),
        "sum_below_limit": at_start((total < limit) & (total >= limit - limit // 8)),
        "sum_at_limit": at_start(whole & (total == limit)),
        "sum_above_limit": at_start(whole & (total > limit)),
        "all_zero": at_start(total == 0),
        "positive": at_start((finite & (result < 0x8000) & (magnitude > 0)).any(axis=1)),
        "negative": at_start((finite & (result > 0x8000)).any(axis=1)),
        "subnormal": at_start((finite & (magnitude < 0x80) & (magnitude > 0)).any(axis=1)),
        "infinite": at_start((magnitude == 0x7F80).any(axis=1)),
        "row_nan": at_start((magnitude > 0x7F80).all(axis=1)),
    }
