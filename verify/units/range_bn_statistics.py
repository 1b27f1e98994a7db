"""Coverage of `range_bn_statistics`: values, windows, extremes and ties, chunks, broken flags."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.range_bn_statistics import Params, places
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as stream_claims
from narrowgauge.verify.units.dot import Bins, per_dot

__all__ = ["claims", "coverage"]


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake: beats are answered or not by their flags."""
    return stream_claims(params, HANDSHAKE)


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat of the input."""
    at = places(params, batch)
    fmt = params.format
    codes, fields = batch["codes"], batch["scales"]
    base = np.maximum(batch["base"], 1)[:, None]
    live = fields < fmt.nan_field
    used = (codes != 0).reshape(len(codes), -1, params.group).any(axis=2)
    below = base - np.maximum(fields, 1)

    def answered(hit: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Of some channel of an answer, at the beat that it answers."""
        return per_dot(at.end, np.logical_or.reduce(hit, axis=1))

    whole = at.fresh & (batch["last"] == 1)
    ties = outputs["largest"] == outputs["least"]
    bins = {
        "zero": (codes == 0).any(axis=1),
        "most": (codes == (1 << fmt.mantissa_bits) - 1).any(axis=1),
        "least": (codes == 1 - (1 << fmt.mantissa_bits)).any(axis=1),
        "field_0": (live & used & (fields == 0)).any(axis=1),
        "base_0": batch["base"] == 0,
        "top_of_window": (live & used & (below == 0)).any(axis=1),
        "vanishes": (live & used & (below >= params.window)).any(axis=1),
        "clipped": (live & used & (below < 0)).any(axis=1),
        "above_but_zero": (live & ~used & (below < 0)).any(axis=1),
        "nan": ~live.all(axis=1),
        "one_beat_a_position": at.fresh & (at.address == 0) & (batch["channel_last"] == 1),
        "deepest": at.address == params.depth - 1,
        "chunk_begins": at.begin & ~at.fresh,
        "chunk_of_one": at.begin & at.end,
        "negative_total": answered(outputs["total"] < 0),
        "positive_total": answered(outputs["total"] > 0),
        "constant": answered(ties & (outputs["spread"] == 0)),
        "first_is_largest": answered(outputs["largest"] < outputs["least"]),
        "first_is_least": answered(outputs["largest"] > outputs["least"]),
        "answer_clipped": answered(outputs["clipped"] == 1),
        "answer_nan": answered(outputs["nan"] == 1),
        "ragged": at.ragged,
        "last": batch["last"] == 1,
        "one_position": whole,
    }
    return {name: np.asarray(hit, np.bool_) for name, hit in bins.items()}
