"""The search for what `owq_quantize` rounds with: scales, and the columns kept in bf16."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = ["Matrix", "columns_kept", "exponents", "mantissas", "without"]

F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_COARSE = range(128, 256, 8)
_FINE = range(-7, 8)
_CLIPS = (0, 1, 2)
"""Powers of two by which a block's scale may lie below one without clipping."""

_NOTHING = -120
"""Least exponent of a step, that of a block of zeros; float32 holds steps below it."""

_SPAN = 100
"""Most powers of two between the scales of a row."""

_ROWS = 32
"""Rows that are searched at a time: their weights stay in a core's cache."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """What the search reads.

    Parameters
    ----------
    bits : bits of a code
    weights : (rows, blocks, k), the largest of a row in 0.5..1
    importance : (blocks, k), h of each column, the largest 1; 0 in padding
    size : (rows,), what rows were divided by, the largest 1
    """

    bits: int
    weights: npt.NDArray[np.float32]
    importance: npt.NDArray[np.float32]
    size: F64

    @property
    def limit(self) -> int:
        """Largest code."""
        return (1 << (self.bits - 1)) - 1


def without(matrix: Matrix, kept: Bools) -> Matrix:
    """The matrix with the columns that are kept in bf16 set to 0: its scales do not see them."""
    weights = np.where(kept, np.float32(0), matrix.weights)
    return replace(matrix, weights=weights)


def _base(weights: npt.NDArray[np.float32], mantissa: F64, limit: int) -> Ints:
    """Least exponents of (rows, blocks) steps that clip nothing."""
    largest = np.abs(weights).max(axis=2).astype(np.float64) / (limit * mantissa[:, None])
    fraction, exponent = np.frexp(largest)
    tight = np.where(largest > 0, exponent - (fraction == 0.5), _NOTHING)
    return np.maximum(tight, _NOTHING).astype(np.int64)


def _errors(matrix: Matrix, part: slice, step: F64) -> npt.NDArray[np.float32]:
    """Weighted squared error of each block of some rows under a step by block."""
    weights = matrix.weights[part]
    wide = step.astype(np.float32)[:, :, None]
    codes = np.clip(np.rint(weights / wide), -matrix.limit, matrix.limit)
    codes *= wide
    codes -= weights
    codes *= codes
    return np.einsum("rbk,bk->rb", codes, matrix.importance)


def mantissas(matrix: Matrix) -> F64:
    """The best mantissa of each row's scale, in 1..2 by steps of 1/128."""
    rows = len(matrix.weights)
    best = np.empty(rows)
    for start in range(0, rows, _ROWS):
        part = slice(start, start + _ROWS)
        chosen = np.full(len(matrix.weights[part]), 128)
        # Coarse, then fine around what was best.
        for offsets in (_COARSE, _FINE):
            least = np.full(len(chosen), np.inf)
            around = np.zeros_like(chosen) if offsets is _COARSE else chosen
            for offset in offsets:
                tried = np.clip(around + offset, 128, 255)
                mantissa = tried / 128
                base = _base(matrix.weights[part], mantissa, matrix.limit)
                step = np.ldexp(mantissa[:, None], base)
                error = np.minimum(
                    _errors(matrix, part, step), _errors(matrix, part, step / 2)
                ).sum(axis=1)
                better = error < least
                least[better], chosen[better] = error[better], tried[better]
        best[part] = chosen / 128
    return best


def exponents(matrix: Matrix, mantissa: F64) -> Ints:
    """The best exponent of each block's step, shape (rows, blocks)."""
    best = _base(matrix.weights, mantissa, matrix.limit)
    for start in range(0, len(best), _ROWS):
        part = slice(start, start + _ROWS)
        base = best[part].copy()
        least = np.full(base.shape, np.inf)
        for clip in _CLIPS:
            error = _errors(matrix, part, np.ldexp(mantissa[part, None], base - clip))
            better = error < least
            least[better], best[part][better] = error[better], (base - clip)[better]
    # So that all scales of a row fit E8M0 beside its largest.
    return np.maximum(best, best.max(axis=1, keepdims=True) - _SPAN)


def columns_kept(matrix: Matrix, n: int, most: int) -> Bools:
    """Which columns are kept in bf16, shape (blocks, k): those with the largest error.

    At most n a block and `most` in all, none without error.
    """
    mantissa = mantissas(matrix)
    step = np.ldexp(mantissa[:, None], exponents(matrix, mantissa))[:, :, None]
    codes = np.clip(np.rint(matrix.weights / step), -matrix.limit, matrix.limit)
    error = (codes * step - matrix.weights) * matrix.size[:, None, None]
    total = (error**2).sum(axis=0) * matrix.importance
    first = np.argsort(-total, axis=1, kind="stable")[:, :n]
    kept = np.zeros(total.shape, np.bool_)
    np.put_along_axis(kept, first, True, axis=1)
    total *= kept
    flat = np.zeros(total.size, np.bool_)
    flat[np.argsort(-total, axis=None, kind="stable")[:most]] = True
    return flat.reshape(total.shape) & (total > 0)
