"""How a problem is cut into RUNs: which operand is A, what PEs share, tiles, pieces, their places.

Columns are counters of B. Neighbouring axes that are one counter are merged; FB12 takes columns in
pairs, half an axis apart, so that no word is stored twice. The two last axes are counters of a RUN,
the first of them in tiles; the others are loops. A dot product that the banks do not hold is cut
into pieces of whole groups: of t1, where that is not enough of t2, then of the beats of a run.

Shared: an element has a row (FB12: two), all read the same B. Private: an element has an instance,
and a B of its own; images may count as instances.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.fused_mul import FB12
from narrowgauge.golden.mapping.problem import Axis, Problem
from narrowgauge.golden.mapping.tiles import Layout, Piece, cut, layout

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["Column", "Plan", "group_beats", "plans"]

Ints = npt.NDArray[np.int64]


def group_beats(params: "Params", mode: int) -> int:
    """Beats of a group that is one of several: whole ones, of elements up to the group's size."""
    return max(1, params.pe.sizes[mode] // params.pe.depth(mode))


@dataclass(frozen=True, kw_only=True)
class Column:
    """A counter of columns.

    Parameters
    ----------
    count : of its values
    step : runs of B from one to the next
    flat : columns of the problem from one to the next
    """

    count: int
    step: int
    flat: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Loops of RUNs.

    Parameters
    ----------
    problem : with A as its rows
    swapped : whether the operands are exchanged
    mode : that elements work in
    shared : whether all elements read the same B
    promoted : whether the first column axis counts among the instances
    rows_first : whether tiles of rows are the outer loop, those of columns the inner one
    tile : values of n1 of a RUN
    pieces : of a dot product, in order
    columns : counters, the pair's already halved
    pair : columns of B and of the problem between the halves of a pair, 0 where there are none
    odd : number of the counter whose last pair may be half empty, and what it counts in all
    beats, group : of a run, of a group
    """

    problem: Problem
    swapped: bool
    mode: int
    shared: bool
    promoted: bool
    rows_first: bool
    tile: int
    pieces: tuple[Piece, ...]
    columns: tuple[Column, ...]
    pair: tuple[int, int]
    odd: tuple[int, int]
    beats: int
    group: int

    @property
    def pairs(self) -> int:
        """Rows and columns of an element at once."""
        return 2 if self.mode == FB12 else 1

    @property
    def inner(self) -> tuple[Column, Column]:
        """n1 and n2."""
        return self.columns[-2], self.columns[-1]

    @property
    def outer(self) -> tuple[Column, ...]:
        """Loops over columns."""
        return self.columns[:-2]

    @cached_property
    def instances(self) -> tuple[Axis, ...]:
        """Of the problem, with the axis that is promoted before them."""
        first = self.problem.columns[:1] if self.promoted else ()
        return (*first, *self.problem.instances)

    @cached_property
    def rows(self) -> int:
        """Rows of the problem."""
        return math.prod(axis.count for axis in self.problem.rows)

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Outputs of an element that go on."""
        if self.mode != FB12:
            return (0,)
        rows = 1 if self.rows == 1 else 2
        halves = 2 if self.pair[1] else 1
        return tuple(2 * r + s for r in range(rows) for s in range(halves))

    def tiles(self, pes: int) -> tuple[int, int, int]:
        """Instances that are a loop, tiles of rows, tiles of n1."""
        units = -(-self.rows // self.pairs)
        count = math.prod(axis.count for axis in self.instances)
        across = -(-self.inner[0].count // self.tile)
        if self.shared:
            return count, -(-units // pes), across
        return 1, -(-units * count // pes), across

    def columns_of(self, tile: int) -> int:
        """Values of n1 in a tile."""
        return min(self.tile, self.inner[0].count - tile * self.tile)

    def layout(self, count: int, piece: Piece) -> Layout:
        """Of a tile with so many values of n1."""
        n1, n2 = self.inner
        t1, t2 = self.problem.taps
        return layout((count, n2.count, piece.t1s, piece.t2s), (n1.step, n2.step, t1.b, t2.b))

    @cached_property
    def a_size(self) -> int:
        """Rows of a bank that a tile of A takes."""
        return max(piece.depth for piece in self.pieces)

    @cached_property
    def b_size(self) -> int:
        """Words that a tile of B takes, of each element where it is private."""
        return max(
            self.layout(self.tile, p).size * p.cs for p in {*self.pieces[:2], self.pieces[-1]}
        )


def _merged(axes: Sequence[Axis]) -> list[Column]:
    made: list[Column] = []
    flat = math.prod(axis.count for axis in axes)
    for axis in axes:
        flat //= axis.count
        if axis.count == 1:
            continue
        if made and made[-1].step == axis.count * axis.b and made[-1].flat == axis.count * flat:
            last = made.pop()
            made.append(Column(count=last.count * axis.count, step=axis.b, flat=flat))
        else:
            made.append(Column(count=axis.count, step=axis.b, flat=flat))
    return made


def _paired(columns: list[Column]) -> tuple[list[Column], tuple[int, int], tuple[int, int]]:
    """Columns with the axis halved that loses least; see `Plan.pair` and `Plan.odd`."""
    if not columns:
        return columns, (0, 0), (0, 1)
    index = min(range(len(columns)), key=lambda i: -(-columns[i].count // 2) * 2 / columns[i].count)
    axis = columns[index]
    half = -(-axis.count // 2)
    made = list(columns)
    made[index] = replace(axis, count=half)
    return made, (half * axis.step, half * axis.flat), (index, axis.count)


def plans(params: "Params", problem: Problem, mode: int, run_mode: int) -> Iterator[Plan]:
    """All that fit.

    Parameters
    ----------
    mode : of the codes
    run_mode : FB16 for codes of FB12 as such of 8 bits, else `mode`
    """
    beats = -(-problem.depth // params.pe.depth(run_mode))
    group = group_beats(params, mode)
    if min(group, beats) > params.pe.beats(run_mode):
        return
    choices = itertools.product((False, True), (True, False), (False, True))
    for swapped, shared, promoted in choices:
        turned = problem.swapped if swapped else problem
        if promoted and (shared or len(turned.columns) < 2):
            continue
        axes = turned.columns[1:] if promoted else turned.columns
        pair, odd = (0, 0), (0, 1)
        columns = _merged(axes)
        if run_mode == FB12:
            columns, pair, odd = _paired(columns)
        shape = Plan(
            problem=turned, swapped=swapped, mode=run_mode, shared=shared, promoted=promoted,
            rows_first=False, tile=1, pieces=(), columns=(), pair=pair, odd=odd,
            beats=beats, group=min(group, beats),
        )  # fmt: skip
        none = Column(count=1, step=0, flat=0)
        # The last two counters are of a RUN, or the last one alone.
        if len(columns) > 1:
            yield from _sized(params, replace(shape, columns=tuple(columns)))
        columns = columns or [none]
        yield from _sized(params, replace(shape, columns=(*columns, none)))


def _sized(params: "Params", shape: Plan) -> Iterator[Plan]:
    """A plan with all tiles and pieces that fit."""
    room = params.b_depth * (params.pes if shape.shared else 1)
    counts = (shape.problem.taps[0].count, shape.problem.taps[1].count)
    n1 = shape.inner[0].count
    tiles = sorted({-(-n1 // parts) for parts in range(1, min(n1, 16) + 1)} | {
        max(1, n1 >> k) for k in range(n1.bit_length())
    })  # fmt: skip
    done = set()
    for most in (params.a_depth, params.a_depth // 2, params.a_depth // 4, params.a_depth // 8):
        pieces = cut(counts, shape.beats, shape.group, most)
        if not pieces or pieces in done:
            continue
        done.add(pieces)
        for tile in tiles:
            made = replace(shape, tile=tile, pieces=pieces)
            held = tile * shape.inner[1].count * len(made.kept)
            if made.b_size > room or (len(pieces) > 1 and held > params.sums):
                break
            yield made
            yield replace(made, rows_first=True)
