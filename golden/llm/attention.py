"""Softmax and what follows, for all rows of a causal window at once, with the bits of the units.

`log2_codes` is `units.log2_softmax`, `softmax` is `units.bf16_softmax`, `shifted` is
`units.shift_attend`: there a term is a shifted
integer, so rows of terms are sums of float32 GEMMs. Where a shift drops nothing, the matrix of
powers of two times V is exact; each further shift has a matrix of zeros and ones.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_codes, bf16_values
from narrowgauge.golden.units import bf16_softmax, log2_softmax, shift_attend

__all__ = ["log2_codes", "references", "shifted", "softmax"]

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint16]
F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]

_NAN = np.uint16(0x7FC0)


@cache
def _table(params: log2_softmax.Params) -> I32:
    """The t of every finite bf16 code."""
    codes = np.arange(1 << 16)
    finite = (codes & 0x7F80) != 0x7F80
    return log2_softmax.logarithms(params, np.where(finite, codes, 0)).astype(np.int32)


def log2_codes(
    params: log2_softmax.Params, scores: Codes, lengths: Ints
) -> tuple[npt.NDArray[np.uint8], Bools, Bools]:
    """Codes of rows of scores, of which the first `lengths` count.

    Parameters
    ----------
    scores : bf16 codes, (rows, positions)
    lengths : elements of each row, 1 or more, not falling from row to row

    Returns codes, `zero` (also beyond a row's length), both (rows, positions), and `nan`, (rows,).
    """
    rows, count = scores.shape
    firsts = _firsts(lengths, count)
    outside = np.arange(count) >= lengths[:, None]
    special = (scores & 0x7F80) == 0x7F80
    zero = outside | (scores == 0xFF80)
    nan = (special & ~zero).any(axis=1) | (lengths > params.length)
    fraction, guard = params.fraction, params.guard
    t = _table(params)[np.where(zero, np.uint16(0), scores)].T.copy()
    dead = zero.T
    integer, term = (
        t >> fraction,
        ((1 << fraction) + (t & ((1 << fraction) - 1))) << (guard - fraction),
    )
    largest = np.full(rows, -(1 << (params.whole - 1)), np.int32)
    total = np.zeros(rows, np.int32)
    for step in range(min(count, params.length)):
        live = slice(int(firsts[step]), rows)
        here = np.where(dead[step, live], largest[live], integer[step, live])
        grown = np.maximum(largest[live], here)
        added = term[step, live] >> np.minimum(grown - integer[step, live], 31)
        added[dead[step, live]] = 0
        total[live] = (total[live] >> np.minimum(grown - largest[live], 31)) + added
        largest[live] = grown
    lead = np.frexp(np.maximum(total, 1).astype(np.float64))[1].astype(np.int32) - 1
    below = np.where(
        total > 0, (total >> np.maximum(lead - fraction, 0)) & ((1 << fraction) - 1), 0
    )
    level = ((largest + lead - guard) << fraction) + below + (1 << (fraction - 1))
    code = np.minimum((level - t) >> fraction, params.most)
    code[dead] = params.most
    code[:, nan] = params.most
    return code.T.astype(np.uint8), zero, nan


@cache
def _exponentials(params: bf16_softmax.Params) -> tuple[I32, I32]:
    """Integer part of t and mantissa of 2^t for every finite bf16 code."""
    codes = np.arange(1 << 16)
    finite = (codes & 0x7F80) != 0x7F80
    integer, mantissa = bf16_softmax.exponentials(params, np.where(finite, codes, 0))
    return integer.astype(np.int32), mantissa.astype(np.int32)


def softmax(params: bf16_softmax.Params, scores: Codes, lengths: Ints) -> Codes:
    """Probabilities of rows of scores in bf16, +0 beyond a row's length, (rows, positions).

    `units.bf16_softmax`, whose FP32 sum is one of float32 here: its terms are normal or 0. Rows
    must be as `log2_codes` takes them.
    """
    rows, count = scores.shape
    firsts = _firsts(lengths, count)
    zero = (np.arange(count) >= lengths[:, None]) | (scores == 0xFF80)
    special = ((scores & 0x7F80) == 0x7F80) & ~zero
    nan = special.any(axis=1) | (lengths > params.length)
    tables = _exponentials(params)
    integer, mantissa = (t[np.where(zero | special, np.uint16(0), scores)] for t in tables)
    steps, dead = integer.T.copy(), zero.T.copy()
    values = (1 + mantissa.T / np.float32(128)).astype(np.float32)
    largest = np.full(rows, -256, np.int32)
    total = np.zeros(rows, np.float32)
    for step in range(min(count, params.length)):
        live = slice(int(firsts[step]), rows)
        grown = np.maximum(largest[live], np.where(dead[step, live], -256, steps[step, live]))
        if (grown != largest[live]).any():
            total[live] = _normal(total[live], largest[live] - grown)
            largest[live] = grown
        term = _normal(values[step, live], steps[step, live] - grown)
        term[dead[step, live]] = 0
        total[live] += term
    bits = total.view(np.int32)
    quotient = ((1 << 27) - 1) // (1 << 15 | (bits & 0x7FFFFF) >> 8)
    product = (128 | mantissa) * quotient[:, None]
    high = product >> 19
    drop = 11 + high
    rounded = (product + (1 << drop >> 1) - 1 + (product >> drop & 1)) >> drop
    field = integer - (largest + (bits >> 23) - 253)[:, None] + high + (rounded >> 8)
    code = field << 7 | np.where(rounded >> 8, 0, rounded & 0x7F)
    result = np.where(zero | (field < 1), 0, code).astype(np.uint16)
    return np.where(nan[:, None] & (np.arange(count) < lengths[:, None]), _NAN, result)


def _normal(x: F32, exponent: I32) -> F32:
    """Numbers times 2^exponent, exponent at most 0; 0 where that is no normal number."""
    with np.errstate(under="ignore"):
        made = np.ldexp(x, np.clip(exponent, -300, 0))
    made[made < np.float32(2.0**-126)] = 0
    return made


def _firsts(lengths: Ints, count: int) -> Ints:
    """The first row that each position belongs to; rows after it have the position too."""
    if (np.diff(lengths) < 0).any() or lengths.min(initial=1) < 1 or lengths.max() > count:
        raise UsageError(f"lengths must rise and lie in 1..{count}")
    return np.searchsorted(lengths, np.arange(count), side="right")


def references(scales: npt.NDArray[np.uint8], lengths: Ints) -> Ints:
    """The largest of the first `lengths` scales, row by row."""
    return np.maximum.accumulate(scales.astype(np.int64))[lengths - 1]


def shifted(
    params: shift_attend.Params,
    codes: npt.NDArray[np.uint8],
    zero: Bools,
    nan: Bools,
    v: npt.NDArray[np.integer],
    scales: npt.NDArray[np.uint8],
    lengths: Ints,
) -> Codes:
    """Attention times V, bf16 codes of shape (rows, width).

    Parameters
    ----------
    codes, zero, nan : as `log2_codes` gives them
    v, scales : integers (positions, width) and their E8M0 scales (positions,)
    lengths : positions of each row; its `reference` is the largest of their scales
    """
    reference = references(scales, lengths)
    most = params.fraction - (params.v_bits - 2)
    distance = np.minimum(reference[:, None] - scales + codes, 60).astype(np.int32)
    distance[zero] = 60
    exact = np.where(distance <= most, np.exp2(most - distance, dtype=np.float32), np.float32(0))
    acc = exact @ v.astype(np.float32)
    for drop in range(1, params.v_bits - 1):
        chosen = distance == most + drop
        if chosen.any():
            cut = np.where(v < 0, -(np.abs(v) >> drop), np.abs(v) >> drop)
            acc += chosen.astype(np.float32) @ cut.astype(np.float32)
    share = np.where(zero, 0, np.int64(1) << (params.sum_fraction - codes.astype(np.int64)))
    total = share.sum(axis=1)
    inside = np.arange(len(scales)) < lengths[:, None]
    bad = nan | (inside & ~zero & (scales == 255)).any(axis=1) | (reference == 255)
    bad |= total >= 1 << (params.sum_bits + params.sum_fraction)
    unit = np.ldexp(1.0, (reference - 127 - params.fraction).astype(np.intc))
    # The product is exact in float64, and in float32 but for subnormals, which bf16 rounds again.
    value = acc.astype(np.float64) * unit[:, None]
    if (reference < 60).any() or (reference > 200).any():
        result = bf16_codes(value)
    else:
        result = bf16_codes(value.astype(np.float32))
    if params.renormalise:
        factor = shift_attend.reciprocal(params, np.maximum(total, 1)).astype(np.uint16)
        with np.errstate(over="ignore", under="ignore"):
            result = bf16_codes(bf16_values(result) * bf16_values(factor)[:, None])
    return np.where(bad[:, None], _NAN, result)
