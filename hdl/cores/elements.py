"""Memory of the baseline cores: two vectors of bf16 elements, and the probabilities of a row.

One memory serves both, so that the array has one source: the words of two vectors, then those of
the probabilities. A vector comes chunk by chunk, a probability alone; behind the final one a write
of zeros fills up the word. Both are read word by word, over and over, one row after the other: the
word of the next beat is fetched while the present one is used, and not at all where it is the same.

The banks are two elements wide, as narrow as those of `opal_core`: a write costs little more than
what is written.
"""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["Elements"]

_BANK = 2
"""Elements of a word of one bank."""


class Elements(wiring.Component):
    """See the module.

    Parameters
    ----------
    lanes, q_lanes : elements of a word, and of a chunk
    depth : words of the longest vector
    shares : words of the most probabilities

    Ports
    -----
    write, data : In, a chunk of the vector that comes
    write_end, write_keep : In, with the final chunk; whether the vector counts
    share_write, share, share_end : In, a probability; it is the row's last
    values : In, probabilities are read, else the oldest vector
    pop : In, forget the oldest vector
    restart : In, fetch the first word of the oldest
    advance, row_end : In, the present word was used; it was the row's last
    word : Out, the word of the next beat
    ready, shares_ready : Out, the oldest vector, the probabilities can be read; the latter until
        `values` ends
    """

    def __init__(self, *, lanes: int, q_lanes: int, depth: int, shares: int) -> None:
        self._lanes, self._q_lanes, self._depth, self._shares = lanes, q_lanes, depth, shares
        inputs: tuple[str, ...] = ("write", "write_end", "write_keep", "share_write", "share_end")
        inputs += ("values", "pop", "restart", "advance", "row_end")
        super().__init__(
            {
                **{name: In(1) for name in inputs},
                "data": In(16 * q_lanes),
                "share": In(16),
                "word": Out(16 * lanes),
                "ready": Out(1),
                "shares_ready": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Banks, the place that is written, the word that is read."""
        m = Module()
        lanes, q_lanes, depth = self._lanes, self._q_lanes, self._depth
        words = 2 * depth + self._shares
        banks = [Memory(shape=16 * _BANK, depth=words, init=[]) for _ in range(lanes // _BANK)]

        # The place in elements; that of a chunk is the place of its last element.
        inside = (lanes - 1).bit_length()
        place = Signal(inside + max(depth, self._shares).bit_length())
        newest, oldest = Signal(), Signal()
        held = Signal(2)
        # The cycle after the final write fills up its word.
        fill, fill_shares, keep = Signal(), Signal(), Signal()
        final = Signal()
        chunk = q_lanes - 1
        at = Signal.like(place)
        m.d.comb += [
            final.eq((self.write & self.write_end) | (self.share_write & self.share_end)),
            at.eq(place | Mux(self.write, chunk, 0)),
        ]
        m.d.sync += [fill.eq(final), fill_shares.eq(self.share_write), keep.eq(self.write_keep)]
        with m.If(fill):
            m.d.sync += place.eq(0)
        with m.Elif(final):
            m.d.sync += place.eq(at)
        with m.Elif(self.write | self.share_write):
            m.d.sync += place.eq(at + 1)
        come = Signal()
        m.d.comb += [come.eq(fill & ~fill_shares & keep), self.ready.eq(held.any())]
        m.d.sync += [
            held.eq(held + come - self.pop),
            newest.eq(newest ^ come),
            oldest.eq(oldest ^ self.pop),
        ]

        address = Signal(range(words))
        to_shares = Signal()
        m.d.comb += [
            to_shares.eq(Mux(fill, fill_shares, self.share_write)),
            address.eq(
                place[inside:] + Mux(to_shares, 2 * depth, Mux(newest, depth, 0)),
            ),
        ]
        written = Signal(16 * q_lanes)
        for j in range(q_lanes):
            element = Mux(self.share_write, self.share, self.data.word_select(j, 16))
            m.d.comb += written.word_select(j, 16).eq(Mux(fill, 0, element))

        offset = Signal(range(max(2, depth, self._shares)))
        following = Signal.like(offset)
        stay, fetch = Signal(), Signal()
        m.d.sync += fetch.eq(fill & fill_shares)
        with m.If(fetch):
            m.d.sync += self.shares_ready.eq(1)
        with m.Elif(~self.values):
            m.d.sync += self.shares_ready.eq(0)
        read_address = Signal(range(words))
        enable = Signal()
        m.d.comb += [
            following.eq(Mux(self.restart | fetch | self.row_end, 0, offset + 1)),
            stay.eq(self.row_end & (offset == 0)),
            enable.eq(self.restart | fetch | (self.advance & ~stay)),
            read_address.eq(
                following + Mux(self.values, 2 * depth, Mux(oldest, depth, 0)),
            ),
        ]
        with m.If(enable):
            m.d.sync += offset.eq(following)

        for number, bank in enumerate(banks):
            m.submodules[f"bank{number}"] = bank
            write, read = bank.write_port(granularity=16), bank.read_port()
            m.d.comb += [
                write.addr.eq(address),
                read.addr.eq(read_address),
                read.en.eq(enable),
                self.word.word_select(number, 16 * _BANK).eq(read.data),
            ]
            for part in range(_BANK):
                j = number * _BANK + part
                m.d.comb += [
                    write.data.word_select(part, 16).eq(written.word_select(j % q_lanes, 16)),
                    write.en[part].eq(
                        (fill & (place[:inside] < j) if j else Const(0, 1))
                        | (self.write & ((place[:inside] | chunk) == (j | chunk)))
                        | (self.share_write & (place[:inside] == j))
                    ),
                ]
        return m
