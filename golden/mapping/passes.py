"""The passes of layers as problems, with what lays tensors out as their operands.

| pass | A | B | runs |
| --- | --- | --- | --- |
| forward | w, rows o | x, columns (n, oy, ox) | input channels of a group, at a pixel and a tap |
| dx | w, rows c | dY, columns (n, y, x) | output channels of a group, at a pixel and a tap |
| dw | dY, rows o | x, columns (c, kh, kw) | images, at a channel and a pixel; taps (oy, ox) |

A pass over less than `FEW` channels of a group gathers the window first: a run is its elements in
the order (kh, kw, channel), and there is one tap. With a stride the inputs of dx fall into classes,
one for each remainder, that have taps of their own: a part each. Padding is runs of zeros.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.mapping.layers import PASSES, Convolution, Layer, Product
from narrowgauge.golden.mapping.problem import Axis, Problem
from narrowgauge.golden.mapping.windows import Class, classes, extent, window

__all__ = ["FEW", "Part", "parts", "result_shape"]

FEW = 8
"""Channels from which on a run is those of one tap."""

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A problem of a pass.

    Parameters
    ----------
    problem : counts and steps
    a, b : make runs (runs, depth) of a pass's tensors: forward (x, w), dx (dY, w), dw (x, dY); of
        a product (left, right), (gradient, right), (left, gradient)
    place : puts results of the problem's shape into the result of the pass
    """

    problem: Problem
    a: Callable[[Array, Array], Array]
    b: Callable[[Array, Array], Array]
    place: Callable[[Array, Array], None]


def parts(layer: Layer, direction: str, *, shift: bool = False) -> list[Part]:
    """The problems of a pass.

    Parameters
    ----------
    direction : of `PASSES`
    shift : of dw of depthwise layers, two rows: dY, and dY moved by a pixel, for two taps at once
    """
    if direction not in PASSES:
        raise UsageError(f"passes are {', '.join(PASSES)}, got {direction!r}")
    if isinstance(layer, Product):
        return [_product(layer, direction)]
    if direction == "dw":
        return [_weights(layer, shift)]
    made = []
    back = direction == "dx"
    each = layer.outputs if back else layer.channels
    make = _gathered if each // layer.groups < FEW else _dense
    for rows in classes(layer, 0, back):
        made += [make(layer, back, rows, columns) for columns in classes(layer, 1, back)]
    return made


