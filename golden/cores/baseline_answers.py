"""The model of the baseline cores: packets read one by one, their arithmetic done at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import fp_mul
from narrowgauge.golden.cores import packets
from narrowgauge.golden.cores.baseline import Baseline
from narrowgauge.golden.cores.packets import Opcode
from narrowgauge.golden.cores.parsing import Command, programs
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units import bf16_softmax, window

__all__ = ["Work", "answers", "parsed"]

Ints = npt.NDArray[np.int64]

_SCALE = fp_mul.Params(exp_bits=8, man_bits=7)


@dataclass
class Work:
    """One command with what came of it.

    Parameters
    ----------
    command : as read
    x : bf16 elements of LOAD and PASS, the results of the others
    row_open : whether a row whose result is answered was cut in its middle
    """

    command: Command
    x: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    row_open: bool = False


def parsed(params: Baseline, batch: Batch) -> list[list[Work]]:
    """The commands of each program, not carried out yet; NOPs are left out."""
    listed = programs(
        batch,
        payload=params.input,
        q_lanes=params.q_lanes,
        vector=params.vector,
        head=params.head,
        length=params.length,
        row=lambda vector, _: params.beats_of(vector.length),
        values=lambda header: header.length * params.beats_of(header.rows),
        outs=1,
        mixed=False,
    )
    return [[Work(command=c, row_open=c.row_open) for c in commands] for commands in listed]


def _dots(params: Baseline, vectors: Sequence[Ints], parts: Sequence[Batch]) -> list[Ints]:
    """Results, in bf16, of rows of data beats that each meet one vector."""
    if not parts:
        return []
    each = [params.beats_of(len(vector)) for vector in vectors]
    rows = [len(part["last"]) // size for part, size in zip(parts, each, strict=True)]
    a, last = [], []
    for vector, size, count in zip(vectors, each, rows, strict=True):
        padded = np.pad(vector, (0, size * params.lanes - len(vector)))
        a.append(np.tile(padded.reshape(size, params.lanes), (count, 1)))
        last.append(np.tile(np.arange(size) == size - 1, count).astype(np.int64))
    results = window.to_bf16(params.dots(np.concatenate(a), join(parts), np.concatenate(last)))
    return np.split(results, np.cumsum(rows)[:-1])


def _cut(data: Batch, start: int, count: int) -> Batch:
    return {name: values[start : start + count] for name, values in data.items()}


def _matvecs(params: Baseline, works: Sequence[Work], loads: dict[int, Ints]) -> None:
    """Results of MATVEC, and scores of ATTEND."""
    chosen = [w for w in works if w.command.vector is not None and w.command.rows_whole]
    vectors, parts = [], []
    for work in chosen:
        vector = work.command.vector
        assert vector is not None
        vectors.append(loads[id(vector.load)])
        each = params.beats_of(vector.length)
        parts.append(_cut(work.command.data, 0, work.command.rows_whole * each))
    results = _dots(params, vectors, parts)
    for work, operand, part, x in zip(chosen, vectors, parts, results, strict=True):
        work.x = x
        if work.command.header.opcode == Opcode.MATVEC and "row_scale" in part:
            each = params.beats_of(len(operand))
            scale = part["row_scale"][each - 1 :: each]
            work.x = fp_mul.model(_SCALE, {"a": x, "b": scale})["o"]


def _attends(params: Baseline, works: Sequence[Work]) -> None:
    """Scores to elements of the head, of all commands whose keys came whole."""
    for work in works:
        header = work.command.header
        if header.opcode == Opcode.ATTEND and work.command.rows_whole < header.rows:
            work.x = work.x[:0]
    chosen = [w for w in works if w.command.header.opcode == Opcode.ATTEND and len(w.x)]
    if not chosen:
        return
    ends = np.cumsum([len(work.x) for work in chosen])
    last = np.zeros(ends[-1], np.int64)
    last[ends - 1] = 1
    x = np.concatenate([work.x for work in chosen])
    made = bf16_softmax.model(params.softmax, {"x": x, "mask": 0 * last, "last": last})
    shares = np.split(made["p"], ends[:-1])
    parts = []
    for work, share in zip(chosen, shares, strict=True):
        vector = work.command.vector
        assert vector is not None
        start = len(share) * params.beats_of(vector.length)
        each = params.beats_of(len(share))
        beats = len(work.command.data["last"]) - start
        work.row_open = beats % each > 0
        parts.append(_cut(work.command.data, start, beats // each * each))
    for work, x in zip(chosen, _dots(params, shares, parts), strict=True):
        work.x = x


def _answer(params: Baseline, work: Work) -> Batch:
    """The beats that answer one command."""
    command = work.command
    bare = not command.begun or command.header.opcode == Opcode.LOAD
    size = 0 if bare else len(work.x)
    count = size // params.q_lanes + 1 if work.row_open else -(-size // params.q_lanes)
    count = max(count, 1)
    data = np.pad(work.x[:size], (0, count * params.q_lanes - size)).reshape(count, -1)
    made = params.output.beats(count, data=data)
    made["last"][-1] = 1
    made["status"][-1] = command.status
    return made


def answers(params: Baseline, batch: Batch) -> Batch:
    """Programs, fields of `params.input` by program and beat with `final` for `last`, to answers.

    Returns the beats that answer all of them, fields of `params.output`, and `answered`, how many
    beats answer each. Each program starts with nothing loaded and ends so, after a packet.
    """
    programs = parsed(params, batch)
    works = [work for listed in programs for work in listed]
    loads: dict[int, Ints] = {}
    for work in works:
        command = work.command
        if command.begun and command.header.opcode in (Opcode.LOAD, Opcode.PASS):
            x = packets.from_words(params.word, 16, params.q_lanes, command.data["word"])
            work.x = loads[id(command)] = x.reshape(-1)[: command.header.length]
    _matvecs(params, works, loads)
    _attends(params, works)
    made = [[_answer(params, work) for work in listed] for listed in programs]
    counts = [sum(len(part["last"]) for part in parts) for parts in made]
    flat = [part for parts in made for part in parts]
    outputs = join(flat) if flat else params.output.beats(0)
    outputs["answered"] = np.array(counts, np.int64)
    return outputs
