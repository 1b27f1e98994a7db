"""Dot product of MX-OPAL activations with INT weights under a shared scale, in FP32.

    result = sum over blocks of RNE(2^(s_w - 127 - f_w) * T),   f = bits - 2
    T = 2^(s_a - 127 - f_a) * sum_i a_i w_i  +  sum_j outlier_j * w[position_j]

A block's n + 1 terms (the INT sum and the n outlier products) are added on one window
(`units.window`) that ends `fraction` bits below 2^R, with weights read as w / 2^f_w and R the
largest of s_a - 127 and the outliers' exponents. The INT sum is cut off towards minus infinity,
outlier products towards zero. T is rounded to FP32 once, and the blocks of a dot product are added
in order, RNE, from +0. The INT sum is exact, so lanes never change a bit.

Zero: a zero or subnormal outlier has the exponent of field 1. NaN: a scale of 255, a NaN outlier,
an infinite outlier times weight 0, or infinities of both signs. Overflow: Inf. The INT code in an
outlier's slot counts like any other (`mx_quantize` writes 0 there), and positions may coincide.

Source: OPAL (arXiv 2409.05902) for the two paths; window, order and rounding are this project's.
"""

from dataclasses import dataclass

import numpy as np

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import MXOpal, Rounding, quantize, vector
from narrowgauge.golden.formats import get as get_format
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units import window
from narrowgauge.golden.units.checks import check_block
from narrowgauge.golden.units.stimuli import (
    SPECIAL_BF16,
    blocks,
    ends,
    random_bf16,
    real_rows,
)

__all__ = ["Params", "input_beats", "model", "output_beats", "vectors"]

_NAN_SCALE = 255


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: k, n, a_bits, w_bits, fraction. How: lanes.

    Parameters
    ----------
    k : elements a block, a power of two, 2..1024
    n : outliers a block, 0..k-1
    a_bits, w_bits : width of the INT codes of activations and weights, 2..8, symmetric
    fraction : fraction bits of the window, 8..32
    lanes : elements a cycle, a divisor of k
    """

    k: int = 128
    n: int = 4
    a_bits: int = 4
    w_bits: int = 4
    fraction: int = 23
    lanes: int = 128

    def __post_init__(self) -> None:
        check_block(self.k, self.n)
        for name in ("a_bits", "w_bits"):
            if not 2 <= getattr(self, name) <= 8:
                raise UsageError(f"{name} must be 2..8, got {getattr(self, name)}")
        if not 8 <= self.fraction <= 32:
            raise UsageError(f"fraction must be 8..32, got {self.fraction}")
        if not 1 <= self.lanes <= self.k or self.k % self.lanes:
            raise UsageError(f"lanes must divide k={self.k}, got {self.lanes}")
        if self.outlier_shift < 0 or self.int_shift < 0:
            raise UsageError(f"fraction must hold a product whole, got {self.fraction}")

    @property
    def beats(self) -> int:
        """Beats of a block."""
        return self.k // self.lanes

    @property
    def sum_bits(self) -> int:
        """Bits of the INT sum of a block, sign included."""
        top = self.k * ((1 << (self.a_bits - 1)) - 1) * ((1 << (self.w_bits - 1)) - 1)
        return top.bit_length() + 1

    @property
    def outlier_shift(self) -> int:
        """Left shift of an outlier product (7 + w_bits - 2 fraction bits) on the window."""
        return self.fraction - 7 - (self.w_bits - 2)

    @property
    def int_shift(self) -> int:
        """Left shift of the INT sum on the window."""
        return self.fraction - (self.a_bits - 2) - (self.w_bits - 2)

    def _fields(self, count: int) -> tuple[Field, ...]:
        block = MXOpal(k=self.k, n=self.n, b=self.a_bits)
        return (
            Field(name="a", width=self.a_bits, count=count, encoding="sign_magnitude"),
            Field(name="a_scale", width=8, format="e8m0"),
            *block.payload.fields[2:],  # outliers and positions
            Field(name="w", width=self.w_bits, count=count, encoding="sign_magnitude"),
            Field(name="w_scale", width=8, format="e8m0"),
            Field(name="last", width=1),
        )

    @property
    def block(self) -> Payload:
        """One transaction: a block of activations and one of weights; `last` ends the dot."""
        return Payload(self._fields(self.k))

    @property
    def input(self) -> Payload:
        """One beat: `lanes` codes; the rest is the block's and the same on all its beats."""
        return Payload(self._fields(self.lanes))

    @property
    def output(self) -> Payload:
        """One dot product."""
        return Payload((Field(name="result", width=32, format="fp32"),))


