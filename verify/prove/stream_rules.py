"""The rules of a stream as circuits that must never raise their output."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.verify.prove import pdr
from narrowgauge.verify.prove.stream_aig import TRUE, Bits
from narrowgauge.verify.prove.stream_bounds import reached
from narrowgauge.verify.prove.stream_flow import Watch, strangers
from narrowgauge.verify.prove.stream_keep import selects, unchanged
from narrowgauge.verify.prove.stream_model import Model
from narrowgauge.verify.prove.stream_question import (
    Question,
    Settled,
    bounded,
    counted_model,
    driven,
    handshake,
    payload,
    settled,
)
from narrowgauge.verify.prove.stream_replay import Frame
from narrowgauge.verify.prove.stream_schedule import Schedules
from narrowgauge.verify.prove.stream_states import Graph

__all__ = ["RULES"]


def _hold(question: Question) -> Settled:
    model = Model(question.net, question.shape)
    aig = model.aig
    falls = aig.both(aig.delay(model.stuck), model.shown ^ 1)
    early = aig.all([model.first, model.shown, model.offered ^ 1])
    outcome = pdr.reach(aig, aig.either(falls, early), question.limit)
    return settled(model, outcome)


def _stable(question: Question) -> Settled:
    model = Model(question.net, question.shape)
    aig = model.aig
    same = unchanged(model)
    moved = aig.any(same[x >> 1] ^ 1 for x in payload(question.net))
    bad = aig.all([aig.delay(model.stuck), model.shown, moved])
    return settled(model, pdr.reach(aig, bad, question.limit))


def _apart(question: Question) -> Settled:
    model = Model(question.net, question.shape)
    aig = model.aig
    ready = aig.inputs["ready"]
    low, high = (aig.fixed(model.shown, ready, value) for value in (0, 1))
    outcome = pdr.reach(aig, aig.differ(low, high), question.limit)
    if outcome.status != "refuted":
        return Settled(status=outcome.status)
    runs = []
    for value in (0, 1):
        frames = (*outcome.frames[:-1], {**outcome.frames[-1], "ready": value})
        run, start, _ = driven(model, frames, None)
        runs.append(run)
    return Settled(status="refuted", runs=tuple(runs), start=start)


def _count(question: Question) -> Settled:
    model, bound = counted_model(question)
    aig, shape = model.aig, question.shape
    none = aig.any(model.owed) ^ 1
    early = aig.all([model.shown, none, model.may_complete ^ 1])
    ahead = aig.all([model.given, none, model.completes ^ 1])
    wrong = [early, ahead]
    if shape.marks is not None:
        (last,) = question.net.port("m_axis_tlast")
        if model.data[last >> 1]:
            return Settled(status="unknown", reason="m_axis_tlast depends on the payload")
        due = aig.any(aig.equals(model.number, i) for i, mark in enumerate(shape.marks) if mark)
        wrong.append(aig.both(model.shown, aig.differ(model.value(last), due)))
    outcome = pdr.reach(aig, aig.any(wrong), question.limit)
    return bounded(settled(model, outcome, f"at most {bound} answers due"), bound)


def _within(question: Question, model: Model, count: Bits, what: str) -> Settled:
    """That a counter stays within a bound below `patience`, which is looked for."""
    (bound,) = reached(model, [count], 4 * question.patience)
    while True:
        bound = min(bound, question.patience)
        outcome = pdr.reach(model.aig, model.aig.above(count, bound), question.limit)
        if outcome.status != "refuted" or bound == question.patience:
            return settled(model, outcome, f"{what} within {bound} cycles", bound=bound)
        bound = 2 * bound + 1


def _answer(question: Question) -> Settled:
    model, bound = counted_model(question)
    silent = model.aig.both(model.aig.any(model.owed), model.shown ^ 1)
    count = model.counted(silent, model.shown, question.patience.bit_length() + 1)
    return bounded(_within(question, model, count, "a due beat is offered"), bound)


def _accept(question: Question) -> Settled:
    model = Model(question.net, question.shape)
    refused = model.aig.all([model.offered, model.accepts ^ 1, model.stuck ^ 1])
    count = model.counted(refused, model.taken, question.patience.bit_length() + 1)
    return _within(question, model, count, "an offered beat is taken")


def _idle(question: Question) -> Settled:
    model = Model(question.net, question.shape)
    aig = model.aig
    foreign = strangers(model, TRUE)
    bad = aig.any(foreign[x >> 1] for x in handshake(question.net))
    outcome = pdr.reach(aig, bad, question.limit)
    found = settled(model, outcome)
    return replace(found, runs=found.runs * 2, garbage=True)


def _origin(question: Question) -> Settled:
    model, bound = counted_model(question)

    def ask(model: Model, *, garbage: bool = True) -> Settled:
        aig = model.aig
        watch = Watch(model)
        foreign = strangers(model, watch.inside, garbage=garbage)
        mixed = aig.any(foreign[x >> 1] for x in payload(question.net))
        # Where the handshake itself depends on other transactions, nothing is claimed.
        timing = aig.any(foreign[x >> 1] for x in handshake(question.net))
        bad = aig.either(timing, aig.all([model.shown, watch.mine, mixed]))
        outcome = pdr.reach(aig, bad, question.limit)
        if outcome.status != "refuted":
            bits = ", ".join(map(str, sorted(model.exact)))
            told = f"payload bits {bits} have values" if bits else ""
            return bounded(Settled(status=outcome.status, reason=told), bound)
        run, start, watched = driven(model, outcome.frames, watch)
        run += (Frame(valid=0, last=0, ready=1, taken=0),) * question.patience
        return Settled(
            status="refuted", runs=(run, run), start=start, watched=watched, garbage=garbage
        )

    def copy(exact: frozenset[int]) -> Model:
        return Model(question.net, question.shape, exact=exact, depth=model.depth)

    found = ask(model)
    finer = selects(model) | model.exact
    if found.status == "refuted" and finer != model.exact:
        found = ask(copy(finer))
    if found.status == "refuted":
        # A run that needs no luck with what registers hold at first says more.
        plain = ask(copy(finer), garbage=False)
        if plain.status == "refuted":
            return replace(plain, again=lambda: found)
    return found


_TRIED = 16
"""Steps that break a lemma which are tried for a run that shows it."""


def _schedule(question: Question) -> Settled:
    try:
        graph = Graph(Model(question.net, question.shape))
        schedules = Schedules(graph, question.patience)
        found = list(islice(schedules.differences(), _TRIED))
    except NarrowgaugeError as error:
        return Settled(status="unknown", reason=str(error))
    if not found:
        told = f"{len(graph.states)} states, {graph.groups - 1} groups of registers"
        return Settled(status="proved", reason=told)

    def show(number: int) -> Settled:
        hasty, calm, state = schedules.runs(found[number])
        more = number + 1 < len(found)
        return Settled(
            status="refuted",
            runs=(hasty, calm),
            start=graph.start(state),
            again=(lambda: show(number + 1)) if more else None,
        )

    return show(0)


RULES: dict[str, Callable[[Question], Settled]] = {
    "hold": _hold,
    "stable": _stable,
    "apart": _apart,
    "count": _count,
    "answer": _answer,
    "accept": _accept,
    "idle": _idle,
    "origin": _origin,
    "schedule": _schedule,
}
"""Name of a rule -> what settles it."""
