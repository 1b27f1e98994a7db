"""Matrix products with the bits of `units.bf16_dot`, rounded to bf16: bounds first, then exactly.

Products of bf16 are cut off in nearly every beat, so no GEMM gives the sum. But the result is
rounded to bf16 in the end, and what is cut off is small beside that: a float64 GEMM gives the sum
without cuts, the window's reference bounds what they take, and where both ends of the interval
round to one bf16 number that is the answer. For the others, some per cent, the products that are
cut off at all are counted, which leaves a tenth of them; these are added up product by product.

The reference of a beat is the largest sum of two exponent fields. It comes from another GEMM: with
2^(8 field) in place of each number a dot product lies between 2^(8 R) and 128 * 2^(8 R), so its
exponent over 8, cut off, is R.
"""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_codes
from narrowgauge.golden.llm.operand import power
from narrowgauge.golden.units import bf16_dot

__all__ = ["products", "reference"]

Codes = npt.NDArray[np.uint16]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_PARAMS = bf16_dot.Params()
_LANES, _FRACTION = _PARAMS.lanes, _PARAMS.fraction
_NAN = np.uint16(0x7FC0)
_LOWEST = -22
"""Least R, counted from the sum of both sides' largest fields, that the GEMM finds."""
_SHIFT = 56
"""Exponent of the largest number in that GEMM, so that 128 products stay in range."""
_TILE = 64
_PRODUCTS = 1 << 15
"""Products added up one by one at a time."""
_COUNTED = 1 << 18
"""Products counted at a time."""


def reference(a: Codes, b: Codes) -> Codes:
    """Results for pairs of rows by the golden model, both (pairs, length), as bf16 codes."""
    beats = a.shape[1] // _LANES
    last = np.tile(np.arange(beats) == beats - 1, len(a)).astype(np.int64)
    batch = {
        "a": a.reshape(-1, _LANES).astype(np.int64),
        "b": b.reshape(-1, _LANES).astype(np.int64),
        "last": last,
    }
    code = bf16_dot.model(_PARAMS, batch)["result"]
    return bf16_codes(code.astype(np.uint32).view(np.float32))


class _Side:
    """Rows of bf16 codes, beat by beat: numbers over the beat's largest power of two."""

    def __init__(self, codes: Codes) -> None:
        field = np.maximum((codes >> 7) & 0xFF, 1).astype(np.int64)
        beats = codes.reshape(len(codes), -1, _LANES)
        self.special = np.asarray((field == 255).any(axis=1))
        self.field = field.reshape(beats.shape)
        self.top = self.field.max(axis=2)
        distance = self.field - self.top[:, :, None]
        value = (beats.astype(np.uint32) << 16).view(np.float32)
        value = np.where(self.special[:, None, None], np.float32(0), value)
        self.values = value / power(self.top - 127)[:, :, None]
        exponent = np.where(distance < _LOWEST, -200, 8 * distance + _SHIFT)
        self.powers = power(exponent).astype(np.float32)
        # How far the last set bit of each number lies below the top; zeros lose nothing.
        significand = (beats & 0x7F).astype(np.int64) | 0x80
        depth = np.minimum(7 - distance - np.log2(significand & -significand).astype(np.int64), 60)
        self.depth = np.where(self.values == 0, -60, depth).astype(np.int8)
        # Cauchy and Schwarz: bounds what the GEMM can be wrong by.
        self.norm = np.sqrt((self.values**2).sum(axis=2)) * power(self.top - 127)


