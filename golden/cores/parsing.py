"""Beats of a program as commands: what is legal, what comes whole, what the core then holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from narrowgauge.golden.cores.packets import (
    HEADER_BITS,
    Header,
    Opcode,
    Out,
    Status,
    from_words,
    split,
)
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Payload

__all__ = ["HELD", "Command", "Vector", "programs", "read"]

HELD = 2
"""Vectors that the operand memory holds."""


@dataclass(frozen=True, eq=False)
class Command:
    """One command.

    Parameters
    ----------
    header, status : as answered
    begun : whether the command was legal, in order, and had a data beat
    data : its data beats, those that were discarded left out
    vector : the vector that MATVEC and ATTEND use
    rows_whole : rows of MATVEC, or of the keys of ATTEND, that came whole
    row_open : whether a row of MATVEC was cut in its middle
    """

    header: Header
    status: Status
    begun: bool
    data: Batch
    vector: "Vector | None" = None
    rows_whole: int = 0
    row_open: bool = False

    @property
    def w_high(self) -> int:
        """Whether the rows are high."""
        return 1 if self.header.opcode == Opcode.ATTEND else self.header.high


@dataclass(frozen=True, eq=False)
class Vector:
    """A vector in the operand memory: its length, whether it is high, and its LOAD."""

    length: int
    high: int
    load: Command


def _legal(header: Header, vector: int, head: int, length: int, outs: int) -> bool:
    """Whether there is such a command and it fits the core."""
    if header.opcode != Opcode.LOAD and header.out >= outs:
        return False
    if header.opcode == Opcode.LOAD:
        return 1 <= header.length <= vector
    if header.opcode == Opcode.PASS:
        return header.length >= 1
    if header.opcode == Opcode.MATVEC:
        return header.rows >= 1
    if header.opcode == Opcode.ATTEND:
        return 1 <= header.length <= head and 1 <= header.rows <= length
    return False


def _in_order(header: Header, held: list[Vector], mixed: bool) -> bool:
    """Whether a legal command can be carried out now."""
    if header.opcode == Opcode.LOAD:
        return len(held) < HELD
    if header.opcode == Opcode.MATVEC:
        return bool(held)
    if header.opcode == Opcode.ATTEND:
        fits = bool(held) and held[0].length == header.length
        return fits and (held[0].high == 1 or not mixed)
    return True


def read(
    beats: Batch,
    *,
    payload: Payload,
    q_lanes: int,
    vector: int,
    head: int,
    length: int,
    row: Callable[[Vector, int], int],
    values: Callable[[Header], int] = lambda header: header.rows,
    outs: int = len(Out),
    mixed: bool = True,
    where: str = "program",
) -> list[Command]:
    """The commands of a program, NOPs left out.

    Parameters
    ----------
    beats : fields of `payload`, which has `word` and `last`
    q_lanes : elements of a data beat of LOAD and PASS
    vector, head, length : limits of LOAD, and of ATTEND's `length` and `rows`
    row : (vector, high) -> beats of a row that meets it
    values : header -> beats of ATTEND that follow the keys
    outs : kinds of answers that the core gives
    mixed : whether vectors are low or high, and ATTEND needs a high one
    where : what an error calls the program

    Raises `UsageError` where the program does not end with a packet or leaves a vector loaded.
    """
    if not len(beats["last"]) or not beats["last"][-1]:
        raise UsageError(f"{where} ends within a packet")
    held: list[Vector] = []
    made: list[Command] = []
    for part in split(beats):
        word = np.asarray(part["word"][:1])
        bits = from_words(payload["word"], 1, HEADER_BITS, word)[0]
        header = Header.decode(int((bits << np.arange(HEADER_BITS)).sum()))
        if header.opcode == Opcode.NOP:
            continue
        count = len(part["last"]) - 1
        status = Status.OK
        if not _legal(header, vector, head, length, outs):
            status = Status.ILLEGAL
        elif not _in_order(header, held, mixed):
            status = Status.ORDER
        uses = held[0] if held and header.opcode in (Opcode.MATVEC, Opcode.ATTEND) else None
        begun = status == Status.OK and count > 0
        need, each = -(-header.length // q_lanes), 1
        if status == Status.OK and uses is not None:
            attends = header.opcode == Opcode.ATTEND
            each = row(uses, 1 if attends else header.high)
            need = header.rows * each + (values(header) if attends else 0)
        if status == Status.OK and count != need:
            status = Status.CUT if count < need else Status.OVERRUN
        used = min(count, need)
        whole = min(used // each, header.rows) if begun and uses is not None else 0
        command = Command(
            header=header,
            status=status,
            begun=begun,
            data={name: field[1 : 1 + used] for name, field in part.items()},
            vector=uses if begun else None,
            rows_whole=whole,
            row_open=header.opcode == Opcode.MATVEC and begun and used % each > 0,
        )
        made.append(command)
        if header.opcode == Opcode.LOAD and status == Status.OK:
            held.append(Vector(length=header.length, high=header.high, load=command))
        if begun and uses is not None and header.release:
            held.pop(0)
    if held:
        raise UsageError(f"{where} leaves {len(held)} vectors loaded")
    return made


def programs(batch: Batch, **core: Any) -> list[list[Command]]:
    """The commands of each program of a batch (`packets.batch`); `core` is what `read` takes."""
    made = []
    for number in range(len(batch["final"])):
        beats = {name: values[number] for name, values in batch.items()}
        beats["last"] = beats.pop("final")
        made.append(read(beats, where=f"program {number}", **core))
    return made
