"""Pieces of a dot product, and where a tile of B has its runs."""

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.mapping.problem import Axis, offsets

__all__ = ["Layout", "Piece", "cut", "layout"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Taps [t1, t1 + t1s), [t2, t2 + t2s) and beats [c, c + cs) of a dot product."""

    t1: int
    t2: int
    c: int
    t1s: int
    t2s: int
    cs: int

    @property
    def depth(self) -> int:
        """Its beats."""
        return self.t1s * self.t2s * self.cs


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a tile of B has its runs, from the tile's first run on.

    Parameters
    ----------
    axes : counters whose sums are the numbers of the runs that lie one after the other, after `low`
    low : the first of them
    first : place of the tile's first run among them
    steps : places from one value of n1, n2, t1, t2 to the next
    """

    axes: tuple[Axis, ...]
    low: int
    first: int
    steps: tuple[int, ...]

    @property
    def size(self) -> int:
        """Runs."""
        return math.prod(axis.count for axis in self.axes)

    @property
    def runs(self) -> Ints:
        """Numbers of the runs."""
        return self.low + offsets(self.axes, "b")


@functools.lru_cache(maxsize=4096)
def layout(counts: tuple[int, ...], steps: tuple[int, ...]) -> Layout:
    """The shortest of three: all runs in reach; those in reach of each n1; those of each column."""
    ends = [(count - 1) * step for count, step in zip(counts, steps, strict=True)]
    low, high = sum(min(0, e) for e in ends), sum(max(0, e) for e in ends)
    low1, high1 = low - min(0, ends[0]), high - max(0, ends[0])
    within = high1 - low1 + 1
    sizes = (high - low + 1, counts[0] * within, math.prod(counts))
    if sizes[0] <= min(sizes):
        return Layout(axes=(Axis(count=sizes[0], b=1),), low=low, first=-low, steps=steps)
    axes = tuple(Axis(count=count, b=step) for count, step in zip(counts, steps, strict=True))
    if sizes[1] <= sizes[2]:
        return Layout(
            axes=(axes[0], Axis(count=within, b=1)), low=low1, first=-low1,
            steps=(within, *steps[1:]),
        )  # fmt: skip
    places = (math.prod(counts[1:]), math.prod(counts[2:]), counts[3], 1)
    return Layout(axes=axes, low=0, first=0, steps=places)


def cut(counts: tuple[int, int], beats: int, group: int, most: int) -> tuple[Piece, ...]:
    """A dot product in pieces of at most so many beats, as equal as can be; none where a group is
    longer.
    """
    (t1, t2), whole = counts, -(-beats // group)

    def cuts(count: int, size: int) -> list[tuple[int, int]]:
        size = -(-count // -(-count // size))
        return [(low, min(size, count - low)) for low in range(0, count, size)]

    if t2 * beats <= most:
        return tuple(
            Piece(t1=low, t2=0, c=0, t1s=size, t2s=t2, cs=beats)
            for low, size in cuts(t1, most // (t2 * beats))
        )
    if beats <= most:
        parts = cuts(t2, most // beats)
        return tuple(
            Piece(t1=one, t2=low, c=0, t1s=1, t2s=size, cs=beats)
            for one in range(t1)
            for low, size in parts
        )
    if group > most:
        return ()
    parts = cuts(whole, most // group)
    return tuple(
        Piece(
            t1=one, t2=two, c=low * group, t1s=1, t2s=1,
            cs=min(size * group, beats - low * group),
        )
        for one in range(t1) for two in range(t2) for low, size in parts
    )  # fmt: skip
