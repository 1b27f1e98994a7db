"""Softmax in bf16 with an FP32 sum: the baseline of `log2_softmax`.

    t_i = round(x_i log2 e), 8 fraction bits        e_i = bf16(2^t_i)
    sum = sum_i e_i, FP32, RNE, in order            p_i = bf16(e_i / sum)

t is x times 94548 / 2^16 to nearest, ties away from zero; 2^t is a shift by its integer part and a
table of the 256 fractions, so e is within an ulp of exp(x). The maximum M of the integer parts is
taken out as it is found: where it grows, the exponent of the sum falls as far; what falls below the
least normal number is 0, of the sum as of its terms. 1 / sum has 12 bits, floor((2^27 - 1) / s)
with the upper 16 bits s of the sum's significand, and its product with e is rounded once, RNE.

Zero and subnormals: exact, t = 0. |x| from 2^7 on: counts as the largest bf16 below, with the sign.
-Inf and `mask`: +0; a masked x is not read. NaN or +Inf: NaN in the whole row. All masked: +0.
Results below the least normal number: +0. A row longer than `length`: its first `length` elements
are answered with NaN, the rest is swallowed.

Source: the softmax of matrix units; online maximum after M. Milakov, N. Gimelshein
(arXiv 1805.02867); widths and roundings are this project's.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import fp_add
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units.scores import rows_of, score_vectors
from narrowgauge.golden.units.window import FP32_ADD

__all__ = ["Params", "model", "output_lengths", "vectors"]

Ints = npt.NDArray[np.int64]

_FRACTION = 8
_REACH = 7
_LOG2E = 94548
_NAN = 0x7FC0
_LEAST = -256
"""The maximum before the first element: below that of any."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: length.

    Parameters
    ----------
    length : elements of the longest row, a power of two, 2..4096
    """

    length: int = 1024

    def __post_init__(self) -> None:
        if not 2 <= self.length <= 4096 or self.length & (self.length - 1):
            raise UsageError(f"length must be a power of two, 2..4096, got {self.length}")

    @property
    def input(self) -> Payload:
        """One score; `last` ends the row."""
        return Payload(
            (
                Field(name="x", width=16, format="bf16"),
                Field(name="mask", width=1),
                Field(name="last", width=1),
            )
        )

    @property
    def output(self) -> Payload:
        """One probability."""
        return Payload((Field(name="p", width=16, format="bf16"), Field(name="last", width=1)))

    @property
    def table(self) -> tuple[int, ...]:
        """Mantissas of 2^(f / 256), to nearest."""
        return tuple(round(128 * 2 ** (f / 256)) - 128 for f in range(256))


def exponentials(params: Params, x: Ints) -> tuple[Ints, Ints]:
    """Integer part of t and mantissa of 2^t, of finite bf16 codes."""
    field = (x >> 7) & 0xFF
    top = _REACH + 126
    over = field > top
    significand = np.where(over, 0xFF, (x & 0x7F) | np.where(field > 0, 0x80, 0))
    # |x| = significand * 2^(field - 134); from 30 places on nothing is left.
    right = np.minimum(134 + 16 - _FRACTION - np.clip(field, 1, top), 30)
    magnitude = (significand * _LOG2E + ((1 << right) >> 1)) >> right
    t = np.where(x >> 15, -magnitude, magnitude)
    return t >> _FRACTION, np.asarray(params.table, np.int64)[t & 0xFF]


def model(params: Params, batch: Batch) -> Batch:
    """Rows of scores, one beat an element, to as many probabilities, at most `length` a row."""
    beats = params.input.check(batch)
    rows = rows_of(beats["last"])
    x, mask = rows.spread(beats["x"]), rows.spread(beats["mask"], fill=1)
    special = (mask == 0) & (x & 0x7F80 == 0x7F80)
    zero = (mask == 1) | (x == 0xFF80)
    nan = (special & ~zero).any(axis=1) | (rows.lengths > params.length)
    integer, mantissa = exponentials(params, np.where(zero | special, 0, x))
    p = np.where(nan[:, None], _NAN, _probabilities(integer, mantissa, zero))
    kept = np.minimum(rows.lengths, params.length)
    steps = np.arange(x.shape[1])
    answered = steps < kept[:, None]
    last = steps == kept[:, None] - 1
    return {"p": p[answered], "last": last[answered].astype(np.int64)}


def output_lengths(params: Params, batch: Batch) -> Ints:
    """Beats that answer each row."""
    return rows_of(batch["last"]).lengths


def _probabilities(integer: Ints, mantissa: Ints, zero: npt.NDArray[np.bool_]) -> Ints:
    """Codes of rows, shape (rows, elements), padded with `zero`."""
    largest = np.full(len(integer), _LEAST, np.int64)
    total = np.zeros(len(integer), np.int64)
    for step in range(integer.shape[1]):
        here = ~zero[:, step]
        grown = np.where(here, np.maximum(largest, integer[:, step]), largest)
        field = 127 + integer[:, step] - grown
        term = np.where(here & (field > 0), field << 23 | mantissa[:, step] << 16, 0)
        left: Ints = np.subtract(total >> 23, grown - largest, dtype=np.int64)
        total = np.where(left > 0, left << 23 | total & 0x7FFFFF, 0)
        total = fp_add.model(FP32_ADD, {"a": total, "b": term})["o"]
        largest = grown
    divisor = 1 << 15 | (total & 0x7FFFFF) >> 8
    quotient = ((1 << 27) - 1) // divisor
    product: Ints = (128 | mantissa) * quotient[:, None]
    high = product >> 19
    drop = 11 + high
    half = (np.int64(1) << (drop - 1)) - 1 + (product >> drop & 1)
    rounded = (product + half) >> drop
    field = integer - largest[:, None] - (total >> 23)[:, None] + 253 + high + (rounded >> 8)
    code = field << 7 | np.where(rounded >> 8, 0, rounded & 0x7F)
    return np.where(zero | (field < 1), 0, code)


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Rows of scores: see `golden.units.scores`."""
    return score_vectors(level, seed, length=params.length, reach=_REACH)
