"""A queue of a few words in registers, between two streams."""

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Queue"]


class Queue(wiring.Component):
    """Words in the order in which they came; one in and one out a cycle.

    `i.ready` says that a place is free, `o.valid` that a word is there; neither depends on the
    other stream within a cycle. A word is at the output the cycle after it came.

    Parameters
    ----------
    shape : of a word
    depth : places, at least 2

    Ports
    -----
    i, o : streams of `shape`
    """

    def __init__(self, shape: Any, depth: int) -> None:
        assert depth >= 2
        self._shape, self._depth = shape, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        """Places, two pointers, a count."""
        m = Module()
        depth = self._depth
        places = [Signal(self._shape, name=f"place{j}", reset_less=True) for j in range(depth)]
        write, read = Signal(range(depth)), Signal(range(depth))
        spare = [places[-1]] * ((1 << len(read)) - depth)
        count = Signal(range(depth + 1))
        put, get = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(count != depth),
            self.o.valid.eq(count != 0),
            # Every number that the pointer can hold has a place, so that no case is open.
            self.o.payload.eq(Array([*places, *spare])[read]),
            put.eq(self.i.valid & self.i.ready),
            get.eq(self.o.valid & self.o.ready),
        ]
        for j, place in enumerate(places):
            with m.If(put & (write == j)):
                m.d.sync += place.eq(self.i.payload)
        for pointer, moved in ((write, put), (read, get)):
            with m.If(moved):
                m.d.sync += pointer.eq(Mux(pointer == depth - 1, 0, pointer + 1))
        m.d.sync += count.eq(count + put - get)
        return m
