"""Pieces of one size to pieces of another, end to end: where pieces of a stream lie in another's.

The bits that came last stand before those that come, and a window over both is what goes out. Input
bits are kept where they stand, so that no register has a multiplexer but that of its enable, and
the window's place is the only state beside them.
"""

import math

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

__all__ = ["Gearbox"]


class Gearbox:
    """Adds it to a module.

    With g = gcd(bits that come, bits that go), a = the first / g, c = the other / g: the kept bits
    are c - 1 times g, the window begins at `place` times g, 0..max(a, c) - 1.

    Parameters
    ----------
    m : module that gets it
    data : the piece that comes, gated where it is not there and zeros are to be read
    size : bits of a piece that goes

    Attributes
    ----------
    window : the piece that goes, zeros where there is no data yet
    unit, a, c : as above
    place : as above; its complement to c - 1 is how much of the window is kept bits
    complete : the window ends within `data`
    more : and another one does
    """

    def __init__(self, m: Module, data: Value, size: int) -> None:
        self._m = m
        self._data = data
        self.unit = unit = math.gcd(len(data), size)
        self.a = a = len(data) // unit
        self.c = c = size // unit
        most = max(a, c) - 1
        self.place = place = Signal(range(most + 1), init=c - 1, name="place")
        self._kept = kept = Signal(size - unit, name="kept", reset_less=True)
        self.complete = place < a if a < c else Const(1, 1)
        self.more = place < a - c if a > c else Const(0, 1)
        current: Value = Cat(kept, data, Const(0, unit * max(0, c - a)))
        for bit in reversed(range(most.bit_length())):
            step = unit << bit
            stage = Signal(
                min(len(current), size + step - unit),
                name=f"window_{step}",
            )
            # What lies beyond the field is never in the window: any bit does there.
            moved = current[step:]
            width = min(len(moved), len(stage))
            m.d.comb += stage.eq(
                Cat(
                    Mux(place[bit], moved[:width], current[:width]),
                    current[width : len(stage)],
                )
            )
            current = stage
        self.window = current[:size]

    def advance(self, *, take: Value, give: Value, restart: Value) -> None:
        """On to the next pieces.

        Parameters
        ----------
        take, give : a piece comes, goes
        restart : the next piece that goes begins with the next that comes
        """
        m, a, c, place = self._m, self.a, self.c, self.place
        if len(self._kept):
            with m.If(take):
                m.d.sync += self._kept.eq(Cat(self._kept, self._data)[-len(self._kept) :])
        if a == c:
            return
        if a < c:
            # Without a wrap where c is a power of two.
            after = place - a if c & (c - 1) == 0 else Mux(self.complete, place + c - a, place - a)
        else:
            after = place + c if a & (a - 1) == 0 else Mux(self.more, place + c, place + c - a)
        with m.If(restart):
            m.d.sync += place.eq(c - 1)
        with m.Elif(take if a < c else give):
            m.d.sync += place.eq(after)
