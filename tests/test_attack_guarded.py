"""Memories behind guards: every stored bit's effect, and the ways past each code, by flipping."""

from typing import Any

import numpy as np
import pytest

from narrowgauge.golden.attack import WeightMemory, get_weights
from narrowgauge.golden.attack.guarded import Action, GuardedMemory
from narrowgauge.golden.attack.ways import actions
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.guard import KINDS

CASES = [
    ("mx_opal4_k16_n2", 1, "none", "zero"),
    ("mx_opal4_k16_n2", 2, "clamp", "zero"),
    ("mx_opal4_k16_n2", 1, "window", "zero"),
    ("mx_opal4_k16_n2", 1, "parity", "zero"),
    ("mx_opal4_k16_n2", 1, "secded_scale", "keep"),
    ("mx_opal4_k16_n2", 2, "secded_shared_window", "middle"),
    ("mx_opal4_k16_n2", 1, "secded_top_window", "middle"),
    ("fb16_k9", 1, "secded_scale_window", "zero"),
    ("mxint8", 2, "secded", "zero"),
    ("int8", 16, "parity", "zero"),
    ("int4", 16, "secded_top_window", "zero"),
    ("int8", 8, "secded", "zero"),
]


def made(name: str, blocks: int, kind: str, recovery: str, seed: int = 1) -> Any:
    """A memory of a small tensor, whose last word is not full, and a gradient."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((3, 3, 3, 3)) * 2.0 ** rng.integers(-3, 2, (3, 1, 1, 1))
    fmt = get_weights(name)
    memory = WeightMemory.encode(
        weights.astype(np.float32), fmt, word_bits=blocks * fmt.payload.width
    )
    gradient = rng.standard_normal(weights.shape)
    return memory, GuardedMemory(memory, kind, recovery), gradient


def worth(change: Any, gradient: Any) -> float:
    """First-order effect of a change, which is all of it under a linear loss."""
    with np.errstate(invalid="ignore", over="ignore"):
        return float(((change.new - change.old) * gradient.reshape(-1)[change.weights]).sum())


def same(one: float, two: float) -> bool:
    """Equal but for rounding; NaN and Inf count as one."""
    if not np.isfinite(one) or not np.isfinite(two):
        return not np.isfinite(one) and not np.isfinite(two)
    return bool(np.isclose(one, two, rtol=1e-9, atol=1e-12))


def through(guarded: GuardedMemory, word: int, place: int) -> tuple[int, ...]:
    """A bit and the check bits that go with it."""
    size = guarded.guard.word_bits
    checks = [size + i for i in range(guarded.guard.check_bits)
              if guarded.columns[place] >> i & 1 and place < size]  # fmt: skip
    return (place, *checks)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_every_bit(case: tuple[str, int, str, str]) -> None:
    memory, guarded, gradient = made(*case)
    assert np.array_equal(guarded.floats(), memory.floats())
    before = guarded.stored.copy()
    found = guarded.scores(gradient)
    assert not found.bits[:, guarded.guard.word_bits :].any()
    for word in range(guarded.layout.words):
        for place in range(guarded.guard.word_bits):
            action = Action(way="bit", word=word, places=through(guarded, word, place))
            change = guarded.apply(action)
            assert not guarded.dead[word]
            assert guarded.slip[word] < 0
            assert same(worth(change, gradient), found.bits[word, place]), (word, place)
            guarded.apply(action)
    assert np.array_equal(guarded.stored, before)
    assert np.array_equal(guarded.floats(), memory.floats())


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_ways(case: tuple[str, int, str, str]) -> None:
    """Each action does what its way says, at its cost, and the next goes on from there."""
    _, guarded, gradient = made(*case)
    costs = {"bit": (1,), "pair": (2,), "triple": (2, 3, 4), "dead": (1, 2)}
    seen = set()
    for step in range(12):
        found = actions(guarded, gradient, 3)
        if not found:
            break
        for action in found:
            seen.add(action.way)
            assert len(set(action.places)) == len(action.places)
            assert len(action.places) in costs[action.way]
            slip = guarded.slip[action.word]
            was = guarded.dead[action.word]
            stored, floats = guarded.stored.copy(), guarded.floats()
            score = guarded.scores(gradient)
            peeked = guarded.peek([action, action])[1]
            change = guarded.apply(action)
            assert np.array_equal(peeked.weights, change.weights)
            assert np.array_equal(peeked.new, change.new, equal_nan=True)
            assert np.array_equal(peeked.old, change.old, equal_nan=True)
            if action.way == "dead":
                assert guarded.dead[action.word]
                if guarded.guard.recovery == "zero":
                    assert same(worth(change, gradient), score.dead[action.word])
            else:
                assert guarded.dead[action.word] == was
            if action.way == "triple":
                assert guarded.slip[action.word] >= 0
                assert len(action.places) == 3 or slip >= 0
            guarded.apply(action)
            assert np.array_equal(guarded.stored, stored)
            assert np.array_equal(guarded.floats(), floats, equal_nan=True)
        guarded.apply(found[step % len(found)])
    rule = KINDS[case[2]]
    if rule.code == "none":
        assert seen == {"bit"}
    else:
        assert {"dead", "pair" if rule.code == "parity" else "triple"} <= seen


def test_the_largest_goes_first() -> None:
    """Without a guard, that of the plain search; the exponent's top bit behind a code in three."""
    memory, guarded, gradient = made("fb16_k9", 1, "none", "zero")
    first = actions(guarded, gradient, 1)[0]
    assert guarded.names[first.places[0]] == "scale"
    assert first.places[0] == guarded.guard.word_bits - 1
    behind = GuardedMemory(memory, "secded_scale")
    triple = next(a for a in actions(behind, gradient, 1) if a.way == "triple")
    clean = behind.floats()
    behind.apply(triple)
    ratio = np.nanmax(np.abs(behind.floats())) / np.abs(clean).max()
    assert not ratio < 2.0**60
    clamped = GuardedMemory(memory, "window")
    for _ in range(20):
        found = actions(clamped, gradient, 1)
        if found:
            clamped.apply(found[0])
    # Nothing reads beyond twice the largest.
    assert np.abs(clamped.floats()).max() < 2 * np.abs(clean).max()


def test_whole_blocks() -> None:
    memory = WeightMemory.encode(np.ones((2, 40), np.float32), get_weights("mxint8"))
    with pytest.raises(UsageError, match="a whole number of blocks of 264 bits, got 64"):
        GuardedMemory(memory, "none")
