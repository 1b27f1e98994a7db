"""What every bit of a memory would change, all at once.

The effect of a flip to first order is the sum over the weights that it touches of the exact change
times the loss's gradient there: of an element's bit one weight, of a scale's the block, of an
outlier's the lane at its position, of a position's the lane that the outlier leaves, where what
lies below comes up, and the lane that it moves to.

Where a clamp lies between the memory and the reader, `Behind` says what is stored and how it reads.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.attack.layout import WeightFormat
from narrowgauge.golden.attack.memory import WeightMemory
from narrowgauge.golden.attack.steps import IntSteps
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BFP, MXOpal, OcpMX, bf16_values, vector
from narrowgauge.golden.formats.element import FloatFormat

__all__ = ["FAR", "Behind", "Effects", "effects"]

FAR = 16.0
"""Changes of so many times a layer's largest weight are beyond the first order."""

F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Behind:
    """Fields as they are stored, where they are not read as such.

    Parameters
    ----------
    scale, outliers : codes that are stored, (blocks,) and (blocks, n)
    scale_read, outlier_read : code -> code that is read, of every code
    """

    scale: Ints
    outliers: Ints
    scale_read: Ints
    outlier_read: Ints


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Of each bit of the memory, in order of its address, (bits,).

    Parameters
    ----------
    score : sum of change times gradient; NaN or Inf where a change is
    largest : largest magnitude of a change; NaN where one is not finite, 0 where nothing changes
    """

    score: F64
    largest: F64


@lru_cache(maxsize=32)
def _elements(fmt: WeightFormat) -> F64:
    """Value of every bit pattern of an element under scale 1, or step 1."""
    field = fmt.payload["codes"]
    patterns = np.arange(1 << field.width, dtype=np.int64)
    codes = field.from_bits(patterns).astype(np.float64)
    if isinstance(fmt, IntSteps):
        return codes
    if isinstance(fmt, OcpMX) and isinstance(fmt.element, FloatFormat):
        return vector.decode(fmt.element, patterns)
    return np.ldexp(codes, -fmt.fraction_bits)


@lru_cache(maxsize=32)
def _scales(fmt: WeightFormat) -> F64:
    """Worth of every scale; of no meaning for integers."""
    if isinstance(fmt, IntSteps):
        return np.ones(1)
    field = np.arange(1 << fmt.payload["scale"].width)
    if isinstance(fmt, BFP):
        worth = np.ldexp(1.0, np.maximum(field, 1) - fmt.bias)
        worth[fmt.nan_field] = np.nan
        return worth
    worth = np.ldexp(1.0, field - 127)
    worth[255] = np.nan
    return worth


@lru_cache(maxsize=1)
def _bf16() -> F64:
    with np.errstate(invalid="ignore"):
        return bf16_values(np.arange(1 << 16).astype(np.uint16)).astype(np.float64)


def _difference(new: F64, old: F64) -> F64:
    """New less old; 0 where both are the same, NaN and Inf included."""
    same = (new == old) | (np.isnan(new) & np.isnan(old))
    return np.where(same, 0, new - old)


class _Blocks:
    """All blocks of a memory, taken apart."""

    def __init__(self, memory: WeightMemory, gradient: F64, behind: Behind | None) -> None:
        layout = memory.layout
        self.layout, self.fmt, self.adds = layout, layout.fmt, memory.reading == "add"
        self.valid = layout.lanes >= 0
        self.g = np.where(self.valid, gradient.reshape(-1)[np.maximum(layout.lanes, 0)], 0)
        batch = memory.batch()
        self.patterns = memory.patterns()
        self.bare = _elements(self.fmt)[self.patterns]
        steps = memory.block_steps()
        self.scale = batch.get("scale", np.zeros(layout.blocks, np.int64))
        self.unit = steps if isinstance(self.fmt, IntSteps) else _scales(self.fmt)[self.scale]
        self.outliers = batch.get("outliers", np.zeros((layout.blocks, 0), np.int64))
        self.positions = batch.get("positions", np.zeros((layout.blocks, 0), np.int64))
        self.behind = behind
        self.rows = np.arange(layout.blocks)[:, None]
        shown = self.valid.copy()
        if not self.adds:
            shown[self.rows, self.positions] = False
        self.shown = shown

    def scale_after(self, bit: int) -> Ints:
        """Scales as they are read after a flip."""
        if self.behind is None:
            return self.scale ^ (1 << bit)
        return self.behind.scale_read[self.behind.scale ^ (1 << bit)]

    def outlier_after(self, slot: int, bit: int) -> Ints:
        """Codes of outliers as they are read after a flip."""
        if self.behind is None:
            return self.outliers[:, slot] ^ (1 << bit)
        return self.behind.outlier_read[self.behind.outliers[:, slot] ^ (1 << bit)]


def effects(
    memory: WeightMemory, gradient: npt.NDArray[np.floating], behind: Behind | None = None
) -> Effects:
    """The effect of flipping each bit alone.

    Parameters
    ----------
    memory : as it is read
    gradient : of the loss with respect to the weights, in their shape
    behind : what is stored, where that is not what is read
    """
    layout = memory.layout
    if gradient.shape != layout.shape:
        raise UsageError(f"gradient must have shape {layout.shape}, got {gradient.shape}")
    score, largest = np.zeros(layout.bits), np.zeros(layout.bits)
    used = layout.blocks * layout.width
    by_block = (layout.blocks, layout.width)
    s, m = score[:used].reshape(by_block), largest[:used].reshape(by_block)
    blocks = _Blocks(memory, gradient.astype(np.float64), behind)
    with np.errstate(invalid="ignore", over="ignore"):
        start = _of_elements(blocks, s, m)
        if not isinstance(layout.fmt, IntSteps):
            start = _of_scales(blocks, s, m, start)
        if isinstance(layout.fmt, MXOpal) and layout.fmt.n:
            start = _of_outliers(blocks, s, m, start)
            _of_positions(blocks, s, m, start)
    return Effects(score=score, largest=largest)


def _put(blocks: _Blocks, change: F64, lanes: Ints | None) -> tuple[F64, F64]:
    """Score and magnitude of a change of one lane a candidate; of none where no weight is."""
    if lanes is None:
        return change * blocks.g, np.where(np.isfinite(change), np.abs(change), np.nan)
    rows = blocks.rows.reshape(-1, *[1] * (lanes.ndim - 1))
    change = np.where(blocks.valid[rows, lanes], change, 0)
    return change * blocks.g[rows, lanes], np.where(np.isfinite(change), np.abs(change), np.nan)


def _of_elements(b: _Blocks, s: F64, m: F64) -> int:
    width, k = b.fmt.payload["codes"].width, b.fmt.k
    table = _elements(b.fmt)
    for bit in range(width):
        change = (table[b.patterns ^ (1 << bit)] - b.bare) * b.unit[:, None]
        change = np.where(b.shown & ~np.isnan(b.unit)[:, None], change, 0)
        s[:, bit : width * k : width], m[:, bit : width * k : width] = _put(b, change, None)
    return width * k


def _of_scales(b: _Blocks, s: F64, m: F64, start: int) -> int:
    width = b.fmt.payload["scale"].width
    table = _scales(b.fmt)
    bare = np.where(b.shown, b.bare, 0)
    total, most = (bare * b.g).sum(axis=1), np.abs(bare).max(axis=1)
    some = b.shown.any(axis=1)
    for bit in range(width):
        change = np.where(some, _difference(table[b.scale_after(bit)], b.unit), 0)
        s[:, start + bit], m[:, start + bit] = total * change, most * np.abs(change)
    return start + width


def _of_outliers(b: _Blocks, s: F64, m: F64, start: int) -> int:
    table, n = _bf16(), b.fmt.n
    old = table[b.outliers]
    for slot in range(n):
        later = b.positions[:, slot + 1 :] == b.positions[:, slot, None]
        hidden = later.any(axis=1) & (not b.adds)
        for bit in range(16):
            change = _difference(table[b.outlier_after(slot, bit)], old[:, slot])
            change = np.where(hidden, 0, change)
            at = start + 16 * slot + bit
            s[:, at], m[:, at] = _put(b, change, b.positions[:, slot])
    return start + 16 * n


def _of_positions(b: _Blocks, s: F64, m: F64, start: int) -> int:
    assert isinstance(b.fmt, MXOpal)
    width, n = b.fmt.position_bits, b.fmt.n
    worth = _bf16()[b.outliers]
    elements = b.bare * b.unit[:, None]
    rows = np.arange(len(worth))

    def read(lane: Ints, positions: Ints) -> F64:
        value = elements[rows, lane]
        for slot in range(n):
            here = positions[:, slot] == lane
            value = np.where(here, worth[:, slot] + (value if b.adds else 0), value)
        return value

    for slot in range(n):
        for bit in range(width):
            moved = b.positions.copy()
            moved[:, slot] ^= 1 << bit
            at = start + width * slot + bit
            for lane in (b.positions[:, slot], moved[:, slot]):
                change = _difference(read(lane, moved), read(lane, b.positions))
                score, size = _put(b, change, lane)
                s[:, at] += score
                m[:, at] = np.maximum(m[:, at], size)
    return start + width * n
