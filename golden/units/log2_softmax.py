"""Softmax whose probabilities are powers of two: no multiplier, no divider, no table.

    t_i = round(x_i * 23/16)               log2(e) is about 1 + 1/2 - 1/16
    sum = sum_i 2^t_i                      2^(I + f) is about 2^I (1 + f)
    code_i = min(round(log2(sum) - t_i), 2^bits - 1)        log2 (1 + m) is about m

and the probability is 2^-code. Everything is fixed point: t has `fraction` fraction bits (to
nearest, ties away from zero). The sum is made online: M is the largest integer part so far, a term
is (1 + f) 2^(I - M) with `guard` fraction bits, and where M grows the sum is shifted right;
whatever is shifted out is cut off. The logarithm of the sum is its leading one's place and the
`fraction` bits that follow. The last rounding takes ties up.

Zero and subnormals: exact, t = 0. |x| from 2^reach on: counts as the largest bf16 below, with the
sign. -Inf and `mask`: probability 0, `zero`; a masked x is not read. NaN or +Inf: `nan` in the
whole row. All masked: all `zero`. A row longer than `length`: its first `length` elements are
answered with `nan`, the rest is swallowed. Where `zero` or `nan` is set the code is the largest.

Source: OPAL (arXiv 2409.05902); J. N. Mitchell, "Computer multiplication and division using binary
logarithms", 1962; online sum after M. Milakov, N. Gimelshein (arXiv 1805.02867).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units.scores import rows_of, score_vectors

__all__ = ["Params", "model", "output_lengths", "vectors"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: bits, length, fraction, guard, reach.

    Parameters
    ----------
    bits : bits of a code, 3..5
    length : elements of the longest row, a power of two, 2..4096
    fraction : fraction bits of the logarithms, 1..8
    guard : fraction bits of the sum, fraction..24
    reach : scores are clipped to |x| < 2^reach, 3..7
    """

    bits: int = 4
    length: int = 1024
    fraction: int = 3
    guard: int = 12
    reach: int = 7

    def __post_init__(self) -> None:
        check_limits(self, bits=(3, 5), fraction=(1, 8), reach=(3, 7))
        if not 2 <= self.length <= 4096 or self.length & (self.length - 1):
            raise UsageError(f"length must be a power of two, 2..4096, got {self.length}")
        if not self.fraction <= self.guard <= 24:
            raise UsageError(f"guard must be {self.fraction}..24, got {self.guard}")

    @property
    def most(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1

    @property
    def whole(self) -> int:
        """Bits of the integer part of t, sign included."""
        return self.reach + 2

    @property
    def width(self) -> int:
        """Bits of t."""
        return self.whole + self.fraction

    @property
    def sum_bits(self) -> int:
        """Bits of the sum: `length` terms below 2."""
        return self.guard + self.length.bit_length()

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
        """One code; `zero` is probability 0, `nan` a row without an answer."""
        return Payload(
            (
                Field(name="code", width=self.bits),
                Field(name="zero", width=1),
                Field(name="nan", width=1),
                Field(name="last", width=1),
            )
        )


def logarithms(params: Params, x: Ints) -> Ints:
    """The t of finite bf16 codes, in units of 2^-fraction."""
    field, mantissa = (x >> 7) & 0xFF, x & 0x7F
    # |x| = significand * 2^(field - 134).
    top = params.reach + 126
    over = field > top
    field = np.where(over, top, field)
    significand = np.where(over, 0xFF, mantissa | np.where(field > 0, 0x80, 0))
    # What lies more than 24 places below the last bit rounds to 0 as well.
    right = np.minimum(138 - params.fraction - np.maximum(field, 1), 24)
    scaled = (significand * 23) << np.maximum(-right, 0)
    right = np.maximum(right, 0)
    magnitude = (scaled + ((1 << right) >> 1)) >> right
    return np.where(x >> 15, -magnitude, magnitude)


def model(params: Params, batch: Batch) -> Batch:
    """Rows of scores, one beat an element, to as many codes, at most `length` a row."""
    beats = params.input.check(batch)
    rows = rows_of(beats["last"])
    x, mask = rows.spread(beats["x"]), rows.spread(beats["mask"], fill=1)
    special = (mask == 0) & (x & 0x7F80 == 0x7F80)
    zero = (mask == 1) | (x == 0xFF80)
    nan = (special & ~zero).any(axis=1) | (rows.lengths > params.length)
    t = logarithms(params, np.where(zero | special, 0, x))
    code = _codes(params, t, zero)
    code = np.where(zero | nan[:, None], params.most, code)
    kept = np.minimum(rows.lengths, params.length)
    steps = np.arange(x.shape[1])
    answered = steps < kept[:, None]
    last = steps == kept[:, None] - 1
    return {
        "code": code[answered],
        "zero": zero[answered].astype(np.int64),
        "nan": np.broadcast_to(nan[:, None], x.shape)[answered].astype(np.int64),
        "last": last[answered].astype(np.int64),
    }


def output_lengths(params: Params, batch: Batch) -> Ints:
    """Beats that answer each row."""
    return rows_of(batch["last"]).lengths


def _codes(params: Params, t: Ints, zero: npt.NDArray[np.bool_]) -> Ints:
    """Codes of rows, shape (rows, elements), padded with `zero`."""
    F, G = params.fraction, params.guard
    integer, fraction = t >> F, t & ((1 << F) - 1)
    largest = np.full(len(t), -(1 << (params.whole - 1)), np.int64)
    total = np.zeros(len(t), np.int64)
    for step in range(t.shape[1]):
        here = ~zero[:, step]
        grown = np.maximum(largest, integer[:, step])
        grown = np.where(here, grown, largest)
        term = ((1 << F) + fraction[:, step]) << (G - F)
        term = np.where(here, term >> np.clip(grown - integer[:, step], 0, 62), 0)
        total = (total >> np.minimum(grown - largest, 62)) + term
        largest = grown
    lead = np.zeros(len(t), np.int64)
    for bit in range(1, 62):
        lead = np.where(total >> bit > 0, bit, lead)
    # The `fraction` bits below the leading one, cut off; there are as many, as guard >= fraction.
    below = np.where(total > 0, (total >> np.maximum(lead - F, 0)) & ((1 << F) - 1), 0)
    level = ((largest + lead - G) << F) + below
    distance = level[:, None] - t + (1 << (F - 1))
    return np.minimum(distance >> F, params.most)


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Rows of scores: see `golden.units.scores`."""
    return score_vectors(level, seed, length=params.length, reach=params.reach)
