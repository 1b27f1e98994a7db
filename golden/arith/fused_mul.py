"""Fused multiplier: 4-bit multipliers that make one 16 x 16, four 8 x 8 or sixteen 4 x 4 products.

    FB24    o = sum over cells of a * b                       one element a side of 16 bits
    FB16    o = sum over cells and d of a_d * b_d             four elements a side of 8 bits
    FB12    o, rest = sums over cells and d of a_rd * b_sd    eight elements a side of 4 bits

A cell has 16 multipliers of 4 x 4 bits and all of them work in each mode. It takes eight slots of a
side, sign and four bits of magnitude: slot (d, r) of a meets slot (d, s) of b, with d in 0..3 and r
and s in 0..1, in every mode, and lies at 2 d + r of its word. What a slot holds, d = 2 d1 + d0:

    mode        slot (d, r) of a        slot (d, s) of b        weight of a product
    0 FB12      element d of row r      element d of column s   1, output 2 r + s
    1 FB16      nibble r of element d   nibble s of element d   16^(r + s)
    2 FB24      nibble 2 d1 + r         nibble 2 d0 + s         16^(r + s + 2 d1 + 2 d0)

Mode 3 is mode 2. Each nibble of an element has the element's sign. Output 0 is `o`, outputs 1 to 3
are `rest`, which has the sums of FB12 in every mode. Exact: nothing is rounded and nothing
overflows. Both zeros of a slot read 0. A word is taken as it is, whether `pack` makes it or not.

Source: Noh et al., "FlexBlock", IEEE Trans. Computers 2023, for the modes; Sharma et al., "Bit
Fusion", ISCA 2018, for multipliers made of smaller ones. Slots and outputs are this project's.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.payload import Batch, Field, Payload

__all__ = [
    "BITS",
    "FB12",
    "FB16",
    "FB24",
    "SLOTS",
    "Params",
    "elements",
    "model",
    "pack",
    "repeated",
    "vectors",
]

Ints = npt.NDArray[np.int64]

FB12, FB16, FB24 = 0, 1, 2
"""The modes."""

BITS = (4, 8, 16)
"""Bits of a magnitude in each mode."""

SLOTS = 8
"""Slots of a cell, of each side."""

_MOST = 15
_ROW = np.array([0, 0, 1, 1])
_COLUMN = np.array([0, 1, 0, 1])
_HALF = np.arange(4) >> 1
_REST = np.arange(4) & 1


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: cells.

    Parameters
    ----------
    cells : cells whose products are added, 1..64
    """

    cells: int = 1

    def __post_init__(self) -> None:
        check_limits(self, cells=(1, 64))

    @property
    def width(self) -> int:
        """Bits of `o`, sign included."""
        return int(self.cells * 0xFFFF**2).bit_length() + 1

    @property
    def rest_width(self) -> int:
        """Bits of each of `rest`, sign included."""
        return int(4 * self.cells * _MOST**2).bit_length() + 1

    @property
    def input(self) -> Payload:
        """Fields `a` and `b`, the slots of all cells, and `mode`."""
        words = tuple(
            Field(name=name, width=5, count=SLOTS * self.cells, encoding="sign_magnitude")
            for name in "ab"
        )
        return Payload((*words, Field(name="mode", width=2)))

    @property
    def output(self) -> Payload:
        """Fields `o` and `rest`, signed."""
        return Payload(
            (
                Field(name="o", width=self.width, encoding="signed"),
                Field(name="rest", width=self.rest_width, count=3, encoding="signed"),
            )
        )


def elements(mode: int) -> int:
    """Elements of a side that a cell takes, each row or column of FB12 by itself: its depth."""
    return 1 if mode >= FB24 else 4


