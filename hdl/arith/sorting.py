"""The largest of values, and the n largest elements of a list with their positions.

`Sorter` builds Batcher's odd-even merges, of which only what can reach the first places wanted is
kept. Source: K. E. Batcher, "Sorting networks and their applications", AFIPS 1968.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value

__all__ = ["Rank", "Sorter", "largest"]


def largest(m: Module, values: list[Value], name: str) -> Value:
    """The largest of unsigned values, by a tree."""
    level = 0
    while len(values) > 1:
        kept: list[Value] = []
        for i in range(0, len(values) - 1, 2):
            a, b = values[i], values[i + 1]
            above = Signal(name=f"{name}_{level}_{i}_above")
            winner = Signal(max(len(a), len(b)), name=f"{name}_{level}_{i}")
            m.d.comb += [above.eq(a > b), winner.eq(Mux(above, a, b))]
            kept.append(winner)
        values = kept + values[len(values) & ~1 :]
        level += 1
    return values[0]


class Rank:
    """An element of a sorted list: magnitude, sign, and position in the block.

    One stands before another where its magnitude is larger, or equal at a lower position.
    """

    def __init__(self, magnitude: Value, sign: Value, position: Value) -> None:
        self.magnitude, self.sign, self.position = magnitude, sign, position

    @property
    def fields(self) -> dict[str, Value]:
        """All three by name."""
        return {"magnitude": self.magnitude, "sign": self.sign, "position": self.position}


class Sorter:
    """Batcher's odd-even merges in a module, of lists sorted from the largest down.

    Only what can reach the first `most` places is built. `compared` is how many low bits of two
    positions can differ.
    """

    def __init__(self, m: Module, name: str, *, most: int, compared: int) -> None:
        self._m, self._name, self._most, self._compared = m, name, most, compared
        self._count = 0

    def sort(self, ranks: list[Rank]) -> list[Rank]:
        """The first `most` of a list in any order."""
        half = len(ranks) // 2
        if not half:
            return ranks
        return self.merge(self.sort(ranks[:half]), self.sort(ranks[half:]), self._most)

    def merge(self, a: list[Rank], b: list[Rank], most: int) -> list[Rank]:
        """The first `most` of two sorted lists."""
        a, b = a[:most], b[:most]
        if not a or not b or not most:
            return a or b
        if len(a) == len(b) == 1:
            return self._exchange(a[0], b[0], both=most > 1)
        even = self.merge(a[::2], b[::2], most // 2 + 1)
        odd = self.merge(a[1::2], b[1::2], (most + 1) // 2)
        merged = even[:1]
        for i, low in enumerate(odd):
            if i + 1 < len(even):
                merged += self._exchange(even[i + 1], low, both=len(merged) + 2 <= most)
            else:
                merged.append(low)
        return (merged + even[len(odd) + 1 :])[:most]

    def _exchange(self, a: Rank, b: Rank, *, both: bool) -> list[Rank]:
        """Two elements in order, or only the first of them."""
        name = f"{self._name}{self._count}"
        self._count += 1
        swap = Signal(name=f"{name}_swap")
        keys = [Cat(~r.position[: self._compared], r.magnitude) for r in (a, b)]
        self._m.d.comb += swap.eq(keys[1] > keys[0])
        made = []
        for label, yes, no in (("high", b, a), ("low", a, b))[: 1 + both]:
            picked = {}
            for field, value in yes.fields.items():
                picked[field] = Signal(len(value), name=f"{name}_{label}_{field}")
                self._m.d.comb += picked[field].eq(Mux(swap, value, no.fields[field]))
            made.append(Rank(**picked))
        return made
