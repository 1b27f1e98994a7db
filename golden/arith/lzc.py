"""Leading-zero count of a word.

    count = zeros above the first one, from the top; zero = (word = 0)

The word 0 counts width - 1. Exact; there is nothing to round.
"""

from dataclasses import dataclass

import numpy as np

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import vector
from narrowgauge.golden.payload import Batch, Field, Payload

__all__ = ["Params", "model", "vectors"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of a leading-zero counter.

    Parameters
    ----------
    width : bits of the word, 2..62
    """

    width: int

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 62:
            raise UsageError(f"width must be 2..62, got {self.width}")

    @property
    def input(self) -> Payload:
        """Field `word`."""
        return Payload((Field(name="word", width=self.width),))

    @property
    def output(self) -> Payload:
        """Fields `count` and `zero`."""
        width = (self.width - 1).bit_length()
        return Payload((Field(name="count", width=width), Field(name="zero", width=1)))


def model(params: Params, batch: Batch) -> Batch:
    """Count every word."""
    word = params.input.check(batch)["word"]
    count = params.width - np.maximum(vector.bit_length(word), 1)
    return {"count": count, "zero": (word == 0).astype(np.int64)}


def vectors(params: Params, level: str, seed: int) -> Batch:
    """All words up to 16 bits; else every single bit and every run, and words of every length."""
    width = params.width
    if level not in ("smoke", "full"):
        raise UsageError(f"level must be smoke or full, got {level!r}")
    if width <= 16:
        return {"word": np.arange(1 << width, dtype=np.int64)}
    rng = np.random.default_rng(seed)
    bits = np.int64(1) << np.arange(width)
    size = 2_000 if level == "smoke" else 100_000
    length = rng.integers(0, width + 1, size)
    words = rng.integers(0, 1 << width, size) >> (width - length)
    return {"word": np.concatenate([[0], bits, bits - 1, (1 << width) - bits, words])}
