"""Weights in floating point to `OwqWeights`, with the least error for given activations.

The error is that of the outputs, tr(D H D^T) with D the error of the weights and H = X^T X:

1. Columns kept in bf16: those with the largest h_j sum_r d_rj^2, h the diagonal of H and d the
   error of plain quantisation (OWQ's sensitivity); at most n of a block, and `most` in all.
2. Scales: of each row the mantissa of `row_scale`, and of each block the exponent, that give the
   least sum of h_j d_rj^2 over the elements that are left.
3. Codes: to nearest even; with `compensate` column after column, the error of each spread over the
   columns to come by the Cholesky factor of the inverse of H (GPTQ). Columns with the larger h
   come first; those kept in bf16 come last and take up what is left over.

The same input gives the same result; products of matrices come from BLAS, and another one may
decide a tie otherwise.

Source: OWQ (arXiv 2306.02272); GPTQ (arXiv 2210.17323); the scales are this project's.
"""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_codes, bf16_values
from narrowgauge.golden.owq import OwqWeights
from narrowgauge.golden.owq_search import (
    Matrix,
    columns_kept,
    exponents,
    mantissas,
    without,
)

__all__ = ["quantize"]

F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_GROUP = 128
"""Columns whose errors reach those after them in one product of matrices."""


def quantize(
    weights: npt.NDArray[np.float32] | npt.NDArray[np.float64],
    hessian: F64 | None = None,
    *,
    bits: int,
    k: int = 128,
    n: int = 4,
    most: int | None = None,
    compensate: bool = True,
    damping: float = 0.01,
) -> OwqWeights:
    """Quantise a matrix.

    Parameters
    ----------
    weights : finite, shape (rows, columns)
    hessian : X^T X of the activations (`owq.second_moment`), float64, shape (columns, columns);
        None weighs all columns alike
    bits : bits of a code, 2..8
    k : elements a block, a power of two, 2..1024
    n : slots of a block for columns kept in bf16, 0..k-1
    most : columns kept in all, at least 0; None fills the slots
    compensate : spread the error of each column over those to come
    damping : share of the mean of H's diagonal that is added to it for that, above 0

    Raises
    ------
    UsageError : wrong shapes, dtypes or numbers, or values that are not finite
    """
    _check(weights, hessian, bits, k, n, most, damping)
    rows, columns = weights.shape
    blocks = -(-columns // k)
    moments = np.eye(columns) if hessian is None else hessian
    h = np.diagonal(moments).copy()
    if not h.any():
        h = np.ones(columns)
        moments = np.eye(columns)
    # A power of two off each row: float32 must hold squares of its errors times h.
    power = np.frexp(np.abs(weights).max(axis=1).astype(np.float64))[1]
    padded = np.zeros((rows, blocks * k), np.float64)
    padded[:, :columns] = np.ldexp(weights.astype(np.float64), -power[:, None])
    importance = np.zeros(blocks * k, np.float64)
    importance[:columns] = h / h.max()
    matrix = Matrix(
        bits=bits,
        weights=padded.reshape(rows, blocks, k).astype(np.float32),
        importance=importance.reshape(blocks, k).astype(np.float32),
        size=np.ldexp(1.0, power - power.max()),
    )
    kept = np.zeros((blocks, k), np.bool_)
    if n:
        kept = columns_kept(matrix, n, kept.size if most is None else most)
    rest = without(matrix, kept)
    mantissa = mantissas(rest)
    exponent = exponents(rest, mantissa)
    step = np.repeat(np.ldexp(mantissa[:, None], exponent), k, axis=1)[:, :columns]
    work = padded[:, :columns].copy()
    if compensate:
        flat = kept.reshape(-1)[:columns]
        made = _compensated(work, moments, damping, mantissa, step, flat, rest.limit)
    else:
        made = _rounded(work, step, rest.limit)
    return _assembled(matrix, made, work, mantissa, exponent, kept, power, n)


def _check(
    weights: object, hessian: object, bits: int, k: int, n: int, most: int | None, damping: float
) -> None:
    if (
        not isinstance(weights, np.ndarray)
        or weights.ndim != 2
        or weights.dtype not in (np.float32, np.float64)
        or not weights.size
    ):
        wanted = "float32 or float64 of shape (rows, columns)"
        raise UsageError(f"weights must be {wanted}, got {_kind(weights)}")
    largest = float(bf16_values(np.array([0x7F7F], np.uint16))[0])
    if not np.isfinite(weights).all() or np.abs(weights).max() > largest:
        raise UsageError(f"weights must be finite and within {largest:g}")
    if not 2 <= bits <= 8:
        raise UsageError(f"bits must be 2..8, got {bits}")
    if not 2 <= k <= 1024 or k & (k - 1):
        raise UsageError(f"k must be a power of two in 2..1024, got {k}")
    if not 0 <= n < k:
        raise UsageError(f"n must be 0..k-1 with k={k}, got {n}")
    if most is not None and most < 0:
        raise UsageError(f"most must be at least 0, got {most}")
    if not (np.isfinite(damping) and damping > 0):
        raise UsageError(f"damping must be above 0, got {damping}")
    if hessian is None:
        return
    columns = weights.shape[1]
    if (
        not isinstance(hessian, np.ndarray)
        or hessian.dtype != np.float64
        or hessian.shape != (columns, columns)
    ):
        wanted = f"float64 of shape ({columns}, {columns})"
        raise UsageError(f"hessian must be {wanted}, got {_kind(hessian)}")
    if not np.isfinite(hessian).all() or (np.diagonal(hessian) < 0).any():
        raise UsageError("hessian must be finite with a diagonal of at least 0")


def _kind(value: object) -> str:
    """What an argument is, for an error."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__


def _rounded(values: F64, step: F64, limit: int) -> F64:
    """Codes of values, nearest even, clipped."""
    return np.clip(np.rint(values / step), -limit, limit)


def _compensated(
    work: F64,
    moments: F64,
    damping: float,
    mantissa: F64,
    step: F64,
    kept: Bools,
    limit: int,
) -> F64:
    """Codes, with `work` left as the weights that each column had when its turn came."""
    h = np.diagonal(moments)
    order = np.lexsort((-h, kept))
    factor = _factor(moments[np.ix_(order, order)], damping)
    # A column is a row here: contiguous, and read once for each that follows in its group.
    values = np.ascontiguousarray(work[:, order].T)
    codes = np.zeros_like(values)
    for start in range(0, len(order), _GROUP):
        end = min(start + _GROUP, len(order))
        triangle = factor[start:end, start:end]
        spread = np.empty((end - start, len(work)))
        for i, column in enumerate(values[start:end]):
            column -= triangle[:i, i] @ spread[:i]
            place = order[start + i]
            if kept[place]:
                made = bf16_values(bf16_codes(column / mantissa)) * mantissa
            else:
                codes[start + i] = _rounded(column, step[:, place], limit)
                made = codes[start + i] * step[:, place]
            spread[i] = (column - made) / triangle[i, i]
        values[end:] -= factor[start:end, end:].T @ spread
    work[:, order] = values.T
    back = np.empty_like(work)
    back[:, order] = codes.T
    return back


def _factor(moments: F64, damping: float) -> F64:
    """The upper triangle U with U^T U the inverse of the damped matrix."""
    damped = (moments + moments.T) / 2
    damped[np.diag_indices_from(damped)] += damping * np.mean(np.diagonal(damped))
    # H = R R^T with R upper, by Cholesky from the other end; then U is the inverse of R.
    lower = np.linalg.cholesky(damped[::-1, ::-1])
    return np.linalg.inv(lower[::-1, ::-1])


def _assembled(
    matrix: Matrix,
    codes: F64,
    work: F64,
    mantissa: F64,
    exponent: Ints,
    kept: Bools,
    power: Ints,
    n: int,
) -> OwqWeights:
    """Fields of the result from codes and steps in units of each row's 2**power."""
    rows, columns = codes.shape
    blocks, k = kept.shape
    flat = kept.reshape(-1)[:columns]
    padded = np.zeros((rows, blocks * k), np.int8)
    padded[:, :columns] = np.where(flat, 0, codes)
    shaped = padded.reshape(rows, blocks, k)
    # Of the row's largest scale, so that this one is 127 where bf16 reaches so far.
    top = exponent + (power + matrix.bits - 2)[:, None]
    height = np.where(shaped.any(axis=(1, 2)), np.clip(top.max(axis=1), -126, 127), 0)
    scale = np.clip(top - height[:, None] + 127, 0, 254)
    scale[~shaped.any(axis=2)] = 0
    row_scale = np.ldexp(mantissa, height)
    positions = np.broadcast_to(np.arange(n), (blocks, n)).copy()
    outliers = np.zeros((rows, blocks, n), np.uint16)
    for block in range(blocks):
        places = np.flatnonzero(kept[block])
        positions[block, : len(places)] = places
        values = np.ldexp(work[:, block * k + places], (power - height)[:, None])
        values /= mantissa[:, None]
        outliers[:, block, : len(places)] = bf16_codes(values)
    return OwqWeights(
        bits=matrix.bits,
        columns=columns,
        codes=shaped,
        scales=scale.astype(np.uint8),
        outliers=outliers,
        positions=np.broadcast_to(positions, (rows, blocks, n)).astype(np.uint16),
        row_scale=bf16_codes(row_scale),
    )
