"""Weights with few bits, a scale a block and a row, and some columns of a block kept in bf16.

    weight = row_scale * 2^(scale - 127) * code * 2^(2 - bits)       elements
    weight = row_scale * outlier                                     slots of outliers

Codes are symmetric, |code| <= 2^(bits-1) - 1, in blocks of k along the inputs; a block has an E8M0
scale and n slots for bf16 outliers with their positions; a row (an output) has a bf16 scale that
multiplies its finished dot product. A slot that holds +0 is empty; the code of a slot in use is 0.
The blocks are the w side of `units.opal_dot`. `owq_quantize` makes them.

Source: OWQ (arXiv 2306.02272) for columns kept in high precision, OPAL (arXiv 2409.05902) for
blocks; the row scale and the slots are this project's.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_values
from narrowgauge.golden.payload import Batch

__all__ = ["OwqWeights", "dequantize", "second_moment"]

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class OwqWeights:
    """A matrix of quantised weights, rows (outputs) x columns (inputs).

    `blocks` is ceil(columns / k); elements past the last column are 0.

    Parameters
    ----------
    bits : bits of a code, 2..8
    columns : inputs
    codes : (rows, blocks, k), int8
    scales : (rows, blocks), uint8, E8M0, 0..254
    outliers : (rows, blocks, n), uint16, bf16 codes; +0 or -0 is an empty slot
    positions : (rows, blocks, n), uint16, places of the slots in their block
    row_scale : (rows,), uint16, bf16 codes, finite and above 0
    """

    bits: int
    columns: int
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.uint8]
    outliers: npt.NDArray[np.uint16]
    positions: npt.NDArray[np.uint16]
    row_scale: npt.NDArray[np.uint16]

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise UsageError(f"bits must be 2..8, got {self.bits}")
        if self.codes.ndim != 3 or self.codes.dtype != np.int8:
            raise UsageError(
                f"codes must be int8 of shape (rows, blocks, k), "
                f"got {self.codes.dtype} of shape {self.codes.shape}"
            )
        rows, blocks, k = self.codes.shape
        if self.columns < 1 or blocks != -(-self.columns // k):
            raise UsageError(f"{self.columns} columns have not {blocks} blocks of {k}")
        n = self.outliers.shape[-1] if self.outliers.ndim else 0
        for name, shape, dtype in (
            ("scales", (rows, blocks), np.uint8),
            ("outliers", (rows, blocks, n), np.uint16),
            ("positions", (rows, blocks, n), np.uint16),
            ("row_scale", (rows,), np.uint16),
        ):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise UsageError(
                    f"{name} must be {np.dtype(dtype)} of shape {shape}, "
                    f"got {array.dtype} of shape {array.shape}"
                )
        limit = (1 << (self.bits - 1)) - 1
        if self.codes.size and np.abs(self.codes.astype(np.int64)).max() > limit:
            worst = self.codes.flat[np.abs(self.codes.astype(np.int64)).argmax()]
            raise UsageError(f"codes of {self.bits} bits lie within {limit}, got {worst}")
        if (self.scales == 255).any():
            raise UsageError("scales must be 0..254, got 255")
        used = (self.outliers & 0x7FFF) != 0
        index = np.arange(blocks)[:, None] * k + self.positions
        outside = (self.positions >= k) | (used & (index >= self.columns))
        if outside.any():
            raise UsageError(
                f"positions must be below k={k} and inside {self.columns} columns, "
                f"got {self.positions[outside][0]}"
            )
        if ((self.row_scale == 0) | (self.row_scale >= 0x7F80)).any():
            raise UsageError("row_scale must be finite and above 0")

    @property
    def rows(self) -> int:
        """Outputs."""
        return self.codes.shape[0]

    @property
    def k(self) -> int:
        """Elements a block."""
        return self.codes.shape[2]

    @property
    def n(self) -> int:
        """Slots for outliers a block."""
        return self.outliers.shape[2]

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Elements of each block that are columns, shape (blocks,): the last may be short."""
        return np.minimum(self.k, self.columns - self.k * np.arange(self.codes.shape[1]))

    @property
    def bits_per_weight(self) -> float:
        """Storage of all fields over rows * columns, slots of outliers and padding included."""
        position = (self.k - 1).bit_length()
        block = self.k * self.bits + 8 + self.n * (16 + position)
        return (self.scales.size * block + 16 * self.rows) / (self.rows * self.columns)

    def side(self, *, high: bool) -> Batch:
        """The w side of `units.opal_dot` transactions, row after row, block after block.

        Fields `w`, `w_high` (as given), `w_scale`, with n > 0 `w_outliers` and `w_positions`, and
        `size` and `last`, which ends each row.
        """
        count = self.scales.size
        end = np.zeros(self.scales.shape, np.int64)
        end[:, -1] = 1
        batch: Batch = {
            "w": self.codes.reshape(count, self.k).astype(np.int64),
            "w_high": np.full(count, int(high), np.int64),
            "w_scale": self.scales.reshape(count).astype(np.int64),
            "size": np.tile(self.sizes, self.rows),
            "last": end.reshape(count),
        }
        if self.n:
            batch["w_outliers"] = self.outliers.reshape(count, self.n).astype(np.int64)
            batch["w_positions"] = self.positions.reshape(count, self.n).astype(np.int64)
        return batch


def dequantize(weights: OwqWeights) -> npt.NDArray[np.float32]:
    """Values, shape (rows, columns); exact but where they leave the range of float32."""
    exponent = weights.scales.astype(np.intc) - 127 + 2 - weights.bits
    values = np.ldexp(weights.codes.astype(np.float64), exponent[:, :, None])
    used = (weights.outliers & 0x7FFF) != 0
    row, block, slot = np.nonzero(used)
    place = weights.positions[row, block, slot]
    values[row, block, place] = bf16_values(weights.outliers[row, block, slot])
    values *= bf16_values(weights.row_scale).astype(np.float64)[:, None, None]
    flat = values.reshape(weights.rows, -1)[:, : weights.columns]
    return flat.astype(np.float32)


def second_moment(x: Floats) -> npt.NDArray[np.float64]:
    """X^T X of activations x, shape (tokens, columns): the Hessian of a row's squared error.

    Those of several batches add up.
    """
    if x.ndim != 2 or x.dtype not in (np.float32, np.float64):
        raise UsageError(
            f"x must be float32 or float64 of shape (tokens, columns), "
            f"got {x.dtype} of shape {x.shape}"
        )
    if not np.isfinite(x).all():
        raise UsageError("x must be finite, got Inf or NaN")
    wide = x.astype(np.float64)
    return wide.T @ wide
