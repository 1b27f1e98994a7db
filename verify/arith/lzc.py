"""Coverage of the leading-zero count: every count, and the word 0."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.lzc import Params
from narrowgauge.golden.payload import Batch

__all__ = ["coverage"]


def coverage(params: Params, batch: Batch, outputs: Batch) -> dict[str, npt.NDArray[np.bool_]]:
    """A bin for each place of the first one, one for none."""
    bins = {
        f"count_{n}": (outputs["count"] == n) & (outputs["zero"] == 0) for n in range(params.width)
    }
    bins["zero"] = batch["word"] == 0
    bins["ones"] = batch["word"] == (1 << params.width) - 1
    return bins
