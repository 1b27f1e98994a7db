"""Channels as stimuli of `range_bn_constants`: of tensors, of any numbers, about every rounding."""

from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import Overflow, Rounding, bf16_values, vector
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.samples import norm
from narrowgauge.golden.units.range_bn import FP10, Blocks, Layer
from narrowgauge.golden.units.range_bn_fields import Channels
from narrowgauge.golden.units.range_bn_gradient import Gradients, gradients
from narrowgauge.golden.units.range_bn_passes import (
    MOST_EPSILON,
    Constants,
    Statistics,
    constants,
    statistics,
)
from narrowgauge.golden.units.stimuli import blocks as transactions
from narrowgauge.golden.units.window import FP32

__all__ = [
    "affine_codes",
    "backward_beats",
    "epsilon_field",
    "forward_beats",
    "layer_fields",
    "vectors",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def layer_fields(layer: Layer) -> dict[str, int]:
    """Constants of a layer as fields: 1 / N with 16 bits in any case."""
    inverse, shift = layer.inverse
    if inverse >> 16:
        inverse, shift = inverse >> 1, shift - 1
    return {
        "c": layer.c,
        "inverse": inverse,
        "shift": shift,
        "chunk_bits": layer.chunks.bit_length() - 1,
    }


def epsilon_field(params: Channels, layer: Layer, base: int) -> int:
    """Epsilon as a field, where the window of x begins with the exponent `base`."""
    place = base + 1 - params.window - 16 - (layer.chunks.bit_length() - 1)
    return min(round(layer.epsilon * 2.0**-place), MOST_EPSILON)


def forward_beats(
    params: Channels, layer: Layer, stats: Statistics, gamma: Ints, beta: Ints
) -> Batch:
    """The channels of a tensor x; `layer.chunks` may be fewer than `params` has.

    Parameters
    ----------
    gamma, beta : codes of `FP10` and FP32
    """
    return params.input.beats(
        len(stats.total),
        total=stats.total,
        spread=stats.spread,
        gamma=gamma,
        beta=beta,
        base=stats.base + params.formats[0].bias,
        epsilon=epsilon_field(params, layer, stats.base),
        **layer_fields(layer),
    )


def backward_beats(params: Channels, layer: Layer, made: Constants, sums: Gradients) -> Batch:
    """The channels of a tensor g."""
    return params.input.beats(
        len(sums.total),
        total=sums.total,
        moment=sums.moment,
        scale=made.scale,
        mean=made.mean,
        slope=made.slope,
        slope_unit=made.slope_unit,
        base=sums.base + params.formats[1].bias,
        backward=1,
        **layer_fields(layer),
    )


def vectors(params: Channels, level: str, seed: int) -> Batch:
    """Blocks of both directions in turn; some short, some that end without `last`."""
    rng = np.random.default_rng(seed)
    if level == "real":
        parts = _real(params)
    else:
        size = transactions(level, smoke=4_000)
        parts, count = [], 0
        while count < size:
            kind = rng.random()
            made = _tensor(params, rng) if kind < 0.3 else _any(params, rng, tied=kind < 0.75)
            parts.append(_cut(params, rng, made))
            count += len(made["last"])
    for part in parts:
        part["last"][-1] = 1
    return join(parts)


def _cut(params: Channels, rng: np.random.Generator, batch: Batch) -> Batch:
    """With `last` where blocks end, at times before, or `backward` in a block that has begun."""
    ends = np.arange(1, len(batch["last"]) + 1) % params.group == 0
    batch["last"] = (ends & (rng.random(len(ends)) < rng.choice([0, 0.5, 1]))).astype(np.int64)
    if rng.random() < 0.4:
        batch["last"] |= (rng.random(len(ends)) < 0.3).astype(np.int64)
    if rng.random() < 0.2:
        batch["backward"] ^= (rng.random(len(ends)) < 0.3).astype(np.int64)
    return batch


def affine_codes(rng: np.random.Generator, channels: int) -> tuple[Ints, Ints]:
    """Codes of gamma and beta: about one, of any exponent, zeros, subnormals, ends, NaN and Inf."""
    modes: dict[str, Any] = {"rounding": Rounding.RNE, "overflow": Overflow.SATURATE}
    gamma = vector.encode(FP10, rng.normal(1, 0.5, channels), **modes)
    beta = vector.encode(FP32, rng.normal(0, 1, channels), **modes)
    kind = rng.random(channels)
    gamma = np.where(kind < 0.3, rng.integers(0, 1 << FP10.width, channels), gamma)
    ends = [0, 1, 0xF, 0x10, FP10.max_code, FP10.sign_mask]
    gamma = np.where(kind < 0.1, rng.choice(ends, channels), gamma)
    kind = rng.random(channels)
    # Few mantissa bits and exponents about gamma's: ties, and units that beta gives.
    mantissa = rng.integers(0, 1 << 23, channels) & -(1 << rng.integers(0, 24, channels))
    near = np.maximum(gamma >> 4 & 31, 1) + rng.integers(112, 120, channels)
    field = np.where(rng.random(channels) < 0.5, near, rng.integers(95, 150, channels))
    beta = np.where(kind < 0.5, field << 23 | mantissa | rng.integers(0, 2, channels) << 31, beta)
    beta = np.where(kind < 0.15, rng.integers(0, 1 << 32, channels), beta)
    ends = [0, 1, 0x7FFFFF, 0x800000, FP32.max_code, FP32.sign_mask]
    beta = np.where(kind < 0.1, rng.choice(ends, channels), beta)
    gamma = np.where(rng.random(channels) < 0.02, rng.integers(0x1F0, 0x200, channels), gamma)
    beta = np.where(rng.random(channels) < 0.02, 0x7F800000 | mantissa, beta)
    return gamma, beta


def _tensor(params: Channels, rng: np.random.Generator) -> Batch:
    """A tensor of a block or more, forward and backward."""
    p = params
    channels = p.group * int(rng.integers(1, max(4, 16 // p.group)))
    chunks = 1 << int(rng.integers(0, min(p.chunk_bits, p.position_bits - 1) + 1))
    most = min(1 << p.position_bits, 300)
    layer = Layer(
        count=int(rng.integers(min(2 * chunks, most), most + 1)),
        chunks=chunks,
        epsilon=float(rng.choice([0, 1e-5, 1e-3, 0.5])),
    )
    x = rng.standard_normal((layer.count, channels)) * 2.0 ** rng.uniform(-4, 4, channels)
    x = (x + rng.normal(0, 4, channels)) * 2.0 ** rng.choice([0, 0, -12, 10])
    dead = rng.random(channels) < 0.1
    x = np.where(dead, x[0], x)
    g = rng.standard_t(4, x.shape) * 2.0 ** rng.uniform(-9, -3)
    return _both(p, layer, x, g, *affine_codes(rng, channels))


def _both(params: Channels, layer: Layer, x: Floats, g: Floats, gamma: Ints, beta: Ints) -> Batch:
    """A tensor's channels, forward and backward."""
    p = params.arithmetic
    blocks, gradient = Blocks.of(x, p.forward), Blocks.of(g, p.backward)
    # Statistics do not depend on the number of chunks that a unit has room for.
    few = type(p)(**{**vars(p), "chunks": layer.chunks})
    stats = statistics(few, layer, blocks)
    there = forward_beats(params, layer, stats, gamma, beta)
    finite = np.where(np.isfinite(vector.decode(FP32, beta)), beta, 0)
    steady = np.where(np.isfinite(vector.decode(FP10, gamma)), gamma, 0)
    made = constants(few, layer, stats, steady, finite)
    sums = gradients(few, made, blocks, gradient)
    return join([there, backward_beats(params, layer, made, sums)])


def _any(params: Channels, rng: np.random.Generator, *, tied: bool) -> Batch:
    """Blocks of any numbers of any length; `tied` of few bits, so that ties are many."""
    p = params
    n = p.group * int(rng.integers(1, max(4, 48 // p.group)))
    made: Batch = {}
    for field in p.input.fields:
        low, high = field.limits
        bits = high.bit_length()
        length = rng.integers(0, bits + 1, n)
        values = (rng.random(n) * 2.0**length).astype(np.int64)
        if tied:
            few = rng.integers(0, 4, n)
            values &= -(np.int64(1) << np.maximum(length - few - 1, 0))
        values = np.where(rng.random(n) < (0.5 if low else 0), -values - 1, values)
        if low and tied:
            values = np.where(values < 0, values + 1, values)
        ends = rng.choice([low, high, 0, 1], n)
        made[field.name] = np.clip(np.where(rng.random(n) < 0.08, ends, values), low, high)
    # A layer's constants are of one size; so that not all is beyond every end, mostly these.
    sensible = rng.random(n) < 0.8
    count = rng.integers(1, p.position_bits + 1, n)
    made["shift"] = np.where(sensible, 15 + count, made["shift"])
    top = np.int64(1) << 15
    one = rng.random(n) < 0.5
    made["inverse"] = np.where(sensible, np.where(one, top, made["inverse"] | top), made["inverse"])
    made["c"] = np.where(sensible, made["c"] | np.where(one, top, top >> 2), made["c"])
    made["epsilon"] = np.where(rng.random(n) < 0.5, made["epsilon"] & 0xFFFFF, made["epsilon"])
    made["spread"] = np.where(rng.random(n) < 0.05, 0, made["spread"])
    if tied:
        # Sums of one bit more than fits, or than fits and a half.
        odd = (np.int64(1) << 24) | rng.integers(0, 1 << 24, n) | (rng.random(n) < 0.5)
        room = p.product_bits - 26
        high_odd = odd << rng.integers(0, max(room, 0) + 1, n)
        limit = p.input["moment"].limits[1]
        one = (rng.random(n) < 0.3) & (high_odd <= limit)
        made["moment"] = np.where(one, high_odd * rng.choice([1, -1], n), made["moment"])
        made["mean"] = np.where(one & (rng.random(n) < 0.7), 0, made["mean"])
        made["scale"] = np.where(
            rng.random(n) < 0.5, 1 << rng.integers(0, p.precision, n), made["scale"]
        )
        limit = p.input["total"].limits[1]
        one = (rng.random(n) < 0.3) & (odd <= limit)
        made["total"] = np.where(one, odd * rng.choice([1, -1], n), made["total"])
    gamma, beta = affine_codes(rng, n)
    made["gamma"], made["beta"] = gamma, beta
    made["backward"] = np.repeat(rng.integers(0, 2, n // p.group), p.group)
    return made


def _real(params: Channels) -> list[Batch]:
    """The captured layer, a block of channels after the other."""
    made = []
    for block in norm.load().blocks(params.group, 1 << params.position_bits):
        count = len(block.x)
        layer = Layer(count=count, chunks=min(params.chunks, count // 2))
        x, g = (bf16_values(each).astype(np.float64) for each in (block.x, block.g))
        gamma, beta = block.gamma.astype(np.int64), block.beta.astype(np.int64)
        made.append(_both(params, layer, x, g, gamma, beta))
    return made
