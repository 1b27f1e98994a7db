"""The passes of range batch normalisation on torch tensors, with the bits of `golden.units`.

What is of an element is done here, in whole numbers held exactly by float32 or float64: placing,
sums, extremes, products and rounding. What is of a channel (`constants`, `shifts`) is the golden
model's own function, on the host. Tensors are (channels, positions), float32, channels a multiple
of the group; positions in the order (N, H, W).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BFP
from narrowgauge.golden.training.blocks import exponents, power, round_to, to_blocks
from narrowgauge.golden.units.range_bn import Layer, RangeBn
from narrowgauge.golden.units.range_bn_gradient import ABOVE, Gradients, gathered, shifts
from narrowgauge.golden.units.range_bn_passes import Constants, Statistics, constants

__all__ = ["Forward", "backward", "extremes", "forward", "statistics"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Forward:
    """What the forward pass leaves for the backward one.

    Parameters
    ----------
    params, layer, stats, made : as in the golden model
    x : (channels, positions), values of the forward format, 0 in NaN blocks
    """

    params: RangeBn
    layer: Layer
    stats: Statistics
    made: Constants
    x: torch.Tensor


def _chunks(layer: Layer, values: torch.Tensor) -> torch.Tensor:
    """Values (channels, K, longest chunk).

    Shorter chunks have their last value twice, which moves no extreme and no first position.
    """
    if layer.count % layer.chunks == 0:
        return values.view(len(values), layer.chunks, -1)
    starts = layer.starts()
    ends = np.append(starts[1:], layer.count)
    rows = starts[:, None] + np.arange(int((ends - starts).max()))
    position = torch.from_numpy(np.minimum(rows, ends[:, None] - 1)).to(values.device)
    return values[:, position]


def _first(values: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The first index along the last axis that has a value; the last one where none has."""
    length = values.shape[-1]
    order = torch.arange(length, dtype=torch.float32, device=values.device)
    beyond = torch.full((), float(length), device=values.device)
    found = torch.where(values == wanted[..., None], order, beyond).amin(-1)
    # NaN, which only unrounded values have, equals nothing.
    return found.clamp_(max=length - 1).to(torch.int64)


