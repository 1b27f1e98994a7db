"""The rules of a stream as circuits that must never raise their output."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.verify.prove import pdr
from narrowgauge.verify.prove.claims import Status
from narrowgauge.verify.prove.stream_aig import TRUE, Bits
from narrowgauge.verify.prove.stream_bounds import reached
from narrowgauge.verify.prove.stream_flow import Watch, strangers
from narrowgauge.verify.prove.stream_keep import selects, unchanged
from narrowgauge.verify.prove.stream_model import Model
from narrowgauge.verify.prove.stream_netlist import Netlist
from narrowgauge.verify.prove.stream_replay import Frame
from narrowgauge.verify.prove.stream_schedule import Schedules
from narrowgauge.verify.prove.stream_shape import Shape
from narrowgauge.verify.prove.stream_states import Graph

__all__ = ["RULES", "Question", "Settled"]

Frames = tuple[dict[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: the design, its transactions, the cycles that it declares, seconds."""

    net: Netlist
    shape: Shape
    pace: int
    limit: float

    @property
    def patience(self) -> int:
        """Cycles from which on a design counts as stuck."""
        return 4 * (self.pace + self.shape.block + self.shape.answer) + 16


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What came of it: runs without payload where a rule may be broken, to be confirmed.

    Parameters
    ----------
    reason : what was found beside it, such as the bound that was proved
    runs : cycle by cycle
    start : registers that reset leaves open, name -> bit
    bound : cycles that were exceeded
    watched : number of the watched transaction
    garbage : what registers held before the reset has to differ between the runs
    again : settles it once more with a finer model, where this run cannot be confirmed
    """

    status: Status
    reason: str = ""
    runs: tuple[tuple[Frame, ...], ...] = ()
    start: dict[str, int] | None = None
    bound: int = 0
    watched: int = 0
    garbage: bool = False
    again: "Callable[[], Settled] | None" = None


_GUESSES = 3
"""Bounds on the answers owed that are tried, each twice the one before."""


def _model(question: Question) -> tuple[Model, int | None]:
    """A model with counters as deep as needed, and the most answers that are ever owed."""
    net, shape = question.net, question.shape
    wide = Model(net, shape)
    (bound,) = reached(wide, [wide.owed], 4 * question.patience)
    for _ in range(_GUESSES if bound < question.patience else 0):
        model = Model(net, shape, depth=(bound + 1).bit_length())
        outcome = pdr.reach(model.aig, model.aig.above(model.owed, bound), question.limit)
        if outcome.status == "proved":
            return model, bound
        if outcome.status == "unknown":
            break
        bound = 2 * bound + 1
    # Answers pile up, or get lost: the counter stops at its top.
    return Model(net, shape, depth=question.patience.bit_length() + 1), None


def _settled(model: Model, outcome: pdr.Outcome, reason: str = "", **more: object) -> Settled:
    if outcome.status != "refuted":
        return Settled(status=outcome.status, reason=reason)
    run, start, _ = _run(model, outcome.frames, None)
    return Settled(status="refuted", runs=(run,), start=start, reason=reason, **more)  # type: ignore[arg-type]


def _run(
    model: Model, frames: Frames, watch: Watch | None
) -> tuple[tuple[Frame, ...], dict[str, int], int]:
    """A model checker's run as what is driven; the number of the watched transaction."""
    aig = model.aig
    state = aig.start()
    made = []
    before = watched = found = 0
    for inputs in frames:
        value = aig.values(state, inputs)
        own = value(watch.inside) if watch is not None else 0
        if own and not found:
            watched, found = before, 1
        before += value(model.completes)
        made.append(
            Frame(
                valid=value(model.offered),
                last=value(model.last),
                ready=value(model.sink),
                taken=value(model.taken),
                own=own & value(model.offered),
                bits={i: value(model.one[model.tdata[i] >> 1]) for i in model.exact},
            )
        )
        state = aig.step(value)
    prefix = "start "
    first = frames[0] if frames else {}
    start = {name.removeprefix(prefix): x for name, x in first.items() if name.startswith(prefix)}
    return tuple(made), start, watched


def _hold(question: Question) -> Settled:
    model = Model(question.net, question.shape)
    aig = model.aig
    falls = aig.both(aig.delay(model.stuck), model.shown ^ 1)
    early = aig.all([model.first, model.shown, model.offered ^ 1])
    outcome = pdr.reach(aig, aig.either(falls, early), question.limit)
    return _settled(model, outcome)


