"""Multi-mode multiplier cell: four low x low products, two of which one factor is high, or one.

    o = sum of a_i * w_i over the cell's 4, 2 or 1 products,   high = 2 * low - 1 bits

Codes are sign and magnitude and symmetric. A word has four slots of `low` bits, sign on top; a
high code fills two of them, the lower low - 1 bits of its magnitude and the upper ones, each with
the code's sign. Slots are laid out so that every sub-multiplier takes slot j of both words in
every mode and the mode only shifts what comes out (`pack`):

    a_high w_high   slots of a            slots of w            o
      0      0      c0 c1 c2 c3           c0 c1 c2 c3           p0 + p1 + p2 + p3
      1      0      c0l c0h c1l c1h       c0 c0 c1 c1           p0 + p2 + (p1 + p3) << m
      0      1      c0 c0 c1 c1           c0l c0h c1l c1h       p0 + p2 + (p1 + p3) << m
      1      1      c0l c0h c0l c0h       c0l c0h c0h c0l       p0 + (p2 + p3) << m + p1 << 2m

with p_j = a_j * w_j of the slots and m = low - 1. Exact: nothing is rounded and nothing overflows.
Both zeros of a slot read 0. A word is taken as it is, whether `pack` makes it or not.

Source: OPAL (arXiv 2409.05902) for the three modes; encoding and layout are this project's.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Field, Payload

__all__ = ["SUBS", "Params", "model", "pack", "slots", "vectors"]

Ints = npt.NDArray[np.int64]

SUBS = 4
"""Sub-multipliers of a cell, slots of a word."""

_A_HIGH_HIGH = (0, 1, 0, 1)
_W_HIGH_HIGH = (0, 1, 1, 0)


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of a cell.

    Parameters
    ----------
    low : bits of a low code, 2..4; a high one has 2 * low - 1
    """

    low: int = 4

    def __post_init__(self) -> None:
        if not 2 <= self.low <= 4:
            raise UsageError(f"low must be 2..4, got {self.low}")

    @property
    def high(self) -> int:
        """Bits of a high code."""
        return 2 * self.low - 1

    @property
    def step(self) -> int:
        """Bits of the magnitude that a slot holds, m."""
        return self.low - 1

    @property
    def width(self) -> int:
        """Bits of the sum: what any two words can give, sign included."""
        top = ((1 << self.step) - 1) ** 2 * (1 + (1 << self.step)) ** 2
        return top.bit_length() + 1

    @property
    def input(self) -> Payload:
        """Fields `a` and `w`, words of four slots, `a_high` and `w_high`."""
        return Payload(
            (
                Field(name="a", width=SUBS * self.low),
                Field(name="w", width=SUBS * self.low),
                Field(name="a_high", width=1),
                Field(name="w_high", width=1),
            )
        )

    @property
    def output(self) -> Payload:
        """Field `o`, signed."""
        return Payload((Field(name="o", width=self.width, encoding="signed"),))


def slots(low: int, words: Ints) -> Ints:
    """The signed values of the slots of words, shape (..., 4)."""
    parts = (words[..., None] >> (low * np.arange(SUBS, dtype=np.int64))) & ((1 << low) - 1)
    magnitude = parts & ((1 << (low - 1)) - 1)
    return np.where(parts >> (low - 1) == 1, -magnitude, magnitude)


def pack(
    params: Params, codes_a: Ints, codes_w: Ints, a_high: bool, w_high: bool
) -> tuple[Ints, Ints]:
    """Codes to the words of cells, both sides.

    Parameters
    ----------
    codes_a, codes_w : signed codes, shape (..., elements); a cell takes 4, 2 or 1 of them
    a_high, w_high : the mode

    Returns
    -------
    words of a and of w, shape (..., cells)
    """
    each = SUBS >> (int(a_high) + int(w_high))
    made = []
    for codes, high, other, twice in (
        (codes_a, a_high, w_high, _A_HIGH_HIGH),
        (codes_w, w_high, a_high, _W_HIGH_HIGH),
    ):
        limit = (1 << ((params.high if high else params.low) - 1)) - 1
        if codes.size and np.abs(codes).max() > limit:
            raise UsageError(f"code {int(np.abs(codes).max())} is beyond {limit}")
        if codes.shape[-1] % each:
            raise UsageError(f"elements must come in {each}s, got {codes.shape[-1]}")
        magnitude, sign = np.abs(codes), (codes < 0).astype(np.int64) << params.step
        lower = magnitude & ((1 << params.step) - 1) | sign
        upper = magnitude >> params.step | sign
        if not high:
            parts = np.repeat(lower, 2, axis=-1) if other else lower
        elif other:
            parts = np.stack([(lower, upper)[i] for i in twice], axis=-1)
        else:
            parts = np.stack([lower, upper], axis=-1)
        cells = parts.reshape(*codes.shape[:-1], codes.shape[-1] // each, SUBS)
        made.append((cells << (params.low * np.arange(SUBS, dtype=np.int64))).sum(axis=-1))
    return made[0], made[1]


def model(params: Params, batch: Batch) -> Batch:
    """The sum of every cell's products."""
    b = params.input.check(batch)
    p = slots(params.low, b["a"]) * slots(params.low, b["w"])
    m = params.step
    both, one = b["a_high"] & b["w_high"], b["a_high"] | b["w_high"]
    shifts = m * np.stack([0 * one, one + both, both, one], axis=-1)
    return {"o": (p << shifts).sum(axis=-1)}


def vectors(params: Params, level: str, seed: int) -> Batch:
    """All products of single codes in each mode, extremes, and random words.

    Each mode has every pair of codes in every product of the cell, the other products being 0.
    """
    if level not in ("smoke", "full"):
        raise UsageError(f"level must be smoke or full, got {level!r}")
    rng = np.random.default_rng(seed)
    parts: list[tuple[Ints, Ints, int, int]] = []
    for mode in range(4):
        a_high, w_high = mode & 1, mode >> 1
        each = SUBS >> (a_high + w_high)
        tops = [(1 << ((params.high if high else params.low) - 1)) - 1 for high in (a_high, w_high)]
        grid = np.meshgrid(*(np.arange(-top, top + 1, dtype=np.int64) for top in tops))
        pairs = np.stack([axis.ravel() for axis in grid], axis=-1)
        alone = np.zeros((each, len(pairs), 2, each), np.int64)
        for product in range(each):
            alone[product, :, :, product] = pairs
        count = 500 if level == "smoke" else 25_000
        some = np.stack([rng.integers(-top, top + 1, (count, each)) for top in tops], axis=1)
        most = np.stack([np.full((2, each), tops[0]), np.outer([1, -1], [tops[1]] * each)], axis=1)
        codes = np.concatenate([alone.reshape(-1, 2, each), some, most])
        a, w = pack(params, codes[:, 0], codes[:, 1], bool(a_high), bool(w_high))
        parts.append((a[:, 0], w[:, 0], a_high, w_high))
    count = 500 if level == "smoke" else 25_000
    word = 1 << (SUBS * params.low)
    for mode in range(4):
        a, w = rng.integers(0, word, (2, count))
        parts.append((a, w, mode & 1, mode >> 1))
    order = rng.permutation(sum(len(a) for a, *_ in parts))
    columns = {
        "a": np.concatenate([a for a, *_ in parts]),
        "w": np.concatenate([w for _, w, *_ in parts]),
        "a_high": np.concatenate([np.full(len(a), high) for a, _, high, _ in parts]),
        "w_high": np.concatenate([np.full(len(a), high) for a, _, _, high in parts]),
    }
    return {name: values[order] for name, values in columns.items()}
