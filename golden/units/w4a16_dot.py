"""Dot product of bf16 activations with scaled INT weights in FP32: weight-only quantisation.

    result = sum over beats of RNE(2^(s_w - 127 - f) * sum_i a_i w_i),   f = w_bits - 2

The `lanes` products of a beat are exact; they are added on one window (`units.window`) that ends
`fraction` bits below 2^R, with weights read as w / 2^f and R the largest exponent of the beat's
activations (field 0 counts as field 1, also of zero), each cut off towards zero. The total, with
the beat's scale, is rounded to FP32 once and the beats of a dot product are added in order, RNE,
from +0. So `lanes` is part of what is computed: what rounds at once.

Zero and subnormal activations are exact. NaN: a scale of 255, a NaN activation, an infinite one
times weight 0, or infinities of both signs. Overflow: Inf.

Source: weight-only quantisation multiplied as it is, without weights restored to bf16 (FIGNA, HPCA
2024; the integer weights of OWQ, AAAI 2024); window, order and rounding are this project's, the
same as in `bf16_dot` and `mx_dot`.
"""

from dataclasses import dataclass

import numpy as np

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import MXOpal, quantize, vector
from narrowgauge.golden.formats import get as get_format
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

_NAN_SCALE = 255
_BLOCK = 128
"""Elements under one scale in the real vectors: the block of `mx_dot`."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: lanes, w_bits, fraction.

    Parameters
    ----------
    lanes : products a beat, added on one window, 2..1024
    w_bits : width of the INT codes of the weights, 2..8, symmetric
    fraction : fraction bits of the window, w_bits + 5 (which holds a product whole)..32
    """

    lanes: int = 128
    w_bits: int = 4
    fraction: int = 23

    def __post_init__(self) -> None:
        if not 2 <= self.lanes <= 1024:
            raise UsageError(f"lanes must be 2..1024, got {self.lanes}")
        if not 2 <= self.w_bits <= 8:
            raise UsageError(f"w_bits must be 2..8, got {self.w_bits}")
        least = self.w_bits + 5
        if not least <= self.fraction <= 32:
            raise UsageError(
                f"fraction must be {least}..32 with w_bits={self.w_bits}, got {self.fraction}"
            )

    @property
    def shift(self) -> int:
        """Left shift of a product (7 + w_bits - 2 fraction bits) on the window."""
        return self.fraction - 7 - (self.w_bits - 2)

    @property
    def input(self) -> Payload:
        """One beat: the operands of `lanes` products; `last` ends the dot product."""
        return Payload(
            (
                Field(name="a", width=16, count=self.lanes, format="bf16"),
                Field(name="w", width=self.w_bits, count=self.lanes, encoding="sign_magnitude"),
                Field(name="w_scale", width=8, format="e8m0"),
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
    a, w, scale = vector.unpack(get_format("bf16"), beat["a"]), beat["w"], beat["w_scale"]
    field = np.maximum((beat["a"] >> 7) & 0xFF, 1)
    reference = field.max(axis=1)
    signed = np.where(a.sign == 1, -1, 1) * a.significand * w
    aligned = window.align(signed, params.shift, reference[:, None] - field)
    nan = (a.is_nan | (a.is_inf & (w == 0))).any(axis=1) | (scale == _NAN_SCALE)
    negative = (a.sign == 1) != (w < 0)
    terms = window.convert(
        aligned.sum(axis=1),
        reference - 127 - params.fraction + scale - 127,
        nan,
        (a.is_inf & ~negative).any(axis=1),
        (a.is_inf & negative).any(axis=1),
    )
    return {"result": window.accumulate(terms, beat["last"])}


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Beats: real tensors, or random codes near and far in exponent, cancellations, corners."""
    rng = np.random.default_rng(seed)
    if level == "real":
        return _real(params, rng)
    count = blocks(level, smoke=600)
    shape = (count, params.lanes)
    top = (1 << (params.w_bits - 1)) - 1
    last = ends(rng, count)
    # Whole dot products whose results are subnormal.
    tiny = (rng.random(count) < 0.08)[np.cumsum(last) - last]
    centre = np.where(tiny, rng.integers(1, 100, count), rng.integers(1, 255, count))
    # Spreads from one binade to beyond the window.
    spread = rng.choice([1, 4, 16, 64], (count, 1))
    field = centre[:, None] - (rng.random(shape) * spread).astype(np.int64)
    a = random_bf16(rng, np.clip(field, 0, 254))
    # Specials in few beats, so that most sums stay finite.
    rate = np.where(rng.random((count, 1)) < 0.1, 2 / params.lanes, 0)
    corner = rng.random(shape) < rate
    a[corner] = rng.choice(SPECIAL_BF16, int(corner.sum()))
    w = rng.integers(-top, top + 1, shape)
    for codes in (a, w):
        codes[rng.random(shape) < rng.choice([0, 0, 0.5, 0.99], (count, 1))] = 0
    scale = np.clip(rng.normal(np.where(tiny, 50, 120), 8).astype(np.int64), 0, 254)
    corner = (rng.random(count) < 0.08) & ~tiny
    scale[corner] = rng.choice([0, 1, 126, 127, 128, 253, 254, 255], int(corner.sum()))
    # The second half takes back the first, but for one last bit.
    half = params.lanes // 2
    cancel = np.flatnonzero(rng.random(count) < 0.1)
    a[cancel, half : 2 * half] = a[cancel, :half]
    w[cancel, half : 2 * half] = -w[cancel, :half]
    a[cancel, half] ^= rng.integers(0, 2, len(cancel))
    _directed(params, {"a": a, "w": w, "w_scale": scale, "last": last}, rng)
    return {"a": a, "w": w, "w_scale": scale, "last": last}


def _directed(params: Params, batch: Batch, rng: np.random.Generator) -> None:
    """What random beats hardly meet, written over some of them."""
    a, w, last = batch["a"], batch["w"], batch["last"]
    count = len(a)
    top = (1 << (params.w_bits - 1)) - 1
    # Largest magnitudes of one sign: the sums that need every bit.
    full = np.flatnonzero(rng.random(count) < 0.05)
    a[full] = (rng.integers(1, 255, (len(full), 1)) << 7) | 0x7F
    w[full] = rng.choice([-top, top], (len(full), 1))
    # Sums that are a power of two and nothing else, for the carries of a negation.
    few = np.flatnonzero(rng.random(count) < 0.1)
    chosen = rng.permuted(
        np.arange(params.lanes) < (1 << rng.integers(0, params.lanes.bit_length(), (len(few), 1))),
        axis=1,
    )
    field = rng.integers(1, 255, (len(few), 1)) - rng.integers(0, 2 + params.fraction, chosen.shape)
    a[few] = np.where(chosen, np.clip(field, 0, 254) << 7, 0)
    w[few] = rng.choice([-1, 1], (len(few), 1)) << rng.integers(0, params.w_bits - 1, (len(few), 1))
    # Infinities of both signs in every lane, half of them at a weight of 0.
    hot = rng.permutation(count)[: min(2 * params.lanes, count // 16)]
    lane = np.arange(len(hot)) % params.lanes
    a[hot] &= 0xBFFF
    a[hot, lane] = np.resize([0x7F80, 0xFF80, 0xFF80, 0x7F80], len(hot))
    w[hot, lane] = rng.choice([0, 0, 1, -1], len(hot))
    # Beats that take back the one before, but for one operand at most: few bits are left.
    for row in np.flatnonzero((rng.random(count - 1) < 0.25) & (last[:-1] == 0)) + 1:
        for name in ("a", "w", "w_scale"):
            batch[name][row] = batch[name][row - 1]
        w[row] = -w[row]
        if row % 2:
            w[row, rng.integers(params.lanes)] = rng.integers(-top, top + 1)
        else:
            a[row, rng.integers(params.lanes)] ^= 1 << rng.integers(0, 9)


def _real(params: Params, rng: np.random.Generator) -> Batch:
    """Dot products of captured activations with captured weights: some tokens, some rows."""
    w_format = MXOpal(k=_BLOCK, n=0, b=params.w_bits)
    parts: list[Batch] = []
    for activations, weights in real_rows(rng):
        tokens, width = activations.shape
        packed = quantize(weights, w_format, axis=1)
        shape = (tokens, -1, _BLOCK)
        a = np.pad(activations.astype(np.int64), ((0, 0), (0, -width % _BLOCK))).reshape(shape)
        w = packed.codes.astype(np.int64).reshape(shape)
        # A block that is no multiple of the lanes ends with zeros.
        pad = ((0, 0), (0, 0), (0, -_BLOCK % params.lanes))
        a, w = (np.pad(x, pad) for x in (a, w))
        scale = np.repeat(packed.scales.astype(np.int64), a.shape[2] // params.lanes, axis=1)
        last = np.zeros(scale.shape, np.int64)
        last[:, -1] = 1
        parts.append(
            {
                "a": a.reshape(-1, params.lanes),
                "w": w.reshape(-1, params.lanes),
                "w_scale": scale.reshape(-1),
                "last": last.reshape(-1),
            }
        )
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
