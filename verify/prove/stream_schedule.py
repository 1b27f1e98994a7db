"""That answers do not depend on when beats come and go.

Every schedule gives the beats of the patient one, in which each beat is offered alone and the
design comes to rest before the next. Two lemmas show it, for every reachable state of the control
and any data (`stream_states`): a step that takes no beat, followed by rest, gives what rest alone
gives; a step that takes a beat gives what taking it after rest gives. Data are terms: the sequence
of functions that made them. By induction over the cycles every run then gives what the patient one
gives, in the same order, bit for bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.verify.prove.stream_replay import Frame
from narrowgauge.verify.prove.stream_states import BEAT, Effect, Graph, Input, Step

__all__ = ["Difference", "Schedules"]

_REST = Input(0, 0, 1)

Terms = tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """A step that breaks a lemma."""

    state: int
    driven: Input


@dataclass(frozen=True)
class _Rested:
    """What is given until the design rests, the state then, and the data."""

    given: tuple[int, ...]
    state: int
    terms: Terms


class Schedules:
    """The lemmas over a graph of states.

    Parameters
    ----------
    graph : of the design
    patience : cycles within which a design has to come to rest (else a `NarrowgaugeError`)
    """

    def __init__(self, graph: Graph, patience: int) -> None:
        self._graph = graph
        self._patience = patience
        self._terms: dict[object, int] = {}
        self._garbage = 0
        self._live = _live(graph)
        self.longest = 0
        """Cycles that the design took to come to rest, at most."""

    def _term(self, key: object) -> int:
        return self._terms.setdefault(key, len(self._terms))

    def _any(self) -> int:
        """A term that is equal to no other: what is on the bus between beats."""
        self._garbage += 1
        return self._term(("anything", self._garbage))

    def _apply(self, effect: Effect, terms: Terms) -> int:
        if effect.source is not None:
            return terms[effect.source]
        return self._term((effect.function, tuple(terms[g] for g in effect.reads)))

    def _do(self, step: Step, terms: Terms, beat: int) -> tuple[tuple[int, ...], Terms]:
        """What a step gives, and the data after it; the first term is the beat's place."""
        now = (beat, *terms[1:])
        given = (self._apply(step.output, now),) if step.given else ()
        after = [self._apply(effect, now) for effect in step.effects]
        return given, (BEAT, *after)

    def _rest(self, state: int, terms: Terms) -> _Rested:
        given: tuple[int, ...] = ()
        for cycle in range(self._patience):
            step = self._graph.steps[state][_REST]
            still = all(
                effect.source == g or not self._live[state] >> g & 1
                for g, effect in enumerate(step.effects, 1)
            )
            if step.target == state and not step.given and still:
                self.longest = max(self.longest, cycle)
                return _Rested(given, state, terms)
            more, terms = self._do(step, terms, self._any())
            given, state = given + more, step.target
        raise NarrowgaugeError(f"the design does not come to rest within {self._patience} cycles")

    def _alike(self, a: _Rested, b: _Rested) -> bool:
        if a.given != b.given or a.state != b.state:
            return False
        live = self._live[a.state]
        return all(
            x == y for g, (x, y) in enumerate(zip(a.terms, b.terms, strict=True)) if live >> g & 1
        )

    def differences(self) -> Iterator[Difference]:
        """Steps that break a lemma, those that need the fewest cycles first."""
        graph = self._graph
        base = tuple(self._term(("before", g)) for g in range(graph.groups))
        beat = self._term("beat")
        for state, steps in enumerate(graph.steps):
            alone = self._rest(state, base)
            for driven, step in steps.items():
                given, terms = self._do(step, base, beat if step.taken else self._any())
                after = self._rest(step.target, terms)
                here = _Rested(given + after.given, after.state, after.terms)
                there = alone
                if step.taken:
                    offered = graph.steps[alone.state][Input(1, driven.last, 1)]
                    if not offered.taken:
                        yield Difference(state, driven)
                        continue
                    more, terms = self._do(offered, alone.terms, beat)
                    last = self._rest(offered.target, terms)
                    there = _Rested(alone.given + more + last.given, last.state, last.terms)
                if not self._alike(here, there):
                    yield Difference(state, driven)

    def runs(self, found: Difference) -> tuple[tuple[Frame, ...], tuple[Frame, ...], int]:
        """The run into a difference, the patient run of its beats, and the state they start in."""
        graph = self._graph
        path = [found.driven]
        state = found.state
        while (origin := graph.reached[state]) is not None:
            state, driven = origin
            path.insert(0, driven)
        start = state
        hasty: list[Frame] = []
        beats = []
        for driven in path:
            step = graph.steps[state][driven]
            hasty.append(_frame(driven, step))
            if step.taken:
                beats.append(driven.last)
            state = step.target
        rest = [Frame(valid=0, last=0, ready=1, taken=0)] * (self.longest + 2)
        calm = list(rest)
        for last in beats:
            calm += [Frame(valid=1, last=last, ready=1, taken=1), *rest]
        # What was left different shows in the answer at the latest.
        end: list[Frame] = []
        position = graph.states[state][-1]
        for _ in range(graph.block - position if position or not _ended(beats) else 0):
            position += 1
            last = int(graph.marked and position == graph.block)
            end += [Frame(valid=1, last=last, ready=1, taken=1), *rest]
        return (*hasty, *rest, *end), (*calm, *end), start


def _ended(beats: list[int]) -> bool:
    return bool(beats) and bool(beats[-1])


def _frame(driven: Input, step: Step) -> Frame:
    return Frame(valid=driven.valid, last=driven.last, ready=driven.ready, taken=int(step.taken))


def _live(graph: Graph) -> list[int]:
    """By state, a bit for each data group whose value may still reach the output."""
    live = [0] * len(graph.steps)
    grown = True
    while grown:
        grown = False
        for state in reversed(range(len(live))):
            mask = live[state]
            for step in graph.steps[state].values():
                later = live[step.target]
                for g, effect in enumerate(step.effects, 1):
                    if later >> g & 1:
                        mask |= _mask(effect)
                if step.given:
                    mask |= _mask(step.output)
            mask &= ~(1 << BEAT)
            if mask != live[state]:
                live[state] = mask
                grown = True
    return live


def _mask(effect: Effect) -> int:
    return sum(1 << g for g in effect.reads)
