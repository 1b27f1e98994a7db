"""Beats of blocks to words: a word goes as the beat comes that has its end.

Where a tensor's last beat reaches into one more word, that word goes in the cycle after. Otherwise
latency is 0, and there is a beat or a word a cycle, whichever there are more of.
"""

from amaranth.hdl import Cat, Module, Mux, Signal

from narrowgauge.golden.units.word_pack import Params
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.gearbox import Gearbox

__all__ = ["WordPack"]


class WordPack(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.word_pack.Params`

    Ports
    -----
    i : stream of `params.input`
    o : stream of `params.output`
    """

    latency = None
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Lay out the beat, take the window, end the tensor."""
        m = Module()
        p = self._params
        beat, word = self.i.payload, self.o.payload
        flush = Signal()
        data = Signal(p.beat)
        laid = Cat(
            Cat(*(beat.codes[j * p.group + i] for i in range(p.group)), beat.scales[j])
            for j in range(p.blocks)
        )
        box = Gearbox(m, data, p.word)
        end, final, take, give = (Signal(name=n) for n in ("end", "final", "take", "give"))
        m.d.comb += [
            data.eq(laid & (~flush).replicate(p.beat)),
            # A word ends with this beat, or with the tensor; the tensor ends with this word.
            end.eq(box.complete | beat.last),
            final.eq(flush | (beat.last & (box.place >= box.a - 1))),
            self.o.valid.eq(flush | (self.i.valid & end)),
            self.i.ready.eq(~flush & ~box.more & (self.o.ready | ~self.o.valid)),
            take.eq(self.i.valid & self.i.ready),
            give.eq(self.o.valid & self.o.ready),
            word.word.eq(box.window),
            word.last.eq(final),
        ]
        box.advance(take=take, give=give, restart=give & final)
        if box.a > 1:
            with m.If(flush):
                m.d.sync += flush.eq(~self.o.ready)
            with m.Elif(take):
                m.d.sync += flush.eq(beat.last & ~final)
        if p.word_bytes > 1:
            # What the window has beyond the beat, or in the last word beyond what is kept.
            beyond = Signal(len(box.place) + 1)
            m.d.comb += [
                beyond.eq(box.place + Mux(flush, 1, 1 - box.a)),
                word.empty.eq(Mux(final, (beyond * box.unit) >> 3, 0)),
            ]
        return m