def model(params: Params, batch: Batch) -> Batch:
    """The dot products of a sequence of blocks, one for every `last`."""
    b = params.block.check(batch)
    int_sum = (b["a"] * b["w"]).sum(axis=1)
    blocks_in = len(int_sum)
    if params.n:
        outliers = vector.unpack(get_format("bf16"), b["outliers"])
        field = np.maximum((b["outliers"] >> 7) & 0xFF, 1)
        weights = np.take_along_axis(b["w"], b["positions"], axis=1)
        signed = np.where(outliers.sign == 1, -1, 1) * outliers.significand * weights
        reference = np.maximum(field.max(axis=1), b["a_scale"])
        distance = reference[:, None] - field
        outlier_sum = window.align(signed, params.outlier_shift, distance).sum(axis=1)
        nan = (outliers.is_nan | (outliers.is_inf & (weights == 0))).any(axis=1)
        inf_sign = (outliers.sign == 1) != (weights < 0)
        infinite = outliers.is_inf & (weights != 0)
        pos_inf = (infinite & ~inf_sign).any(axis=1)
        neg_inf = (infinite & inf_sign).any(axis=1)
    else:
        reference = b["a_scale"]
        outlier_sum = np.zeros(blocks_in, np.int64)
        nan = pos_inf = neg_inf = np.zeros(blocks_in, np.bool_)
    shifted = (int_sum << params.int_shift) >> np.minimum(reference - b["a_scale"], 62)
    nan = nan | (b["a_scale"] == _NAN_SCALE) | (b["w_scale"] == _NAN_SCALE)
    exponent = reference - 127 - params.fraction + b["w_scale"] - 127
    terms = window.convert(shifted + outlier_sum, exponent, nan, pos_inf, neg_inf)
    return {"result": window.accumulate(terms, b["last"])}


def input_beats(params: Params, batch: Batch) -> Batch:
    """Blocks to beats: codes are dealt out in order, the rest is repeated, `last` ends the dot."""
    b = params.block.check(batch)
    beats: Batch = {}
    for name, values in b.items():
        if name in ("a", "w"):
            beats[name] = values.reshape(-1, params.lanes)
        else:
            beats[name] = np.repeat(values, params.beats, axis=0)
    final = np.arange(len(beats["last"])) % params.beats == params.beats - 1
    beats["last"] = beats["last"] & final
    return beats


