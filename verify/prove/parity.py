"""A linear code in a design: its columns by algebra over two elements, its distance, its decoder.

1. The syndrome's cone is exclusive-ors alone, so each of its bits is the parity of some inputs, and
   each flip has a column: the syndrome of that flip alone. What is not a flip must cancel.
2. Columns of the code's bits are not 0, all different, and no two add up to 0 or to a column; of
   other bits they are 0. So no flip, one and two are told apart, whatever the word is.
3. With any value in place of the syndrome a solver proves what the decoder does for each of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.verify.prove.algebra import FoundError
from narrowgauge.verify.prove.claims import Claim, Context, Counterexample, Proof, Stopwatch
from narrowgauge.verify.prove.gates import Gates, gates
from narrowgauge.verify.prove.search import search
from narrowgauge.verify.prove.smt import Case, Smt, Wire

__all__ = ["Parity"]


@dataclass(frozen=True, kw_only=True)
class Parity(Claim):
    """One flip is told from none and from two, and the decoder does with each what it should.

    Parameters
    ----------
    syndrome : path of the wire
    bits : its width
    flips : field of the input, one bit a flip
    code : bits of that field that the code has
    prelude, cases : SMT-LIB, of the columns of `code`; they may name `syndrome`
    """

    syndrome: str
    bits: int
    flips: str
    code: tuple[int, ...]
    prelude: Callable[[tuple[int, ...]], str]
    cases: Callable[[tuple[int, ...]], tuple[Case, ...]]

    def settle(self, context: Context) -> Proof:
        """The three steps in order; where one fails, look for a counterexample."""
        watch = Stopwatch()
        made = gates(context.design.text, context.design.name, optimised=False)
        try:
            columns = _columns(self, context, made)
        except FoundError as error:
            if (shown := search(context)) is not None:
                return self.proof("refuted", watch.seconds, counterexample=shown)
            return self.proof("unknown", watch.seconds, reason=str(error))
        alike = _alike(columns)
        if alike is not None:
            places = [self.code[i] for i in alike]
            shown = _shown(self, context, places)
            return self.proof("refuted", watch.seconds, counterexample=shown)
        rest = Smt(
            claim=self.claim,
            method=self.method,
            size=self.size,
            prelude=self.prelude(columns),
            cases=self.cases(columns),
            wires=(Wire("syndrome", self.syndrome, self.bits, cut=True),),
        ).settle(context)
        return self.proof(
            rest.status, watch.seconds, counterexample=rest.counterexample, reason=rest.reason
        )


def _columns(claim: Parity, context: Context, made: Gates) -> tuple[int, ...]:
    """Columns of the code's bits; of the other flips they must be 0."""
    if claim.syndrome not in made.names:
        raise NarrowgaugeError(f"the design has no wire {claim.syndrome!r}")
    rows = _parities(made, made.names[claim.syndrome])
    offset = 0
    for field in context.params.input.fields:
        if field.name == claim.flips:
            break
        offset += field.bits
    given = made.inputs["s_axis_tdata"]
    flips = given[offset : offset + context.params.input[claim.flips].bits]
    left = set().union(*rows) - set(flips)
    if left:
        raise FoundError(f"the syndrome depends on {len(left)} bits that are no flips")
    column = [sum((net in row) << i for i, row in enumerate(rows)) for net in flips]
    if any(column[i] for i in set(range(len(flips))) - set(claim.code)):
        raise FoundError("a flip outside the code reaches the syndrome")
    return tuple(column[i] for i in claim.code)


def _parities(made: Gates, nets: tuple[int, ...]) -> list[frozenset[int]]:
    """Of each net the inputs that it is the parity of, with 1 where it is inverted."""
    forms: dict[int, frozenset[int]] = {0: frozenset(), 1: frozenset((1,))}
    for gate in made.cone(nets):
        parts = [forms.get(net, frozenset((net,))) for net in gate.inputs]
        if gate.kind not in ("buf", "not", "xor", "xnor"):
            raise FoundError(f"the syndrome has a gate {gate.kind}")
        form = frozenset((1,)) if gate.kind in ("not", "xnor") else frozenset()
        for part in parts:
            form ^= part
        forms[gate.output] = form
    return [forms.get(net, frozenset((net,))) for net in nets]


def _alike(columns: tuple[int, ...]) -> tuple[int, ...] | None:
    """Up to three bits whose columns add up to 0, or None."""
    place: dict[int, int] = {}
    for i, column in enumerate(columns):
        if not column:
            return (i,)
        if column in place:
            return (place[column], i)
        place[column] = i
    for i, column in enumerate(columns):
        for j in range(i):
            if column ^ columns[j] in place:
                return tuple(sorted({i, j, place[column ^ columns[j]]}))
    return None


def _shown(claim: Parity, context: Context, places: list[int]) -> Counterexample:
    """At most two flips that the code does not see as what they are."""
    params = context.params
    flips = [0] * params.input[claim.flips].bits
    for place in places[:2]:
        flips[place] = 1
    batch = params.input.beats(1, **{claim.flips: [flips]})
    text = f"flips {', '.join(map(str, places))} of {claim.flips} add up to no syndrome"
    return Counterexample(text=text, batch={name: each.tolist() for name, each in batch.items()})
