"""Coverage of `fp32_bn`: modes, loads, numbers in and out."""

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.fp32_bn import Params
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as stream_claims
from narrowgauge.verify.units.dot import Bins
from narrowgauge.verify.units.fp32_lanes import answer_bins, beat_bins, modes_of

__all__ = ["claims", "coverage"]


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake: passes that add up are answered once, others beat by beat."""
    return stream_claims(params, HANDSHAKE)


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat of the input."""
    data = batch["load"] == 0
    answered = data & ((modes_of(batch) < 2) | (batch["last"] == 1))
    return beat_bins(batch, params.pairs) | answer_bins(answered, outputs, "y", "total")
