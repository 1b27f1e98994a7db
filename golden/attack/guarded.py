"""A memory of weights behind a guard, as one sees it who knows the guard.

What can be flipped are stored bits: those of the words, and the check bits beside them. Words are
decoded by `golden.guard`, and their weights read from what leaves it.

A word is *sound* as long as its code finds nothing wrong, or one bit that it takes back; `slip` is
that bit. Else it is *dead*: the guard has seen it, and reads it as its recovery says.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.attack.effects import Behind, effects
from narrowgauge.golden.attack.layout import FIELDS, WeightFormat
from narrowgauge.golden.attack.memory import WeightMemory, decode
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.guard import Bounds, Guard
from narrowgauge.golden.payload import Batch

__all__ = ["Action", "Change", "GuardedMemory", "Scores"]

Bits = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Action:
    """Stored bits of one word that are flipped together.

    Parameters
    ----------
    way : as `golden.attack.ways` has them
    word : its number
    places : bits of the stored word, check bits above the word's own
    """

    way: str
    word: int
    places: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """What an action changed: numbers of weights, their values before and after."""

    weights: Ints
    old: F64
    new: F64


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """To first order, of every word.

    Parameters
    ----------
    bits : (words, stored_bits): sum of change times gradient if this bit alone read otherwise;
        of a check bit 0
    largest : the same shape, the largest change of a weight; NaN where one is not finite
    dead : (words,): of a word that its code finds wrong; 0 without a code
    """

    bits: F64
    largest: F64
    dead: F64


@lru_cache(maxsize=64)
def _reads(fmt: WeightFormat, kind: str, bounds: Bounds) -> tuple[Ints, Ints]:
    """Scale -> scale, and bf16 -> bf16 of an outlier, as they leave a clamp."""
    guard = Guard.of(kind, fmt.payload, elements=False)
    tables = []
    for name, width in (("scale", fmt.payload["scale"].width), ("outlier", 16)):
        every = np.arange(1 << width)
        lows = [part.low for part in guard.parts if part.name == name]
        if not lows:
            tables.append(every)
            continue
        places = slice(lows[0], lows[0] + width)
        words = np.zeros((len(every), guard.word_bits), np.uint8)
        words[:, places] = every[:, None] >> np.arange(width) & 1
        read = guard.decode(words, bounds).bits[:, places]
        tables.append(read.astype(np.int64) @ (1 << np.arange(width)))
    return tables[0], tables[1]


class GuardedMemory:
    """See the module.

    Parameters
    ----------
    memory : as it was quantised; its words are a whole number of blocks
    kind, recovery : of the guard
    """

    def __init__(self, memory: WeightMemory, kind: str, recovery: str = "zero") -> None:
        layout = memory.layout
        blocks, rest = divmod(layout.word_bits, layout.width)
        if rest:
            raise UsageError(
                f"a guarded word must be a whole number of blocks of {layout.width} bits, "
                f"got {layout.word_bits}"
            )
        self.layout, self.seen = layout, memory.copy()
        self.guard = Guard.of(kind, layout.fmt.payload, blocks=blocks, recovery=recovery)
        self.blocks = blocks
        self.bounds = self.guard.bounds(memory.bits)
        self.stored = self.guard.encode(memory.bits)
        size, checks = self.guard.word_bits, self.guard.check_bits
        self.columns = np.zeros(size + checks, np.int64)
        if checks:
            self.columns[list(self.guard.covered)] = self.guard.columns
            self.columns[size:] = 1 << np.arange(checks)
        self.corrects = self.guard.rule.code == "secded"
        self.place_of = np.full(1 << checks, -1, np.int64)
        if self.corrects:
            code = np.flatnonzero(self.columns)
            self.place_of[self.columns[code]] = code
        self.dead = np.zeros(layout.words, np.bool_)
        self.slip = np.full(layout.words, -1, np.int64)
        names = np.array([part.name for part in self.guard.parts for _ in range(part.width)])
        self._shared = ~np.isin(names, ("top", "element"))
        self.names = [*names.tolist(), *["check"] * checks]

    @property
    def bits(self) -> int:
        """Stored bits that mean something: check bits, and those of words that are no padding."""
        return int(np.count_nonzero(self.layout.fields != len(FIELDS) - 1)) + (
            self.layout.words * self.guard.check_bits
        )

    def copy(self) -> "GuardedMemory":
        """Another memory of the same content."""
        made = object.__new__(GuardedMemory)
        own = {name: getattr(self, name).copy() for name in ("stored", "seen", "dead", "slip")}
        made.__dict__.update(self.__dict__ | own)
        return made

    def floats(self) -> npt.NDArray[np.float32]:
        """The weights as they are read."""
        return self.seen.floats()

    def apply(self, action: Action) -> Change:
        """Flip the bits of an action; a second time takes it back."""
        word, size = action.word, self.guard.word_bits
        self.stored[word, list(action.places)] ^= 1
        row = self.stored[word : word + 1]
        if self.guard.check_bits:
            wrong = self.guard.encode(row[:, :size])[0, size:] ^ row[0, size:]
            syndrome = int(wrong.astype(np.int64) @ (1 << np.arange(len(wrong))))
            self.slip[word] = self.place_of[syndrome]
            self.dead[word] = syndrome != 0 and self.slip[word] < 0
        found = self.guard.decode(row, self.bounds).bits[0]
        weights, old, new = self.seen.put(word, found)
        return Change(weights=weights, old=old, new=new)

    def peek(self, actions: list[Action]) -> list[Change]:
        """What each action alone would change; the memory is left as it is."""
        if not actions:
            return []
        words = np.array([action.word for action in actions])
        rows = self.stored[words]
        for row, action in zip(rows, actions, strict=True):
            row[list(action.places)] ^= 1
        layout = self.layout
        read = self.guard.decode(rows, self.bounds).bits.reshape(-1, layout.width)
        blocks = (words[:, None] * self.blocks + np.arange(self.blocks)).reshape(-1)
        there = blocks < layout.blocks
        blocks = blocks[there]
        batch = layout.fmt.payload.unpack(np.packbits(read[there], axis=1, bitorder="little"))
        new = decode(layout, batch, self.seen.block_steps()[blocks], self.seen.reading)
        old, lanes = self.seen.lanes()[blocks], layout.lanes[blocks]
        differ = (lanes >= 0) & ~((old == new) | (np.isnan(old) & np.isnan(new)))
        owner = np.repeat(np.arange(len(actions)), self.blocks)[there]
        made = []
        for number in range(len(actions)):
            mine = differ & (owner == number)[:, None]
            made.append(Change(weights=lanes[mine], old=old[mine], new=new[mine]))
        return made

    def _plain(self) -> Bits:
        """Words with what the code takes back, before a clamp."""
        made = self.stored.copy()
        rows = np.flatnonzero(self.slip >= 0)
        made[rows, self.slip[rows]] ^= 1
        return made[:, : self.guard.word_bits]

    def _batch(self, words: Bits) -> Batch:
        """All blocks of the memory as beats."""
        rows = words.reshape(-1, self.layout.width)[: self.layout.blocks]
        return self.layout.fmt.payload.unpack(np.packbits(rows, axis=1, bitorder="little"))

    def scores(self, gradient: npt.NDArray[np.floating]) -> Scores:
        """What every bit, and every dead word, would do.

        Parameters
        ----------
        gradient : of the loss with respect to the weights, in their shape
        """
        guard, layout = self.guard, self.layout
        plain = self._plain()
        behind = None
        if guard.rule.clamp != "none" and self._shared.any():
            batch = self._batch(plain)
            scale, outlier = _reads(layout.fmt, guard.rule.clamp, self.bounds)
            none = np.zeros((layout.blocks, 0), np.int64)
            behind = Behind(
                scale=batch["scale"],
                outliers=batch.get("outliers", none),
                scale_read=scale,
                outlier_read=outlier,
            )
        found = effects(self.seen, gradient, behind)
        shape = (layout.words, guard.stored_bits)
        bits, largest = np.zeros(shape), np.zeros(shape)
        for made, given in ((bits, found.score), (largest, found.largest)):
            made[:, : guard.word_bits] = given.reshape(layout.words, -1)
            if guard.recovery == "zero":
                made[self.dead] = 0
            elif guard.recovery == "middle":
                made[np.ix_(self.dead, np.flatnonzero(self._shared))] = 0
        dead = np.zeros(layout.words)
        if guard.check_bits:
            dead = self._of_dead(plain, gradient)
        return Scores(bits=bits, largest=largest, dead=dead)

    def _of_dead(self, plain: Bits, gradient: npt.NDArray[np.floating]) -> F64:
        layout, guard = self.layout, self.guard
        wrong = guard.encode(plain)
        wrong[:, guard.word_bits : guard.word_bits + (2 if self.corrects else 1)] ^= 1
        batch = self._batch(guard.decode(wrong, self.bounds).bits)
        values = decode(layout, batch, self.seen.block_steps(), self.seen.reading)
        valid = layout.lanes >= 0
        g = np.where(valid, gradient.astype(np.float64).reshape(-1)[layout.lanes], 0)
        with np.errstate(invalid="ignore", over="ignore"):
            change = np.where(valid, values - self.seen.lanes(), 0)
            by_block = np.zeros(layout.words * self.blocks)
            by_block[: layout.blocks] = (change * g).sum(axis=1)
        made: F64 = by_block.reshape(layout.words, -1).sum(axis=1)
        made[self.dead] = 0
        return made
