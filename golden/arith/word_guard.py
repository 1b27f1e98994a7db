"""A guarded word: encoded, some bits of it flipped, decoded.

    o = decode(encode(word) ^ flips)

Exact; nothing is rounded. Words, codes, clamps and recoveries are those of `golden.guard`. Bit i
of a word is element i of its field. Without flips `o` is the word, clamped as the kind says.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.ieee import sizes
from narrowgauge.golden.errors import check_limits
from narrowgauge.golden.formats import get_block
from narrowgauge.golden.guard import Bounds, Guard
from narrowgauge.golden.payload import Batch, Field, Payload

__all__ = ["Params", "model", "vectors"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Params:
    """All of them say what.

    Parameters
    ----------
    kind : of `golden.guard.KINDS`
    format : of the blocks (`golden.formats.get_block`)
    blocks : blocks of a word, 1..64
    elements : whether a word holds the codes of its blocks; else what they share alone
    recovery : of `golden.guard.RECOVERIES`
    """

    kind: str = "secded_scale_window"
    format: str = "mx_opal4"
    blocks: int = 1
    elements: bool = False
    recovery: str = "zero"

    def __post_init__(self) -> None:
        check_limits(self, blocks=(1, 64))
        _ = self.guard

    @cached_property
    def guard(self) -> Guard:
        """Parts of the word, check bits, columns."""
        return Guard.of(
            self.kind,
            get_block(self.format).payload,
            blocks=self.blocks,
            elements=self.elements,
            recovery=self.recovery,
        )

    @property
    def input(self) -> Payload:
        """The word, what is flipped of it and its check bits, and the bounds that it depends on."""
        guard = self.guard
        return Payload(
            (
                Field(name="word", width=1, count=guard.word_bits),
                Field(name="flips", width=1, count=guard.stored_bits),
                *(Field(name=name, width=8) for name in guard.limits),
            )
        )

    @property
    def output(self) -> Payload:
        """The word, and the two flags of its decoder."""
        return Payload(
            (
                Field(name="o", width=1, count=self.guard.word_bits),
                Field(name="corrected", width=1),
                Field(name="detected", width=1),
            )
        )


def model(params: Params, batch: Batch) -> Batch:
    """Encode, flip, decode."""
    beat, guard = params.input.check(batch), params.guard
    stored = guard.encode(beat["word"]) ^ beat["flips"]
    found = guard.decode(stored, Bounds(**{name: beat[name] for name in guard.limits}))
    return {
        "o": found.bits.astype(np.int64),
        "corrected": found.corrected.astype(np.int64),
        "detected": found.detected.astype(np.int64),
    }


def vectors(params: Params, level: str, seed: int) -> Batch:
    """No flip, each flip alone, pairs, more; any words, and such as lie within their bounds."""
    size = sizes(level, 2_000, 100_000)
    rng = np.random.default_rng(seed)
    guard = params.guard
    stored, word_bits = guard.stored_bits, guard.word_bits
    size = max(size, 3 * stored)
    count = rng.choice([0, 1, 2, 2, 3, 4], size)
    count[: 2 * stored] = 1
    # Where flips tell anything: half of them where the code is.
    code = np.array([*guard.covered, *range(word_bits, stored)] or range(stored))
    flips = np.zeros((size, stored), np.int64)
    for turn in range(4):
        place = np.where(
            rng.random(size) < 0.5, rng.choice(code, size), rng.integers(0, stored, size)
        )
        here = np.flatnonzero(count > turn)
        # A place that is met twice is flipped once.
        flips[here, place[here]] = 1
    flips[: 2 * stored] = np.tile(np.eye(stored, dtype=np.int64), (2, 1))
    flips[2 * stored :: 50] = rng.integers(0, 2, (len(flips[2 * stored :: 50]), stored))
    word = rng.integers(0, 2, (size, word_bits))
    word[rng.random(size) < 0.05] = 0
    word[rng.random(size) < 0.05] = 1
    made = {}
    for name in guard.limits:
        low = name.endswith("low")
        made[name] = rng.choice([0, 100, 120, 255] if low else [0, 123, 130, 255], size)
        made[name] = np.clip(made[name] + rng.integers(-3, 4, size), 0, 255)
    near = rng.random((size, 1)) < 0.6
    for part in guard.parts:
        prefix = {"scale": "", "exponent": "exponent_"}.get(part.name)
        about = [made[f"{prefix}{end}"] for end in ("low", "high") if f"{prefix}{end}" in made]
        if about:
            value = np.array(about)[rng.integers(0, len(about), size), np.arange(size)]
            value = np.clip(value + rng.integers(-2, 3, size), 0, 255)
            at = slice(part.low, part.low + part.width)
            word[:, at] = np.where(near, value[:, None] >> np.arange(part.width) & 1, word[:, at])
    return {"word": word, "flips": flips} | made
