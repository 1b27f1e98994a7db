"""Packets of `flexblock_core`: what is loaded and run, as beats, and responses as numbers.

`Load` and `Run` say what a command does in counts and steps; `packet` makes its beats of them.
docs/cores/flexblock_core.md has the table of commands.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.fused_mul import FB12
from narrowgauge.golden.cores.packets import split
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Payload

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = [
    "Load",
    "Opcode",
    "Run",
    "Side",
    "Status",
    "descriptor",
    "fields_of",
    "header",
    "made",
    "packet",
    "responses",
    "results",
]

Ints = npt.NDArray[np.int64]


class Opcode(IntEnum):
    """Commands."""

    NOP = 0
    LOAD = 1
    RUN = 2


class Side(IntEnum):
    """Memories of operands."""

    A = 0
    B = 1


class Status(IntEnum):
    """How a command ended; on the last beat of its response."""

    OK = 0
    ILLEGAL = 1
    BEYOND = 2
    CUT = 3
    OVERRUN = 4


@dataclass(frozen=True, kw_only=True)
class Load:
    """Words to consecutive addresses of one side.

    Parameters
    ----------
    side : `Side`
    address : of the first word, a multiple of `load`; word L lies in bank L mod P, row L div P
    words : at least 1
    after : wait until the RUN before has read its operands
    """

    side: int
    address: int
    words: int
    after: bool = False


@dataclass(frozen=True, kw_only=True)
class Run:
    """Dot products of all elements in lockstep, column after column.

    Element p reads rows a, a + 1, .. of its own bank of A, the same in every column. Of B, beat k
    of tap (t1, t2) of column (n1, n2) is at

        b + n1 column_steps[0] + n2 column_steps[1] + t1 tap_steps[0] + t2 tap_steps[1] + k

    which is a word that all elements read, or a row of each one's own bank.

    Parameters
    ----------
    mode : 0 FB12, 1 FB16, 2 FB24
    shared : whether all elements read the same words of B
    a : first row of A
    b : first word of B, or row where it is not shared
    beats : consecutive beats of a tap
    group : beats of a group; one ends with its tap as well
    taps, tap_steps : how many of a column, outer and inner
    columns, column_steps : how many of them, outer and inner; pairs of FB12's columns
    keep : of FB12's outputs those that go on, a bit each
    add : results are added to the sums that a RUN before has left
    hold : results become sums, and are not given
    """

    mode: int
    a: int
    b: int
    beats: int
    group: int
    shared: bool = True
    taps: tuple[int, int] = (1, 1)
    tap_steps: tuple[int, int] = (0, 0)
    columns: tuple[int, int] = (1, 1)
    column_steps: tuple[int, int] = (0, 0)
    keep: int = 15
    add: bool = False
    hold: bool = False

    @property
    def depth(self) -> int:
        """Beats of a column."""
        return self.taps[0] * self.taps[1] * self.beats

    @property
    def kept(self) -> int:
        """Results of an element in a column that go on."""
        return (self.keep & 15).bit_count() if self.mode == FB12 else 1


def header(params: "Params", **fields: Any) -> Ints:
    """A header as a word, (1, bytes)."""
    return _words(params, params.header, params.header.beats(1, **fields))


def _words(params: "Params", record: Payload, batch: Batch) -> Ints:
    """Records over as many words as they need, (beats, bytes), from bit 0 on."""
    raw = record.pack(batch).astype(np.int64)
    size = params.input["word"].count
    assert size is not None
    return np.pad(raw, ((0, 0), (0, -raw.shape[1] % size))).reshape(-1, size)


def fields_of(record: Payload, words: Ints) -> dict[str, int]:
    """What words, (beats, bytes), hold of one record from bit 0 on."""
    raw = words.reshape(1, -1)[:, : -(-record.width // 8)].astype(np.uint8)
    return {name: int(values[0]) for name, values in record.unpack(raw).items()}


def made(params: "Params", head: Ints, data: Ints | None = None) -> Batch:
    """A header and data words as a packet; `last` on the final beat alone."""
    word = head if data is None else np.concatenate([head, data])
    return params.input.beats(len(word), word=word, last=np.arange(len(word)) == len(word) - 1)


def descriptor(params: "Params", run: Run) -> dict[str, int]:
    """The fields of `params.run`: counts less one, and what the address moves at each end."""
    c = run.beats
    (t1, t2), (n1, n2) = run.taps, run.columns
    if min(c, run.group, t1, t2, n1, n2) < 1:
        raise UsageError(f"counts must be at least 1, got {run}")
    counts = {"t2": t2, "t1": t1, "n2": n2, "n1": n1}
    steps = (*run.tap_steps[::-1], *run.column_steps[::-1])
    moves, past, wide = {}, c - 1, params.address_bits
    for (name, count), step in zip(counts.items(), steps, strict=True):
        # From the final beat of what lies within to the first of its next turn.
        move = step - past if count > 1 else 0
        if not -(1 << wide) <= move < 1 << wide:
            raise UsageError(f"the address of B moves by {move}, beyond {1 << wide} words")
        moves[f"move_{name}"] = move % (2 << wide)
        past += (count - 1) * step
    return {
        "a": run.a,
        "b": run.b,
        "group": run.group - 1,
        "beats": c - 1,
        **{name: count - 1 for name, count in counts.items()},
        **moves,
    }


def packet(params: "Params", command: Load | Run, words: Batch | None = None) -> Batch:
    """A command as a packet.

    Parameters
    ----------
    words : of LOAD, fields of `params.word`; slots as `params.pe.pack` makes them
    """
    if isinstance(command, Run):
        head = header(
            params,
            opcode=Opcode.RUN,
            **{name: int(getattr(command, name)) for name in ("mode", "shared", "add", "hold")},
            keep=command.keep,
        )
        fields = params.run.beats(1, **descriptor(params, command))
        return made(params, head, _words(params, params.run, fields))
    if words is None or len(words["scales"]) != command.words:
        count = 0 if words is None else len(words["scales"])
        raise UsageError(f"LOAD of {command.words} words has {count}")
    head = header(
        params,
        opcode=Opcode.LOAD,
        side=command.side,
        after=int(command.after),
        address=command.address,
        words=command.words,
    )
    raw = params.word.pack(words).astype(np.int64)
    size = params.input["word"].count
    assert size is not None
    rows = np.pad(raw, ((0, -len(raw) % params.load), (0, 0)))
    rows = rows.reshape(-1, params.load * raw.shape[1])
    return made(params, head, np.pad(rows, ((0, 0), (0, size - rows.shape[1]))))


def responses(batch: Batch) -> list[tuple[Batch, Status]]:
    """The responses of output beats, each with its status."""
    return [(part, Status(int(part["status"][-1]))) for part in split(batch)]


def results(params: "Params", run: Run, answer: Batch) -> Ints:
    """FP32 codes of a response to RUN, (columns, outputs that are kept, elements)."""
    return answer["data"].reshape(run.columns[0] * run.columns[1], run.kept, params.pes)
