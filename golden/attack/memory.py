"""A tensor of weights in the words of a memory: made, read back, and changed bit by bit.

Words are what is kept. A flip changes one bit of them, and the block that it lies in is read anew,
so that whatever the bit is part of, codes that no quantiser makes included, reads as the format
says: -2^(N-1), both zeros of a sign and magnitude, scales that are NaN, positions that coincide.

Two outliers of a block at one position, or an outlier over an element that is not 0, are read as
`reading` says: `replace` is `golden.formats.dequantize`, where the later slot replaces the earlier
and any outlier the element; `add` is what `opal_dot` computes of activations without outliers,
where all of them count. As long as no bit is flipped both are the same.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.attack.layout import Layout, Place, WeightFormat
from narrowgauge.golden.attack.steps import IntSteps
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BFP, bf16_values, bfp, kernel, quantize
from narrowgauge.golden.payload import Batch

__all__ = ["Flip", "Reading", "WeightMemory", "decode"]

F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Reading = Literal["replace", "add"]


@dataclass(frozen=True, kw_only=True)
class Flip:
    """One flipped bit.

    Parameters
    ----------
    word, bit : where
    place : what it is part of
    before, after : the code that it is part of, as the format's integer (signed for elements)
    weights : numbers of the weights that changed, in C order of the tensor
    old, new : their values
    """

    word: int
    bit: int
    place: Place
    before: int
    after: int
    weights: npt.NDArray[np.int64]
    old: F64
    new: F64


def decode(layout: Layout, batch: Batch, steps: F64, reading: Reading) -> F64:
    """Values of some blocks, (blocks, k), exact in float64.

    Parameters
    ----------
    batch : beats of the format's payload
    steps : of each of these blocks; without effect but for integers
    """
    fmt = layout.fmt
    if isinstance(fmt, IntSteps):
        return np.asarray(batch["codes"] * steps[:, None])
    codes: kernel.Codes = batch["codes"].astype(kernel.code_dtype(fmt))
    if isinstance(fmt, BFP):
        return bfp.decode_values(fmt, codes, batch["scale"], np.float64).astype(np.float64)
    count = len(codes)
    none = np.zeros((count, 0), np.uint16)
    outliers, positions = (
        batch[name].astype(np.uint16) if fmt.n else none for name in ("outliers", "positions")
    )
    scales = batch["scale"].astype(np.uint8)
    if reading == "replace" or not fmt.n:
        made = kernel.dequantize_blocks(fmt, (codes, scales, outliers, positions), np.float64)
        return made.astype(np.float64)
    with np.errstate(invalid="ignore"):
        bare = (codes, scales, none, none)
        values = kernel.dequantize_blocks(fmt, bare, np.float64).astype(np.float64)
        added = bf16_values(outliers).astype(np.float64)
        np.add.at(values, (np.arange(count)[:, None], positions), added)
    return values


class WeightMemory:
    """See the module.

    Parameters
    ----------
    layout : where bits lie
    words : (words, ceil(word_bits / 8)) of uint8, little-endian; copied
    steps : of each row, of integers; None for formats that have none
    reading : of outliers
    """

    def __init__(
        self,
        layout: Layout,
        words: npt.NDArray[np.uint8],
        steps: npt.NDArray[np.float32] | None = None,
        reading: Reading = "replace",
    ) -> None:
        size = -(-layout.word_bits // 8)
        if words.dtype != np.uint8 or words.shape != (layout.words, size):
            raise UsageError(
                f"{layout.words} words of {layout.word_bits} bits are uint8 of shape "
                f"({layout.words}, {size}), got {words.dtype} of shape {words.shape}"
            )
        spare = 8 * size - layout.word_bits
        if spare and (words[:, -1] >> (8 - spare)).any():
            raise UsageError(f"bits beyond the {layout.word_bits} of a word must be 0")
        integers = isinstance(layout.fmt, IntSteps)
        if (steps is not None) != integers or (steps is not None and steps.shape != (layout.rows,)):
            want = f"of shape ({layout.rows},)" if integers else "None"
            got = None if steps is None else steps.shape
            raise UsageError(f"steps of {layout.fmt.name} must be {want}, got {got}")
        if reading not in ("replace", "add"):
            raise UsageError(f"reading must be replace or add, got {reading!r}")
        self.layout, self.reading = layout, reading
        plain = np.unpackbits(words, axis=1, bitorder="little", count=layout.word_bits)
        self._bits = plain.reshape(-1)
        self.steps = None if steps is None else steps.astype(np.float32)
        self._values = self._decode(slice(None))

    @classmethod
    def encode(
        cls,
        weights: npt.NDArray[np.floating],
        fmt: WeightFormat,
        *,
        word_bits: int = 64,
        reading: Reading = "replace",
    ) -> "WeightMemory":
        """Quantise a tensor of float32, blocks along all axes but the first."""
        array = np.ascontiguousarray(weights, np.float32)
        layout = Layout(fmt=fmt, shape=array.shape, word_bits=word_bits)
        rows = array.reshape(layout.rows, layout.columns)
        steps = None
        if isinstance(fmt, IntSteps):
            steps = fmt.steps(rows)
            batch: Batch = {"codes": fmt.encode(rows, steps).reshape(-1, 1)}
        else:
            batch = quantize(rows, fmt, axis=1).batch()
        tight = np.unpackbits(fmt.payload.pack_tight(batch), bitorder="little")
        bits = np.zeros(layout.bits, np.uint8)
        used = layout.blocks * layout.width
        bits[:used] = tight[:used]
        words = np.packbits(bits.reshape(layout.words, -1), axis=1, bitorder="little")
        return cls(layout, words, steps, reading)

    def copy(self) -> "WeightMemory":
        """Another memory of the same content."""
        made = object.__new__(WeightMemory)
        own = {"_bits": self._bits.copy(), "_values": self._values.copy()}
        made.__dict__.update(self.__dict__ | own)
        return made

    @property
    def words(self) -> npt.NDArray[np.uint8]:
        """(words, ceil(word_bits / 8)), little-endian."""
        rows = self._bits.reshape(self.layout.words, self.layout.word_bits)
        return np.packbits(rows, axis=1, bitorder="little")

    def word(self, word: int) -> int:
        """One word as an integer."""
        self.layout.address(word, 0)
        return int.from_bytes(self.words[word].tobytes(), "little")

    def values(self) -> F64:
        """All weights, in the tensor's shape."""
        valid = self.layout.lanes >= 0
        return self._values[valid].reshape(self.layout.shape)

    def lanes(self) -> F64:
        """Values of all lanes, (blocks, k), those behind the end of a row included."""
        return self._values.copy()

    def floats(self) -> npt.NDArray[np.float32]:
        """The same in float32: exact, or Inf beyond its largest; of integers rounded once."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.values().astype(np.float32)

    def batch(self, blocks: slice | npt.NDArray[np.int64] = slice(None)) -> Batch:
        """Some blocks as beats of the format's payload."""
        layout = self.layout
        rows = self._bits[: layout.blocks * layout.width].reshape(layout.blocks, layout.width)
        return layout.fmt.payload.unpack(np.packbits(rows[blocks], axis=1, bitorder="little"))

    def patterns(self) -> npt.NDArray[np.int64]:
        """Elements as bits, (blocks, k): both zeros of sign and magnitude are told apart."""
        layout = self.layout
        width = layout.fmt.payload["codes"].width
        rows = self._bits[: layout.blocks * layout.width].reshape(layout.blocks, layout.width)
        parts = rows[:, : width * layout.fmt.k].reshape(layout.blocks, layout.fmt.k, width)
        made = np.zeros(parts.shape[:2], np.int64)
        for bit in range(width):
            made |= parts[:, :, bit].astype(np.int64) << bit
        return made

    def block_steps(self) -> F64:
        """The step of each block, 1 where the format has none."""
        if self.steps is None:
            return np.ones(self.layout.blocks)
        return np.repeat(self.steps.astype(np.float64), self.layout.row_blocks)

    def _decode(self, blocks: slice | npt.NDArray[np.int64]) -> F64:
        steps = self.block_steps()[blocks]
        return decode(self.layout, self.batch(blocks), steps, self.reading)

    def _code(self, place: Place) -> int:
        names = {"scale": "scale", "outlier": "outliers", "position": "positions"}
        batch = self.batch(np.array([place.block]))
        return int(batch[names.get(place.field, "codes")].reshape(-1)[place.index])

    def put(self, word: int, bits: npt.NDArray[np.uint8]) -> tuple[Ints, F64, F64]:
        """Replace a word, of (word_bits,) 0 and 1: the weights that changed, old and new."""
        layout = self.layout
        first = layout.address(word, 0)
        last = first + layout.word_bits
        blocks = np.arange(
            first // layout.width, min(layout.blocks, -(-last // layout.width)), dtype=np.int64
        )
        old = self._values[blocks]
        self._bits[first:last] = bits
        new = self._decode(blocks)
        self._values[blocks] = new
        lanes = layout.lanes[blocks]
        differ = (lanes >= 0) & ~((old == new) | (np.isnan(old) & np.isnan(new)))
        return lanes[differ], old[differ], new[differ]

    @property
    def bits(self) -> npt.NDArray[np.uint8]:
        """(words, word_bits) of 0 and 1; a copy."""
        return self._bits.reshape(self.layout.words, self.layout.word_bits).copy()

    def flip(self, word: int, bit: int) -> Flip:
        """Flip one bit; a second time takes it back."""
        address = self.layout.address(word, bit)
        place = self.layout.place(word, bit)
        if place.block >= self.layout.blocks:
            self._bits[address] ^= 1
            none = np.zeros(0)
            return Flip(
                word=word, bit=bit, place=place, before=0, after=0,
                weights=np.zeros(0, np.int64), old=none, new=none,
            )  # fmt: skip
        before = self._code(place)
        old = self._values[place.block].copy()
        self._bits[address] ^= 1
        self._values[place.block] = self._decode(np.array([place.block]))[0]
        new = self._values[place.block]
        lanes = self.layout.lanes[place.block]
        differ = (lanes >= 0) & ~((old == new) | (np.isnan(old) & np.isnan(new)))
        return Flip(
            word=word, bit=bit, place=place, before=before, after=self._code(place),
            weights=lanes[differ], old=old[differ], new=new[differ].copy(),
        )  # fmt: skip
