"""Guards of memory words: what stands beside a word so that flipped bits do little.

Words and their parts are those of `golden.guard_words`.

A kind is a code over some parts, whose check bits are stored above the word, and a clamp:

| kind | code | over | fields that leave the guard |
| --- | --- | --- | --- |
| `none` | none | | as stored |
| `clamp` | none | | `scale` and `exponent` at most the memory's largest |
| `window` | none | | and at least its least |
| `parity` | one bit, even | `scale`, `exponent`, `top` | as stored |
| `secded_scale` | SEC-DED | `scale`, `exponent` | corrected |
| `secded_scale_window` | SEC-DED | `scale`, `exponent` | corrected, then as `window` |
| `secded_sign_window` | SEC-DED | `scale`, `exponent`, `sign` | corrected, then as `window` |
| `secded_place_window` | SEC-DED | the same and `position` | corrected, then as `window` |
| `secded_shared` | SEC-DED | all but elements | corrected |
| `secded_shared_window` | SEC-DED | all but elements | corrected, then as `window` |
| `secded_top_window` | SEC-DED | the same and `top` | corrected, then as `window` |
| `secded` | SEC-DED | the whole word | corrected |

`detected` is: the parity is wrong, or the syndrome is neither 0 nor a column; then the word reads
as `recovery` says, and is not clamped. It is also where a clamp took a field down; such a word
reads as clamped. `corrected` is a bit taken back, a check bit included.

| recovery | a word that is detected as wrong by its code |
| --- | --- |
| `zero` | 0, all of it |
| `middle` | scales as `Bounds.middle`, outliers and positions as 0, elements as stored |
| `keep` | as stored, clamped as the kind says |

SEC-DED takes back the flip whose column the syndrome is, and detects what is neither 0 nor a
column. Three flips are some column, or detected.

Source: the codes are Hsiao's; what is covered, clamps and `middle` are this project's.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.guard_words import (
    KINDS,
    PARTS,
    SHARED,
    Bits,
    Bounds,
    Part,
    Rule,
    columns,
    field_of,
    parts_of,
    spread,
)
from narrowgauge.golden.payload import Payload

__all__ = ["KINDS", "RECOVERIES", "Bounds", "Decoded", "Guard", "Part"]

Flags = npt.NDArray[np.bool_]

RECOVERIES = ("zero", "middle", "keep")
"""See the module."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """Words as they leave a guard.

    Parameters
    ----------
    bits : (words, word_bits)
    fixed : what is stored with the bit taken back, (words, stored_bits)
    corrected, detected : (words,), see the module; their sums are the counts
    """

    bits: Bits
    fixed: Bits
    corrected: Flags
    detected: Flags


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A guard of words that all have the same parts.

    Parameters
    ----------
    kind : of `KINDS`
    parts : of a word, from bit 0, without a gap (`parts_of`)
    recovery : of `RECOVERIES`
    """

    kind: str
    parts: tuple[Part, ...]
    recovery: str = "zero"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"no guard {self.kind!r}; guards: {', '.join(KINDS)}")
        if self.recovery not in RECOVERIES:
            raise UsageError(f"recovery must be {', '.join(RECOVERIES)}, got {self.recovery!r}")
        place = 0
        for part in self.parts:
            if part.name not in PARTS or part.low != place or part.width < 1:
                raise UsageError(f"parts must be known and without a gap, got {part}")
            place += part.width
        if not 1 <= place <= 4096:
            raise UsageError(f"a guarded word must have 1..4096 bits, got {place}")
        if self.rule.code != "none" and not self.covered:
            raise UsageError(f"{self.kind} has nothing to cover in these words")

    @classmethod
    def of(
        cls,
        kind: str,
        payload: Payload,
        *,
        blocks: int = 1,
        elements: bool = True,
        recovery: str = "zero",
    ) -> "Guard":
        """A guard of words of `blocks` blocks; see `parts_of`."""
        parts = parts_of(payload, blocks=blocks, elements=elements)
        return cls(kind=kind, parts=parts, recovery=recovery)

    @property
    def rule(self) -> Rule:
        """What the kind is."""
        return KINDS[self.kind]

    @cached_property
    def word_bits(self) -> int:
        """Bits of a word."""
        return sum(part.width for part in self.parts)

    @cached_property
    def covered(self) -> tuple[int, ...]:
        """Bits that the code covers."""
        over = self.rule.over
        return tuple(b for p in self.parts if p.name in over for b in range(p.low, p.low + p.width))

    @cached_property
    def _code(self) -> tuple[int, tuple[int, ...]]:
        if self.rule.code == "secded":
            return columns(len(self.covered))
        return (1, (1,) * len(self.covered)) if self.rule.code == "parity" else (0, ())

    @property
    def check_bits(self) -> int:
        """Bits that are stored beside a word."""
        return self._code[0]

    @property
    def columns(self) -> tuple[int, ...]:
        """Of each covered bit the check bits that it counts in."""
        return self._code[1]

    @property
    def stored_bits(self) -> int:
        """Bits of a word in the memory: the word, then its check bits."""
        return self.word_bits + self.check_bits

    @property
    def overhead(self) -> float:
        """Check bits over bits of a word."""
        return self.check_bits / self.word_bits

    @property
    def limits(self) -> tuple[str, ...]:
        """The fields of `Bounds` that its words depend on."""
        names = {part.name for part in self.parts}
        clamp, made = self.rule.clamp, []
        for part, prefix in (("scale", ""), ("exponent", "exponent_")):
            if part in names:
                made += [f"{prefix}low"] * (clamp == "window") + [f"{prefix}high"] * (
                    clamp != "none"
                )
        if self.recovery == "middle" and self.check_bits and "scale" in names:
            made.append("middle")
        return tuple(made)

    @cached_property
    def _matrix(self) -> npt.NDArray[np.float32]:
        ones = np.array(self.columns, np.int64)[:, None] >> np.arange(self.check_bits) & 1
        return ones.astype(np.float32)

    @cached_property
    def _places(self) -> npt.NDArray[np.int64]:
        """Of each syndrome the stored bit that is its column, -1 for none."""
        table = np.full(1 << self.check_bits, -1, np.int64)
        if self.rule.code == "secded":
            table[list(self.columns)] = self.covered
            table[1 << np.arange(self.check_bits)] = self.word_bits + np.arange(self.check_bits)
        return table

    def _checks(self, bits: Bits) -> Bits:
        # Sums of at most 4096 ones are exact in float32.
        sums = bits[:, list(self.covered)].astype(np.float32) @ self._matrix
        return (sums.astype(np.int64) & 1).astype(np.uint8)

    def encode(self, bits: npt.NDArray[np.integer]) -> Bits:
        """Words with their check bits, (words, word_bits) to (words, stored_bits), of 0 and 1."""
        words = _checked(bits, self.word_bits)
        if not self.check_bits:
            return words.copy()
        return np.concatenate([words, self._checks(words)], axis=1)

    def decode(self, stored: npt.NDArray[np.integer], bounds: Bounds | None = None) -> Decoded:
        """Words from what is stored, (words, stored_bits) of 0 and 1."""
        raw = _checked(stored, self.stored_bits)
        count, size = len(raw), self.word_bits
        limits = bounds or Bounds()
        corrected, wrong = np.zeros((2, count), np.bool_)
        fixed = raw.copy()
        if self.check_bits:
            checks = self._checks(raw[:, :size]) ^ raw[:, size:]
            syndrome = checks.astype(np.int64) @ (1 << np.arange(self.check_bits))
            at = self._places[syndrome]
            corrected = at >= 0
            wrong = (syndrome != 0) & ~corrected
            fixed[np.flatnonzero(corrected), at[corrected]] ^= 1
        word, above = self._clamp(fixed[:, :size], limits)
        if self.recovery != "keep":
            word[wrong] = self._recovered(raw[wrong, :size], limits.at(wrong))
            above &= ~wrong
        return Decoded(bits=word, fixed=fixed, corrected=corrected, detected=wrong | above)

    def _clamp(self, word: Bits, limits: Bounds) -> tuple[Bits, Flags]:
        """Words with their fields clamped, and whether one was above its bound."""
        above = np.zeros(len(word), np.bool_)
        made = word.copy()
        if self.rule.clamp == "none":
            return made, above
        windows = {
            "scale": (limits.low, limits.high),
            "exponent": (limits.exponent_low, limits.exponent_high),
        }
        for part in self.parts:
            if part.name in windows:
                low, high = windows[part.name]
                value = field_of(word, part)
                above |= value > high
                put = np.minimum(value, high)
                if self.rule.clamp == "window":
                    # The upper bound wins where the two are the wrong way round.
                    put = np.where(value > high, high, np.maximum(put, low))
                made[:, part.low : part.low + part.width] = spread(put, part.width)
        return made, above

    def _recovered(self, word: Bits, limits: Bounds) -> Bits:
        if self.recovery == "zero":
            return np.zeros_like(word)
        made = word.copy()
        for part in self.parts:
            if part.name in SHARED:
                value = limits.middle if part.name == "scale" else 0
                made[:, part.low : part.low + part.width] = spread(value, part.width)
        return made

    def bounds(self, bits: npt.NDArray[np.integer]) -> Bounds:
        """Of a memory's words, (words, word_bits); scales of blocks of zeros do not count.

        A block is of zeros where all its elements are 0 and its words hold them.
        """
        words = _checked(bits, self.word_bits)
        plain = not any(part.name in ("element", "top") for part in self.parts)
        scales, exponents = [], []
        some = np.full(len(words), plain)
        for part in self.parts:
            value = field_of(words, part)
            if part.name in ("element", "top"):
                some |= value != 0
            elif part.name == "scale":
                scales.append(value[some])
                some = np.full(len(words), plain)
            elif part.name == "exponent":
                exponents.append(value)
        none = np.zeros(0, np.int64)
        scale, exponent = (np.concatenate([none, *each]) for each in (scales, exponents))
        made: dict[str, int] = {}
        if scale.size:
            made |= {"low": int(scale.min()), "high": int(scale.max())}
            made["middle"] = int(np.sort(scale)[(scale.size - 1) // 2])
        if exponent.size:
            made |= {"exponent_low": int(exponent.min()), "exponent_high": int(exponent.max())}
        return Bounds(**made)


def _checked(bits: npt.NDArray[np.integer], width: int) -> Bits:
    if bits.ndim != 2 or bits.shape[1] != width:
        raise UsageError(f"words must be bits of shape (words, {width}), got shape {bits.shape}")
    if bits.size and not 0 <= bits.min() <= bits.max() <= 1:
        bad = int(bits.min() if bits.min() < 0 else bits.max())
        raise UsageError(f"words must be bits, 0 or 1, got {bad}")
    return bits.astype(np.uint8)
