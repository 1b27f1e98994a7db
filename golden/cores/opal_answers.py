"""The model of `opal_core`: packets are read one by one, their arithmetic is done at once."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import fp_mul
from narrowgauge.golden.cores import packets
from narrowgauge.golden.cores.opal_work import (
    BLOCK,
    Upset,
    Work,
    array_blocks,
    beats_of_row,
    parsed,
    quantised,
)
from narrowgauge.golden.cores.packets import Opcode, Out, Status
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units import log2_softmax, mx_quantize, opal_dot, shift_attend, window

if TYPE_CHECKING:
    from narrowgauge.golden.cores.opal_core import Params

__all__ = ["Work", "answers", "parsed"]

Ints = npt.NDArray[np.int64]

_SCALE = fp_mul.Params(exp_bits=8, man_bits=7)


def _dots(params: "Params", works: list[Work], blocks: dict[int, Batch]) -> None:
    """Results of MATVEC, and scores of ATTEND, in `x`."""
    chosen = [work for work in works if id(work.command) in blocks]
    if not chosen:
        return
    parts = [blocks[id(work.command)] for work in chosen]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    results = window.to_bf16(opal_dot.model(params.dot, joined)["result"])
    start = 0
    for work in chosen:
        command = work.command
        rows = command.rows_whole
        work.x = results[start : start + rows]
        start += rows
        if command.header.opcode == Opcode.MATVEC:
            assert command.vector is not None
            each = beats_of_row(params, command.vector, command.w_high)
            scale = command.data["row_scale"][each - 1 : rows * each : each]
            work.x = fp_mul.model(_SCALE, {"a": work.x, "b": scale})["o"]


def _attends(params: "Params", works: list[Work]) -> None:
    """Scores to heads, of the commands that came whole."""
    chosen = [
        work
        for work in works
        if work.command.header.opcode == Opcode.ATTEND
        and work.command.status in (Status.OK, Status.OVERRUN)
    ]
    if not chosen:
        return
    counts = np.array([work.command.header.rows for work in chosen])
    last = np.zeros(int(counts.sum()), np.int64)
    last[np.cumsum(counts) - 1] = 1
    x = np.concatenate([work.x for work in chosen])
    codes = log2_softmax.model(params.softmax, {"x": x, "mask": 0 * last, "last": last})
    high, wide = params.dot.high, 2 * params.low
    v, scale = [], []
    for work, count in zip(chosen, counts, strict=True):
        data = work.command.data
        words = packets.from_words(
            params.input["word"], wide, params.head, data["word"][-int(count) :]
        )
        magnitude = words & ((1 << (high - 1)) - 1)
        v.append(np.where(words >> (high - 1) & 1, -magnitude, magnitude))
        scale.append(data["scale"][-int(count) :])
    reference = np.repeat([work.command.header.reference for work in chosen], counts)
    heads = shift_attend.model(
        params.attention,
        {**codes, "v": np.concatenate(v), "scale": np.concatenate(scale), "reference": reference},
    )["result"]
    for work, head in zip(chosen, heads, strict=True):
        work.x = head[: work.command.header.length]


def _beat(params: "Params", count: int, **given: Ints) -> Batch:
    return params.output.beats(count, **given)


def _answer(params: "Params", work: Work) -> Batch:
    """The beats that answer one command."""
    command = work.command
    header, status = command.header, command.status
    bare = not command.begun or header.opcode == Opcode.LOAD
    if bare or (header.opcode == Opcode.ATTEND and status == Status.CUT):
        made = _beat(params, 1)
    elif header.out == Out.BF16:
        size, partial = len(work.x), command.row_open
        count = size // params.q_lanes + 1 if partial else -(-size // params.q_lanes)
        data = np.pad(work.x, (0, count * params.q_lanes - size)).reshape(count, -1)
        made = _beat(params, count, data=data)
    else:
        blocks = mx_quantize.output_beats(params.quantiser, work.blocks)
        bits = np.abs(blocks["codes"]) | (blocks["codes"] < 0) << (params.dot.high - 1)
        made = _beat(
            params,
            len(bits),
            data=bits,
            **{name: blocks[name] for name in BLOCK},
        )
    made["last"][-1] = 1
    made["status"][-1] = status
    return made


def _requantise(params: "Params", works: list[Work]) -> None:
    chosen = []
    for work in works:
        command = work.command
        asked = command.header.out != Out.BF16 and command.begun
        if not asked or command.header.opcode not in (Opcode.MATVEC, Opcode.ATTEND):
            continue
        if command.header.opcode == Opcode.ATTEND and command.status == Status.CUT:
            continue
        if command.row_open:
            # A row that did not come whole opens the block that it would have gone to.
            size = len(work.x) // params.k * params.k + params.k
            work.x = np.pad(work.x, (0, size - len(work.x)))
        chosen.append(work)
    quantised(
        params,
        chosen,
        [
            (int(w.command.header.out == Out.LOW), int(w.command.header.out == Out.PLAIN))
            for w in chosen
        ],
    )


def answers(params: "Params", batch: Batch, upsets: Iterable[Upset] = ()) -> Batch:
    """See `opal_core.model`."""
    programs = parsed(params, batch)
    works = [work for listed in programs for work in listed]
    _dots(params, works, array_blocks(params, programs, upsets))
    _attends(params, works)
    _requantise(params, works)
    made = [[_answer(params, work) for work in listed] for listed in programs]
    counts = [sum(len(part["last"]) for part in parts) for parts in made]
    flat = [part for parts in made for part in parts]
    outputs = join(flat) if flat else _beat(params, 0)
    outputs["answered"] = np.array(counts, np.int64)
    return outputs