def products(a: Codes, b: Codes, *, wanted: Bools | None = None) -> Codes:
    """Dot products of all rows of a with all rows of b, (rows of a, rows of b), as bf16 codes.

    Parameters
    ----------
    a, b : bf16 codes, (rows, length); the last beat is filled up with zeros
    wanted : (rows of a, rows of b); where false the result is not made and reads +0

    RNE to bf16 of the FP32 that `bf16_dot` gives with 128 lanes; NaN is the canonical one.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise UsageError(f"a and b must be matrices of one length, got {a.shape} and {b.shape}")
    pad = ((0, 0), (0, -a.shape[1] % _LANES))
    a, b = np.pad(a, pad), np.pad(b, pad)
    left, right = _Side(a), _Side(b)
    result = np.zeros((len(a), len(b)), np.uint16)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start in range(0, len(b), _TILE):
            part = slice(start, min(start + _TILE, len(b)))
            mask = None if wanted is None else wanted[:, part]
            result[:, part] = _tile(a, b[part], left, right, part, mask)
    return result


def _tile(
    a: Codes, b: Codes, left: _Side, right: _Side, part: slice, wanted: Bools | None
) -> Codes:
    shape = (len(a), len(b))
    beats = left.top.shape[1]
    total, error, sizes = np.zeros(shape), np.zeros(shape, np.float32), np.zeros(shape)
    references = np.empty((beats, *shape), np.int8)
    exact, square = np.empty(shape), np.empty(shape, np.float32)
    valid = np.ones(shape, np.bool_)
    for beat in range(beats):
        unit_a = power(left.top[:, beat] - 127)[:, None]
        unit_b = power(right.top[part, beat] - 127)
        np.matmul(left.values[:, beat] * unit_a, (right.values[part, beat] * unit_b[:, None]).T,
                  out=exact)  # fmt: skip
        total += exact
        np.abs(total, out=exact)
        sizes += exact
        np.matmul(left.powers[:, beat], right.powers[part, beat].T, out=square)
        r = square.view(np.int32)
        r >>= 23
        r -= 127 + 2 * _SHIFT
        r >>= 3
        np.copyto(references[beat], r, casting="unsafe")
        valid &= r >= _LOWEST
        # As a float again: 2^R, and 128 products of which each loses less than the last bit.
        r += 127
        r <<= 23
        square *= (unit_a * (_LANES * 2.0**-_FRACTION)).astype(np.float32)
        square *= unit_b.astype(np.float32)
        error += square
    # Two roundings a beat, of a term that is at most the sum of two totals, and of the GEMM.
    slack = 2.0**-22 * sizes + 2.0**-40 * (left.norm @ right.norm[part].T) + 2.0**-140
    low, high = (_rounded(total + sign * (error + slack)) for sign in (-1.001, 1.001))
    far = ~valid | (np.abs(total) > 2.0**120)
    special = left.special[:, None] | right.special[part]
    unclear = (low != high) & ~special & ~far
    if wanted is not None:
        unclear &= wanted
        special, far = special & wanted, far & wanted
        low = np.where(wanted, low, np.uint16(0))
    row, column = np.nonzero(unclear)
    row, column = _count(left, right, part, references, row, column, total, slack, low)
    _add_up(left, right, part, references, row, column, low)
    row, column = np.nonzero(far | special)
    step = max(1, _PRODUCTS // a.shape[1])
    for start in range(0, len(row), step):
        i, j = row[start : start + step], column[start : start + step]
        low[i, j] = reference(a[i], b[j])
    return low


def _rounded(values: F64) -> Codes:
    return bf16_codes(values.astype(np.float32))


def _count(
    left: _Side,
    right: _Side,
    part: slice,
    references: npt.NDArray[np.int8],
    row: Ints,
    column: Ints,
    total: F64,
    slack: F64,
    result: Codes,
) -> tuple[Ints, Ints]:
    """Results of the pairs that counting decides, written into `result`; the pairs left over."""
    beats = left.top.shape[1]
    step = max(1, _COUNTED // (beats * _LANES))
    tops, depths = right.top[part], right.depth[part]
    rest = np.zeros(len(row), np.bool_)
    for start in range(0, len(row), step):
        i, j = row[start : start + step], column[start : start + step]
        r = references[:, i, j].T
        cut = left.depth[i] + depths[j] > (_FRACTION - r)[:, :, None]
        # Eight counts to a word: sixteen bytes of 0 or 1 do not carry.
        words = cut.view(np.uint64).sum(axis=2)
        counts = words.view(np.uint8).reshape(len(i), beats, 8).sum(axis=2)
        units = power(r.astype(np.int64) - _FRACTION + left.top[i] + tops[j] - 254)
        error = (counts * units).sum(axis=1) + slack[i, j]
        low, high = (_rounded(total[i, j] + sign * error) for sign in (-1.001, 1.001))
        result[i, j] = low
        rest[start : start + step] = low != high
    return row[rest], column[rest]


def _add_up(
    left: _Side,
    right: _Side,
    part: slice,
    references: npt.NDArray[np.int8],
    row: Ints,
    column: Ints,
    result: Codes,
) -> None:
    """Results of pairs product by product, written into `result`."""
    beats = left.top.shape[1]
    step = max(1, _PRODUCTS // (beats * _LANES))
    tops = right.top[part]
    values = right.values[part]
    for start in range(0, len(row), step):
        i, j = row[start : start + step], column[start : start + step]
        r = references[:, i, j].T.astype(np.int64)
        x = left.values[i] * values[j]
        x *= power(_FRACTION - r)[:, :, None]
        np.trunc(x, out=x)
        whole = x.sum(axis=2) * power(r - _FRACTION + left.top[i] + tops[j] - 254)
        terms = whole.astype(np.float32)
        total = np.zeros(len(i), np.float32)
        for beat in range(beats):
            total += terms[:, beat]
        result[i, j] = bf16_codes(total)
