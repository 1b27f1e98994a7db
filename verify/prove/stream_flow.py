"""Where the data of a stream design may come from, over a model of its control.

One bit beside every node says that it may hold something foreign. It is exact where an AND meets a
control bit with a value, and cautious elsewhere: what it excludes is excluded, what it allows may
be impossible. Registers that behave alike share one bit, so the circuit stays small however wide
the data is.
"""

from collections.abc import Iterable, Mapping

from narrowgauge.verify.prove.stream_aig import FALSE, TRUE, Aig
from narrowgauge.verify.prove.stream_model import Model

__all__ = ["Watch", "strangers"]


_WIDE = 64
"""Terms of a sum from which on it is one literal."""


class Watch:
    """One transaction, any one, followed from input to output.

    Attributes
    ----------
    inside : the beat at the input belongs to it
    mine : the beat at the output belongs to it, by the count of what was due before it
    """

    def __init__(self, model: Model) -> None:
        aig = model.aig
        seen, within = aig.latch(), aig.latch()
        chosen = aig.all([aig.input("watch"), model.begins, seen ^ 1])
        self.inside = aig.either(within, chosen)
        now = aig.either(seen, chosen)
        aig.connect(within, aig.both(self.inside, model.completes ^ 1))
        aig.connect(seen, now)
        ahead = aig.register(model.depth)
        before = aig.pick(seen, ahead, model.owed)
        some = aig.any(before)
        aig.load(ahead, aig.minus_one(before, aig.both(model.finishes, some)))
        over = aig.latch()
        self.mine = aig.all([now, some ^ 1, over ^ 1])
        aig.connect(over, aig.either(over, aig.both(self.mine, model.finishes)))


def strangers(model: Model, own: int, *, garbage: bool = True) -> list[int]:
    """By node: it may hold something that is not of the watched transaction.

    `own` says that the beat at the input belongs to it. TDATA and TLAST where nothing is offered,
    TDATA of all other beats, and with `garbage` what the registers held before the reset are
    strangers.
    """
    net, aig = model.net, model.aig
    foreign = aig.both(model.offered, own) ^ 1
    leaves = {literal >> 1: foreign for literal in model.tdata}
    leaves |= {literal >> 1: model.offered ^ 1 for literal in net.port("s_axis_tlast")}
    # Registers in groups that may yet prove alike, split until all of a group have one future.
    starts = {node: int(garbage and net.after_reset[node] is None) for node in net.registers}
    group: dict[int, int] = dict(starts)
    while True:
        bits = {g: aig.latch(starts[node]) for node, g in group.items()}
        found = _spread(model, leaves | {node: bits[g] for node, g in group.items()})
        futures = {node: (group[node], found[x >> 1]) for node, x in net.registers.items()}
        distinct = {key: i for i, key in enumerate(dict.fromkeys(futures.values()))}
        if len(distinct) == len(bits):
            for node, (_, following) in futures.items():
                aig.connect(bits[group[node]], following)
            return found
        group = {node: distinct[key] for node, key in futures.items()}


Sum = frozenset[frozenset[int]]
"""An OR of ANDs of literals, none of which another covers: equal ones are written alike."""


class _Sums:
    """Sums made once each, and literals of them."""

    def __init__(self, aig: Aig) -> None:
        self._aig = aig
        self._either: dict[tuple[Sum, Sum], Sum] = {}
        self._both: dict[tuple[Sum, int], Sum] = {}

    def of(self, literal: int) -> Sum:
        if literal == FALSE:
            return frozenset()
        return frozenset([frozenset() if literal == TRUE else frozenset([literal])])

    def _reduced(self, terms: Iterable[frozenset[int]]) -> Sum:
        kept: list[frozenset[int]] = []
        for term in sorted(set(terms), key=len):
            if not any(other <= term for other in kept):
                kept.append(term)
        made = frozenset(kept)
        return made if len(made) <= _WIDE else self.of(self.literal(made))

    def either(self, a: Sum, b: Sum) -> Sum:
        if a is b or not b:
            return a
        if not a:
            return b
        if (a, b) not in self._either:
            self._either[a, b] = self._reduced(a | b)
        return self._either[a, b]

    def both(self, a: Sum, literal: int) -> Sum:
        if literal == TRUE or not a:
            return a
        if literal == FALSE:
            return frozenset()
        if (a, literal) not in self._both:
            terms = (term | {literal} for term in a if literal ^ 1 not in term)
            self._both[a, literal] = self._reduced(terms)
        return self._both[a, literal]

    def literal(self, a: Sum) -> int:
        terms = sorted(tuple(sorted(term)) for term in a)
        return self._aig.any(self._aig.all(term) for term in terms)


def _spread(model: Model, leaves: Mapping[int, int]) -> list[int]:
    """The bit of every node from those of inputs and registers."""
    zero, one, sums = model.zero, model.one, _Sums(model.aig)
    none = sums.of(FALSE)
    found = [none] * model.net.size
    for node, bit in leaves.items():
        found[node] = sums.of(bit)
    for node, a, b in model.net.gates:
        x, y = found[a >> 1], found[b >> 1]
        if x is none and y is none:
            continue
        made = sums.either(x, y)
        # A known 0 on one side hides the other.
        for literal, side in ((a, x), (b, y)):
            nought = (one if literal & 1 else zero)[literal >> 1]
            if nought != FALSE:
                hidden = model.aig.both(nought, sums.literal(side) ^ 1)
                made = sums.both(made, hidden ^ 1)
        found[node] = made
    known: dict[Sum, int] = {}
    for each in found:
        if each not in known:
            known[each] = sums.literal(each)
    return [known[each] for each in found]
