"""A memory whose words have check bits beside them, read through a guard, scrubbed in idle cycles.

| op | command | what it does |
| --- | --- | --- |
| 0 | READ | answers with the word at `address`, as it leaves the guard |
| 1 | WRITE | stores the word in `data` with its check bits; where `encoded`, those in `data` |
| 2 | FLIP | flips what is stored at `address` where `data` has ones, check bits included |
| 3 | SCRUB | takes back, in every word, the bit that its code takes back |
| 4 | BOUND | sets field `address` of the bounds to the low 8 bits of `data` |
| 5 to 7 | COUNT | as READ; shows the counters and sets them to 0 |

Words, codes, clamps and recoveries are those of `golden.guard`; bounds are numbered as its `limits`
are, and other numbers set nothing. A word that a code cannot restore stays as it is when it is
scrubbed. `last` makes any command a COUNT as well: its answer is the word as it was before, under
the bounds that hold after.

The counters are of words read and scrubbed that were corrected, and that were detected; what COUNT
reads itself does not count, and they stay at all ones. Answers without a COUNT show 0. They come in
order; their timing is no part of this, nor is when a scrub takes place: none of the answers tell.

The memory begins with zeros, and so does what an address holds until it is written.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import word_guard
from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.guard import Bounds
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units.guarded_stimuli import commands
from narrowgauge.golden.units.scores import rows_of

__all__ = ["Params", "Trace", "model", "output_lengths", "trace", "vectors"]

Ints = npt.NDArray[np.int64]

READ, WRITE, FLIP, SCRUB, BOUND, COUNT = range(6)
"""Numbers of the commands."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """All of them say what.

    Parameters
    ----------
    kind, format, blocks, elements, recovery : of the words, see `golden.arith.word_guard.Params`;
        8 bits and more
    depth : words, a power of two, 8..65536
    count_bits : bits of a counter, 2..32
    encoded : whether words come with their check bits, from a host that makes them
    """

    kind: str = "secded_scale_window"
    format: str = "mx_opal4"
    blocks: int = 1
    elements: bool = False
    recovery: str = "zero"
    depth: int = 64
    count_bits: int = 16
    encoded: bool = False

    def __post_init__(self) -> None:
        check_limits(self, depth=(8, 65536), count_bits=(2, 32))
        if self.depth & (self.depth - 1):
            raise UsageError(f"depth must be a power of two, got {self.depth}")
        if self.word.guard.word_bits < 8:
            raise UsageError(f"a word must have 8 bits, got {self.word.guard.word_bits}")

    @cached_property
    def word(self) -> word_guard.Params:
        """What a word is."""
        return word_guard.Params(
            kind=self.kind,
            format=self.format,
            blocks=self.blocks,
            elements=self.elements,
            recovery=self.recovery,
        )

    @property
    def input(self) -> Payload:
        """A command."""
        return Payload(
            (
                Field(name="op", width=3),
                Field(name="address", width=self.depth.bit_length() - 1),
                Field(name="data", width=1, count=self.word.guard.stored_bits),
                Field(name="last", width=1),
            )
        )

    @property
    def output(self) -> Payload:
        """The answer to one that reads."""
        return Payload(
            (
                Field(name="word", width=1, count=self.word.guard.word_bits),
                Field(name="corrected", width=1),
                Field(name="detected", width=1),
                Field(name="corrections", width=self.count_bits),
                Field(name="detections", width=self.count_bits),
                Field(name="last", width=1),
            )
        )


@dataclass(kw_only=True, eq=False)
class Trace:
    """What commands did; arrays are (commands,) unless they say otherwise.

    Parameters
    ----------
    raw : what was stored at `address` before, (commands, stored_bits)
    answered : whether there is an answer
    scrubbed : (commands, 2), words of a scrub that were corrected and detected
    limits : the bounds that hold after, (commands, fields)
    """

    raw: npt.NDArray[np.uint8]
    answered: npt.NDArray[np.bool_]
    scrubbed: Ints
    limits: Ints = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    def bounds(self, names: tuple[str, ...]) -> Bounds:
        """The bounds of each command."""
        return Bounds(**{name: self.limits[:, i] for i, name in enumerate(names)})


def trace(params: Params, batch: Batch) -> Trace:
    """Follow the memory."""
    guard, count = params.word.guard, len(batch["op"])
    names = guard.limits
    stored = np.zeros((params.depth, guard.stored_bits), np.uint8)
    data = batch["data"].astype(np.uint8)
    coded = data if params.encoded else guard.encode(data[:, : guard.word_bits])
    low8 = batch["data"][:, :8] @ (1 << np.arange(8))
    now = [int(getattr(Bounds(), name)) for name in names]
    made = Trace(
        raw=np.zeros((count, guard.stored_bits), np.uint8),
        answered=(batch["last"] == 1) | (batch["op"] >= COUNT) | (batch["op"] == READ),
        scrubbed=np.zeros((count, 2), np.int64),
        limits=np.zeros((count, len(names)), np.int64),
    )
    for i, (op, address) in enumerate(
        zip(batch["op"].tolist(), batch["address"].tolist(), strict=True)
    ):
        made.raw[i] = stored[address]
        if op == WRITE:
            stored[address] = coded[i]
        elif op == FLIP:
            stored[address] ^= data[i]
        elif op == BOUND and address < len(names):
            now[address] = int(low8[i])
        elif op == SCRUB:
            found = guard.decode(stored, Bounds(**dict(zip(names, now, strict=True))))
            made.scrubbed[i] = found.corrected.sum(), found.detected.sum()
            stored = found.fixed
        made.limits[i] = now
    return made


def model(params: Params, batch: Batch) -> Batch:
    """Commands to the answers of those that read."""
    beats = params.input.check(batch)
    at, guard = trace(params, beats), params.word.guard
    found = guard.decode(at.raw, at.bounds(guard.limits))
    shown = (beats["last"] == 1) | (beats["op"] >= COUNT)
    flags = np.stack([found.corrected, found.detected], axis=1).astype(np.int64)
    flags[~at.answered] = 0
    counted = np.where(shown[:, None], 0, flags)
    most = (1 << params.count_bits) - 1
    total, counters = np.zeros(2, np.int64), np.zeros_like(flags)
    for i in range(len(shown)):
        if shown[i]:
            counters[i], total = np.minimum(total, most), np.zeros(2, np.int64)
        total = total + counted[i] + at.scrubbed[i]
    here = at.answered
    return {
        "word": found.bits[here].astype(np.int64),
        "corrected": flags[here, 0],
        "detected": flags[here, 1],
        "corrections": counters[here, 0],
        "detections": counters[here, 1],
        "last": beats["last"][here],
    }


def output_lengths(params: Params, outputs: Batch) -> Ints:
    """Answers to each group of commands."""
    return rows_of(outputs["last"]).lengths


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Groups of commands that write what they read; see `golden.units.guarded_stimuli`."""
    return commands(params, level, seed)