def extremes(layer: Layer, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Largest and least of each chunk, and the first positions that have them; (channels, K)."""
    chunk = _chunks(layer, values)
    length = chunk.shape[2]
    # The row of a chunk first, then the place in it: most values are looked at once.
    width = next(d for d in range(math.isqrt(length), 0, -1) if length % d == 0)
    rows = chunk.unflatten(2, (length // width, width))
    starts = torch.from_numpy(layer.starts()).to(values.device)
    found: list[torch.Tensor] = []
    for tops in (rows.amax(3), rows.amin(3)):
        value = tops.amax(2) if not found else tops.amin(2)
        row = _first(tops, value)
        index = row[..., None, None].expand(-1, -1, 1, width)
        at = row * width + _first(rows.gather(2, index).squeeze(2), value)
        found += [value, starts + at]
    return found[0], found[2], found[1], found[3]


def _host(values: torch.Tensor) -> Ints:
    made: Ints = values.cpu().numpy().astype(np.int64)
    return made


def _vector(values: npt.NDArray[Any], like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Host values of channels as a column."""
    return torch.from_numpy(values).to(device=like.device, dtype=dtype)[:, None]


def _units(values: Ints, group: int, like: torch.Tensor) -> torch.Tensor:
    """One unit a block of those of its channels, which are equal."""
    return torch.from_numpy(values[::group].copy()).to(device=like.device, dtype=torch.int32)


def _base(values: torch.Tensor, fmt: BFP) -> int:
    """The exponent of the largest of values in a format, the format's least for zeros."""
    least = 1 - fmt.bias
    low, high = torch.aminmax(values)
    return max(least, int(exponents(torch.maximum(high, -low))))


def _cut(values: torch.Tensor) -> torch.Tensor:
    """Cut off towards zero; by way of integers, which is several times as fast as `trunc`."""
    return values.to(torch.int32).to(torch.float32)


def _placed(values: torch.Tensor, window: int, base: int) -> torch.Tensor:
    return _cut(values * 2.0 ** (window - 1 - base))


def _exact(bits: int) -> torch.dtype:
    """The type that holds whole numbers of so many bits."""
    return torch.float32 if bits <= 24 else torch.float64


def _scaled(params: RangeBn, products: torch.Tensor, exponent: Ints) -> torch.Tensor:
    """Exact products in units of 2**exponent of their channel, on their window; overwritten."""
    most = (1 << params.product) - 1
    products *= power(-torch.from_numpy(exponent).to(products.device)[:, None], torch.float32)
    return _cut(products.clamp_(-most, most))


def statistics(params: RangeBn, layer: Layer, x: torch.Tensor) -> Statistics:
    """The first pass over values of the forward format."""
    base = _base(x, params.forward)
    placed = _placed(x, params.window, base)
    high, low, largest, least = extremes(layer, placed)
    return Statistics(
        base=base,
        total=_host(placed.sum(1, dtype=torch.float64)),
        spread=_host((high - low).sum(1, dtype=torch.float64)),
        largest=_host(largest).T,
        least=_host(least).T,
        clipped=np.zeros(len(x), np.bool_),
    )


def forward(
    params: RangeBn,
    layer: Layer,
    x: torch.Tensor,
    gamma: Ints,
    beta: Ints,
    stats: Statistics | None = None,
) -> tuple[torch.Tensor, Forward]:
    """The forward passes: y of any values, which are rounded to the forward format first.

    Parameters
    ----------
    gamma, beta : codes of FP10 and FP32, (channels,)
    stats : in place of those of x, which then may have any number of positions
    """
    if stats is None and x.shape[1] != layer.count:
        raise UsageError(f"x must have {layer.count} positions, got {x.shape[1]}")
    values, bad = to_blocks(params.forward, x)
    stats = statistics(params, layer, values) if stats is None else stats
    made = constants(params, layer, stats, gamma, beta)
    # Of a gain of P bits times a code: `golden.units.range_bn_passes.scaled`.
    total = values * _vector(made.gain, x, torch.float32)
    total = _scaled(params, total, made.exponent + params.precision - params.fraction)
    total = total.to(_exact(params.product + 2))
    total += _vector(made.offset, x, total.dtype)
    y = round_to(params.forward, total, _units(made.unit, params.group, x))
    return _marked(y, bad), Forward(params=params, layer=layer, stats=stats, made=made, x=values)


def _marked(values: torch.Tensor, bad: torch.Tensor | None) -> torch.Tensor:
    """NaN in the blocks that are bad."""
    if bad is None:
        return values
    grouped = values.view(len(bad), -1, values.shape[1])
    return grouped.masked_fill(bad[:, None], float("nan")).view_as(values)


def backward(
    kept: Forward, g: torch.Tensor, *, through: bool = True
) -> tuple[torch.Tensor, Gradients]:
    """dx, and the gradients of gamma and beta; g is rounded to the backward format first.

    Parameters
    ----------
    through : whether mean and range depend on x, as they do in training
    """
    params, made = kept.params, kept.made
    values, bad = to_blocks(params.backward, g)
    base = _base(values, params.backward)
    placed = _placed(values, params.gradient_window, base)
    products = _scaled(params, values * kept.x, made.exponent + base + 1 - params.fraction)
    sums = gathered(
        params,
        made,
        base,
        _host(placed.sum(1, dtype=torch.float64)),
        _host(products.sum(1, dtype=torch.float64)),
        np.zeros(len(g), np.bool_),
    )
    total = values * _vector(made.slope, g, torch.float32)
    down = params.precision + base + 1 - params.product
    total = _scaled(params, total, np.full_like(made.slope, down))
    total = total.to(_exact(params.product + ABOVE + 1))
    if through:
        mean, patch = shifts(params, kept.layer, made, sums)
        total -= _vector(mean, g, total.dtype)
        moved = _vector(patch, g, total.dtype).expand(-1, params.chunks)
        for sign, at in ((-1, kept.stats.largest), (1, kept.stats.least)):
            index = torch.from_numpy(at.T.copy()).to(g.device)
            total.scatter_add_(1, index, sign * moved)
    places = params.precision + made.slope_unit + base + 1 - params.product
    dx = round_to(params.backward, total, _units(places, params.group, g))
    return _marked(dx, bad), sums
