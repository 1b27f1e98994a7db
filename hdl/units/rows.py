"""The memory of one row between two passes: one that writes it, one that reads it when it is whole.

The next row is written where this one has been read, never in the same cycle, so that the memory
may have any rule for such a meeting. Its read port is synchronous: the first word is asked for in
the cycle of `commit`, each other one as the one before it leaves.
"""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib.memory import Memory

__all__ = ["RowMemory"]


class RowMemory:
    """Memory and places of a row.

    Parameters
    ----------
    m : module that gets them
    width : bits of a word
    length : words, a power of two; what a row has beyond that is not kept
    valid, last, word : what is to be written, the row's last or not
    leave : the word that is read leaves where there is one

    Attributes
    ----------
    go, take : a word can be taken; is taken
    whole, full : the row that is written is whole; has more words than the memory
    free : the memory's row may be exchanged for the one that is whole
    commit : to be driven: it is, in this cycle; only where `whole` and `free`
    busy, final, data : a word is read; it is its row's last; it
    """

    def __init__(
        self,
        m: Module,
        *,
        width: int,
        length: int,
        valid: Value,
        last: Value,
        word: Value,
        leave: Value,
    ) -> None:
        m.submodules.row = memory = Memory(shape=width, depth=length, init=[])
        write, read = memory.write_port(), memory.read_port()
        places = (length - 1).bit_length()
        # The place of the next word; of the next to be read; and the one after the last of those.
        place, ahead, end = (Signal(places, name=n) for n in ("place", "ahead", "end"))
        after = Signal(places)
        emit = Signal()
        self.go, self.take = Signal(name="go"), Signal(name="take")
        self.whole, self.full = Signal(name="whole"), Signal(name="full")
        self.free, self.commit = Signal(name="free"), Signal(name="commit")
        self.busy, self.final = Signal(name="busy"), Signal(name="final")
        self.data = read.data
        m.d.comb += [
            self.go.eq(~self.whole & (self.full | ~self.busy | (place != ahead))),
            self.take.eq(valid & self.go),
            self.final.eq(ahead == end),
            emit.eq(self.busy & leave),
            self.free.eq(~self.busy | (emit & self.final)),
            after.eq(place + 1),
            write.addr.eq(place),
            write.data.eq(word),
            write.en.eq(self.take & ~self.full),
            read.addr.eq(Mux(self.commit, 0, ahead)),
            read.en.eq(self.commit | (emit & ~self.final)),
        ]
        with m.If(self.take):
            m.d.sync += [
                self.whole.eq(last),
                self.full.eq(self.full | (place.all() & ~last)),
            ]
            with m.If(~last & ~place.all()):
                m.d.sync += place.eq(after)
        with m.If(self.commit):
            m.d.sync += [self.whole.eq(0), self.full.eq(0), place.eq(0), end.eq(after)]
        with m.If(self.commit | emit):
            m.d.sync += [
                self.busy.eq(self.commit | ~self.final),
                ahead.eq(Mux(self.commit, 1, ahead + 1)),
            ]
