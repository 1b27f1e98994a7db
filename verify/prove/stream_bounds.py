"""How far the counters of a model go in random runs: a first guess at a bound to prove."""

import random
from collections.abc import Callable, Sequence

from narrowgauge.verify.prove.stream_aig import Bits
from narrowgauge.verify.prove.stream_model import Model

__all__ = ["reached"]

_LANES = 64
"""Runs with one pace of source and sink."""

_PACES = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2), (2, 2), (0, 0), (0, 2))
"""Of source and sink: always (0), half the cycles (1), one in eight (2)."""


def reached(model: Model, counters: Sequence[Bits], cycles: int, seed: int = 1) -> list[int]:
    """The largest value of each counter in any of 512 random runs of `cycles` cycles."""
    rng = random.Random(seed)
    aig = model.aig
    total = _LANES * len(_PACES)
    mask = (1 << total) - 1
    state = aig.start(mask)
    most = [0] * len(counters)
    for _ in range(cycles):
        inputs = {name: rng.getrandbits(total) for name in aig.inputs}
        for name, side in (("offer", 0), ("ready", 1)):
            inputs[name] = 0
            for i, pace in enumerate(_PACES):
                inputs[name] |= _word(rng, pace[side]) << (i * _LANES)
        value = aig.values(state, inputs, mask)
        for i, counter in enumerate(counters):
            while _above(counter, most[i], value, mask):
                most[i] += 1
        state = aig.step(value)
    return most


def _word(rng: random.Random, pace: int) -> int:
    word = (1 << _LANES) - 1
    for _ in range((0, 1, 3)[pace]):
        word &= rng.getrandbits(_LANES)
    return word


def _above(counter: Bits, bound: int, value: Callable[[int], int], mask: int) -> int:
    above = 0
    for i, literal in enumerate(counter):
        bit = value(literal)
        above = bit & above if bound >> i & 1 else bit | above
    return above & mask
