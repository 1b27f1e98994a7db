"""How the beats of a unit's streams form transactions, as its golden model has them."""

import math
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from narrowgauge.golden.errors import UsageError
from narrowgauge.verify.beats import Beats, groups, stream_beats

__all__ = ["Shape", "rows", "shape"]

_POOL = 256
"""Blocks that are kept for runs."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a transaction is on the wires.

    Parameters
    ----------
    block : input beats of a transaction; with `by_last`, TLAST is only on every `block`-th beat
    by_last : a transaction is as many blocks as there are up to TLAST
    answer : output beats of a transaction
    marks : TLAST of each of them; None where the output has none
    repeated : bits of the input's TDATA that are the same on all beats of a block
    ended : without `by_last`, TLAST is on the last beat of every block
    pool : TDATA of blocks that the golden model's vectors have, for runs that need a payload
    """

    block: int
    by_last: bool
    answer: int
    marks: tuple[int, ...] | None
    repeated: frozenset[int]
    ended: bool = False
    pool: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

    def describe(self) -> str:
        """The transaction in words."""
        plural = "s" if self.block > 1 else ""
        beats = f"{self.block} beat{plural}"
        taken = f"blocks of {beats} up to TLAST" if self.by_last else beats
        return f"{taken} in, {self.answer} beat{'s' if self.answer > 1 else ''} out"


def shape(golden: ModuleType, params: Any) -> Shape:
    """The shape of a unit's transactions, from the vectors of its golden model.

    An answer whose length or TLAST differs between transactions is a `UsageError`: the claims on
    transactions know no such unit. One whose model has `output_lengths` is taken beat by beat, for
    the claims on the handshake alone.
    """
    sample = golden.vectors(params, "smoke", 0)
    count = len(groups(sample))
    taken = stream_beats(golden, params, sample, "input", count)
    if hasattr(golden, "output_lengths"):
        return Shape(
            block=1,
            by_last=False,
            answer=1,
            marks=None,
            repeated=frozenset(),
            pool=_pool(taken, 1),
        )
    given = stream_beats(golden, params, golden.model(params, sample), "output", count)
    answer = given.uniform
    if answer is None:
        raise UsageError("transactions have answers of different lengths")
    by_last = taken.last
    lengths = np.diff(taken.ends, prepend=0)
    block = math.gcd(*map(int, lengths))
    if not by_last and taken.uniform is None:
        raise UsageError("transactions without TLAST have different lengths")
    marks = None
    if given.last:
        rows = given.batch["last"].reshape(-1, answer)
        if (rows != rows[0]).any():
            raise UsageError("TLAST of the answers differs between transactions")
        marks = tuple(int(mark) for mark in rows[0])
    return Shape(
        block=block,
        by_last=by_last,
        answer=answer,
        marks=marks,
        repeated=_repeated(taken, block),
        pool=_pool(taken, block),
    )


def rows(golden: ModuleType, params: Any, size: int, answer: int) -> Shape:
    """The shape where every transaction has `size` beats, TLAST on the last, and so its answer.

    For a unit that takes rows of any length and answers with as many beats: what is claimed of
    transactions is then claimed of streams of rows of one length.
    """
    sample = golden.vectors(params, "smoke", 0)
    taken = stream_beats(golden, params, sample, "input", len(groups(sample)))
    return Shape(
        block=size,
        by_last=False,
        answer=answer,
        marks=(*(0,) * (answer - 1), 1),
        repeated=frozenset(),
        ended=True,
        pool=_pool(taken, size),
    )


def _pool(beats: Beats, block: int) -> tuple[tuple[int, ...], ...]:
    words = [int.from_bytes(row[:-1].tobytes(), "little") for row in beats.raw()]
    blocks = [tuple(words[i : i + block]) for i in range(0, len(words) - block + 1, block)]
    return tuple(blocks[:: -(-len(blocks) // _POOL)])


def _repeated(beats: Beats, block: int) -> frozenset[int]:
    if block == 1:
        return frozenset()
    found: set[int] = set()
    start = 0
    for part in beats.payload.data.fields:
        rows = beats.batch[part.name].reshape(beats.count // block, block, -1)
        if (rows == rows[:, :1]).all():
            found |= set(range(start, start + part.bits))
        start += part.bits
    return frozenset(found)
