"""Operand memory of the cores: a queue of two vectors in memories with synchronous reads.

The vector that comes is written chunk by chunk, in order; it counts once it is whole. The oldest is
read word by word, over and over, one row after the other: the word of the next beat is fetched
while the present one is used, so that a row starts in the cycle after the one before.

`grains` = 2 lets a vector be of half the width: its chunks fill half as much of a word. What is
written at once has a bank of its own, so that writing it costs no more than that.

With a guard, words lie in the memory with their check bits, and leave it decoded.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.arith.word_guard import Params as GuardParams
from narrowgauge.hdl.arith.guard_code import Decoder, checks

__all__ = ["Operands"]


class Operands(wiring.Component):
    """See the module.

    Parameters
    ----------
    width : bits of a word
    depth : words of the longest vector
    chunk : bits that are written at once, a divisor of `width`
    grains : 1, or 2 where `write_half` may be set
    guard : what words are, where they are guarded; without bounds, `chunk` = `width`

    Ports
    -----
    write, data : In, a chunk of the vector that comes
    write_half : In, it is the lower half of a chunk, given twice
    write_end, write_keep : In, with the final chunk; whether the vector counts
    pop : In, forget the oldest vector
    restart : In, fetch the first word of the oldest
    advance, row_end : In, the present word was used; it was the row's last
    twice : In, every word serves two beats, `half` 0 and 1
    word, half : Out, the word of the next beat
    ready : Out, the oldest vector can be read
    corrected, detected : Out with a guard, of the word in its first cycle
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        chunk: int,
        grains: int = 1,
        guard: GuardParams | None = None,
    ) -> None:
        assert width % chunk == 0
        assert guard is None or (width == chunk == guard.guard.word_bits and not guard.guard.limits)
        self._guard = guard
        self._width, self._depth, self._chunk, self._grains = width, depth, chunk, grains
        inputs = ("write", "write_half", "write_end", "write_keep", "pop", "restart", "advance")
        super().__init__(
            {
                **{name: In(1) for name in (*inputs, "row_end", "twice")},
                "data": In(chunk),
                "word": Out(width),
                "half": Out(1),
                "ready": Out(1),
                **({} if guard is None else {"corrected": Out(1), "detected": Out(1)}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Banks, place of the next chunk, place of the present word."""
        m = Module()
        depth, grain = self._depth, self._chunk // self._grains
        parts = self._width // grain
        stored = grain if self._guard is None else self._guard.guard.stored_bits
        banks = [Memory(shape=stored, depth=2 * depth, init=[]) for _ in range(parts)]
        writes = [bank.write_port() for bank in banks]
        reads = [bank.read_port() for bank in banks]
        for part, bank in enumerate(banks):
            m.submodules[f"bank{part}"] = bank

        oldest, filled = Signal(), Signal(2)
        come = Signal()
        m.d.comb += [
            come.eq(self.write & self.write_end & self.write_keep),
            self.ready.eq(filled.any()),
        ]
        m.d.sync += filled.eq(filled + come - self.pop)
        with m.If(self.pop):
            m.d.sync += oldest.eq(~oldest)

        inside = (parts - 1).bit_length()
        place = Signal(inside + (depth - 1).bit_length())
        newest = Signal()
        with m.If(self.write):
            m.d.sync += place.eq(place + Mux(self.write_half, 1, self._grains))
            with m.If(self.write_end):
                m.d.sync += [place.eq(0), newest.eq(newest ^ self.write_keep)]
        write_word, read_word, fetch = (
            Signal(range(2 * depth), name="write_word"),
            Signal(range(2 * depth), name="read_word"),
            Signal(name="fetch"),
        )
        m.d.comb += write_word.eq(place[inside:] + Mux(newest, depth, 0))
        for part, write in enumerate(writes):
            here: Value = place[:inside] == part if inside else Const(1, 1)
            if self._grains == 2:
                here = Mux(self.write_half, here, place[1:inside] == part >> 1)
            given = self.data.word_select(part % self._grains, grain)
            if self._guard is not None:
                given = Cat(self.data, checks(self._guard, self.data))
            m.d.comb += [
                write.addr.eq(write_word),
                write.data.eq(given),
                write.en.eq(self.write & here),
            ]

        offset = Signal(range(max(2, depth)))
        following = Signal(range(max(2, depth)))
        again, stay = Signal(), Signal()
        shown: Value = Cat(read.data for read in reads)
        if self._guard is not None:
            found = Decoder(m, self._guard, reads[0].data, {})
            fetched = Signal()
            shown = found.word
            m.d.sync += fetched.eq(fetch)
            m.d.comb += [
                self.corrected.eq(found.corrected & fetched),
                self.detected.eq(found.detected & fetched),
            ]
        m.d.comb += [
            # The word serves its second beat next.
            again.eq(self.twice & ~self.half & ~self.row_end),
            following.eq(Mux(self.restart | self.row_end, 0, offset + ~again)),
            stay.eq(Mux(self.row_end, offset == 0, again)),
            read_word.eq(following + Mux(oldest, depth, 0)),
            fetch.eq(self.restart | (self.advance & ~stay)),
            self.word.eq(shown),
        ]
        for read in reads:
            m.d.comb += [read.addr.eq(read_word), read.en.eq(fetch)]
        with m.If(self.restart | self.advance):
            m.d.sync += [offset.eq(following), self.half.eq(again & ~self.restart)]
        return m
