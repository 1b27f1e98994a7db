"""Checks of parameters that several units share."""

from narrowgauge.golden.errors import UsageError

__all__ = ["check_block"]


def check_block(k: int, n: int) -> None:
    """A block of k elements, of which n are outliers, that hardware is made for."""
    if not 2 <= k <= 1024 or k & (k - 1):
        raise UsageError(f"k must be a power of two in 2..1024, got {k}")
    if not 0 <= n < k:
        raise UsageError(f"n must be 0..k-1 with k={k}, got {n}")
