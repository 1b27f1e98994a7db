"""Matrix products with the bits of `units.w4a16_dot`: bf16 activations times INT weights.

A beat's reference is the largest exponent of its activations. Products are exact unless an
activation lies more than 14 powers of two below it; a float64 GEMM gives the sum, from which is
taken what the window cuts off of those. Columns of weights that are kept in bf16 follow as one
more beat, of `units.bf16_dot`: their products alone, on a window of their own.
"""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_values
from narrowgauge.golden.llm.operand import power
from narrowgauge.golden.units import w4a16_dot

__all__ = ["products", "reference"]

Codes = npt.NDArray[np.uint16]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_FRACTION = w4a16_dot.Params().fraction
_FAR = 27
"""Distance from which on every product is cut off whole."""
_NAN = np.uint32(0x7FC00000)
_TILE = 64


def reference(
    a: Codes, codes: npt.NDArray[np.int8], scales: npt.NDArray[np.uint8], bits: int
) -> F32:
    """Results for pairs of rows by the golden model: a (pairs, blocks, k), codes alike."""
    pairs, blocks, k = codes.shape
    params = w4a16_dot.Params(lanes=k, w_bits=bits)
    batch = {
        "a": a.reshape(-1, k).astype(np.int64),
        "w": codes.reshape(-1, k).astype(np.int64),
        "w_scale": scales.reshape(-1).astype(np.int64),
        "last": np.tile(np.arange(blocks) == blocks - 1, pairs).astype(np.int64),
    }
    code = w4a16_dot.model(params, batch)["result"]
    return code.astype(np.uint32).view(np.float32)


def products(
    a: Codes, codes: npt.NDArray[np.int8], scales: npt.NDArray[np.uint8], *, bits: int
) -> F32:
    """Dot products of all rows of a with all rows of weights, float32.

    Parameters
    ----------
    a : bf16 codes, (rows, blocks * k)
    codes, scales : weights, (outputs, blocks, k) of `bits` bits, and (outputs, blocks), E8M0

    Equal in every bit to `w4a16_dot` with k lanes and 23 fraction bits; NaN is 0x7FC00000.
    """
    outputs, blocks, k = codes.shape
    if a.ndim != 2 or a.shape[1] != blocks * k:
        raise UsageError(f"a must have {blocks * k} columns, got {a.shape}")
    beats = a.reshape(len(a), blocks, k)
    field = np.maximum((beats >> 7) & 0xFF, 1).astype(np.int64)
    top = field.max(axis=2)
    bad_a = np.asarray((top == 255).any(axis=1))
    bad_w = np.asarray((scales == 255).any(axis=1))
    value = np.where(bad_a[:, None, None], np.float32(0), bf16_values(beats))
    distance = top[:, :, None] - field
    values = np.where(distance < _FAR, value / power(top - 127)[:, :, None], 0.0)
    significand = (beats & 0x7F).astype(np.int64) | 0x80
    zeros = np.log2(significand & -significand).astype(np.int64)
    # A product has bits - 2 fraction bits more than its activation.
    deep = (distance + 7 - zeros + bits - 2 > _FRACTION) & (values != 0)
    result = np.zeros((len(a), outputs), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for block in range(blocks):
            _add_block(
                values[:, block], top[:, block], deep[:, block],
                codes[:, block], scales[:, block], bits, result,
            )  # fmt: skip
    if bad_a.any() or bad_w.any():
        row, column = np.nonzero(bad_a[:, None] | bad_w)
        step = max(1, (1 << 20) // a.shape[1])
        for start in range(0, len(row), step):
            i, j = row[start : start + step], column[start : start + step]
            result[i, j] = reference(beats[i], codes[j], scales[j], bits)
    result.view(np.uint32)[np.isnan(result)] = _NAN
    return result


def _add_block(
    values: F64,
    top: Ints,
    deep: npt.NDArray[np.bool_],
    codes: npt.NDArray[np.int8],
    scales: npt.NDArray[np.uint8],
    bits: int,
    total: F32,
) -> None:
    """Add one beat's rounded totals."""
    unit_a = power(top - 127)[:, None]
    unit_w = power(scales.astype(np.int64) - 127 - (bits - 2))
    plain = unit_a.max(initial=0) < 2.0**60 and not deep.any()
    left = values * unit_a if plain else values
    row, place = np.nonzero(deep)
    firsts = np.flatnonzero(np.diff(row, prepend=-1))
    shape = (len(values), _TILE)
    sums, rounded = np.empty(shape), np.empty(shape, np.float32)
    for start in range(0, len(codes), _TILE):
        part = slice(start, min(start + _TILE, len(codes)))
        if part.stop - start < _TILE:
            shape = (len(values), part.stop - start)
            sums, rounded = np.empty(shape), np.empty(shape, np.float32)
        right = codes[part].astype(np.float64)
        if plain:
            right *= unit_w[part, None]
        np.matmul(left, right.T, out=sums)
        if len(row):
            # What is cut off of single products, towards zero, added up by row.
            x = values[row, place, None] * right[:, place].T
            x *= 2.0 ** (_FRACTION - (bits - 2))
            x -= np.trunc(x)
            x *= 2.0 ** (bits - 2 - _FRACTION)
            sums[row[firsts]] -= np.add.reduceat(x, firsts, axis=0)
        if not plain:
            sums *= unit_a
            sums *= unit_w[part]
        np.copyto(rounded, sums, casting="same_kind")
        total[:, part] += rounded
