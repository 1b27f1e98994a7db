"""Dot product of MX-OPAL blocks of two precisions, both sides with outliers, in FP32.

    result = sum over blocks of RNE(T)
    T = 2^(s_a + s_w - 254 - f_a - f_w) * sum_{i < size} a_i w_i  +  sum of the products due
    f = bits - 2, of `low` or high = 2 * low - 1 bits, chosen by block and side

A slot of an outlier that holds +0 or -0 is empty. The products due of a block are

- for every a slot in use: its outlier times the w operand at its position, which is the outlier of
  the first w slot in use with that position, else the w code;
- for every w slot in use at a position without an a slot in use: its outlier times the a code.

All terms are put on one window (`units.window`) that ends `fraction` bits below 2^R, R = R_a + R_w
with R_a the largest of s_a - 127 and the exponents of the a slots in use, R_w likewise. Products
are cut off towards zero, the INT sum towards minus infinity. T is rounded to FP32 once, and the
blocks of a dot product are added in order, RNE, from +0. So neither lanes nor fp_units nor the
order of products changes a bit.

Subnormal outliers have the exponent of field 1. NaN: a scale of 255, a product due of a NaN or of
Inf and a code 0, or infinities of both signs. Overflow: Inf. The INT code in an outlier's slot
counts like any other (`mx_quantize` writes 0 there). A block may be shorter than k: codes from
`size` on count as 0, and no slot in use may lie there.

A beat brings `lanes` elements (low, low), half of them (one side high) or a quarter (both high),
as words of `arith.multimode_mul` cells. Its products due are made by fp_units units: a slots due,
by number, go to units 0, 1, ... in turn; w slots due to the upper half of the units, from the last
one down, in turn. A unit makes one product a cycle, and the beat takes as long as the unit that has
the most, at least one cycle (`cycles`).

Source: OPAL (arXiv 2409.05902) for modes and paths; window, order and rounding are this project's.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import multimode_mul
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units import window
from narrowgauge.golden.units.checks import check_block
from narrowgauge.golden.units.opal_blocks import SIDES, checked, due, matches, side_of
from narrowgauge.golden.units.opal_vectors import make

__all__ = [
    "Params",
    "cycles",
    "due",
    "input_beats",
    "lengths",
    "model",
    "output_beats",
    "vectors",
]

Ints = npt.NDArray[np.int64]

_NAN_SCALE = 255


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: k, n, low, fraction. How: lanes, fp_units.

    Parameters
    ----------
    k : elements a block, a power of two, 4..1024
    n : slots for outliers of a block, on each side, 0..k-1
    low : bits of a low code, 2..4; a high one has 2 * low - 1
    fraction : fraction bits of the window, 14..32
    lanes : low x low products a cycle, a multiple of 4 and a divisor of k
    fp_units : outlier products a cycle, 1..2n (without effect for n = 0)
    """

    k: int = 128
    n: int = 4
    low: int = 4
    fraction: int = 23
    lanes: int = 128
    fp_units: int = 4

    def __post_init__(self) -> None:
        check_block(self.k, self.n)
        if not 2 <= self.low <= 4:
            raise UsageError(f"low must be 2..4, got {self.low}")
        if not 14 <= self.fraction <= 32:
            raise UsageError(f"fraction must be 14..32, got {self.fraction}")
        if self.lanes < 4 or self.lanes % 4 or self.k % self.lanes:
            raise UsageError(
                f"lanes must be a multiple of 4 that divides k={self.k}, got {self.lanes}"
            )
        if self.fp_units < 1 or (self.fp_units > max(1, 2 * self.n) and self.n):
            raise UsageError(f"fp_units must be 1..{max(1, 2 * self.n)}, got {self.fp_units}")

    @property
    def high(self) -> int:
        """Bits of a high code."""
        return 2 * self.low - 1

    @property
    def cells(self) -> int:
        """Multiplier cells, words of a beat."""
        return self.lanes // multimode_mul.SUBS

    @property
    def w_units(self) -> int:
        """Units that take w slots too: the last ones, half of all."""
        return -(-self.fp_units // 2)

    @property
    def cell(self) -> multimode_mul.Params:
        """The cells' parameters."""
        return multimode_mul.Params(low=self.low)

    @property
    def position_bits(self) -> int:
        """Bits of an outlier's position."""
        return self.k.bit_length() - 1

    def _fields(self, codes: tuple[Field, ...]) -> tuple[Field, ...]:
        fields: list[Field] = []
        for side, field in zip(SIDES, codes, strict=True):
            fields += [
                field,
                Field(name=f"{side}_high", width=1),
                Field(name=f"{side}_scale", width=8, format="e8m0"),
            ]
            if self.n:
                bits = self.position_bits
                fields += [
                    Field(name=f"{side}_outliers", width=16, count=self.n, format="bf16"),
                    Field(name=f"{side}_positions", width=bits, count=self.n),
                ]
        return tuple(fields)

    @property
    def block(self) -> Payload:
        """One transaction: a block of each side, how many elements are sent; `last` ends the dot.

        Codes of a low block have at most `low` bits; `size` is 1..k.
        """
        codes = tuple(
            Field(name=side, width=self.high, count=self.k, encoding="sign_magnitude")
            for side in SIDES
        )
        size = Field(name="size", width=self.k.bit_length())
        return Payload((*self._fields(codes), size, Field(name="last", width=1)))

    @property
    def input(self) -> Payload:
        """One beat: words of all cells; the rest is the block's and the same on all its beats."""
        words = tuple(
            Field(name=side, width=multimode_mul.SUBS * self.low, count=self.cells)
            for side in SIDES
        )
        return Payload(
            (*self._fields(words), Field(name="end", width=1), Field(name="last", width=1))
        )

    @property
    def output(self) -> Payload:
        """One dot product."""
        return Payload((Field(name="result", width=32, format="fp32"),))


def model(params: Params, batch: Batch) -> Batch:
    """The dot products of a sequence of blocks, one for every `last`."""
    b = checked(params, batch)
    a, w = (side_of(params, b, side) for side in SIDES)
    f_a, f_w = (np.where(b[f"{side}_high"] == 1, params.high, params.low) - 2 for side in SIDES)
    int_sum = (a.codes * w.codes).sum(axis=1)
    distance = a.reference - a.scale + w.reference - w.scale
    total = (int_sum << (params.fraction - f_a - f_w)) >> np.minimum(distance, 62)
    nan = (a.scale == _NAN_SCALE) | (w.scale == _NAN_SCALE)
    pos_inf, neg_inf = np.zeros_like(nan), np.zeros_like(nan)
    both = matches(a, w)
    pairs = (
        (a, w, f_w, a.used, both),
        (w, a, f_a, w.used & ~both.any(axis=1), both[:, :, :0]),
    )
    for x, y, f, wanted, partners in pairs if params.n else ():
        # The other factor has 7 fraction bits, as a significand has.
        code = np.take_along_axis(y.codes, x.positions, axis=1)
        factor = code << (7 - f[:, None])
        field = np.broadcast_to(y.scale[:, None], code.shape)
        bad, infinite = x.nan, x.inf
        if partners.shape[2]:
            first, found = partners.argmax(axis=2), partners.any(axis=2)
            factor = np.where(found, np.take_along_axis(y.signed, first, axis=1), factor)
            field = np.where(found, np.take_along_axis(y.field, first, axis=1), field)
            bad = bad | (found & np.take_along_axis(y.nan, first, axis=1))
            infinite = infinite | (found & np.take_along_axis(y.inf, first, axis=1))
        product = np.where(wanted, x.signed * factor, 0)
        infinite = infinite & wanted
        nan |= (wanted & (bad | (infinite & (product == 0)))).any(axis=1)
        pos_inf |= (infinite & (product > 0)).any(axis=1)
        neg_inf |= (infinite & (product < 0)).any(axis=1)
        apart = x.reference[:, None] - x.field + y.reference[:, None] - field
        total = total + window.align(product, params.fraction - 14, apart).sum(axis=1)
    exponent = a.reference + w.reference - 254 - params.fraction
    terms = window.convert(total, exponent, nan, pos_inf, neg_inf)
    return {"result": window.accumulate(terms, b["last"])}


def _per_beat(params: Params, batch: Batch) -> Ints:
    """Elements of a beat, by block."""
    return params.lanes >> (batch["a_high"] + batch["w_high"])


def lengths(params: Params, batch: Batch) -> Ints:
    """Beats of each block."""
    return -(-batch["size"] // _per_beat(params, batch))


def cycles(params: Params, batch: Batch) -> Ints:
    """Cycles that each block takes when neither stream waits."""
    per_beat, beats = _per_beat(params, batch), lengths(params, batch)
    b = checked(params, batch)
    total = beats.copy()
    if not params.n:
        return total
    numbers = [b[f"{side}_positions"] // per_beat[:, None] for side in SIDES]
    wanted = due(params, batch)
    units, w_units = params.fp_units, params.w_units
    for beat in range(int(beats.max(initial=0))):
        count_a, count_w = (
            (some & (number == beat)).sum(axis=1)
            for some, number in zip(wanted, numbers, strict=True)
        )
        longest = np.ones_like(total)
        for u in range(units):
            queue = np.maximum(-(-(count_a - u) // units), 0)
            if u >= units - w_units:
                queue = queue + np.maximum(-(-(count_w - (units - 1 - u)) // w_units), 0)
            longest = np.maximum(longest, queue)
        total += longest - 1
    return total


def input_beats(params: Params, batch: Batch) -> Batch:
    """Blocks to beats: codes packed in order, the rest repeated, `end` and `last` on the final."""
    b = checked(params, batch)
    per_beat, beats = _per_beat(params, b), lengths(params, b)
    block = np.repeat(np.arange(len(beats)), beats)
    number = np.arange(len(block)) - np.repeat(np.cumsum(beats) - beats, beats)
    made: Batch = {}
    for name, values in b.items():
        if name in SIDES:
            made[name] = np.zeros((len(block), params.cells), np.int64)
        elif name != "size":
            made[name] = values[block]
    for mode in range(4):
        a_high, w_high = mode & 1, mode >> 1
        rows = np.flatnonzero((made["a_high"] == a_high) & (made["w_high"] == w_high))
        index = np.arange(params.lanes >> (a_high + w_high))
        where = number[rows, None] * per_beat[block[rows], None] + index
        sent = where < b["size"][block[rows], None]
        at = np.minimum(where, params.k - 1)
        codes = [np.where(sent, b[side][block[rows, None], at], 0) for side in SIDES]
        words = multimode_mul.pack(params.cell, codes[0], codes[1], a_high == 1, w_high == 1)
        made["a"][rows], made["w"][rows] = words
    made["end"] = (number == beats[block] - 1).astype(np.int64)
    made["last"] = made["last"] & made["end"]
    return {field.name: made[field.name] for field in params.input.fields}


def output_beats(params: Params, batch: Batch) -> Batch:
    """One beat a dot product."""
    return batch


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Blocks: real tensors, or corners, random codes and directed blocks (`opal_vectors`)."""
    return make(params, level, seed)
