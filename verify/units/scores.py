"""Coverage that softmax units share: scores, masks, lengths of rows."""

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.scores import rows_of
from narrowgauge.verify.units.dot import Bins

__all__ = ["score_bins"]


def score_bins(length: int, batch: Batch) -> Bins:
    """Bin name -> one bool a beat; what holds of a row counts at its first beat."""
    rows = rows_of(batch["last"])
    x, mask = batch["x"], batch["mask"] == 1
    size = len(x)

    def at_start(flags: np.ndarray) -> np.ndarray:
        made = np.zeros(size, np.bool_)
        made[rows.starts] = flags
        return made

    number = np.repeat(np.arange(len(rows.starts)), rows.lengths)
    equal = np.bincount(number, weights=x != x[rows.starts][number]) == 0
    nan = (x & 0x7F80 == 0x7F80) & (x & 0x7F > 0)
    return {
        "masked": mask,
        "masked_nan": mask & nan,
        "minus_infinity": ~mask & (x == 0xFF80),
        "plus_infinity": ~mask & (x == 0x7F80),
        "nan_score": ~mask & nan,
        "zero_score": ~mask & (x & 0x7FFF == 0),
        "subnormal": ~mask & (x & 0x7F80 == 0) & (x & 0x7F > 0),
        "equal_scores": at_start(equal & (rows.lengths > 1)),
        "one_element": at_start(rows.lengths == 1),
        "two_elements": at_start(rows.lengths == 2),
        "almost_full": at_start(rows.lengths == length - 1),
        "full": at_start(rows.lengths == length),
        "one_too_long": at_start(rows.lengths == length + 1),
        "far_too_long": at_start(rows.lengths > 2 * length),
    }
