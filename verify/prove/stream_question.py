"""What is asked of a stream design, and what comes of it: counters, bounds and runs."""

from collections.abc import Callable
from dataclasses import dataclass

from narrowgauge.verify.prove import pdr
from narrowgauge.verify.prove.claims import Status
from narrowgauge.verify.prove.stream_bounds import reached
from narrowgauge.verify.prove.stream_flow import Watch
from narrowgauge.verify.prove.stream_model import Model
from narrowgauge.verify.prove.stream_netlist import Netlist
from narrowgauge.verify.prove.stream_replay import Frame
from narrowgauge.verify.prove.stream_shape import Shape

__all__ = [
    "Question",
    "Settled",
    "bounded",
    "counted_model",
    "driven",
    "handshake",
    "payload",
    "settled",
]

Frames = tuple[dict[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked.

    Parameters
    ----------
    net, shape : the design and its transactions
    pace : latency and interval together
    limit : seconds for each call of the model checker
    """

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
    again : the next that may break it, where this run cannot be confirmed
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


def counted_model(question: Question) -> tuple[Model, int | None]:
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


def settled(model: Model, outcome: pdr.Outcome, reason: str = "", bound: int = 0) -> Settled:
    """What a model checker's outcome says, with the run that refutes it."""
    if outcome.status != "refuted":
        return Settled(status=outcome.status, reason=reason)
    run, start, _ = driven(model, outcome.frames, None)
    return Settled(status="refuted", runs=(run,), start=start, reason=reason, bound=bound)


def driven(
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


def bounded(found: Settled, bound: int | None) -> Settled:
    """Nothing is proved with a counter that may have stopped at its top."""
    if found.status == "proved" and bound is None:
        return Settled(status="unknown", reason="no bound was found on the answers that are due")
    return found


def payload(net: Netlist) -> list[int]:
    """What is stable while it waits, and has an origin."""
    return net.port("m_axis_tdata") + net.port("m_axis_tlast")


def handshake(net: Netlist) -> list[int]:
    """What the design says of transfers."""
    return net.port("m_axis_tvalid") + net.port("s_axis_tready")
