"""Where the taps of a convolution find their operands, forward and for the gradient of the input.

An axis of outputs is cut into the classes of `golden.mapping.windows`, those of the commands of
`flexblock_core`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from narrowgauge.golden.mapping.windows import Class, along

__all__ = ["Class", "Geometry", "classes", "windows"]


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


def classes(
    geometry: Geometry, kernel: tuple[int, int], outputs: tuple[int, int], *, back: bool
) -> list[tuple[Class, Class]]:
    """Pairs of classes of both axes; `outputs` are those that are made."""
    g = geometry
    rows, columns = (
        along(k, n, stride=s, padding=p, dilation=d, back=back)
        for k, n, s, p, d in zip(kernel, outputs, g.stride, g.padding, g.dilation, strict=True)
    )
    return [(row, column) for row in rows for column in columns]


def windows(
    source: torch.Tensor, pair: tuple[Class, Class], width: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """For each tap of a pair, in order, its number in a kernel of so many columns, and what it
    takes of the source (height, width, ...): (rows of outputs, columns of outputs, ...), a view.
    """
    row, column = pair
    (above, below), (left, right) = (
        (max(0, -low), max(0, high - size))
        for (low, high), size in zip((row.spare, column.spare), source.shape, strict=False)
    )
    if above or below or left or right:
        others = (0, 0) * (source.dim() - 2)
        source = torch.nn.functional.pad(source, (*others, left, right, above, below))
    for ky, y in zip(row.taps, row.starts, strict=True):
        part = source[y + above :: row.step][: row.count]
        for kx, x in zip(column.taps, column.starts, strict=True):
            yield ky * width + kx, part[:, x + left :: column.step][:, : column.count]
