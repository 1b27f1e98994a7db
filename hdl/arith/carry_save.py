"""Sums of many bits with full and half adders, the earliest bits first.

A `CarrySave` collects bits by weight. `total` reduces the columns from the lowest up: three bits
become a sum bit and a carry until one is left, always the three that arrive first, so that late
bits meet few adders and the tree is both as small and as shallow as full adders make it. Nothing
is ever sign-extended: a sign bit is added inverted and one constant mends all of them.

Sums written so are 9 to 17 % smaller than the same written with `+`, of which Yosys makes trees of
its own; docs/synthesis.md has the figures.
"""

import heapq

from amaranth.hdl import Cat, Const, Module, Signal, Value

__all__ = ["CarrySave"]

_XOR = 2
"""Delay of an exclusive-or, in half gates; the carry of a half adder is one."""


class CarrySave:
    """A sum modulo 2**width, under construction in a module.

    Parameters
    ----------
    m : module that gets the adders
    width : bits of the total
    name : prefix of the adders' signals
    """

    def __init__(self, m: Module, width: int, name: str) -> None:
        self._m = m
        self._width = width
        self._name = name
        self._columns: list[list[tuple[int, int, Value]]] = [[] for _ in range(width)]
        self._constant = 0
        self._order = 0
        self._adders = 0

    def add_bit(self, bit: Value, weight: int, *, arrival: int = 0) -> None:
        """Add bit * 2**weight; `arrival` says how late the bit is, in half gates."""
        if weight < self._width:
            heapq.heappush(self._columns[weight], (arrival, self._order, bit))
            self._order += 1

    def add(self, value: Value, weight: int = 0, *, arrival: int = 0) -> None:
        """Add value * 2**weight, a signed value as such."""
        shape = value.shape()
        for i in range(shape.width - shape.signed):
            self.add_bit(value[i], weight + i, arrival=arrival)
        if shape.signed:
            # -s * 2**t = (1 - s) * 2**t - 2**t
            self.add_bit(~value[-1], weight + shape.width - 1, arrival=arrival)
            self.add_constant(-1 << (weight + shape.width - 1))

    def add_constant(self, value: int) -> None:
        """Add a constant of any sign."""
        self._constant += value

    def total(self) -> Value:
        """The sum; call it once."""
        for weight in range(self._width):
            if self._constant >> weight & 1:
                self.add_bit(Const(1, 1), weight)
        bits: list[Value] = []
        for weight, column in enumerate(self._columns):
            while len(column) > 1:
                self._reduce(column, weight)
            bits.append(column[0][2] if column else Const(0, 1))
        return Cat(*bits)

    def _reduce(self, column: list[tuple[int, int, Value]], weight: int) -> None:
        """Three bits, or the last two, of a column become one of it and one of the next."""
        taken = [heapq.heappop(column) for _ in range(min(3, len(column)))]
        name = f"{self._name}_{weight}_{self._adders}"
        self._adders += 1
        s = Signal(name=f"{name}_s")
        c = Signal(name=f"{name}_c")
        bits = [bit for _, _, bit in taken]
        if len(bits) == 2:
            a, b = bits
            late = max(taken[0][0], taken[1][0])
            self._m.d.comb += [s.eq(a ^ b), c.eq(a & b)]
            s_late, c_late = late + _XOR, late + 1
        else:
            a, b, d = bits
            half = Signal(name=f"{name}_h")
            self._m.d.comb += [half.eq(a ^ b), s.eq(half ^ d), c.eq((a & b) | (d & half))]
            s_late = c_late = max(max(taken[0][0], taken[1][0]) + _XOR, taken[2][0]) + _XOR
        self.add_bit(s, weight, arrival=s_late)
        self.add_bit(c, weight + 1, arrival=c_late)