def _stable(question: Question) -> Settled:
    model = Model(question.net, question.shape)
    aig, net = model.aig, question.net
    same = unchanged(model)
    payload = net.port("m_axis_tdata") + net.port("m_axis_tlast")
    moved = aig.any(same[x >> 1] ^ 1 for x in payload)
    bad = aig.all([aig.delay(model.stuck), model.shown, moved])
    return _settled(model, pdr.reach(aig, bad, question.limit))


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
        run, start, _ = _run(model, frames, None)
        runs.append(run)
    return Settled(status="refuted", runs=tuple(runs), start=start)


def _count(question: Question) -> Settled:
    model, bound = _model(question)
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
    return _bounded(_settled(model, outcome, f"at most {bound} answers due"), bound)


def _within(question: Question, model: Model, count: Bits, what: str) -> Settled:
    """That a counter stays within a bound below `patience`, which is looked for."""
    (bound,) = reached(model, [count], 4 * question.patience)
    while True:
        bound = min(bound, question.patience)
        outcome = pdr.reach(model.aig, model.aig.above(count, bound), question.limit)
        if outcome.status != "refuted" or bound == question.patience:
            return _settled(model, outcome, f"{what} within {bound} cycles", bound=bound)
        bound = 2 * bound + 1


def _answer(question: Question) -> Settled:
    model, bound = _model(question)
    silent = model.aig.both(model.aig.any(model.owed), model.shown ^ 1)
    count = model.counted(silent, model.shown, question.patience.bit_length() + 1)
    return _bounded(_within(question, model, count, "a due beat is offered"), bound)


def _accept(question: Question) -> Settled:
    model = Model(question.net, question.shape)
    refused = model.aig.all([model.offered, model.accepts ^ 1, model.stuck ^ 1])
    count = model.counted(refused, model.taken, question.patience.bit_length() + 1)
    return _within(question, model, count, "an offered beat is taken")


def _bounded(found: Settled, bound: int | None) -> Settled:
    """Nothing is proved with a counter that may have stopped at its top."""
    if found.status == "proved" and bound is None:
        return Settled(status="unknown", reason="no bound was found on the answers that are due")
    return found


def _idle(question: Question) -> Settled:
    model = Model(question.net, question.shape)
    aig, net = model.aig, question.net
    foreign = strangers(model, TRUE)
    handshake = net.port("m_axis_tvalid") + net.port("s_axis_tready")
    bad = aig.any(foreign[x >> 1] for x in handshake)
    outcome = pdr.reach(aig, bad, question.limit)
    found = _settled(model, outcome)
    return replace(found, runs=found.runs * 2, garbage=True)


def _origin(question: Question) -> Settled:
    model, bound = _model(question)

    def ask(model: Model, finer: frozenset[int], garbage: bool = True) -> Settled:
        aig, net = model.aig, question.net
        watch = Watch(model)
        foreign = strangers(model, watch.inside, garbage=garbage)
        payload = net.port("m_axis_tdata") + net.port("m_axis_tlast")
        mixed = aig.any(foreign[x >> 1] for x in payload)
        bad = aig.all([model.shown, watch.mine, mixed])
        outcome = pdr.reach(aig, bad, question.limit)
        if outcome.status != "refuted":
            bits = sorted(model.exact)
            told = f"payload bits {', '.join(map(str, bits))} have values" if bits else ""
            return Settled(status=outcome.status, reason=told)
        run, start, watched = _run(model, outcome.frames, watch)
        run += (Frame(valid=0, last=0, ready=1, taken=0),) * question.patience
        again = None
        if garbage and finer - model.exact:
            better = Model(question.net, question.shape, exact=finer, depth=model.depth)
            again = lambda: ask(better, frozenset())  # noqa: E731
        found = Settled(
            status="refuted",
            runs=(run, run),
            start=start,
            watched=watched,
            garbage=garbage,
            again=again,
        )
        # A run that needs no luck with what registers hold at first says more.
        if garbage:
            same = Model(question.net, question.shape, exact=model.exact, depth=model.depth)
            plain = ask(same, finer, garbage=False)
            if plain.status == "refuted":
                return replace(plain, again=lambda: found)
        return found

    return _bounded(ask(model, selects(model)), bound)


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
