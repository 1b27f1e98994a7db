"""Cycles and traffic of plans, exactly those of their commands, without making the commands.

Loops are followed until what a core and its banks are left in repeats; the rest of a loop takes as
long as what was followed.
"""

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from narrowgauge.golden.cores import flexblock_cycles
from narrowgauge.golden.cores.flexblock_packets import Load, Run, Side
from narrowgauge.golden.mapping.plan import Plan
from narrowgauge.golden.mapping.schedule import Buffer, Nest

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["Cost", "Timer", "bits", "estimate", "predict"]

_ELEMENTS = [f.name for f in fields(flexblock_cycles.Clock(None).elements)]  # type: ignore[arg-type]
_LONG_AGO = -(1 << 40)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What commands take.

    Parameters
    ----------
    cycles : from the first header to the last answer
    a_words, b_words : that are loaded
    results : FP32 numbers that are given
    runs : RUNs
    """

    cycles: int = 0
    a_words: int = 0
    b_words: int = 0
    results: int = 0
    runs: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        pairs = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Cost(**pairs)

    def times(self, count: int) -> "Cost":
        """So many of them."""
        return Cost(**{f.name: getattr(self, f.name) * count for f in fields(self)})


State = tuple[int, ...]


@dataclass
class Timer:
    """A core's clock, relative to the next header, so that what comes again is known.

    Parameters
    ----------
    params : of the core
    now : cycles that have gone by
    given : the last answer's final beat
    """

    params: "Params"
    now: int = 0
    given: int = -2
    state: State = ()
    _known: dict[tuple[object, State], tuple[State, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.state:
            self.state, _, _ = self._read(flexblock_cycles.Clock(self.params))

    def restart(self) -> None:
        """Back to a core that is idle; what is known stays."""
        self.now, self.given, self.state = 0, -2, ()
        self.__post_init__()

    def _read(self, clock: flexblock_cycles.Clock) -> tuple[State, int, int]:
        """Whatever is over by the next header counts as over just before."""
        popped = [_LONG_AGO] * flexblock_cycles.ORDERS + clock.popped
        runs = [_LONG_AGO] * flexblock_cycles.RUNS + clock.runs
        values = [
            clock.idle,
            *popped[-flexblock_cycles.ORDERS :],
            *runs[-flexblock_cycles.RUNS :],
            *(getattr(clock.elements, name) for name in _ELEMENTS),
        ]
        state = tuple(max(value - clock.now, -2) for value in values)
        return state, clock.now, clock.given

    def apply(self, command: Load | Run) -> None:
        """A command."""
        if isinstance(command, Load):
            signature: object = (command.words, command.after)
        else:
            signature = (
                command.mode, command.beats, command.group, command.taps, command.columns,
                command.keep,
            )  # fmt: skip
        key = signature, self.state
        if key not in self._known:
            orders, runs = flexblock_cycles.ORDERS, flexblock_cycles.RUNS
            clock = flexblock_cycles.Clock(self.params, idle=self.state[0])
            clock.popped = list(self.state[1 : 1 + orders])
            clock.runs = list(self.state[1 + orders : 1 + orders + runs])
            for name, value in zip(_ELEMENTS, self.state[1 + orders + runs :], strict=True):
                setattr(clock.elements, name, value)
            if isinstance(command, Load):
                clock.load(command)
            else:
                clock.run(command)
            self._known[key] = self._read(clock)
        self.state, delta, given = self._known[key]
        self.given = self.now + given
        self.now += delta


class _Walk:
    """One plan, followed."""

    def __init__(self, timer: Timer, plan: Plan, wait: bool) -> None:
        self.timer, self.wait = timer, wait
        self.nest = Nest(params=timer.params, plan=plan)
        self.buffers = self.nest.buffers()
        self.cost = Cost()
        self._last = self.nest.names.index("columns")
        shapes = {(p.t1s, p.t2s, p.cs) for p in plan.pieces[:-1]}
        self._pieces = len(plan.pieces) - 1 if len(shapes) == 1 else 0

    def follow(self, level: int, at: tuple[int, ...]) -> None:
        """The loops from a level inwards."""
        if level == len(self.nest.counts):
            self._step(at)
            return
        count = self.nest.counts[level]
        first, alike = 0, count
        if level == self._last and self.nest.plan.columns_of(count - 1) < self.nest.plan.tile:
            alike = count - 1
        if level == len(self.nest.counts) - 1:
            # Only the last piece gives results.
            first, alike = 1, self._pieces
        seen: dict[object, tuple[int, int, Cost]] = {}
        index = 0
        while index < count:
            if index >= first and alike - index > 1:
                now = self._signature(level, index)
                if now in seen:
                    then, cycles, cost = seen[now]
                    times = (alike - index) // (index - then)
                    if times:
                        self._skip(level, times * (index - then), times, cycles, cost)
                        index += times * (index - then)
                    seen = {}
                    continue
                seen[now] = index, self.timer.now, self.cost
            self.follow(level + 1, (*at, index))
            index += 1

    def _step(self, at: tuple[int, ...]) -> None:
        step = self.nest.step(at, self.buffers, self.wait)
        self.wait = False
        words = [0, 0]
        for load in step.loads:
            self.timer.apply(load)
            words[load.side] += load.words
        self.timer.apply(step.run)
        run = step.run
        given = 0 if run.hold else run.columns[0] * run.columns[1] * run.kept
        self.cost += Cost(
            a_words=words[Side.A], b_words=words[Side.B],
            results=given * self.timer.params.pes, runs=1,
        )  # fmt: skip

    def _signature(self, level: int, index: int) -> object:
        held = [
            tuple(
                tuple(
                    v - index if i == level and d else v
                    for i, (v, d) in enumerate(zip(key, depends, strict=True))
                )
                for key in buffer.keys
            )
            for buffer, depends in zip(self.buffers, self.nest.depends, strict=True)
        ]
        return self.timer.state, *held, self.buffers[0].busy < 0, self.wait

    def _skip(self, level: int, far: int, times: int, cycles: int, cost: Cost) -> None:
        elapsed = times * (self.timer.now - cycles)
        self.timer.now += elapsed
        self.timer.given += elapsed
        gone = {f.name: getattr(self.cost, f.name) - getattr(cost, f.name) for f in fields(cost)}
        self.cost += Cost(**gone).times(times)
        for buffer, depends in zip(self.buffers, self.nest.depends, strict=True):
            if depends[level]:
                _move(buffer, level, far)


def _move(buffer: Buffer, level: int, far: int) -> None:
    def moved(key: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(v + far if i == level else v for i, v in enumerate(key))

    buffer.keys = [moved(key) for key in buffer.keys]
    buffer.places = {moved(key): place for key, place in buffer.places.items()}


def predict(timer: Timer, plans: tuple[Plan, ...]) -> Cost:
    """The cost of plans one after the other, in a core that is idle before the first."""
    timer.restart()
    cost = Cost()
    for number, plan in enumerate(plans):
        walk = _Walk(timer, plan, number > 0)
        walk.follow(0, ())
        cost += walk.cost
    return replace(cost, cycles=timer.given + 2 if plans else 0)


def estimate(params: "Params", plan: Plan) -> float:
    """About how many cycles, by which plans are compared first."""
    nest = Nest(params=params, plan=plan)
    turn = 4 if plan.mode == 0 else 1
    held = params.steps * len(plan.kept) + (4 - len(plan.kept) if turn == 4 else 0)
    busy = 0.0
    n1, n2 = plan.inner
    # Of the first pieces for all, but for the last.
    some = (*plan.pieces[:1] * (len(plan.pieces) - 1), plan.pieces[-1])
    for piece in {id(p): p for p in some}.values():
        whole, rest = divmod(piece.cs, plan.group)
        tap = whole * max(plan.group, turn) + (max(rest, turn) if rest else 0)
        last = held if piece is plan.pieces[-1] else turn
        times = 1 if piece is plan.pieces[-1] else len(plan.pieces) - 1
        busy += times * n2.count * max(tap * piece.t1s * piece.t2s, last)
    total = 1.0
    for name, count in zip(nest.names, nest.counts, strict=True):
        total *= n1.count / plan.tile if name == "columns" else count
    runs = 1
    for count in nest.counts:
        runs *= count
    busy = busy / len(plan.pieces) * plan.tile * total + 4 * runs
    load = 0.0
    late = 0.0
    sizes = (
        plan.a_size * params.pes,
        plan.b_size * (1 if plan.shared else params.pes),
    )
    for buffer, depends, size in zip(nest.buffers(), nest.depends, sizes, strict=True):
        loads = foot = 1
        for count, depend in zip(reversed(nest.counts), reversed(depends), strict=True):
            if depend:
                foot *= count
                loads *= count
            elif foot > buffer.slots:
                loads *= count
        cycles = loads * (-(-size // params.load) + 1)
        load += cycles
        if buffer.slots == 1 and foot > 1:
            late += cycles
    return max(busy, load) + late + 1e-3 * load


def bits(params: "Params", cost: Cost) -> int:
    """Bits that go through the ports: words of LOADs, and results."""
    return (cost.a_words + cost.b_words) * params.word.width + 32 * cost.results