def result_shape(layer: Layer, direction: str) -> tuple[int, ...]:
    """Of the result of a pass."""
    if isinstance(layer, Product):
        i, m, k, n = layer.instances, layer.rows, layer.inner, layer.columns
        return {"forward": (i, m, n), "dx": (i, m, k), "dw": (i, k, n)}[direction]
    return {
        "forward": (layer.batch, layer.outputs, *layer.made),
        "dx": (layer.batch, layer.channels, *layer.size),
        "dw": (layer.outputs, layer.channels // layer.groups, *layer.kernel),
    }[direction]


def _apart(x: Array, groups: int) -> Array:
    """(N, C, ...) as (N, groups, C / groups, ...)."""
    return x.reshape(x.shape[0], groups, -1, *x.shape[2:])


def _filters(layer: Convolution, w: Array, back: bool, rows: Class, columns: Class) -> Array:
    """(groups, rows, taps of t1, of t2, channels summed over)."""
    each = w.reshape(layer.groups, -1, *w.shape[1:])[..., list(rows.taps), :]
    each = each[..., list(columns.taps)]
    return each.transpose((0, 2, 3, 4, 1) if back else (0, 1, 3, 4, 2))


def _into(layer: Convolution, rows: Class, columns: Class, out: Array, values: Array) -> None:
    """Values (groups, rows, N, y, x) to where classes have their outputs."""
    made = values.transpose(2, 0, 1, 3, 4)
    made = made.reshape(made.shape[0], -1, *made.shape[3:])
    out[:, :, rows.first :: rows.every, columns.first :: columns.every] = made


def _dense(layer: Convolution, back: bool, rows: Class, columns: Class) -> Part:
    g, n = layer.groups, layer.batch
    depth, count = layer.channels // g, layer.outputs // g
    if back:
        depth, count = count, depth
    high, wide = extent(rows, columns)
    t1, t2 = len(rows.taps), len(columns.taps)
    down = 1 if t1 == 1 else rows.step
    right = 1 if t2 == 1 else columns.step
    low = -min(0, (t1 - 1) * rows.next) * wide - min(0, (t2 - 1) * columns.next)
    problem = Problem(
        instances=(Axis(count=g, a=count * t1 * t2, b=high * wide),),
        rows=(Axis(count=count, a=t1 * t2),),
        columns=(
            Axis(count=n, b=g * high * wide),
            Axis(count=rows.count, b=down * wide),
            Axis(count=columns.count, b=right),
        ),
        taps=(Axis(count=t1, a=t2, b=rows.next * wide), Axis(count=t2, a=1, b=columns.next)),
        depth=depth,
        b=low,
    )
    return Part(
        problem=problem,
        a=lambda x, w: _filters(layer, w, back, rows, columns).reshape(-1, depth),
        b=lambda x, w: np.moveaxis(window(_apart(x, g), rows, columns)[0], 2, -1).reshape(
            -1, depth
        ),
        place=lambda out, values: _into(layer, rows, columns, out, values),
    )


def _gathered(layer: Convolution, back: bool, rows: Class, columns: Class) -> Part:
    g, n = layer.groups, layer.batch
    few, count = layer.channels // g, layer.outputs // g
    if back:
        few, count = count, few
    depth = len(rows.taps) * len(columns.taps) * few
    pixels = rows.count * columns.count

    def gather(x: Array, w: Array) -> Array:
        source, (down, right) = window(_apart(x, g), rows, columns)
        # From the first output's first tap on.
        top = -min(0, (len(rows.taps) - 1) * rows.next)
        left = -min(0, (len(columns.taps) - 1) * columns.next)
        picked = [
            source[..., top + i * rows.next :: down, :][..., : rows.count, :][
                ..., left + j * columns.next :: right
            ][..., : columns.count]
            for i in range(len(rows.taps))
            for j in range(len(columns.taps))
        ]
        # (taps, n, g, c, y, x) as (n, g, y, x, taps, c)
        return np.stack(picked).transpose(1, 2, 4, 5, 0, 3).reshape(-1, depth)

    problem = Problem(
        instances=(Axis(count=g, a=count, b=pixels),),
        rows=(Axis(count=count, a=1),),
        columns=(
            Axis(count=n, b=g * pixels),
            Axis(count=rows.count, b=columns.count),
            Axis(count=columns.count, b=1),
        ),
        taps=(Axis(count=1), Axis(count=1)),
        depth=depth,
    )
    return Part(
        problem=problem,
        a=lambda x, w: _filters(layer, w, back, rows, columns).reshape(-1, depth),
        b=gather,
        place=lambda out, values: _into(layer, rows, columns, out, values),
    )


def _weights(layer: Convolution, shift: bool) -> Part:
    g, n = layer.groups, layer.batch
    few, count = layer.channels // g, layer.outputs // g
    (kh, kw), (oh, ow) = layer.kernel, layer.made
    stride = layer.stride[1]
    rows, columns = classes(layer, 0, False)[0], classes(layer, 1, False)[0]
    high, wide = extent(rows, columns)
    down = 1 if kh == 1 else rows.step
    right = 1 if kw == 1 else columns.step
    across: tuple[Axis, ...] = (Axis(count=kw, b=layer.dilation[1]),)
    more = 0
    if shift:
        if count > 1 or kw == 1 or layer.dilation[1] > 1:
            raise UsageError(f"{layer.name}: only rows of a depthwise kernel can be shifted")
        # Blocks of 2 stride taps: the row that is moved has the second half of each.
        blocks, within = -(-kw // (2 * stride)), min(stride, kw)
        across = (Axis(count=blocks, b=2 * stride), Axis(count=within, b=1))
        reach = ow * stride + 2 * stride * (blocks - 1) + within
        more, wide = max(0, reach - wide), max(reach, wide)
    pixels = ow + 2 * shift
    problem = Problem(
        instances=(Axis(count=g, a=count * oh * pixels, b=few * high * wide),),
        rows=(Axis(count=2, a=1) if shift else Axis(count=count, a=oh * pixels),),
        columns=(
            Axis(count=few, b=high * wide),
            Axis(count=kh, b=layer.dilation[0] * wide),
            *across,
        ),
        taps=(Axis(count=oh, a=pixels, b=down * wide), Axis(count=ow + shift, a=1, b=right)),
        depth=n,
    )

    def gradients(x: Array, dy: Array) -> Array:
        padded = np.pad(dy, [(0, 0), (0, 0), (0, 0), (int(shift), int(shift))])
        return padded.transpose(1, 2, 3, 0).reshape(-1, n)

    def inputs(x: Array, dy: Array) -> Array:
        source = np.pad(window(x, rows, columns)[0], [(0, 0), (0, 0), (0, 0), (0, more)])
        return source.transpose(1, 2, 3, 0).reshape(-1, n)

    def place(out: Array, values: Array) -> None:
        if not shift:
            out[...] = values.reshape(out.shape)
            return
        # (g, moved or not, c, kh, blocks, within) as (g, c, kh, blocks, half, within)
        taps = values.transpose(0, 2, 3, 4, 1, 5)[..., ::-1, :]
        out[...] = taps.reshape(g, few, kh, -1)[..., :kw]

    return Part(problem=problem, a=gradients, b=inputs, place=place)


def _product(layer: Product, direction: str) -> Part:
    i, m, k, n = layer.instances, layer.rows, layer.inner, layer.columns
    # Sides of the result, what is summed over, and how the operands are turned to (i, side, sum).
    high, wide, depth, turn = {
        "forward": (m, n, k, (False, True)),
        "dx": (m, k, n, (False, False)),
        "dw": (k, n, m, (True, True)),
    }[direction]

    def runs(x: Array, turned: bool) -> Array:
        return (x.swapaxes(1, 2) if turned else x).reshape(-1, depth)

    def place(out: Array, values: Array) -> None:
        out[...] = values

    problem = Problem(
        instances=(Axis(count=i, a=high, b=wide),),
        rows=(Axis(count=high, a=1),),
        columns=(Axis(count=wide, b=1),),
        taps=(Axis(count=1), Axis(count=1)),
        depth=depth,
    )
    return Part(
        problem=problem,
        a=lambda left, right: runs(left, turn[0]),
        b=lambda left, right: runs(right, turn[1]),
        place=place,
    )
