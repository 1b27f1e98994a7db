"""Stimuli that several units share: bf16 corners, random codes, real tensors, ends of dots."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from narrowgauge.golden import samples
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, join

__all__ = ["SPECIAL_BF16", "blocks", "ends", "filled", "random_bf16", "real_rows"]

Ints = npt.NDArray[np.int64]
U16 = npt.NDArray[np.uint16]

SPECIAL_BF16: Ints = np.array(
    [
        *(0x0000, 0x0001, 0x0040, 0x007F),  # zero, subnormals
        *(0x0080, 0x00FF, 0x3F80, 0x3FFF, 0x4000),  # least normal, around one
        *(0x7F00, 0x7F7F),  # largest
        *(0x7F80, 0x7F81, 0x7FC0, 0x7FFF),  # Inf, NaNs
    ],
    np.int64,
)
SPECIAL_BF16 = np.concatenate([SPECIAL_BF16, SPECIAL_BF16 | 0x8000])


def blocks(level: str, *, smoke: int) -> int:
    """Transactions of a level for units whose input is too wide to exhaust."""
    if level not in ("smoke", "full"):
        raise UsageError(f"level must be smoke, full or real, got {level!r}")
    return smoke if level == "smoke" else 100_000


def filled(size: int, make: Callable[[], Batch]) -> Batch:
    """Batches one after the other, as many as it takes to `size` beats."""
    made: list[Batch] = []
    count = 0
    while count < size:
        made.append(make())
        count += len(made[-1]["last"])
    return join(made)


def random_bf16(rng: np.random.Generator, field: Ints) -> Ints:
    """Codes with the given exponent fields, random signs and mantissas."""
    return (
        (rng.integers(0, 2, field.shape) << 15) | (field << 7) | rng.integers(0, 128, field.shape)
    )


def ends(rng: np.random.Generator, count: int, longest: int = 6) -> Ints:
    """`last` flags of dot products of 1..longest terms; the final term ends one."""
    last = (rng.random(count) < 2 / (longest + 1)).astype(np.int64)
    last[longest - 1 :: longest] = 1
    if count:
        last[-1] = 1
    return last


def real_rows(rng: np.random.Generator, count: int = 6) -> Iterator[tuple[U16, U16]]:
    """Of every captured tensor, activations of some tokens and as many rows of its weights."""
    sample = samples.load()
    for name, activations in sample.activations.items():
        weights = sample.weights[name]
        tokens = np.sort(rng.permutation(len(activations))[:count])
        tokens[0] = 0  # the first token has the massive activations
        yield activations[tokens], weights[rng.permutation(len(weights))[:count]]
