"""Products added on one fixed-point window, then one conversion to FP32: the dot products' sum.

All terms of a sum are aligned to one reference exponent R. The window's last bit weighs
2**(R - fraction); what a term has below it is cut off, what remains is added exactly, and the
total is rounded to FP32 once (RNE, subnormals made, overflow to Inf). With fraction = 23 the
window resolves what an FP32 accumulator at the reference exponent resolves.

NaN: any NaN term, Inf times zero, or +Inf with -Inf. Inf: any infinite term otherwise.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import fp_add
from narrowgauge.golden.formats import FloatFormat, Overflow, Rounding, get, vector

__all__ = ["FP32", "FP32_ADD", "accumulate", "align", "convert", "to_bf16"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_fp32 = get("fp32")
assert isinstance(_fp32, FloatFormat)
FP32: FloatFormat = _fp32
FP32_ADD = fp_add.Params(exp_bits=8, man_bits=23, rounding="rne", overflow="nonfinite")
"""The addition that accumulates."""


def align(signed: Ints, left: int, distance: Ints) -> Ints:
    """Terms on the window: shifted left by a constant, then right by `distance` >= 0.

    The magnitude is cut off towards zero; from a distance of 62 on nothing is left.
    """
    magnitude = (np.abs(signed) << left) >> np.minimum(distance, 62)
    return np.where(signed < 0, -magnitude, magnitude)


def convert(total: Ints, exponent: Ints, nan: Bools, pos_inf: Bools, neg_inf: Bools) -> Ints:
    """FP32 codes of total * 2**exponent, or of the special value that the terms make."""
    code = vector.round_pack(
        FP32,
        (total < 0).astype(np.int64),
        np.abs(total),
        exponent,
        rounding=Rounding.RNE,
        overflow=Overflow.NONFINITE,
    )
    assert FP32.inf_code is not None
    assert FP32.nan_code is not None
    code = np.where(pos_inf, FP32.inf_code, code)
    code = np.where(neg_inf, FP32.inf_code | FP32.sign_mask, code)
    return np.where(nan | (pos_inf & neg_inf), FP32.nan_code, code)


def _steps(last: Ints) -> Iterator[tuple[Ints, Ints]]:
    """(dot numbers, term numbers) of the first terms of all dots, of the second terms, ..."""
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
    lengths = ends - starts + 1
    for step in range(int(lengths.max(initial=0))):
        dots = np.flatnonzero(lengths > step)
        yield dots, starts[dots] + step


def accumulate(terms: Ints, last: Ints) -> Ints:
    """FP32 codes of the dot products: their terms added in order, RNE, from +0.

    Parameters
    ----------
    terms : FP32 codes, shape (terms,)
    last : 1 on the last term of each dot product; terms after the last 1 give no result
    """
    totals = np.zeros(int(np.count_nonzero(last)), np.int64)
    for dots, numbers in _steps(last):
        sums = fp_add.model(FP32_ADD, {"a": totals[dots], "b": terms[numbers]})
        totals[dots] = sums["o"]
    return totals


def to_bf16(result: Ints) -> Ints:
    """FP32 codes of dot products to bf16, RNE; NaN stays NaN, as theirs is canonical."""
    return (result + 0x7FFF + ((result >> 16) & 1)) >> 16
