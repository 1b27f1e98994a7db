"""Dot product of bf16 with bf16 in FP32: the baseline at the throughput of `mx_dot`.

    result = sum over groups of RNE(sum_i a_i b_i)

The `lanes` products of a beat are exact; they are added on one window (`units.window`) that ends
`fraction` bits below 2^R, R the largest sum of two exponents (field 0 counts as field 1, also of
zero), each cut off towards zero. The total is rounded to FP32 once and the beats of a dot product
are added in order, RNE, from +0. So `lanes` is part of what is computed: what rounds at once.

Zero and subnormals are exact. NaN: a NaN operand, Inf times zero, or infinities of both signs.
Overflow: Inf.

Source: the block-aligned accumulation of matrix units; window, order and rounding are this
project's, the same as in `mx_dot`.
"""

from dataclasses import dataclass

import numpy as np

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import get as get_format
from narrowgauge.golden.formats import vector
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units import window
from narrowgauge.golden.units.stimuli import (
    SPECIAL_BF16,
    blocks,
    ends,
    random_bf16,
    real_rows,
)

__all__ = ["Params", "model", "vectors"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: lanes, fraction.

    Parameters
    ----------
    lanes : products a beat, added on one window, 2..1024
    fraction : fraction bits of the window, 14..32 (14 holds a product whole)
    """

    lanes: int = 128
    fraction: int = 23

    def __post_init__(self) -> None:
        if not 2 <= self.lanes <= 1024:
            raise UsageError(f"lanes must be 2..1024, got {self.lanes}")
        if not 14 <= self.fraction <= 32:
            raise UsageError(f"fraction must be 14..32, got {self.fraction}")

    @property
    def shift(self) -> int:
        """Left shift of a product (14 fraction bits) on the window."""
        return self.fraction - 14

    @property
    def input(self) -> Payload:
        """One beat: the operands of `lanes` products; `last` ends the dot product."""
        return Payload(
            (
                Field(name="a", width=16, count=self.lanes, format="bf16"),
                Field(name="b", width=16, count=self.lanes, format="bf16"),
                Field(name="last", width=1),
            )
        )

    @property
    def output(self) -> Payload:
        """One dot product."""
        return Payload((Field(name="result", width=32, format="fp32"),))


def model(params: Params, batch: Batch) -> Batch:
    """The dot products of a sequence of beats, one for every `last`."""
    beat = params.input.check(batch)
    bf16 = get_format("bf16")
    a, b = (vector.unpack(bf16, beat[name]) for name in "ab")
    product = a.significand * b.significand
    negative = a.sign != b.sign
    field = sum(np.maximum((beat[name] >> 7) & 0xFF, 1) for name in "ab")
    reference = field.max(axis=1)
    signed = np.where(negative, -product, product)
    aligned = window.align(signed, params.shift, reference[:, None] - field)
    nan = a.is_nan | b.is_nan | (a.is_inf & b.is_zero) | (a.is_zero & b.is_inf)
    inf = (a.is_inf | b.is_inf) & ~nan
    terms = window.convert(
        aligned.sum(axis=1),
        reference - 254 - params.fraction,
        np.asarray(nan.any(axis=1)),
        (inf & ~negative).any(axis=1),
        (inf & negative).any(axis=1),
    )
    return {"result": window.accumulate(terms, beat["last"])}


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Beats: real tensors, or random codes near and far in exponent, cancellations, corners."""
    rng = np.random.default_rng(seed)
    if level == "real":
        return _real(params, rng)
    count = blocks(level, smoke=600)
    shape = (count, params.lanes)
    operands = []
    for _ in range(2):
        centre = rng.integers(1, 255, (count, 1))
        # Spreads from one binade to beyond the window.
        spread = rng.choice([1, 4, 16, 64], (count, 1))
        field = centre - (rng.random(shape) * spread).astype(np.int64)
        codes = random_bf16(rng, np.clip(field, 0, 254))
        # Specials in few beats, so that most sums stay finite.
        rate = np.where(rng.random((count, 1)) < 0.1, 2 / params.lanes, 0)
        corner = rng.random(shape) < rate
        codes[corner] = rng.choice(SPECIAL_BF16, int(corner.sum()))
        codes[rng.random(shape) < rng.choice([0, 0, 0.5, 0.99], (count, 1))] = 0
        operands.append(codes)
    a, b = operands
    # The second half takes back the first, but for one last bit.
    half = params.lanes // 2
    cancel = np.flatnonzero(rng.random(count) < 0.1)
    a[cancel, half : 2 * half] = a[cancel, :half] ^ 0x8000
    b[cancel, half : 2 * half] = b[cancel, :half]
    b[cancel, half] ^= rng.integers(0, 2, len(cancel))
    # Largest magnitudes of one sign: the sum that needs every bit.
    full = rng.random(count) < 0.05
    top = ((rng.integers(1, 255, count) << 7) | 0x7F)[full]
    a[full] = top[:, None] | (rng.integers(0, 2, (len(top), 1)) << 15)
    b[full] = 0x3FFF
    last = ends(rng, count)
    # Beats that take back the one before, but for one operand at most: few bits are left.
    for row in np.flatnonzero((rng.random(count - 1) < 0.2) & (last[:-1] == 0)) + 1:
        a[row], b[row] = a[row - 1] ^ 0x8000, b[row - 1]
        b[row, rng.integers(params.lanes)] ^= 1 << rng.integers(0, 9)
    return {"a": a, "b": b, "last": last}


def _real(params: Params, rng: np.random.Generator) -> Batch:
    """Dot products of captured activations with captured weights: some tokens, some rows."""
    parts: list[Batch] = []
    for activations, weights in real_rows(rng):
        pad = -activations.shape[1] % params.lanes
        for pair in zip(activations, weights, strict=True):
            a, b = (np.pad(x.astype(np.int64), (0, pad)).reshape(-1, params.lanes) for x in pair)
            last = np.zeros(len(a), np.int64)
            last[-1] = 1
            parts.append({"a": a, "b": b, "last": last})
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
