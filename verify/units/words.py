"""Coverage that packing to words and unpacking share: where pieces lie in the others."""

import math

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.scores import rows_of

__all__ = ["piece_bins", "positions"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_RANGES = 8
"""Ranges of the places where a piece can begin."""


def positions(last: Ints, size: int) -> Ints:
    """First bit of each piece of `size` bits in its tensor."""
    at = rows_of(last)
    number = np.arange(len(last)) - np.repeat(at.starts, at.lengths)
    return np.asarray(number * size, np.int64)


def piece_bins(batch: Batch, size: int, other: int) -> dict[str, Bools]:
    """How pieces of `size` bits that come lie in those of `other` bits that go; what can be."""
    start = positions(batch["last"], size)
    c = other // math.gcd(size, other)
    place = start % other * c // other
    parts = min(c, _RANGES)
    ended = (start + size) // other - start // other
    least, most = size // other, (other - other // c + size) // other
    bins = {f"place_{i}_of_{parts}": place * parts // c == i for i in range(parts)}
    if least == 0:
        bins["ends_none"] = ended == 0
    if least <= 1:
        bins["ends_one"] = ended == 1
    if most > 1:
        bins["ends_several"] = ended > 1
    first = np.concatenate([[1], batch["last"][:-1]])
    bins["only"] = (first == 1) & (batch["last"] == 1)
    return bins
