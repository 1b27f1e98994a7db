"""What the passes of `range_bn_array` are answered with."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units.range_bn import Blocks, blocks_of, exponent_offset, place, wrapped
from narrowgauge.golden.units.range_bn_gradient import moments, sloped
from narrowgauge.golden.units.range_bn_modes import Mode, Pass
from narrowgauge.golden.units.range_bn_passes import scaled

if TYPE_CHECKING:
    from narrowgauge.golden.units.range_bn_array import Params

__all__ = ["answers"]

Ints = npt.NDArray[np.int64]


def answers(params: "Params", beats: Batch, run: Pass) -> Batch:
    """The answers to one pass of a batch that was checked."""
    p = params
    x = Blocks(
        fmt=p.forward, codes=beats["x_codes"][run.beats], fields=beats["x_scales"][run.beats]
    )
    g = Blocks(
        fmt=p.backward, codes=beats["g_codes"][run.beats], fields=beats["g_scales"][run.beats]
    )
    last = beats["last"][run.beats]
    if run.mode == Mode.STATISTICS:
        return _statistics(p, beats, run, x)
    fmt, window = p.backward, p.gradient_window
    base = np.maximum(beats["base"][run.beats], 1) - fmt.bias
    placed, clipped = place(g, window, base[:, None])
    held = run.constants
    exponent = held["exponent"] - exponent_offset(p.arithmetic)
    if run.mode == Mode.GRADIENTS:
        if not last[-1]:
            return p.output.beats(0)
        products = moments(p.arithmetic, exponent, base[:, None], x, g)
        return p.output.beats(
            p.lanes,
            total=wrapped(placed.sum(axis=0) << (p.window - window), p.total_bits),
            moment=wrapped(products.sum(axis=0), p.moment_bits),
            clipped=clipped.any(axis=0),
            nan=(x.nan | g.nan).any(axis=0),
            last=np.arange(p.lanes) == p.lanes - 1,
        )
    if run.mode == Mode.NORMALIZE:
        total = scaled(p.arithmetic, exponent, held["gain"], x) + held["offset"]
        fmt, nan = p.forward, x.nan
    else:
        position = (np.arange(len(last)) & ((1 << p.position_bits) - 1))[:, None]
        hit = (run.largest == position).astype(np.int64) - (run.least == position)
        top = base[:, None] + held["exponent"]
        total = sloped(p.arithmetic, top, held["gain"], g) + held["offset"] + hit * held["patch"]
        nan = g.nan
    # One unit a block: that of its last channel.
    unit = np.repeat(held["unit"][p.group - 1 :: p.group], p.group)
    y = blocks_of(fmt, total, unit, nan)
    return p.output.beats(len(last), codes=y.codes, scales=y.fields, last=last)


def _statistics(p: "Params", beats: Batch, run: Pass, x: Blocks) -> Batch:
    base = np.maximum(beats["base"][run.beats], 1) - p.forward.bias
    placed, clipped = place(x, p.window, base[:, None])
    last = beats["last"][run.beats]
    ends = np.flatnonzero(beats["chunk_last"][run.beats] | last) + 1
    made = [p.output.beats(0)]
    spread, start = np.zeros(p.lanes, np.int64), 0
    mask = (1 << p.position_bits) - 1
    for end in ends.tolist():
        chunk = placed[start:end]
        spread = spread + chunk.max(axis=0) - chunk.min(axis=0)
        made.append(
            p.output.beats(
                p.lanes,
                total=wrapped(placed[:end].sum(axis=0), p.total_bits),
                spread=spread & ((1 << p.spread_bits) - 1),
                largest=(start + chunk.argmax(axis=0)) & mask,
                least=(start + chunk.argmin(axis=0)) & mask,
                clipped=clipped[:end].any(axis=0),
                nan=x.nan[:end].any(axis=0),
                last=(np.arange(p.lanes) == p.lanes - 1) & (last[end - 1] == 1),
            )
        )
        start = end
    return join(made)
