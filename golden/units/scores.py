"""Rows of different lengths, and rows of attention scores as stimuli for softmax units."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden import samples
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_codes, bf16_values
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.stimuli import SPECIAL_BF16, random_bf16

__all__ = ["Rows", "powers", "real_scores", "rows_of", "score_vectors", "to_bf16"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Where the rows of a sequence of beats lie.

    Parameters
    ----------
    starts, lengths : first beat and number of beats of each row
    """

    starts: Ints
    lengths: Ints

    def spread(self, values: Ints, fill: int = 0) -> Ints:
        """Values of beats, (beats, ...), as rows, (rows, longest, ...), filled up at the end."""
        steps = np.arange(int(self.lengths.max(initial=0)))
        inside = steps < self.lengths[:, None]
        made = np.full((*inside.shape, *values.shape[1:]), fill, np.int64)
        made[inside] = values[: int(self.lengths.sum())]
        return made


def rows_of(last: Ints) -> Rows:
    """The rows that `last` ends; beats after the final one belong to none."""
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[: len(ends)]
    return Rows(starts=starts, lengths=ends - starts + 1)


def to_bf16(values: Floats) -> Ints:
    """Finite numbers to bf16 codes, to nearest, ties to even, by way of float32."""
    return bf16_codes(values.astype(np.float32)).astype(np.int64)


def from_bf16(codes: npt.NDArray[np.integer]) -> Floats:
    """bf16 codes to numbers."""
    return bf16_values(codes.astype(np.uint16)).astype(np.float64)


def powers(rng: np.random.Generator, total: int, most: int) -> Ints:
    """Exponents c, 0..most, in any order, with the sum of 2^(most - c) equal to `total`."""
    made: list[int] = []
    spread = rng.choice([0.3, 1.0, 2.0])
    while total > 0:
        largest = max(0, most + 1 - total.bit_length())
        made.append(min(most, largest + int(rng.exponential(spread))))
        total -= 1 << (most - made[-1])
    return rng.permutation(np.array(made, np.int64))


def real_scores(name: str, spread: float) -> Floats:
    """Scores among the captured tokens of one activation tensor, standard deviation `spread`.

    Token rows without the first (whose massive activations are no query's direction), each with
    its mean taken out and of unit norm; their dot products less those with itself have the spread.
    """
    tokens = from_bf16(samples.load().activations[name])[1:]
    tokens = tokens - tokens.mean(axis=1, keepdims=True)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    score = tokens @ tokens.T
    off = score[~np.eye(len(score), dtype=bool)]
    return np.asarray((score - off.mean()) / off.std() * spread)


def _real() -> Batch:
    """Causal rows: every token's scores with those before it and itself; then masked to length."""
    x, mask, last = [], [], []
    for index, name in enumerate(sorted(samples.load().activations)):
        scores = to_bf16(real_scores(name, (1.0, 2.0, 4.0)[index % 3]))
        for number, row in enumerate(scores):
            # Every third row is sent whole, its future masked; the others end at their token.
            size = len(row) if number % 3 == 0 else number + 1
            x.append(row[:size])
            mask.append((np.arange(size) > number).astype(np.int64))
            last.append((np.arange(size) == size - 1).astype(np.int64))
    return {"x": np.concatenate(x), "mask": np.concatenate(mask), "last": np.concatenate(last)}


def _lengths(rng: np.random.Generator, count: int, length: int) -> Ints:
    """Row lengths: short ones, some up to `length`, exactly that, one more, and beyond."""
    lengths = rng.integers(1, 1 + min(12, length), count)
    long = rng.random(count) < 0.1
    lengths[long] = rng.integers(1, length + 1, int(long.sum()))
    for at, size in enumerate((length, length + 1, length, 1, length - 1, 2 * length + 3, 2, 1)):
        lengths[(at + 3) % count :: max(count // 2, 8)] = max(1, size)
    return lengths


def score_vectors(level: str, seed: int, *, length: int, reach: int) -> Batch:
    """Rows of scores as beats `x`, `mask`, `last`.

    Random levels: normal scores of many spreads and offsets, rising and falling ones, equal ones,
    beyond reach, tiny, corners, masks of every density; lengths from 1 past `length`; sums of
    exponentials about the steps of their logarithm. Real: dot products among captured activations
    (`real_scores`), spreads 1, 2, 4, causal.
    """
    if level == "real":
        return _real()
    if level not in ("smoke", "full"):
        raise UsageError(f"level must be smoke, full or real, got {level!r}")
    rng = np.random.default_rng(seed)
    goal = 4_000 if level == "smoke" else 100_000
    goal = max(goal, 12 * length)
    parts: list[Batch] = []
    beats = 0
    while beats < goal:
        made = [_random(rng, _lengths(rng, 64, length), reach)]
        made += [_brink(rng, length) for _ in range(24)]
        parts += made
        beats += sum(len(part["x"]) for part in made)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _brink(rng: np.random.Generator, length: int) -> Batch:
    """A row whose sum of exponentials is an eighth, or next to it, in units of a fine power."""
    fine = int(rng.integers(4, 20))
    total = (int(rng.integers(8, 64)) << fine >> 3) + int(rng.integers(-2, 3))
    below = powers(rng, max(total, 1), fine)[:length]
    if rng.random() < 0.5:
        # The maximum first, so that nothing is shifted out.
        below = np.concatenate([below[below == 0], below[below != 0]])
    x = to_bf16(below * (-16 / 23) + rng.choice([0, 0, 16, -32]))
    last = np.zeros(len(x), np.int64)
    last[-1] = 1
    return {"x": x, "mask": np.zeros(len(x), np.int64), "last": last}


def _random(rng: np.random.Generator, lengths: Ints, reach: int) -> Batch:
    """One random row of each length."""
    count = len(lengths)
    row = np.repeat(np.arange(count), lengths)
    size = len(row)
    spread = rng.choice([0, 0.02, 0.5, 1, 2, 4, 12, 40], count)
    centre = rng.choice([0, 0, -3, 7, 30, -90, 120], count)
    x = to_bf16(rng.standard_normal(size) * spread[row] + centre[row])
    # Any codes about the exponents that matter, and few mantissas: ties in the roundings.
    kind = rng.random(count)[row]
    field = rng.integers(112, 127 + reach + 2, size)
    x = np.where(kind < 0.2, random_bf16(rng, field), x)
    x = np.where(kind < 0.1, x & 0xFFE0, x)
    # Rising or falling in order, so that the maximum moves at every element or never.
    order = np.lexsort((x ^ np.where(x >> 15, 0xFFFF, 0x8000), row))
    rising = (kind > 0.8)[row * 0 + np.arange(size)]
    falling = kind > 0.9
    down = order[::-1][np.argsort(row[order[::-1]], kind="stable")]
    x = np.where(falling, x[down], np.where(rising, x[order], x))
    density = rng.choice([0, 0, 0, 0.1, 0.5, 0.95, 1], count)[row]
    mask = (rng.random(size) < density).astype(np.int64)
    corner = rng.random(size) < rng.choice([0, 0, 0, 0.02, 0.3], count)[row]
    x[corner] = rng.choice(SPECIAL_BF16, int(corner.sum()))
    # Minus infinity alone is a mask.
    x[rng.random(size) < rng.choice([0, 0, 0.2], count)[row]] = 0xFF80
    last = np.zeros(size, np.int64)
    last[np.cumsum(lengths) - 1] = 1
    return {"x": x, "mask": mask, "last": last}
