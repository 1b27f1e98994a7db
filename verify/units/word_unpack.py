"""Coverage of `word_unpack`: where words lie in beats, how tensors end and are cut short."""

import math

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.word_unpack import Params, tensors
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim, row_claims
from narrowgauge.verify.prove.stream import claims as stream_claims
from narrowgauge.verify.prove.stream_rules import RULES
from narrowgauge.verify.units.dot import Bins, per_dot
from narrowgauge.verify.units.words import piece_bins

__all__ = ["claims", "coverage"]


_COUNTED = ("answer", "accept", "count", "idle")
"""Rules that allow a handshake that depends on the payload, as it does on `empty`."""


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake; and others where no word but a tensor's last is answered, and by one beat."""
    beat, word = params.beat, params.word
    if word >= 2 * beat:
        return stream_claims(params, HANDSHAKE)
    sizes = sorted({1, (beat - 1) // word + 1})
    return row_claims(dict.fromkeys(sizes, 1), tuple(RULES) if word <= beat else _COUNTED)


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a word; only what can be with these sizes."""
    beat, word, size = params.beat, params.word, params.word_bytes
    unit = math.gcd(beat, word)
    bins = piece_bins(batch, word, beat)
    at = tensors(params, batch)
    rest = at.bits - at.beats * beat
    last = batch["last"] == 1
    empty = batch.get("empty", batch["last"] * 0)
    bins["whole"] = per_dot(last, ~at.cut & (rest == 0))
    if unit < 8:
        bins["fill"] = per_dot(last, ~at.cut & (rest > 0))
    if word > max(unit, 8):
        bins["left"] = per_dot(last, at.left)
    if beat > 8:
        bins["missing"] = per_dot(last, at.missing)
    if beat > 8 + unit:
        bins["missing_after_some"] = per_dot(last, at.missing & (at.beats > 1))
    if size > 1:
        bins |= {
            "empty_most": last & (empty == size - 1),
            "empty_none": last & (empty == 0),
            "empty_not_read": ~last & (empty > 0),
        }
    if size & (size - 1):
        bins["empty_beyond"] = last & (empty >= size)
    return {name: np.asarray(hit, np.bool_) for name, hit in bins.items()}
