"""The commands of a plan: LOADs where a tile is not in a bank, and RUNs.

Banks are cut into slots as large as a plan's tiles; a tile that is missing goes where the tile that
was used longest ago lies. A LOAD over what the RUN before it reads waits until it has been read.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from narrowgauge.golden.cores.flexblock_packets import Load, Run, Side
from narrowgauge.golden.mapping.plan import Plan
from narrowgauge.golden.mapping.tiles import Piece

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["Buffer", "Nest", "Step", "steps"]

Key = tuple[int, ...]

_SLOTS = 64
"""Of a side, at most: what is followed before a loop repeats."""


@dataclass
class Buffer:
    """Slots of a side.

    Parameters
    ----------
    slots : how many
    keys : of the tiles in them, that used longest ago first
    places : slot of each
    busy : slot that the RUN before reads, -1 before the first
    """

    slots: int
    keys: list[Key] = field(default_factory=list)
    places: dict[Key, int] = field(default_factory=dict)
    busy: int = -1

    def find(self, key: Key) -> tuple[int, bool]:
        """The slot of a tile, and whether it must be loaded."""
        missing = key not in self.places
        if missing:
            if len(self.keys) < self.slots:
                self.places[key] = len(self.keys)
            else:
                self.places[key] = self.places.pop(self.keys.pop(0))
        else:
            self.keys.remove(key)
        self.keys.append(key)
        return self.places[key], missing


@dataclass(frozen=True, kw_only=True)
class Step:
    """A RUN and the LOADs before it.

    Parameters
    ----------
    instance, rows, columns, piece : tile numbers; `outer` values of the loops over columns
    """

    instance: int
    rows: int
    outer: tuple[int, ...]
    columns: int
    piece: int
    loads: tuple[Load, ...]
    run: Run


@dataclass(frozen=True, kw_only=True)
class Nest:
    """The loops of a plan, outermost first: instances, rows, columns (outer and tiles), pieces."""

    params: "Params"
    plan: Plan

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Of each loop."""
        return tuple(count for count, _ in self._loops)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of each loop: instance, rows, outer0, ..., columns, piece."""
        return tuple(name for _, name in self._loops)

    @cached_property
    def _loops(self) -> list[tuple[int, str]]:
        instances, rows, across = self.plan.tiles(self.params.pes)
        columns = [(axis.count, f"outer{i}") for i, axis in enumerate(self.plan.outer)]
        columns.append((across, "columns"))
        order = [(rows, "rows"), *columns] if self.plan.rows_first else [*columns, (rows, "rows")]
        return [(instances, "instance"), *order, (len(self.plan.pieces), "piece")]

    @cached_property
    def depends(self) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
        """Of which loops a tile of A is, and of which a tile of B."""
        moves = [
            any(axis.count > 1 and getattr(axis, side) for axis in self.plan.instances)
            for side in "ab"
        ]
        private = not self.plan.shared
        a = [n == "piece" or n == "rows" or (n == "instance" and moves[0]) for n in self.names]
        b = [
            n not in ("instance", "rows")
            or (n == "instance" and moves[1])
            or (n == "rows" and private)
            for n in self.names
        ]
        return tuple(a), tuple(b)

    @cached_property
    def sizes(self) -> tuple[int, int]:
        """Addresses from one slot to the next, of both sides."""
        p, plan = self.params, self.plan
        b = plan.b_size if not plan.shared else -(-plan.b_size // p.load) * p.load
        return plan.a_size, b

    def buffers(self) -> tuple[Buffer, Buffer]:
        """Empty ones, of no more slots than are of use."""
        p = self.params
        rooms = (p.a_depth, p.b_depth * (p.pes if self.plan.shared else 1))
        made = []
        for room, size, depends in zip(rooms, self.sizes, self.depends, strict=True):
            most = max(1, min(_SLOTS, room // size))
            useful, foot = 2, 1
            for count, depend in zip(reversed(self.counts), reversed(depends), strict=True):
                if depend:
                    foot *= count
                elif count > 1 and foot <= most:
                    # All tiles of the loops within stay for the next time.
                    useful = max(useful, foot)
            made.append(Buffer(slots=min(most, useful)))
        return made[0], made[1]

    def step(self, at: tuple[int, ...], buffers: tuple[Buffer, Buffer], wait: bool) -> Step:
        """What is done at values of the loops; `wait`: nothing is loaded beside what ran before."""
        p, plan = self.params, self.plan
        named = dict(zip(self.names, at, strict=True))
        piece = plan.pieces[named["piece"]]
        count = plan.columns_of(named["columns"])
        layout = plan.layout(count, piece)
        loads, slots = [], []
        words = (piece.depth * p.pes, layout.size * piece.cs * (1 if plan.shared else p.pes))
        for side, buffer in zip(Side, buffers, strict=True):
            key = tuple(v if d else 0 for v, d in zip(at, self.depends[side], strict=True))
            slot, missing = buffer.find(key)
            slots.append(slot)
            if missing:
                scale = p.pes if side == Side.A or not plan.shared else 1
                loads.append(
                    Load(
                        side=side, address=slot * self.sizes[side] * scale, words=words[side],
                        after=wait or slot == buffer.busy,
                    )
                )  # fmt: skip
        for buffer, slot in zip(buffers, slots, strict=True):
            buffer.busy = slot
        return Step(
            instance=named["instance"],
            rows=named["rows"],
            outer=tuple(named[f"outer{i}"] for i in range(len(plan.outer))),
            columns=named["columns"],
            piece=named["piece"],
            loads=tuple(loads),
            run=self._run(piece, count, slots, named["piece"]),
        )

    def _run(self, piece: Piece, count: int, slots: list[int], number: int) -> Run:
        plan, cs = self.plan, piece.cs
        layout = plan.layout(count, piece)
        n1, n2, t1, t2 = (step * cs for step in layout.steps)
        return Run(
            mode=plan.mode,
            shared=plan.shared,
            a=slots[0] * self.sizes[0],
            b=slots[1] * self.sizes[1] + layout.first * cs,
            beats=cs,
            group=min(plan.group, cs),
            taps=(piece.t1s, piece.t2s),
            tap_steps=(t1, t2),
            columns=(count, plan.inner[1].count),
            column_steps=(n1, n2),
            keep=sum(1 << k for k in plan.kept) if plan.mode == 0 else 15,
            add=number > 0,
            hold=number < len(plan.pieces) - 1,
        )


def steps(params: "Params", plan: Plan, *, wait: bool = False) -> Iterator[Step]:
    """All of them, in order; `wait`: something may have run before."""
    nest = Nest(params=params, plan=plan)
    buffers = nest.buffers()
    for number, at in enumerate(itertools.product(*map(range, nest.counts))):
        yield nest.step(at, buffers, wait and number == 0)
