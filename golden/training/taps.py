"""Where the taps of a convolution find their operands, forward and for the gradient of the input.

An axis of outputs is cut into classes whose outputs are summed over the same taps: one class
forward, one for each remainder by the stride backward, so that nothing is multiplied by zeros that
were put between pixels. Tap k of a class takes elements start, start + step, ... of the source.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

__all__ = ["Class", "Geometry", "backward", "classes", "forward", "windows"]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A convolution of two axes.

    Parameters
    ----------
    stride, padding, dilation : of each axis
    groups : of channels
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def output(self, size: tuple[int, int], kernel: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the outputs."""
        each = zip(size, kernel, self.stride, self.padding, self.dilation, strict=True)
        high, wide = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in each)
        return high, wide


@dataclass(frozen=True, kw_only=True)
class Class:
    """Outputs of an axis with taps in common.

    Parameters
    ----------
    first, every, count : which outputs
    taps : pairs of a tap's number and the source's element of the first output, which may be
        outside of the source: zeros
    step : from the element of one output to that of the next
    """

    first: int
    every: int
    count: int
    taps: tuple[tuple[int, int], ...]
    step: int

    def spare(self, size: int) -> tuple[int, int]:
        """Zeros that the source needs before and behind."""
        starts = [start for _, start in self.taps]
        last = max(starts) + self.step * (self.count - 1)
        return max(0, -min(starts)), max(0, last + 1 - size)


def forward(kernel: int, outputs: int, stride: int, padding: int, dilation: int) -> list[Class]:
    """Of the outputs, from the inputs."""
    taps = tuple((k, k * dilation - padding) for k in range(kernel))
    return [Class(first=0, every=1, count=outputs, taps=taps, step=stride)]


def backward(kernel: int, inputs: int, stride: int, padding: int, dilation: int) -> list[Class]:
    """Of the inputs, from the gradients of the outputs; classes without taps are left out."""
    made = []
    for first in range(min(stride, inputs)):
        taps = tuple(
            (k, (first + padding - k * dilation) // stride)
            for k in range(kernel)
            if (first + padding - k * dilation) % stride == 0
        )
        if taps:
            count = len(range(first, inputs, stride))
            made.append(Class(first=first, every=stride, count=count, taps=taps, step=1))
    return made


def classes(
    geometry: Geometry, kernel: tuple[int, int], outputs: tuple[int, int], *, back: bool
) -> list[tuple[Class, Class]]:
    """Pairs of classes of both axes; `outputs` are those that are made."""
    find = backward if back else forward
    each = zip(kernel, outputs, geometry.stride, geometry.padding, geometry.dilation, strict=True)
    rows, columns = (find(*axis) for axis in each)
    return [(row, column) for row in rows for column in columns]


def windows(
    source: torch.Tensor, pair: tuple[Class, Class], width: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """For each tap of a pair, in order, its number in a kernel of so many columns, and what it
    takes of the source (height, width, ...): (rows of outputs, columns of outputs, ...), a view.
    """
    row, column = pair
    above, below = row.spare(source.shape[0])
    left, right = column.spare(source.shape[1])
    if above or below or left or right:
        others = (0, 0) * (source.dim() - 2)
        source = torch.nn.functional.pad(source, (*others, left, right, above, below))
    for ky, y in row.taps:
        part = source[y + above :: row.step][: row.count]
        for kx, x in column.taps:
            yield ky * width + kx, part[:, x + left :: column.step][:, : column.count]
