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
from narrowgauge.golden.formats import bf16_codes, bf16_values
from narrowgauge.golden.llm.operand import power
from narrowgauge.golden.units import bf16_dot

__all__ = ["Side", "products", "reference"]

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


def reference(a: Codes, b: Codes, start: F32 | None = None) -> Codes:
    """Results for pairs of rows by the golden model, both (pairs, length), as bf16 codes."""
    beats = a.shape[1] // _LANES
    last = np.tile(np.arange(beats) == beats - 1, len(a)).astype(np.int64)
    batch = {
        "a": a.reshape(-1, _LANES).astype(np.int64),
        "b": b.reshape(-1, _LANES).astype(np.int64),
        "last": last,
    }
    code = bf16_dot.model(_PARAMS, batch)["result"]
    total = code.astype(np.uint32).view(np.float32)
    return bf16_codes(total if start is None else start + total)


class Side:
    """Rows of bf16 codes, beat by beat: numbers over the beat's largest power of two."""

    def __init__(self, codes: Codes) -> None:
        codes = np.pad(codes, ((0, 0), (0, -codes.shape[1] % _LANES)))
        self.codes = codes
        field = np.maximum((codes >> 7) & 0xFF, 1).astype(np.int64)
        beats = codes.reshape(len(codes), -1, _LANES)
        self.special = np.asarray((field == 255).any(axis=1))
        self.top = field.reshape(beats.shape).max(axis=2)
        distance = field.reshape(beats.shape) - self.top[:, :, None]
        value = np.where(self.special[:, None, None], np.float32(0), bf16_values(beats))
        # What float32 cannot hold lies below the window of every sum that bounds decide.
        with np.errstate(under="ignore"):
            self.values = (value / power(self.top - 127)[:, :, None]).astype(np.float32)
        exponent = np.where(distance < _LOWEST, -200, 8 * distance + _SHIFT)
        self.powers = power(exponent).astype(np.float32)
        # How far the last set bit of each number lies below the top; zeros lose nothing.
        significand = (beats & 0x7F).astype(np.int64) | 0x80
        depth = np.minimum(7 - distance - np.log2(significand & -significand).astype(np.int64), 60)
        self.depth = np.where(self.values == 0, -60, depth).astype(np.int8)
        # Cauchy and Schwarz: bounds what the GEMM can be wrong by.
        square = (self.values.astype(np.float64) ** 2).sum(axis=2)
        self.norm = np.sqrt(square) * power(self.top - 127)


def products(
    a: Codes, b: Codes | Side, *, wanted: Bools | None = None, start: F32 | None = None
) -> Codes:
    """Dot products of all rows of a with all rows of b, (rows of a, rows of b), as bf16 codes.

    Parameters
    ----------
    a, b : bf16 codes, (rows, length); the last beat is filled up with zeros
    wanted : (rows of a, rows of b); where false the result is not made and reads +0
    start : (rows of a, rows of b), what one beat is added to, else +0

    RNE to bf16 of the FP32 that `bf16_dot` gives with 128 lanes; NaN is the canonical one.
    """
    left, right = Side(a), b if isinstance(b, Side) else Side(b)
    if left.codes.shape[1] != right.codes.shape[1]:
        raise UsageError(
            f"a and b must be matrices of one length, got {a.shape} and {right.codes.shape}"
        )
    if start is not None and left.codes.shape[1] > _LANES:
        raise UsageError(f"a start is for one beat, got length {a.shape[1]}")
    result = np.zeros((len(a), len(right.codes)), np.uint16)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for first in range(0, result.shape[1], _TILE):
            part = slice(first, min(first + _TILE, result.shape[1]))
            mask = None if wanted is None else wanted[:, part]
            begun = None if start is None else start[:, part]
            result[:, part] = _tile(left, right, part, mask, begun)
    return result


def _tile(left: Side, right: Side, part: slice, wanted: Bools | None, start: F32 | None) -> Codes:
    a, b = left.codes, right.codes[part]
    shape = (len(a), len(b))
    beats = left.top.shape[1]
    total, error, sizes = np.zeros(shape), np.zeros(shape, np.float32), np.zeros(shape)
    references = np.empty((beats, *shape), np.int8)
    if start is not None:
        total += start
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
    far = ~valid | ~(np.abs(total) <= 2.0**120)
    special = left.special[:, None] | right.special[part]
    unclear = (low != high) & ~special & ~far
    if wanted is not None:
        unclear &= wanted
        special, far = special & wanted, far & wanted
        low = np.where(wanted, low, np.uint16(0))
    row, column = np.nonzero(unclear)
    row, column = _count(left, right, part, references, row, column, total, slack, low)
    _add_up(left, right, part, references, row, column, start, low)
    row, column = np.nonzero(far | special)
    step = max(1, _PRODUCTS // a.shape[1])
    for first in range(0, len(row), step):
        i, j = row[first : first + step], column[first : first + step]
        low[i, j] = reference(a[i], b[j], None if start is None else start[i, j])
    return low


def _rounded(values: F64) -> Codes:
    return bf16_codes(values.astype(np.float32))


def _count(
    left: Side,
    right: Side,
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
    left: Side,
    right: Side,
    part: slice,
    references: npt.NDArray[np.int8],
    row: Ints,
    column: Ints,
    begun: F32 | None,
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
        x = left.values[i].astype(np.float64) * values[j]
        x *= power(_FRACTION - r)[:, :, None]
        np.trunc(x, out=x)
        whole = x.sum(axis=2) * power(r - _FRACTION + left.top[i] + tops[j] - 254)
        terms = whole.astype(np.float32)
        total = np.zeros(len(i), np.float32) if begun is None else begun[i, j]
        for beat in range(beats):
            total += terms[:, beat]
        result[i, j] = bf16_codes(total)