def pack(mode: int, a: Ints, b: Ints) -> tuple[Ints, Ints]:
    """Codes to the slots of cells.

    Parameters
    ----------
    a, b : signed codes, shape (..., elements), a multiple of `elements(mode)`; for FB12
        (..., 2, elements), the rows of a and the columns of b

    Returns
    -------
    slots of a and of b, shape (..., SLOTS * cells)
    """
    depth, mode = elements(mode), min(mode, FB24)
    limit = (1 << BITS[mode]) - 1
    made = []
    for codes, half in ((a, _HALF), (b, _REST)):
        x = np.asarray(codes, np.int64)
        if x.size and np.abs(x).max() > limit:
            raise UsageError(f"code {int(np.abs(x).max())} is beyond {limit}")
        if x.ndim < 1 + (mode == FB12) or x.shape[-1] % depth:
            raise UsageError(f"elements must come in {depth}s, got shape {x.shape}")
        if mode == FB12 and x.shape[-2] != 2:
            raise UsageError(f"rows of FB12 must be 2, got {x.shape[-2]}")
        if mode == FB12:
            cells = np.swapaxes(x, -1, -2)
        else:
            magnitude = np.abs(x)[..., None] >> (4 * np.arange(BITS[mode] // 4)) & _MOST
            nibbles = np.where(x[..., None] < 0, -magnitude, magnitude)
            # FB24: both halves for the four d of the one element.
            cells = (
                nibbles
                if mode == FB16
                else nibbles.reshape(*x.shape, 2, 2)[..., half, :].reshape(*x.shape, SLOTS)
            )
        lead = x.shape[:-2] if mode == FB12 else x.shape[:-1]
        made.append(cells.reshape(*lead, SLOTS * (x.shape[-1] // depth)))
    return made[0], made[1]


def repeated(slots: Ints, side: int) -> Ints:
    """Slots of FB24 (..., SLOTS * cells) with those that repeat a nibble taken from the others.

    Slots of a (side 0) with d0 = 1 are as with d0 = 0, those of b (side 1) with d1 = 1 as with 0.
    """
    source = np.arange(4) & (2, 1)[side]
    return slots.reshape(*slots.shape[:-1], -1, 4, 2)[..., source, :].reshape(slots.shape)


def model(params: Params, batch: Batch) -> Batch:
    """The sums of all cells."""
    beat = params.input.check(batch)
    a, b = (beat[name].reshape(-1, params.cells, 4, 2) for name in "ab")
    # (beats, d, output)
    sums = (a[..., _ROW] * b[..., _COLUMN]).sum(axis=1)
    plain = sums.sum(axis=1)
    within, halves = 4 * (_ROW + _COLUMN), 8 * (_HALF + _REST)
    fused = (sums << within).sum(axis=2)
    mode = beat["mode"]
    wide = (fused << halves).sum(axis=1)
    o = np.where(mode >= FB24, wide, np.where(mode == FB16, fused.sum(axis=1), plain[:, 0]))
    return {"o": o, "rest": plain[:, 1:]}


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Each multiplier by itself, extremes of each mode, codes that are packed, and any words."""
    if level not in ("smoke", "full"):
        raise UsageError(f"level must be smoke or full, got {level!r}")
    rng = np.random.default_rng(seed)
    count = 300 if level == "smoke" else 30_000
    size = SLOTS * params.cells
    parts: list[tuple[Ints, Ints, int]] = []
    for mode, bits in enumerate(BITS):
        most = (1 << bits) - 1
        shape = (2, params.cells * elements(mode))[mode != FB12 :]
        edge = [np.full((2, *shape), most), np.multiply.outer([1, -1], np.full(shape, most))]
        scale = rng.integers(0, bits + 1, (2, count, *[1] * len(shape)))
        some = [rng.integers(-most, most + 1, (count, *shape)) >> s for s in scale]
        for a, b in (edge, some):
            parts.append((*pack(mode, a, b), mode))
    for mode in range(4):
        # All pairs of magnitudes in one multiplier after the other.
        one = np.arange(16 * params.cells).repeat(256)
        pair = np.tile(np.arange(256), 16 * params.cells)
        if level == "smoke":
            keep = rng.permutation(len(one))[: 8 * count]
            one, pair = one[keep], pair[keep]
        lone = [np.zeros((len(one), size), np.int64) for _ in range(2)]
        at = np.arange(len(one))
        for words, slot, code in ((lone[0], 1, pair >> 4), (lone[1], 0, pair & 15)):
            sign = rng.integers(0, 2, len(one)) * 2 - 1
            words[at, 2 * (one >> 2) + (one >> slot & 1)] = sign * code
        parts.append((lone[0], lone[1], mode))
        words = rng.integers(-_MOST, _MOST + 1, (2, count, size))
        parts.append((words[0], words[1], mode))
    return {
        "a": np.concatenate([a for a, _, _ in parts]),
        "b": np.concatenate([b for _, b, _ in parts]),
        "mode": np.concatenate([np.full(len(a), mode) for a, _, mode in parts]),
    }
