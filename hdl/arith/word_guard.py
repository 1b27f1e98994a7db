"""A guarded word: encoder, flips, decoder, one behind the other."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.arith.word_guard import Params
from narrowgauge.hdl.arith.guard_code import Decoder, checks

__all__ = ["WordGuard"]


class WordGuard(wiring.Component):
    """Check bits of a word, what is flipped of both, and the word that comes back.

    Combinational.

    Parameters
    ----------
    params : see `narrowgauge.golden.arith.word_guard.Params`

    Ports
    -----
    word : In, its bits
    flips : In, of its bits and check bits
    low, high, middle, exponent_low, exponent_high : In, 8 bits each, as far as the kind has them
    o : Out, the word
    corrected, detected : Out
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        guard = params.guard
        super().__init__(
            {
                "word": In(data.ArrayLayout(1, guard.word_bits)),
                "flips": In(data.ArrayLayout(1, guard.stored_bits)),
                **{name: In(8) for name in guard.limits},
                "o": Out(data.ArrayLayout(1, guard.word_bits)),
                "corrected": Out(1),
                "detected": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """One behind the other."""
        m = Module()
        p = self._params
        word = self.word.as_value()
        stored = Signal(p.guard.stored_bits)
        m.d.comb += stored.eq(Cat(word, checks(p, word)) ^ self.flips.as_value())
        found = Decoder(m, p, stored, {name: getattr(self, name) for name in p.guard.limits})
        m.d.comb += [
            self.o.as_value().eq(found.word),
            self.corrected.eq(found.corrected),
            self.detected.eq(found.detected),
        ]
        return m