def output_beats(params: Params, batch: Batch) -> Batch:
    """One beat a dot product."""
    return batch


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Blocks: real tensors, or corners, random codes and quantised heavy-tailed blocks."""
    rng = np.random.default_rng(seed)
    if level == "real":
        return _real(params, rng)
    count = blocks(level, smoke=600)
    top_a, top_w = ((1 << (bits - 1)) - 1 for bits in (params.a_bits, params.w_bits))
    a = rng.integers(-top_a, top_a + 1, (count, params.k))
    w = rng.integers(-top_w, top_w + 1, (count, params.k))
    # Extremes: the sums that need every bit, and the ones that leave a single code.
    for codes, top in ((a, top_a), (w, top_w)):
        extreme = rng.random(count) < 0.1
        signs = rng.choice([-1, 1], (count, 1)) * np.ones((1, params.k), np.int64)
        codes[extreme] = (top * signs)[extreme]
        sparse = rng.random(count) < 0.1
        codes[sparse] *= rng.random((int(sparse.sum()), params.k)) < 2 / params.k
    last = ends(rng, count)
    # Whole dot products whose results are subnormal.
    dot = np.cumsum(last) - last
    tiny = (rng.random(count) < 0.08)[dot]
    a_scale = np.clip(rng.normal(np.where(tiny, 60, 120), 12).astype(np.int64), 0, 254)
    w_scale = np.clip(rng.normal(np.where(tiny, 50, 120), 6).astype(np.int64), 0, 254)
    for scale in (a_scale, w_scale):
        corner = (rng.random(count) < 0.08) & ~tiny
        scale[corner] = rng.choice([0, 1, 2, 126, 127, 128, 253, 254, 255], int(corner.sum()))
    batch: Batch = {"a": a, "a_scale": a_scale, "w": w, "w_scale": w_scale}
    if params.n:
        shape = (count, params.n)
        # Distances from the scale that fall on, inside and beyond the window.
        field = a_scale[:, None] + rng.integers(-4, params.fraction + 12, shape)
        outliers = random_bf16(rng, np.clip(field, 0, 254))
        corner = rng.random(shape) < 0.04
        outliers[corner] = rng.choice(SPECIAL_BF16, int(corner.sum()))
        positions = np.argsort(rng.random((count, params.k)), axis=1)[:, : params.n]
        same = rng.random(count) < 0.05
        positions[same] = positions[same][:, :1]
        # Outlier pairs that cancel, so that what the window keeps below them decides.
        pairs = np.flatnonzero(rng.random(count) < 0.1)
        if params.n > 1:
            outliers[pairs, 1] = outliers[pairs, 0] ^ 0x8000
            w[pairs, positions[pairs, 1]] = w[pairs, positions[pairs, 0]]
        batch |= {"outliers": outliers, "positions": positions}
        valid = rng.random(count) < 0.6
        np.put_along_axis(a, positions, np.where(valid[:, None], 0, _at(a, positions)), axis=1)
    _directed(params, batch | {"last": last}, rng)
    return batch | {"last": last}


def _directed(params: Params, batch: Batch, rng: np.random.Generator) -> None:
    """What random blocks hardly meet, written over some of them."""
    a, w, last = batch["a"], batch["w"], batch["last"]
    count = len(a)
    top_a, top_w = ((1 << (bits - 1)) - 1 for bits in (params.a_bits, params.w_bits))
    # Sums that are a power of two and nothing else, for the carries of a negation.
    few = np.flatnonzero(rng.random(count) < 0.1)
    chosen = np.arange(params.k) < (1 << rng.integers(0, params.k.bit_length(), (len(few), 1)))
    a[few] = rng.permuted(chosen, axis=1) << rng.integers(0, params.a_bits - 1, (len(few), 1))
    w[few] = rng.choice([-1, 1], (len(few), 1)) << rng.integers(0, params.w_bits - 1, (len(few), 1))
    if params.n:
        outliers, positions = batch["outliers"], batch["positions"]
        outliers[few] = 0
        # One outlier at any distance above the INT sum.
        alone = np.flatnonzero(rng.random(count) < 0.2)
        field = batch["a_scale"][alone] + rng.integers(0, params.fraction + 4, len(alone))
        outliers[alone] = 0
        outliers[alone, 0] = random_bf16(rng, np.clip(field, 1, 254))
        # Infinities of both signs in every slot, half of them at a weight of 0.
        hot = rng.permutation(count)[: min(4 * params.n, count // 16)]
        slot = np.arange(len(hot)) // 4 % params.n
        outliers[hot] &= 0xBFFF
        outliers[hot, slot] = np.resize([0x7F80, 0xFF80], len(hot))
        w[hot, positions[hot, slot]] = np.resize([0, 0, 1, -1], len(hot))
    # Blocks that take back the one before, but for a weight at most: few bits are left.
    for row in np.flatnonzero((rng.random(count - 1) < 0.25) & (last[:-1] == 0)) + 1:
        for name, field in batch.items():
            if name != "last":
                field[row] = field[row - 1]
        w[row] = -w[row]
        w[row, rng.integers(params.k)] = rng.integers(-top_w, top_w + 1)
        if params.n and row % 4 == 0:
            _last_bit(
                params, {name: field[row - 1 : row + 1] for name, field in batch.items()}, rng
            )
    # The least and the most that a sum can be.
    full = rng.permutation(count)[:6]
    a[full] = top_a
    w[full] = np.resize([top_w, -top_w], len(full))[:, None]


def _last_bit(params: Params, pair: Batch, rng: np.random.Generator) -> None:
    """Two blocks of which the first is a power of two, and the second takes all but a bit of it."""
    field = int(rng.integers(100, 160))
    place, other = rng.permutation(params.k)[:2]
    pair["a"][:] = pair["w"][:] = pair["outliers"][:] = 0
    pair["outliers"][:, 0] = field << 7
    pair["positions"][:, 0] = place
    pair["w"][:, place] = [1, -1]
    pair["a"][1, other], pair["w"][1, other] = 1, rng.choice([-1, 1])
    pair["a_scale"][:] = field - params.int_shift + int(rng.integers(-1, 3))
    pair["w_scale"][:] = 120


def _at(codes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    return np.take_along_axis(codes, positions, axis=1)


def _real(params: Params, rng: np.random.Generator) -> Batch:
    """Dot products of captured activations with captured weights: some tokens, some rows."""
    a_format = MXOpal(k=params.k, n=params.n, b=params.a_bits, rounding=Rounding.RNE)
    w_format = MXOpal(k=params.k, n=0, b=params.w_bits, rounding=Rounding.RNE)
    parts: list[Batch] = []
    for activations, weights in real_rows(rng):
        a = quantize(activations, a_format, axis=1)
        w = quantize(weights, w_format, axis=1)
        count = a.scales.shape[1]
        last = np.zeros(count, np.int64)
        last[-1] = 1
        for row in range(len(activations)):
            part: Batch = {
                "a": a.codes[row].astype(np.int64),
                "a_scale": a.scales[row].astype(np.int64),
                "w": w.codes[row].astype(np.int64),
                "w_scale": w.scales[row].astype(np.int64),
                "last": last,
            }
            if params.n:
                part["outliers"] = a.outliers[row].astype(np.int64)
                part["positions"] = a.positions[row].astype(np.int64)
            parts.append(part)
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
