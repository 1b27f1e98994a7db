"""Coverage of `log2_softmax`: scores, masks, how the maximum moves, codes, lengths of rows."""

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units import log2_softmax
from narrowgauge.golden.units.log2_softmax import Params
from narrowgauge.golden.units.scores import rows_of
from narrowgauge.verify.prove.stream import StreamClaim, row_claims
from narrowgauge.verify.units.dot import Bins
from narrowgauge.verify.units.scores import score_bins

__all__ = ["claims", "coverage"]


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake for any rows; all else for rows of one length."""
    return row_claims({size: min(size, params.length) for size in (1, 2, 5)})


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat of the input."""
    rows = rows_of(batch["last"])
    x = batch["x"]
    finite = (x & 0x7F80 != 0x7F80) & (batch["mask"] == 0)
    t = log2_softmax.logarithms(params, np.where(finite, x, 0))
    kept = np.minimum(rows.lengths, params.length)
    starts = np.cumsum(kept) - kept
    # Answers at the beats that they answer.
    size = len(x)
    place = np.concatenate([s + np.arange(k) for s, k in zip(rows.starts, kept, strict=True)])
    code, zero, nan = np.full(size, -1), np.zeros(size, np.int64), np.zeros(size, np.int64)
    for array, name in ((code, "code"), (zero, "zero"), (nan, "nan")):
        array[place] = outputs[name]
    good = finite & (nan == 0) & (code >= 0)
    first = np.zeros(size, np.bool_)
    first[rows.starts] = True
    rises = np.zeros(size, np.bool_)
    rises[1:] = good[1:] & good[:-1] & ~first[1:] & (t[1:] - t[:-1] >= 1 << params.fraction)
    clipped = ((x >> 7) & 0xFF) > params.reach + 126
    last_end = starts + kept - 1
    all_zero = np.zeros(size, np.bool_)
    all_zero[rows.starts] = np.minimum.reduceat(outputs["zero"], starts) == 1
    assert (outputs["last"][last_end] == 1).all()
    return {
        **score_bins(params.length, batch),
        "clipped": good & clipped,
        "t_zero": good & (t == 0) & (x & 0x7FFF > 0),
        "rises": rises,
        "code_0": good & (code == 0),
        "code_between": good & (code > 0) & (code < params.most),
        "code_most": good & (code == params.most) & (zero == 0),
        "nan": nan == 1,
        "all_zero": all_zero,
    }
