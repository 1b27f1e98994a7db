"""Cycles of a list of commands of `flexblock_core`, source always valid, sink always ready.

Exact: the elements' rule for beats that end a group (`units.bfp_pe`), the turns of the collector,
and what waits at a header. Columns, and taps within them, are followed until what goes on repeats.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from narrowgauge.golden.arith.fused_mul import FB12
from narrowgauge.golden.cores.flexblock_packets import Load, Run
from narrowgauge.golden.errors import UsageError

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["ORDERS", "RUNS", "Clock", "cycles"]

ORDERS = 8
"""Answers that are under way when the next header is taken."""

RUNS = 2
"""RUNs of which results are still to come when the next one's header is taken."""

_PAST = 64
"""Cycles after which nothing waits for what was."""


def cycles(params: "Params", commands: Sequence[Load | Run]) -> int:
    """Cycles from the first header to the final beat of the last answer, both included.

    Commands that end with status 0 or 2, in a core that is idle. A LOAD with a count of 0 or a RUN
    with one is a `UsageError`.
    """
    clock = Clock(params)
    for command in commands:
        if isinstance(command, Load):
            clock.load(command)
        else:
            clock.run(command)
    return clock.given + 2


@dataclass
class _Elements:
    """When what the elements and the collector did last happened.

    Parameters
    ----------
    fetched, taken : operands of the latest beat were fetched, it was taken
    first, last : the first and the last total of the latest group were converted
    moved : the latest term was added
    runs : from which cycle on, after that, the collector no longer halts the elements
    free : from which cycle on the collector is free
    given : the latest result that goes on had gone on
    """

    fetched: int = -_PAST
    taken: int = -_PAST
    first: int = -_PAST
    last: int = -_PAST
    moved: int = -_PAST
    runs: int = -_PAST
    free: int = -_PAST
    given: int = -_PAST

    def group(self, beats: int, held: Sequence[int], final: int = -1) -> None:
        """A group goes by; the collector needs `held` cycles for each of its results.

        Result `final` is the last one that goes on.
        """
        close = self.taken + 1
        self.fetched = self.taken
        if beats > 1:
            # The first turn of the group before frees the totals, the last what is beside them.
            first = max(close, self.first)
            close = first + beats - 1
            self.fetched = close - 1
        self.taken = max(close, self.last)
        earliest = self.taken + 1
        for turn, need in enumerate(held):
            self._term(max(earliest, self.last + 1), need)
            if not turn:
                self.first = self.last
            if turn == final:
                self.given = self.runs

    def _term(self, earliest: int, need: int) -> None:
        """A total is converted, and added; what is a result waits until it is taken."""
        self.last = self.moved if earliest <= self.moved else max(earliest, self.runs)
        self.runs = self.moved = max(self.last + 1, self.runs)
        if need:
            self.runs = max(self.moved + 1, self.free) + need - 1
            self.free = self.runs + 1

    def repeat(self, count: int, step: Callable[[], None]) -> None:
        """Steps that are alike; once what is left of one is as it was, so are all that follow."""
        seen: dict[tuple[int, ...], tuple[int, int]] = {}
        done = 0
        while done < count:
            step()
            done += 1
            now = tuple(max(value - self.taken, -_PAST) for value in vars(self).values())
            if now in seen:
                then, taken = seen[now]
                times = (count - done) // (done - then)
                later = times * (self.taken - taken)
                for name, value in list(vars(self).items()):
                    setattr(self, name, value + later)
                done += times * (done - then)
                seen = {}
            else:
                seen[now] = done, self.taken


@dataclass
class Clock:
    """A core's time.

    Parameters
    ----------
    now : the next header, at the earliest
    idle : the first cycle in which the sequencer has nothing to do
    given : the last answer's final beat was ready
    popped : of each command, when its answer was done with
    runs : of each RUN
    """

    params: "Params"
    given: int = -2
    now: int = 0
    idle: int = 0
    popped: list[int] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    elements: _Elements = field(default_factory=_Elements)

    def _header(self) -> int:
        """The cycle in which a header with an answer is taken, but for what RUN waits for."""
        full = self.popped[-ORDERS] + 1 if len(self.popped) >= ORDERS else 0
        return max(self.now, full)

    def load(self, command: Load) -> None:
        """LOAD."""
        if command.words < 1:
            raise UsageError(f"words must be at least 1, got {command.words}")
        start = self._header()
        if command.after:
            start = max(start, self.idle)
        final = start + -(-command.words // self.params.load)
        self.now = final + 1
        turn = max(final + 1, self.elements.free)
        self.elements.free = turn + 1
        self.popped.append(turn)
        self.given = turn

    def run(self, command: Run) -> None:
        """RUN."""
        p, e = self.params, self.elements
        (t1, t2), (n1, n2) = command.taps, command.columns
        if min(command.beats, command.group, t1, t2, n1, n2) < 1:
            raise UsageError(f"counts must be at least 1, got {command}")
        start = max(self._header(), self.idle)
        if len(self.runs) >= RUNS:
            start = max(start, self.runs[-RUNS] + 1)
        self.now = start + p.run_beats + 1
        # The first operands are fetched when those of the RUN before have gone on.
        e.taken = max(self.now, e.taken)
        e.free = max(e.free, self.now)
        whole, rest = divmod(command.beats, command.group)
        tap = [command.group] * whole + ([rest] if rest else [])
        held = [p.steps]
        if command.mode == FB12:
            held = [p.steps if command.keep >> i & 1 else 1 for i in range(4)]
        final = (command.keep & 15).bit_length() - 1 if command.mode == FB12 else 0
        none = [0] * len(held)

        def within() -> None:
            for beats in tap:
                e.group(beats, none)

        def column() -> None:
            e.repeat(t1 * t2 - 1, within)
            for beats in tap[:-1]:
                e.group(beats, none)
            e.group(tap[-1], held, final)

        e.repeat(n1 * n2, column)
        self.idle = e.fetched + 1
        self.popped.append(e.free - 1)
        self.runs.append(e.free - 1)
        # Then sums are written, and read for the next RUN.
        e.free += 1
        self.given = e.given
