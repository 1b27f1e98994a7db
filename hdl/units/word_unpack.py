"""Words to beats of blocks: a beat goes as the word comes that has its end. Latency 0.

There is a beat or a word a cycle, whichever there are more of.
"""

import math

from amaranth.hdl import Module, Mux, Signal, signed

from narrowgauge.golden.units.word_unpack import Params
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.gearbox import Gearbox

__all__ = ["WordUnpack"]


class WordUnpack(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.word_unpack.Params`

    Ports
    -----
    i : stream of `params.input`
    o : stream of `params.output`
    """

    latency = 0
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Take the window, count what is left of the last word, give the beat's fields."""
        m = Module()
        p = self._params
        word, beat = self.i.payload, self.o.payload
        box = Gearbox(m, word.word.as_value(), p.beat)
        end, more, take, give = (Signal(name=n) for n in ("end", "more", "take", "give"))

        # What the word has after this beat, in the largest unit that counts bytes and places.
        unit = math.gcd(box.unit, 8)
        most = max(box.a, box.c) * box.unit // unit
        left = Signal(signed(most.bit_length() + 1))
        m.d.comb += left.eq(
            (box.a - 1 - box.place) * (box.unit // unit) - self._empty(m) * (8 // unit)
        )
        m.d.comb += [
            end.eq(box.complete | word.last),
            more.eq(left >= p.beat // unit if box.a > box.c else 0),
            self.o.valid.eq(self.i.valid & end),
            self.i.ready.eq(~self.i.valid | (~more & (self.o.ready | ~end))),
            take.eq(self.i.valid & self.i.ready),
            give.eq(self.o.valid & self.o.ready),
            beat.last.eq(word.last & ~more),
            beat.cut.eq(beat.last & (left.as_unsigned() >= 8 // unit)),
        ]
        box.advance(take=take, give=give, restart=give & beat.last)
        rest = box.window
        for j in range(p.blocks):
            for i in range(j * p.group, (j + 1) * p.group):
                size = len(beat.codes[i])
                m.d.comb += beat.codes[i].eq(rest[:size])
                rest = rest[size:]
            m.d.comb += beat.scales[j].eq(rest[: p.exponent_bits])
            rest = rest[p.exponent_bits :]
        return m

    def _empty(self, m: Module) -> Signal:
        """Bytes of this word that do not count."""
        p = self._params
        empty = Signal(range(p.word_bytes))
        if p.word_bytes > 1:
            given = self.i.payload.empty
            most = p.word_bytes - 1
            clipped = given if most & (most + 1) == 0 else Mux(given > most, most, given)
            m.d.comb += empty.eq(Mux(self.i.payload.last, clipped, 0))
        return empty
