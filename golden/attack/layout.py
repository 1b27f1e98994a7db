"""Where each bit of a tensor of weights lies in a memory.

A tensor is a matrix, a row an output channel: blocks run along a row, the inputs of a dot product.
Blocks lie end to end from bit 0 of word 0, row after row, each laid out as its format's `payload`
says, without a bit between them; the last word is filled up. Integers on a kept step are blocks of
one code.

| field | what a bit of it is |
| --- | --- |
| `top` | the top bit of an element: of two's complement the most significant, else the sign |
| `element` | any other bit of an element |
| `scale` | of the scale or exponent that a block shares |
| `outlier` | of an outlier's bf16 code |
| `position` | of an outlier's index in its block |
| `padding` | read by nothing: lanes beyond the end of a row, the rest of the last word |
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.attack.steps import IntSteps, get_steps
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BlockFormat, get_block

__all__ = ["FIELDS", "Layout", "Place", "WeightFormat", "get_weights"]

FIELDS = ("top", "element", "scale", "outlier", "position", "padding")
"""Names of the fields; `Layout.fields` has their numbers in this order."""
_TOP, _ELEMENT, _PADDING = (FIELDS.index(name) for name in ("top", "element", "padding"))

WeightFormat = IntSteps | BlockFormat
"""What weights can be stored in."""


def get_weights(name: str) -> WeightFormat:
    """A format by name: `int<bits>[_channel]`, or any that `get_block` takes."""
    found = get_steps(name)
    if found is not None:
        return found
    try:
        return get_block(name)
    except UsageError as error:
        raise UsageError(f"{error}; or int<bits>[_channel] (bits 2..8)") from None


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a bit belongs to.

    Parameters
    ----------
    field : of `FIELDS`
    block : number of the block; of padding behind the last block, the number of blocks
    index : lane of the element, or slot of the outlier; 0 for a scale
    bit : in the code, 0 the least significant
    """

    field: str
    block: int
    index: int
    bit: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """See the module.

    Parameters
    ----------
    fmt : of the weights
    shape : of the tensor; the first axis is the output channel
    word_bits : of a word of the memory, 1..4096
    """

    fmt: WeightFormat
    shape: tuple[int, ...]
    word_bits: int = 64

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise UsageError(f"shape must have axes of at least 1, got {self.shape}")
        if not 1 <= self.word_bits <= 4096:
            raise UsageError(f"word_bits must be 1..4096, got {self.word_bits}")

    @property
    def rows(self) -> int:
        """Output channels."""
        return self.shape[0]

    @cached_property
    def columns(self) -> int:
        """Weights of a row."""
        return int(np.prod(self.shape[1:], dtype=np.int64))

    @cached_property
    def row_blocks(self) -> int:
        """Blocks of a row."""
        return -(-self.columns // self.fmt.k)

    @cached_property
    def blocks(self) -> int:
        """Blocks in all."""
        return self.rows * self.row_blocks

    @cached_property
    def width(self) -> int:
        """Bits of a block."""
        return self.fmt.payload.width

    @cached_property
    def words(self) -> int:
        """Words of the memory."""
        return -(-self.blocks * self.width // self.word_bits)

    @cached_property
    def bits(self) -> int:
        """Bits of all words."""
        return self.words * self.word_bits

    @cached_property
    def lanes(self) -> npt.NDArray[np.int64]:
        """Number of the weight in each lane, in C order of `shape`, (blocks, k); -1 for none."""
        column = np.arange(self.row_blocks * self.fmt.k)
        row = np.arange(self.rows)[:, None] * self.columns
        found = np.where(column < self.columns, row + column, -1)
        return found.reshape(self.blocks, self.fmt.k)

    @cached_property
    def _within(self) -> npt.NDArray[np.int64]:
        """(width, 3): field, index and bit of each bit of a block."""
        rows: list[tuple[int, int, int]] = []
        names = {"scale": "scale", "outliers": "outlier", "positions": "position"}
        for field in self.fmt.payload.fields:
            for index in range(field.count or 1):
                for bit in range(field.width):
                    if field.name == "codes":
                        kind = _TOP if bit == field.width - 1 else _ELEMENT
                    else:
                        kind = FIELDS.index(names[field.name])
                    rows.append((kind, index, bit))
        return np.array(rows, np.int64)

    @cached_property
    def fields(self) -> npt.NDArray[np.uint8]:
        """Number of the field of every bit, (bits,)."""
        made = np.full(self.bits, _PADDING, np.uint8)
        kinds, index, _ = self._within.T
        of_block = np.broadcast_to(kinds.astype(np.uint8), (self.blocks, self.width)).copy()
        in_lane = kinds <= _ELEMENT
        of_block[:, in_lane] = np.where(
            self.lanes[:, index[in_lane]] < 0, np.uint8(_PADDING), of_block[:, in_lane]
        )
        made[: of_block.size] = of_block.reshape(-1)
        return made

    def address(self, word: int, bit: int) -> int:
        """The number of a bit, counted from bit 0 of word 0."""
        if not 0 <= word < self.words:
            raise UsageError(f"word must be 0..{self.words - 1}, got {word}")
        if not 0 <= bit < self.word_bits:
            raise UsageError(f"bit must be 0..{self.word_bits - 1}, got {bit}")
        return word * self.word_bits + bit

    def place(self, word: int, bit: int) -> Place:
        """What a bit belongs to."""
        address = self.address(word, bit)
        block, within = divmod(address, self.width)
        if block >= self.blocks:
            return Place(field="padding", block=self.blocks, index=0, bit=0)
        _, index, place = (int(v) for v in self._within[within])
        return Place(field=FIELDS[self.fields[address]], block=block, index=index, bit=place)
