"""Cycles of a program of `opal_core` where neither stream waits: when each packet is taken."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores.opal_work import Work, array_blocks, beats_of_row, parsed
from narrowgauge.golden.cores.packets import Opcode, Out, Status
from narrowgauge.golden.cores.parsing import Command
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units import opal_dot

if TYPE_CHECKING:
    from narrowgauge.golden.cores.opal_core import Params

__all__ = ["ARRAY", "ATTEND", "SOFTMAX", "cycles", "macs"]

ARRAY = 4
"""Cycles from the final beat of a row to its result."""

SOFTMAX = 3
"""Cycles from the last score to the first code."""

ATTEND = 1
"""Cycles from the last position to the head's first element."""

ROWS = 3
"""Rows in flight between their final beat and their result."""

ORDERS = 2
"""Answers that are begun or waited for when the next header is taken."""


def cycles(params: "Params", batch: Batch) -> npt.NDArray[np.int64]:
    """Cycles from the first header to the final beat of each program's last packet but NOPs.

    The core is empty and has been idle for `head` cycles after reset; answers are taken at once.
    Exact without `renormalise` for programs of commands that end with status 0 and answer in bf16,
    without NOPs among them; one with other commands is a `UsageError`.
    """
    works = parsed(params, batch)
    blocks = array_blocks(params, works)
    return np.array([_program(params, listed, blocks) for listed in works], np.int64)


@dataclass
class _Clock:
    """Cycles that a program has come to.

    Parameters
    ----------
    now : of the next beat
    collector : in which the next answer can begin
    attention : in which a position can be taken
    hold : from and to which the array waits for the collector
    ready : from which a vector can be read, by the id of its LOAD
    """

    now: int = 0
    collector: int = 0
    attention: int = 0
    hold: tuple[int, int] = (0, 0)
    ready: dict[int, int] = field(default_factory=dict)

    def rows(self, load: Command, spent: npt.NDArray[np.int64]) -> tuple[int, int]:
        """Cycles of the final beats of the first and last of the rows that begin now.

        `spent` is the work of each in cycles. ROWS of them are in flight at most.
        """
        start, end = self.hold
        now = max(self.now, self.ready[id(load)])
        if now + 1 >= start:
            now = max(now, end - 1)
            start = end = 0
        finals: list[int] = []
        for number, work in enumerate(spent):
            now += int(work)
            if number >= ROWS:
                now = max(now, finals[number - ROWS] + ARRAY + 1)
            finals.append(now)
        late = [final + (end - start if start and final >= start else 0) for final in finals]
        return late[0], late[-1]


def _program(params: "Params", works: list[Work], blocks: dict[int, Batch]) -> int:
    clock = _Clock()
    beats = params.k // params.q_lanes
    gathered: list[int] = []
    for number, work in enumerate(works):
        command, header = work.command, work.command.header
        if command.status != Status.OK:
            raise UsageError(f"cycles are told of commands with status 0, got {command.status}")
        if header.opcode != Opcode.LOAD and header.out != Out.BF16:
            raise UsageError(f"cycles are told of answers in bf16, got out {header.out}")
        if number >= ORDERS:
            clock.now = max(clock.now, gathered[number - ORDERS])
        if header.opcode in (Opcode.LOAD, Opcode.PASS):
            count = -(-header.length // params.q_lanes)
            final = max(clock.now + 1, clock.collector) + count - 1
            clock.collector = final + 1
            gathered.append(final + 1)
            if header.opcode == Opcode.LOAD:
                # Zeros up to a whole block, and its way through the quantiser.
                clock.collector += 1 + -count % beats
                clock.ready[id(command)] = clock.collector + beats
        else:
            assert command.vector is not None
            spent = opal_dot.cycles(params.dot, blocks[id(command)])
            first, final = clock.rows(
                command.vector.load, spent.reshape(header.rows, -1).sum(axis=1)
            )
            if header.opcode == Opcode.MATVEC:
                late = max(0, clock.collector - (first + ARRAY))
                clock.collector = final + late + ARRAY + 1
                if late:
                    clock.hold = first + ARRAY, first + ARRAY + late
                    final += late if final >= first + ARRAY else 0
            else:
                values = max(final + ARRAY + SOFTMAX, clock.attention)
                final = values + header.rows * params.share - 1
                # The order is done with the head's full width.
                clock.collector = max(clock.collector, final + ATTEND) + params.head
                clock.attention = clock.collector
            gathered.append(clock.collector)
        clock.now = final + 1
    return clock.now


def macs(params: "Params", batch: Batch) -> npt.NDArray[np.int64]:
    """Multiply-accumulates of each program: whole rows of weights and keys, and values."""
    made = []
    for listed in parsed(params, batch):
        total = 0
        for work in listed:
            vector = work.command.vector
            if vector is None:
                continue
            total += work.command.rows_whole * vector.length
            if work.command.header.opcode == Opcode.ATTEND:
                each = beats_of_row(params, vector, 1)
                rows = len(work.command.data["last"]) - work.command.header.rows * each
                total += max(0, rows) * vector.length
        made.append(total)
    return np.array(made, np.int64)
