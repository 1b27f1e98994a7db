"""The ends of a guarded memory: check bits on the way in, syndrome and clamps on the way out."""

from collections.abc import Mapping
from typing import Any, Protocol

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

__all__ = ["Decoder", "Guarded", "checks"]


class Guarded(Protocol):
    """Parameters of words that have a guard."""

    @property
    def guard(self) -> Any:
        """The `golden.guard.Guard` of a word."""


def checks(p: Guarded, word: Value) -> Value:
    """The check bits of a word."""
    guard = p.guard
    pairs = list(zip(guard.covered, guard.columns, strict=True))
    rows = [
        Cat(word[bit] for bit, column in pairs if column >> i & 1) for i in range(guard.check_bits)
    ]
    return Cat(row.xor() for row in rows)


class Decoder:
    """What is stored, decoded.

    Parameters
    ----------
    m : module that it is built in
    p : what is stored
    stored : a word and its check bits
    limits : by name, those of `p.guard.limits`

    Attributes
    ----------
    fixed : what is stored, with the bit taken back
    word : the word as it leaves the guard
    corrected, detected : see `golden.guard`
    """

    def __init__(self, m: Module, p: Guarded, stored: Value, limits: Mapping[str, Value]) -> None:
        self._m, self._p, self._limits = m, p, limits
        guard = p.guard
        size = guard.word_bits
        self.fixed: Value = stored
        self.corrected: Value = Const(0, 1)
        wrong: Value = Const(0, 1)
        if guard.check_bits:
            syndrome = Signal(guard.check_bits)
            m.d.comb += syndrome.eq(checks(p, stored[:size]) ^ stored[size:])
            wrong = Signal()
            if guard.rule.code == "parity":
                m.d.comb += wrong.eq(syndrome)
            else:
                self._correct(stored, syndrome)
                m.d.comb += wrong.eq(syndrome.any() & ~self.corrected)
        self.word, above = self._clamp(self.fixed[:size])
        self.detected: Value = wrong | above
        if guard.check_bits and guard.recovery != "keep":
            self.word = self._recovered(self.word, wrong)

    def _correct(self, stored: Value, syndrome: Signal) -> None:
        m, guard = self._m, self._p.guard
        places = dict(zip(guard.covered, guard.columns, strict=True))
        places |= {guard.word_bits + i: 1 << i for i in range(guard.check_bits)}
        flip = Signal(len(places))
        self.corrected = Signal(name="corrected_bit")
        m.d.comb += [
            flip.eq(Cat(syndrome == column for column in places.values())),
            self.corrected.eq(flip.any()),
        ]
        at = {bit: flip[i] for i, bit in enumerate(places)}
        self.fixed = Signal(len(stored), name="fixed")
        m.d.comb += self.fixed.eq(
            Cat(stored[bit] ^ at[bit] if bit in at else stored[bit] for bit in range(len(stored)))
        )

    def _clamp(self, word: Value) -> tuple[Value, Value]:
        """The word with its fields clamped, and whether one was above its bound."""
        m, guard = self._m, self._p.guard
        if guard.rule.clamp == "none":
            return word, Const(0, 1)
        made: list[Value] = []
        over: list[Value] = []
        for part in guard.parts:
            value = word[part.low : part.low + part.width]
            prefix = {"scale": "", "exponent": "exponent_"}.get(part.name)
            if prefix is None:
                made.append(value)
                continue
            high = self._limits[f"{prefix}high"]
            above, put = Signal(name="above"), Signal(part.width, name="clamped")
            m.d.comb += above.eq(value > high)
            if guard.rule.clamp == "window":
                low, below = self._limits[f"{prefix}low"], Signal(name="below")
                m.d.comb += below.eq(value < low)
                value = Mux(below, low, value)
            m.d.comb += put.eq(Mux(above, high, value))
            made.append(put)
            over.append(above)
        return Cat(made), Cat(over).any()

    def _recovered(self, word: Value, wrong: Value) -> Value:
        m, guard = self._m, self._p.guard
        made: list[Value] = []
        for part in guard.parts:
            value = word[part.low : part.low + part.width]
            if guard.recovery == "middle":
                if part.name in ("top", "element"):
                    made.append(value)
                    continue
                if part.name == "scale":
                    value = Mux(wrong, self._limits["middle"], value)[: part.width]
                    made.append(value)
                    continue
            made.append(value & (~wrong).replicate(part.width))
        recovered = Signal(guard.word_bits, name="recovered")
        m.d.comb += recovered.eq(Cat(made))
        return recovered
