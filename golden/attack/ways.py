"""The ways past a guard: which stored bits of a word to flip together.

An attack on a word is one of these, with what it costs in flips:

| way | what is flipped | cost |
| --- | --- | --- |
| `bit` | a bit that no code covers | 1 |
| `pair` | parity: two covered bits, or one and its parity | 2 |
| `triple` | SEC-DED: three of four bits that are no error together; the guard flips the last | 3 |
| `dead` | what the code detects: a bit under parity, two under SEC-DED | 1 or 2 |

Of a word with a slip that is one of the four, two flips are left to make.
"""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.attack.effects import FAR
from narrowgauge.golden.attack.guarded import Action, GuardedMemory

__all__ = ["actions"]

F64 = npt.NDArray[np.float64]

_SOME = 48
"""Bits of a word, the best by rank, that one of a set of four is taken from, or a check bit."""
_HUGE = 1e30


def actions(memory: GuardedMemory, gradient: npt.NDArray[np.floating], count: int) -> list[Action]:
    """The best to first order, up to `count` of each way.

    As in the search without a guard, changes beyond `FAR` times the largest weight are ordered
    by magnitude, NaN and Inf first.
    """
    found = memory.scores(gradient)
    usual = np.nanmax(np.abs(memory.floats()), initial=0)
    with np.errstate(invalid="ignore", over="ignore"):
        far = ~(found.largest <= FAR * usual)
        rank = np.where(far, np.abs(found.bits), found.bits)
    rank = np.nan_to_num(rank, nan=np.inf, posinf=np.inf, neginf=-np.inf)
    rank[found.largest == 0] = 0
    code = memory.columns > 0
    made = []
    free = np.where(code, 0, rank)
    for address in _best(free.reshape(-1), count):
        word, place = divmod(address, memory.guard.stored_bits)
        made.append(Action(way="bit", word=word, places=(place,)))
    if not memory.guard.check_bits:
        return made
    inside = np.where(code & ~memory.dead[:, None], rank, -np.inf)
    dead = np.where(memory.dead, 0, np.nan_to_num(found.dead, nan=np.inf))
    made += _dead_ones(memory, dead, inside, count)
    made += _triples(memory, inside, count) if memory.corrects else _pairs(memory, inside, count)
    return made


def _dead_ones(memory: GuardedMemory, dead: F64, inside: F64, count: int) -> list[Action]:
    size = memory.guard.word_bits
    made = []
    for word in _best(dead, count):
        slip = int(memory.slip[word])
        free = [place for place in range(size, memory.guard.stored_bits) if place != slip]
        flips = 2 if memory.corrects and slip < 0 else 1
        made.append(Action(way="dead", word=word, places=tuple(free[:flips])))
    if memory.guard.recovery == "zero":
        return made
    # What is covered stays as stored: the bits that give a word away may do harm themselves.
    flips = 2 if memory.corrects else 1
    top = np.sort(inside, axis=1)[:, -flips:].sum(axis=1)
    for word in _best(np.where(memory.slip < 0, top, 0), count):
        places = np.argsort(-inside[word], kind="stable")[:flips]
        made.append(Action(way="dead", word=word, places=tuple(int(p) for p in places)))
    return made


def _pairs(memory: GuardedMemory, inside: F64, count: int) -> list[Action]:
    check = memory.guard.word_bits
    order = np.sort(inside[:, :check], axis=1)[:, -2:]
    total = order[:, 1] + np.maximum(order[:, 0], 0)
    made = []
    for word in _best(total, count):
        first, second = (int(p) for p in np.argsort(-inside[word, :check], kind="stable")[:2])
        partner = second if inside[word, second] > 0 else check
        made.append(Action(way="pair", word=word, places=(first, partner)))
    return made


def _triples(memory: GuardedMemory, inside: F64, count: int) -> list[Action]:
    made = []
    for address in _best(inside.reshape(-1), count):
        word, target = divmod(address, memory.guard.stored_bits)
        four = _four(memory, inside[word], target)
        if four is None:
            continue
        slip = int(memory.slip[word])
        flips = [place for place in four if place != slip][:-1]
        if slip >= 0 and slip not in four:
            flips.append(slip)
        made.append(Action(way="triple", word=word, places=tuple(flips)))
    return made


def _four(memory: GuardedMemory, rank: F64, target: int) -> tuple[int, ...] | None:
    """Four bits that are no error together, the target among them, of the largest rank."""
    code = np.flatnonzero(memory.columns)
    checks = code[code >= memory.guard.word_bits]
    some = code[np.argsort(-rank[code], kind="stable")[:_SOME]]
    first = np.union1d(some, checks)
    third = memory.place_of[
        memory.columns[target] ^ memory.columns[first][:, None] ^ memory.columns[code]
    ]
    i, j = np.broadcast_arrays(first[:, None], code)
    worth = np.nan_to_num(rank, posinf=_HUGE, neginf=-_HUGE)
    good = (third >= 0) & (i != target) & (j != target) & (i != j)
    total = np.where(good, worth[i] + worth[j] + worth[third], -np.inf)
    at = int(total.argmax())
    if not good.reshape(-1)[at]:
        return None
    return target, int(i.flat[at]), int(j.flat[at]), int(third.flat[at])


def _best(rank: F64, count: int) -> list[int]:
    """Indices of the largest that are above 0, largest first."""
    count = min(count, int(np.count_nonzero(rank > 0)))
    if not count:
        return []
    top = np.argpartition(rank, -count)[-count:]
    return [int(a) for a in top[np.lexsort((top, -rank[top]))]]
