"""The products of a convolution, sum by sum, for `golden.units.bfp_pe`: loops over plain indices.

Nothing of `golden.training` is used. A sum is a list of groups, a group two lists of values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.fused_mul import BITS, FB12
from narrowgauge.golden.formats.bfp import BFP, encode_values
from narrowgauge.golden.formats.element import Rounding
from narrowgauge.golden.units import bfp_pe

__all__ = ["LAYERS", "Layer", "forward", "in_order", "input_gradient", "weight_gradient"]

Floats = npt.NDArray[np.float32]
Sum = list[tuple[list[float], list[float]]]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution, a square kernel on square images."""

    images: int
    inputs: int
    outputs: int
    size: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    @property
    def made(self) -> int:
        """Height and width of the outputs."""
        reach = self.dilation * (self.kernel - 1) + 1
        return (self.size + 2 * self.padding - reach) // self.stride + 1

    @property
    def x(self) -> tuple[int, ...]:
        return self.images, self.inputs, self.size, self.size

    @property
    def w(self) -> tuple[int, ...]:
        return self.outputs, self.inputs // self.groups, self.kernel, self.kernel

    @property
    def y(self) -> tuple[int, ...]:
        return self.images, self.outputs, self.made, self.made


LAYERS = {
    "dense": Layer(images=2, inputs=9, outputs=8, size=4, kernel=3, padding=1),
    "strided": Layer(images=3, inputs=10, outputs=9, size=5, kernel=3, stride=2, padding=1),
    "wide": Layer(images=2, inputs=8, outputs=8, size=6, kernel=2, stride=3, dilation=2),
    "pointwise": Layer(images=9, inputs=20, outputs=9, size=3, kernel=1, stride=2),
    "first": Layer(images=2, inputs=1, outputs=9, size=7, kernel=5, stride=4, padding=2),
    "depthwise": Layer(images=3, inputs=3, outputs=3, size=4, kernel=3, padding=1, groups=3),
    "multiplied": Layer(
        images=2, inputs=2, outputs=4, size=5, kernel=3, stride=2, padding=1, groups=2
    ),
    "halves": Layer(images=2, inputs=16, outputs=6, size=3, kernel=3, padding=1, groups=2),
    "linear": Layer(images=5, inputs=11, outputs=4, size=1, kernel=1),
}
"""Of each kind: 8 channels and more to sum over, and fewer."""

FEW = 8


def _cut(pairs: list[tuple[float, float]], k: int) -> Sum:
    """A list of pairs as groups of up to k."""
    return [
        ([a for a, _ in pairs[i : i + k]], [b for _, b in pairs[i : i + k]])
        for i in range(0, len(pairs), k)
    ]


def _taps(runs: list[list[tuple[float, float]]], k: int) -> Sum:
    """Groups at each tap, or of the whole window where there are few channels."""
    if runs and len(runs[0]) >= FEW:
        return [group for run in runs for group in _cut(run, k)]
    return _cut([pair for run in runs for pair in run], k)


def _at(t: Floats, image: int, channel: int, y: int, x: int) -> float:
    inside = 0 <= y < t.shape[2] and 0 <= x < t.shape[3]
    return float(t[image, channel, y, x]) if inside else 0.0


def forward(layer: Layer, x: Floats, w: Floats, k: int) -> Iterator[Sum]:
    """Of the outputs in C order."""
    each = layer.inputs // layer.groups
    per = layer.outputs // layer.groups
    for n, o, oy, ox in product(*map(range, layer.y)):
        runs = []
        for ky, kx in product(range(layer.kernel), repeat=2):
            at = [
                place * layer.stride - layer.padding + tap * layer.dilation
                for place, tap in ((oy, ky), (ox, kx))
            ]
            runs.append(
                [
                    (float(w[o, c, ky, kx]), _at(x, n, o // per * each + c, at[0], at[1]))
                    for c in range(each)
                ]
            )
        yield _taps(runs, k)


def input_gradient(layer: Layer, dy: Floats, w: Floats, k: int) -> Iterator[Sum]:
    """Of the inputs in C order."""
    each = layer.inputs // layer.groups
    per = layer.outputs // layer.groups
    for n, c, iy, ix in product(*map(range, layer.x)):
        runs = []
        for ky, kx in product(range(layer.kernel), repeat=2):
            up = [
                place + layer.padding - tap * layer.dilation for place, tap in ((iy, ky), (ix, kx))
            ]
            if up[0] % layer.stride or up[1] % layer.stride:
                continue
            first = c // each * per
            runs.append(
                [
                    (
                        float(w[o, c % each, ky, kx]),
                        _at(dy, n, o, up[0] // layer.stride, up[1] // layer.stride),
                    )
                    for o in range(first, first + per)
                ]
            )
        yield _taps(runs, k)


def weight_gradient(layer: Layer, x: Floats, dy: Floats, k: int) -> Iterator[Sum]:
    """Of the weights in C order."""
    each = layer.inputs // layer.groups
    per = layer.outputs // layer.groups
    for o, c, ky, kx in product(*map(range, layer.w)):
        found: Sum = []
        for oy, ox in product(range(layer.made), repeat=2):
            at = [
                place * layer.stride - layer.padding + tap * layer.dilation
                for place, tap in ((oy, ky), (ox, kx))
            ]
            found += _cut(
                [
                    (float(dy[n, o, oy, ox]), _at(x, n, o // per * each + c, at[0], at[1]))
                    for n in range(layer.images)
                ],
                k,
            )
        yield found


def in_order(
    params: bfp_pe.Params, mode: int, sums: list[Sum], rounding: Rounding = Rounding.RTZ
) -> npt.NDArray[np.int64]:
    """FP32 codes of the sums by the golden processing element; +0 of an empty one."""
    k = params.sizes[mode]
    fmt = BFP(exponent_bits=8, mantissa_bits=BITS[mode], k=k, rounding=rounding)
    groups = [group for found in sums for group in found]
    long = max(len(a) for a, _ in groups)
    sides: list[Any] = []
    for side in range(2):
        values = np.zeros((len(groups), k), np.float32)
        for row, group in zip(values, groups, strict=True):
            row[: len(group[side])] = group[side]
        codes, fields = encode_values(fmt, values)
        sides.append((codes[:, :long], fields))
    (a, a_field), (b, b_field) = sides
    if mode == FB12:
        # Both rows and both columns have the same: so have the four outputs.
        a, b = np.stack([a, a], 1), np.stack([b, b], 1)
    words = params.pack(mode, a, b)
    count, beats = words[0].shape[:2]
    last = np.zeros((count, beats), np.int64)
    closing = np.cumsum([len(found) for found in sums if found]) - 1
    last[closing, -1] = 1
    end = np.zeros((count, beats), np.int64)
    end[:, -1] = 1
    made = bfp_pe.model(
        params,
        params.input.beats(
            count * beats,
            a=words[0].reshape(count * beats, -1),
            b=words[1].reshape(count * beats, -1),
            a_scale=np.repeat(a_field, beats)[:, None].repeat(2, 1),
            b_scale=np.repeat(b_field, beats)[:, None].repeat(2, 1),
            mode=np.full(count * beats, mode),
            end=end.ravel(),
            last=last.ravel(),
        ),
    )["result"][:: 4 if mode == FB12 else 1]
    results = np.zeros(len(sums), np.int64)
    results[[bool(found) for found in sums]] = made
    return results
