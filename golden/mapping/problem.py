"""Sums of products that a pass of a layer consists of, as counts and steps.

Both operands lie as runs of `depth` elements, which are summed over. Run numbers are sums of
steps: an output (instance, row, column) is

    sum over taps (t1, t2) and elements of  A[a + instance + row + taps] B[b + instance + column +
    taps]

in that order. A run is cut into groups of up to `group` elements that share an exponent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = ["Axis", "Problem", "offsets"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A counter.

    Parameters
    ----------
    count : of its values
    a, b : runs from one value to the next, of each operand
    """

    count: int
    a: int = 0
    b: int = 0

    @property
    def turned(self) -> "Axis":
        """With the operands exchanged."""
        return Axis(count=self.count, a=self.b, b=self.a)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """See the module.

    Parameters
    ----------
    instances : axes along which both operands move
    rows, columns : axes along which A or B moves alone
    taps : axes t1 and t2, which are summed over
    depth : elements of a run
    a, b : the first run of each operand
    """

    instances: tuple[Axis, ...]
    rows: tuple[Axis, ...]
    columns: tuple[Axis, ...]
    taps: tuple[Axis, Axis]
    depth: int
    a: int = 0
    b: int = 0

    @property
    def swapped(self) -> "Problem":
        """The same with rows as columns."""
        return replace(
            self,
            instances=tuple(axis.turned for axis in self.instances),
            rows=tuple(axis.turned for axis in self.columns),
            columns=tuple(axis.turned for axis in self.rows),
            taps=(self.taps[0].turned, self.taps[1].turned),
            a=self.b,
            b=self.a,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the outputs: instances, rows, columns."""
        return tuple(axis.count for axis in (*self.instances, *self.rows, *self.columns))

    @property
    def macs(self) -> int:
        """Products of numbers."""
        return math.prod(self.shape) * self.taps[0].count * self.taps[1].count * self.depth


def offsets(axes: Sequence[Axis], side: str) -> Ints:
    """Steps of one operand at all values of axes, the first axis slowest."""
    made = np.zeros(1, np.int64)
    for axis in axes:
        steps = np.arange(axis.count) * (axis.a if side == "a" else axis.b)
        made = (made[:, None] + steps).reshape(-1)
    return made
