"""Stimuli of `range_bn_array`: passes over tensors with constants that fit them, or do not."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import bfp_pack
from narrowgauge.golden.formats import bf16_values
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.samples import norm
from narrowgauge.golden.units.range_bn import Blocks, Layer, chunk_of, exponent_offset
from narrowgauge.golden.units.range_bn_gradient import gradients, shifts
from narrowgauge.golden.units.range_bn_modes import Mode
from narrowgauge.golden.units.range_bn_passes import constants, statistics
from narrowgauge.golden.units.stimuli import blocks as transactions
from narrowgauge.golden.units.stimuli import filled

if TYPE_CHECKING:
    from narrowgauge.golden.units.range_bn_array import Params

__all__ = ["layer_beats", "tensors"]

Ints = npt.NDArray[np.int64]
Values = dict[str, Ints]


def tensors(params: "Params", level: str, seed: int) -> Batch:
    """Passes of a level; every constant is loaded anew after each `last`."""
    rng = np.random.default_rng(seed)
    if level == "real":
        return join(_real(params))
    return filled(transactions(level, smoke=6_000), lambda: _tensor(params, rng))


def _tensor(p: "Params", rng: np.random.Generator) -> Batch:
    """A pass of any kind; before it, in some, another that is left in its middle."""
    parts = []
    if rng.random() < 0.15:
        left = _pass(p, rng)
        count = int(rng.integers(0, len(left["last"])))
        parts.append({name: values[:count] for name, values in left.items()})
    parts.append(_pass(p, rng))
    return join(parts)


def _pass(p: "Params", rng: np.random.Generator) -> Batch:
    mode = Mode(rng.choice([Mode.STATISTICS, Mode.NORMALIZE, Mode.GRADIENTS, Mode.PROPAGATE]))
    kind = rng.integers(0, 3)
    count = int(rng.integers(1, 24)) if rng.random() < 0.9 else int(rng.integers(24, 120))
    data = _data(p, rng, mode, count)
    if mode == Mode.STATISTICS:
        return data
    held = (_sensible, _rounded, _anything)[kind](p, rng, mode)
    held |= {name: rng.integers(0, count + 2, p.lanes) for name in ("largest", "least")}
    both = rng.random(p.lanes) < 0.2
    held["least"] = np.where(both, held["largest"], held["least"])
    held = {f.name: np.clip(held[f.name], *f.limits) for f in p.constants.fields}
    parts = [_loads(p, Mode.LOAD, held, rng.permutation(p.lanes))]
    # In some, positions follow in the middle, of all channels or of some.
    at = sorted(rng.integers(0, count, int(rng.integers(0, 3)))) if rng.random() < 0.4 else []
    start = 0
    for stop in (*(int(a) for a in at), count):
        parts.append({name: values[start:stop] for name, values in data.items()})
        start = stop
        if stop < count:
            most = min(count + 2, 1 << p.position_bits)
            places = {f.name: rng.integers(0, most, p.lanes) for f in p.constants.fields[-2:]}
            some = rng.permutation(p.lanes)[: int(rng.integers(1, p.lanes + 1))]
            parts.append(_loads(p, Mode.PLACES, places, some))
    return join(parts)


def _loads(p: "Params", mode: Mode, held: Values, lanes: Ints) -> Batch:
    """A beat for each of some lanes."""
    given = {name: values[lanes] for name, values in held.items()}
    return p.input.beats(len(lanes), mode=mode, lane=lanes, **given)


def _data(p: "Params", rng: np.random.Generator, mode: Mode, count: int) -> Batch:
    """Positions of x and g on fields about the base, some above it; some blocks NaN."""
    made: Values = {}
    base = 0
    for prefix, fmt in (("x_", p.forward), ("g_", p.backward)):
        codes, fields, start = _blocks(p, rng, fmt.mantissa_bits, fmt.nan_field, count)
        made |= {f"{prefix}codes": codes, f"{prefix}scales": fields}
        if prefix == "g_" or mode == Mode.STATISTICS:
            base = base if mode == Mode.STATISTICS and prefix == "g_" else start
    if mode == Mode.NORMALIZE or (mode == Mode.GRADIENTS and rng.random() < 0.8):
        # Differences are told apart where values are near 1.
        bias = p.forward.bias
        made["x_scales"] = rng.integers(bias - 5, bias + 4, made["x_scales"].shape)
        nan = rng.random(made["x_scales"].shape) < rng.choice([0.0, 0.05])
        made["x_scales"] = np.where(nan, p.forward.nan_field, made["x_scales"])
    ends = rng.random(count) < rng.choice([0.05, 0.3])
    batch = p.input.beats(count, mode=mode, base=base, chunk_last=ends, **made)
    batch["last"][-1] = 1
    return batch


def _blocks(
    p: "Params", rng: np.random.Generator, size: int, nan_field: int, count: int
) -> tuple[Ints, Ints, int]:
    """Codes, fields and the base of a window for them."""
    most = (1 << size) - 1
    codes = rng.integers(-most, most + 1, (count, p.lanes))
    kind = rng.integers(0, 5)
    if kind == 0:
        codes = rng.integers(-2, 3, codes.shape)
    elif kind == 1:
        codes = np.repeat(codes[:1], count, axis=0)
    base = (int(rng.integers(0, nan_field)), 1 << int(rng.integers(0, 5)), 0)[rng.integers(0, 3)]
    below = rng.integers(0, rng.choice([1, 3, p.window + 4]), (count, p.lanes // p.group))
    fields = np.clip(max(base, 1) - below, 0, nan_field - 1)
    if rng.random() < 0.3:
        above = np.minimum(fields + rng.integers(1, 4, fields.shape), nan_field - 1)
        fields = np.where(rng.random(fields.shape) < 0.05, above, fields)
    if rng.random() < 0.2:
        fields = np.where(rng.random(fields.shape) < 0.05, nan_field, fields)
    return codes, fields, base


def _anything(p: "Params", rng: np.random.Generator, mode: Mode) -> Values:
    """Constants without a sense, or at their ends."""
    made: Values = {}
    for field in p.constants.fields:
        low, high = field.limits
        values = rng.integers(low, high + 1, p.lanes)
        near = np.clip(rng.integers(-20, 21, p.lanes), low, high)
        ends = rng.choice([low, high, 0, 1], p.lanes)
        which = [rng.random(p.lanes) < 0.3, rng.random(p.lanes) < 0.4]
        made[field.name] = np.select(which, [ends, near], values)
    made["unit"] = rng.integers(-40, 8, p.lanes)
    return made


def _sensible(p: "Params", rng: np.random.Generator, mode: Mode) -> Values:
    """Constants as statistics give them, for values of about 1."""
    spread = rng.integers(-3, 4, p.lanes)
    backward = mode == Mode.PROPAGATE
    gain = rng.integers(1 << (p.precision - 2), 1 << p.precision, p.lanes)
    gain *= rng.choice([1, 1, 1, -1], p.lanes)
    low = p.arithmetic.product if backward else p.fraction
    beta = rng.normal(0, 0.5, p.lanes) * 2.0**low
    mean = rng.normal(0, 1, p.lanes) * 2.0 ** (low - p.precision - (0 if backward else spread))
    return {
        "exponent": np.zeros_like(spread) if backward else spread + exponent_offset(p.arithmetic),
        "gain": gain,
        "offset": np.rint(beta - gain * mean).astype(np.int64),
        "patch": np.rint(rng.normal(0, 1, p.lanes) * 2.0**low).astype(np.int64),
        "unit": rng.integers(-2, 3, p.lanes) - low,
    }


def _rounded(p: "Params", rng: np.random.Generator, mode: Mode) -> Values:
    """Offsets are what the blocks round: ties, clips, values far apart; most gains are 0."""
    made = _sensible(p, rng, mode)
    made["gain"] = np.where(rng.random(p.lanes) < 0.8, 0, made["gain"])
    sums = bfp_pack.vectors(p.pack, "smoke", int(rng.integers(0, 1 << 30)))
    rows = rng.choice(np.flatnonzero(sums["alt"] == (mode == Mode.PROPAGATE)), p.lanes // p.group)
    made["offset"] = sums["value"][rows].reshape(-1)
    made["unit"] = np.repeat(sums["unit"][rows], p.group)
    return made


def layer_beats(
    p: "Params", layer: Layer, x: Blocks, g: Blocks, gamma: Ints, beta: Ints
) -> list[Batch]:
    """The four passes over a block of channels, each with its constants from the ones before.

    Parameters
    ----------
    layer : what the passes share
    x, g : (positions, lanes)
    gamma, beta : (lanes,), codes of FP10 and FP32
    """
    a = p.arithmetic
    stats = statistics(a, layer, x)
    made = constants(a, layer, stats, gamma, beta)
    sums = gradients(a, made, x, g)
    mean, patch = shifts(a, layer, made, sums)
    chunk = chunk_of(layer, np.arange(layer.count + 1))
    ends = np.diff(chunk)
    every = {"x_codes": x.codes, "x_scales": x.fields, "g_codes": g.codes, "g_scales": g.fields}
    last = np.arange(layer.count) == layer.count - 1

    def data(mode: Mode, base: int) -> Batch:
        names = ("x_",) if mode in (Mode.STATISTICS, Mode.NORMALIZE) else ("x_", "g_")
        used = {k: v for k, v in every.items() if k[:2] in names[mode == Mode.PROPAGATE :]}
        return p.input.beats(layer.count, mode=mode, base=base, chunk_last=ends, last=last, **used)

    forward = {
        "exponent": made.exponent + exponent_offset(a),
        "gain": made.gain,
        "offset": made.offset,
        "unit": made.unit,
    }
    backward = {
        "gain": made.slope,
        "offset": -mean,
        "patch": -patch,
        "unit": a.precision + made.slope_unit + sums.base + 1 - a.product,
        "largest": stats.largest[0],
        "least": stats.least[0],
    }
    lanes = np.arange(p.lanes)
    loads = _loads(p, Mode.LOAD, forward, lanes)
    window = stats.base + p.forward.bias
    top = sums.base + p.backward.bias
    propagate = data(Mode.PROPAGATE, top)
    parts = [_loads(p, Mode.LOAD, backward, lanes)]
    for k, (start, stop) in enumerate(
        zip(layer.starts(), [*layer.starts()[1:], None], strict=True)
    ):
        if k:
            places = {"largest": stats.largest[k], "least": stats.least[k]}
            parts.append(_loads(p, Mode.PLACES, places, lanes))
        parts.append({name: values[start:stop] for name, values in propagate.items()})
    return [
        data(Mode.STATISTICS, window),
        join([loads, data(Mode.NORMALIZE, 0)]),
        join([loads, data(Mode.GRADIENTS, top)]),
        join(parts),
    ]


def _real(p: "Params") -> list[Batch]:
    """The captured layer, a block of channels after the other, all passes of each."""
    made = []
    for block in norm.load().blocks(p.lanes, 1 << p.position_bits):
        x, g = (
            Blocks.of(bf16_values(each), fmt)
            for each, fmt in ((block.x, p.forward), (block.g, p.backward))
        )
        layer = Layer(count=len(block.x), chunks=p.chunks)
        gamma, beta = block.gamma.astype(np.int64), block.beta.astype(np.int64)
        made += layer_beats(p, layer, x, g, gamma, beta)
    return made
