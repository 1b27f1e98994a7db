"""Coverage of `word_pack`: where beats lie in words, how tensors end."""

import math

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.word_pack import Params
from narrowgauge.verify.prove.stream import StreamClaim, row_claims
from narrowgauge.verify.units.dot import Bins
from narrowgauge.verify.units.words import piece_bins, positions

__all__ = ["claims", "coverage"]


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake; and all claims where no beat but a tensor's last is answered."""
    longest = (params.word - 1) // params.beat + 1
    return row_claims({n: -(-n * params.beat // params.word) for n in sorted({1, longest})})


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat; only what can be with these sizes."""
    beat, word = params.beat, params.word
    unit = math.gcd(beat, word)
    bins = piece_bins(batch, beat, word)
    start = positions(batch["last"], beat)
    last = batch["last"] == 1
    fill = -(start + beat) % word
    ended = (start + beat) // word > start // word
    bins |= {
        "last_word_full": last & (fill == 0),
        "zeros": (batch["codes"] == 0).all(axis=1) & (batch["scales"] == 0).all(axis=1),
        "ones": (batch["codes"] == -params.format.element.max).all(axis=1)
        & (batch["scales"] == params.format.nan_field).all(axis=1),
    }
    if unit < 8:
        bins["fills_bits"] = last & (fill > 0) & (fill < 8)
    if max(unit, word - unit) >= 8 and word > unit:
        bins["empty_bytes"] = last & (fill >= 8)
    if unit < min(beat, word):
        bins["one_more_word"] = last & ended & (fill > 0)
    return {name: np.asarray(hit, np.bool_) for name, hit in bins.items()}
