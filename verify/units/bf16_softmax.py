"""Coverage of `bf16_softmax`: scores, masks, lengths of rows, sizes of probabilities."""

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.bf16_softmax import Params
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
    kept = np.minimum(rows.lengths, params.length)
    place = np.concatenate([s + np.arange(k) for s, k in zip(rows.starts, kept, strict=True)])
    p = np.full(len(batch["x"]), -1)
    p[place] = outputs["p"]
    live = (batch["mask"] == 0) & (batch["x"] != 0xFF80) & (p >= 0)
    return {
        **score_bins(params.length, batch),
        "p_one": p == 0x3F80,
        "p_most": live & (p > 0x3F00) & (p < 0x3F80),
        "p_small": live & (p > 0) & (p < 0x2000),
        "p_flushed": live & (p == 0),
        "nan": p == 0x7FC0,
        "clipped": live & (p < 0x7F80) & ((batch["x"] >> 7 & 0xFF) > 133),
    }
