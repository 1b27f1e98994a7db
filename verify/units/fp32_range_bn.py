"""Coverage of `fp32_range_bn`: modes, loads, numbers, chunks, extremes, patches."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.fp32_range_bn import Params, positions
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as stream_claims
from narrowgauge.verify.units.dot import Bins, per_dot
from narrowgauge.verify.units.fp32_lanes import answer_bins, beat_bins, modes_of

__all__ = ["claims", "coverage"]


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake: passes that add up are answered once or by the chunk, others by the beat."""
    return stream_claims(params, HANDSHAKE)


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat of the input."""
    data, mode = batch["load"] == 0, modes_of(batch)
    last, chunk_last = batch["last"] == 1, batch["chunk_last"] == 1
    statistics, propagates = data & (mode == 3), data & (mode == 1)
    ends = statistics & (last | chunk_last)
    answered = data & ((mode < 2) | last | ends)
    # Where the positions stand that beats are compared with: the last load's.
    loaded = (batch["load"] & 4) != 0
    source = np.maximum.accumulate(np.where(loaded, np.arange(len(data)), 0))
    at = positions(params, batch)[:, None]
    mask = (1 << params.position_bits) - 1
    top, bottom = at == batch["u"][source] & mask, at == batch["v"][source] & mask
    largest, least = outputs["largest"], outputs["least"]

    def somewhere(hit: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Of some channel of an answer, at the beat that it answers."""
        return per_dot(answered, np.logical_or.reduce(hit, axis=1))

    first = np.concatenate([[True], ends[:-1] | ~data[:-1]])
    bins = {
        "largest_here": (propagates[:, None] & top & ~bottom).any(axis=1),
        "least_here": (propagates[:, None] & bottom & ~top).any(axis=1),
        "both_here": (propagates[:, None] & bottom & top).any(axis=1),
        "neither_here": (propagates[:, None] & ~bottom & ~top).any(axis=1),
        "chunk_ends": ends & ~last,
        "chunk_of_one": ends & first,
        "chunk_last_elsewhere": data & chunk_last & (mode != 3),
        "chunk_cut_short": statistics & ~ends & np.concatenate([~data[1:], [True]]),
        "one_position_has_both": ends & somewhere(largest == least),
        "largest_first": ends & somewhere(largest < least),
        "least_first": ends & somewhere(largest > least),
    }
    return (
        beat_bins(batch, params.pairs)
        | answer_bins(answered, outputs, "y", "total")
        | {name: np.asarray(hit, np.bool_) for name, hit in bins.items()}
    )
