"""Blocks of MX-OPAL as operands of matrix products, and what decides where a product is cut off.

A block's `top` is the largest of its scale and of the exponent fields of its outliers. `depth` of a
number is how far its last set bit lies below 2^top: the window of `opal_dot` loses nothing of a
product where the two depths add up to its fraction bits at most.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BlockTensor, MXOpal, bf16_values

__all__ = ["NONE", "Operand", "power"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NONE = -99
"""Depth of what holds no bit at all."""
_FAR = 26
"""Outliers this far below the top are cut off whole: their products are below 2^(R - 24)."""
_LEAST, _MOST = 80, 170
"""Fields between which float32 products neither overflow nor become subnormal."""


def power(exponent: npt.NDArray[np.integer]) -> Floats:
    """2^exponent in float64, exactly."""
    return np.ldexp(1.0, exponent.astype(np.intc))


@dataclass(frozen=True, kw_only=True, eq=False)
class Operand:
    """Rows of blocks: (rows, blocks, k) INT codes, a scale, and n outliers with positions.

    Parameters
    ----------
    codes : (rows, blocks, k), int8
    scales : (rows, blocks), uint8, E8M0
    outliers, positions : (rows, blocks, n), uint16; an outlier of +-0 is an empty slot
    fraction : fraction bits of a code (b - 2)
    length : elements of a row that count; those beyond are zeros
    """

    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.uint8]
    outliers: npt.NDArray[np.uint16]
    positions: npt.NDArray[np.uint16]
    fraction: int
    length: int

    def __post_init__(self) -> None:
        rows, blocks, k = self.codes.shape
        slots = self.outliers.shape
        if self.scales.shape != (rows, blocks) or slots[:2] != (rows, blocks):
            raise UsageError(
                f"scales and outliers must be of {rows} x {blocks} blocks, "
                f"got {self.scales.shape} and {slots}"
            )
        if self.positions.shape != slots or not 0 < self.length <= blocks * k:
            raise UsageError(f"positions {self.positions.shape} or length {self.length} do not fit")

    @classmethod
    def of(cls, tensor: BlockTensor) -> "Operand":
        """The operand of a two-dimensional MX-OPAL tensor whose blocks run along its last axis."""
        if len(tensor.shape) != 2 or tensor.axis != 1 or not isinstance(tensor.fmt, MXOpal):
            raise UsageError(f"an operand is a matrix in MX-OPAL, got {tensor.shape}")
        return cls(
            codes=tensor.codes.view(np.int8),
            scales=tensor.scales,
            outliers=tensor.outliers,
            positions=tensor.positions,
            fraction=tensor.fmt.fraction_bits,
            length=tensor.shape[1],
        )

    def rows(self, chosen: npt.NDArray[np.integer] | slice) -> "Operand":
        """The same with some of the rows."""
        return Operand(
            codes=self.codes[chosen],
            scales=self.scales[chosen],
            outliers=self.outliers[chosen],
            positions=self.positions[chosen],
            fraction=self.fraction,
            length=self.length,
        )

    @cached_property
    def occupied(self) -> Bools:
        """Slots that hold an outlier."""
        return (self.outliers & 0x7FFF) != 0

    @cached_property
    def fields(self) -> Ints:
        """Exponent fields of the outliers, 0 where the slot is empty."""
        field = np.maximum((self.outliers >> 7) & 0xFF, 1).astype(np.int64)
        return np.where(self.occupied, field, 0)

    @cached_property
    def top(self) -> Ints:
        """(rows, blocks): the operand's part of the window's reference."""
        return np.maximum(self.scales, self.fields.max(axis=2, initial=0)).astype(np.int64)

    @cached_property
    def int_depth(self) -> Ints:
        """(rows, blocks): depth of the INT codes."""
        depth = self.top - self.scales + self.fraction
        return np.where(self.codes.any(axis=2), depth, NONE)

    @cached_property
    def kept(self) -> Bools:
        """Slots whose products can leave something on the window."""
        return self.occupied & (self.top[..., None] - self.fields < _FAR)

    @cached_property
    def slot_depth(self) -> Ints:
        """(rows, blocks, n): depth of each outlier that is kept."""
        significand = (self.outliers & 0x7F).astype(np.int64) | 0x80
        zeros = np.log2(significand & -significand).astype(np.int64)
        depth = self.top[..., None] - self.fields + 7 - zeros
        return np.where(self.kept, depth, NONE)

    @cached_property
    def out_depth(self) -> Ints:
        """(rows, blocks): the largest depth of an outlier."""
        return self.slot_depth.max(axis=2, initial=NONE)

    @cached_property
    def depth(self) -> Ints:
        """(rows, blocks): the largest depth of any element."""
        return np.maximum(self.int_depth, self.out_depth)

    @cached_property
    def bad(self) -> Bools:
        """(rows,): rows that only the golden model itself answers.

        NaN scales, Inf and NaN, INT codes under an outlier, two outliers at one position, and
        exponents that float32 could not carry through a product.
        """
        code = np.take_along_axis(self.codes, self.positions.astype(np.intp), axis=2)
        odd = ((code != 0) & self.occupied).any(axis=2)
        n = self.positions.shape[2]
        for i in range(n):
            for j in range(i):
                same = self.positions[..., i] == self.positions[..., j]
                odd |= same & self.occupied[..., i] & self.occupied[..., j]
        live = self.codes.any(axis=2)
        odd |= (self.scales == 255) | (self.top > _MOST) | (live & (self.scales < _LEAST))
        odd |= ((self.fields < _LEAST) & self.occupied).any(axis=2)
        return np.asarray(odd.any(axis=1))

    def integers(self, block: int, rows: npt.NDArray[np.integer] | slice) -> Floats:
        """The INT codes' values in one block, (rows, k)."""
        unit = power(self.scales[rows, block].astype(np.int64) - 127 - self.fraction)
        return self.codes[rows, block] * unit[:, None]

    @cached_property
    def slot_values(self) -> npt.NDArray[np.float32]:
        """(rows, blocks, n): outliers as numbers, 0 where not kept."""
        return np.where(self.kept, bf16_values(self.outliers), np.float32(0))

    def values(self, block: int, rows: npt.NDArray[np.integer] | slice) -> Floats:
        """All elements' values in one block, (rows, k)."""
        made = self.integers(block, rows)
        kept, value = self.kept[rows, block], self.slot_values[rows, block]
        row, slot = np.nonzero(kept)
        made[row, self.positions[rows, block][row, slot]] = value[row, slot]
        return made

    @cached_property
    def columns(self) -> tuple[Ints, ...]:
        """For each block, the positions at which any row has an outlier."""
        found = []
        for block in range(self.codes.shape[1]):
            here = self.positions[:, block][self.kept[:, block]]
            found.append(np.unique(here).astype(np.int64))
        return tuple(found)

    @cached_property
    def narrow(self) -> tuple[npt.NDArray[np.float32], ...]:
        """The INT codes' values by block, each (rows, k), in float32."""
        blocks = range(self.codes.shape[1])
        return tuple(self.integers(block, slice(None)).astype(np.float32) for block in blocks)

    @cached_property
    def column_values(self) -> tuple[Floats, ...]:
        """The outliers' values in the columns of each block, (rows, columns)."""
        made = []
        for block, columns in enumerate(self.columns):
            row, slot = np.nonzero(self.kept[:, block])
            place = np.searchsorted(columns, self.positions[row, block, slot])
            values = np.zeros((len(self.codes), len(columns)))
            values[row, place] = self.slot_values[row, block, slot]
            made.append(values)
        return tuple(made)
