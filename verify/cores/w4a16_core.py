"""Coverage of `w4a16_core`, and the claims on its streams."""

from typing import Any

from narrowgauge.verify.cores.baseline import coverage
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as of_streams

__all__ = ["claims", "coverage"]


def claims(params: Any) -> tuple[StreamClaim, ...]:
    """The rules of streams that speak of no transaction: answers differ in length."""
    return of_streams(params, HANDSHAKE)
