"""Commands of `opal_core` as the model works on them: vectors as blocks, rows as operands."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import multimode_mul
from narrowgauge.golden.cores import packets
from narrowgauge.golden.cores.packets import Opcode, Out, Status
from narrowgauge.golden.cores.parsing import Command, Vector, programs
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Payload
from narrowgauge.golden.units import mx_quantize

if TYPE_CHECKING:
    from narrowgauge.golden.cores.opal_core import Params

__all__ = ["BLOCK", "Upset", "Work", "array_blocks", "beats_of_row", "parsed", "quantised"]

Ints = npt.NDArray[np.int64]

BLOCK = ("scale", "outliers", "positions")
"""What a block has beside its codes."""


@dataclass(frozen=True, kw_only=True)
class Upset:
    """A bit that flips in the operand memory once a vector is loaded.

    Parameters
    ----------
    program : number of the program
    load : number of the vector among those that the program loads
    block : of the vector
    bit : of what is stored of the block's scale, outliers and positions, check bits on top
    """

    program: int
    load: int
    block: int
    bit: int


@dataclass
class Work:
    """One command with what it works on and what came of it.

    Parameters
    ----------
    command : as read
    x : bf16 elements of LOAD and PASS, and the results of MATVEC and ATTEND
    blocks : `x` as blocks, fields of the quantiser's output
    """

    command: Command
    x: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    blocks: Batch = field(default_factory=dict)


def beats_of_row(params: "Params", vector: Vector, w_high: int) -> int:
    """Beats of a row that meets a vector."""
    return -(-vector.length // (params.lanes >> (vector.high + w_high)))


def parsed(params: "Params", batch: Batch) -> list[list[Work]]:
    """The commands of each program; NOPs are left out."""
    listed = programs(
        batch,
        payload=params.input,
        q_lanes=params.q_lanes,
        vector=params.vector,
        head=params.head,
        length=params.length,
        row=lambda vector, high: beats_of_row(params, vector, high),
    )
    return [[Work(command=command) for command in commands] for commands in listed]


def quantised(params: "Params", works: list[Work], choice: list[tuple[int, int]]) -> None:
    """Fill in the blocks of `x` of each, in one call; `choice` is (low, plain) of each."""
    k = params.k
    rows = [np.pad(work.x, (0, -len(work.x) % k)).reshape(-1, k) for work in works]
    sizes = [len(part) for part in rows]
    if not sum(sizes):
        return
    low, plain = (np.repeat([pair[i] for pair in choice], sizes) for i in range(2))
    made = mx_quantize.model(
        params.quantiser,
        {"x": np.concatenate(rows), "low": low.astype(np.int64), "plain": plain.astype(np.int64)},
    )
    start = 0
    for work, size in zip(works, sizes, strict=True):
        work.blocks = {name: values[start : start + size] for name, values in made.items()}
        start += size


def _codes(params: "Params", words: Ints, a_high: int, w_high: int) -> Ints:
    """The codes of rows of packed words, (rows, beats, cells) -> (rows, elements)."""
    slots = multimode_mul.slots(params.low, words)
    step = params.low - 1
    if not w_high:
        codes = slots[..., ::2] if a_high else slots
    elif not a_high:
        codes = slots[..., ::2] + (slots[..., 1::2] << step)
    else:
        codes = slots[..., :1] + (slots[..., 1:2] << step)
    flat: Ints = codes.reshape(*words.shape[:-1], -1)
    _, packed = multimode_mul.pack(
        params.dot.cell, np.zeros_like(flat), flat, bool(a_high), bool(w_high)
    )
    if not np.array_equal(multimode_mul.slots(params.low, packed), slots):
        raise UsageError("a row holds a word that is not packed for its mode")
    return flat.reshape(len(words), -1)


def _dots_of(params: "Params", work: Work, loaded: Work) -> Batch:
    """The blocks of the whole rows of a MATVEC or ATTEND, as `opal_dot` takes them."""
    command = work.command
    vector = command.vector
    assert vector is not None
    a_high, w_high = vector.high, command.w_high
    unit = params.lanes >> (a_high + w_high)
    each = beats_of_row(params, vector, w_high)
    rows = command.rows_whole
    beats = {name: values[: rows * each] for name, values in command.data.items()}
    words = beats["word"].reshape(rows, each, -1)
    blocks = -(-vector.length // params.k)
    codes = np.pad(
        _codes(params, words, a_high, w_high), ((0, 0), (0, blocks * params.k - each * unit))
    )
    # The final beat of each block tells what is the block's.
    number = np.arange(each) * unit // params.k
    final = np.minimum((np.arange(blocks) + 1) * (params.k // unit), each) - 1
    made: Batch = {"w": codes.reshape(rows * blocks, params.k)}
    for name in ("scale", "outliers", "positions"):
        shown = beats[name].reshape(rows, each, *beats[name].shape[1:])
        if not np.array_equal(shown, shown[:, final][:, number]):
            raise UsageError(f"{name} must stay the same over the beats of a block")
        made[f"w_{name}"] = shown[:, final].reshape(rows * blocks, *beats[name].shape[1:])
    for source, name in (("codes", "a"), *((f, f"a_{f}") for f in BLOCK)):
        values = loaded.blocks[source]
        made[name] = np.broadcast_to(values, (rows, *values.shape)).reshape(-1, *values.shape[1:])
    size = np.minimum(each * unit - np.arange(blocks) * params.k, params.k)
    last = (np.arange(blocks) == blocks - 1).astype(np.int64)
    made |= {"size": np.tile(size, rows), "last": np.tile(last, rows)}
    made |= {
        name: np.full(rows * blocks, value, np.int64)
        for name, value in (("a_high", a_high), ("w_high", w_high))
    }
    return made


def _loads(params: "Params", works: list[Work]) -> None:
    """The vectors of LOAD and PASS, and the blocks of those that are quantised."""
    for work in works:
        if not work.command.begun or work.command.header.opcode not in (Opcode.LOAD, Opcode.PASS):
            continue
        data, header = work.command.data, work.command.header
        word = params.input["word"]
        x = packets.from_words(word, 16, params.q_lanes, data["word"]).reshape(-1)
        work.x = x[: header.length]
    chosen = [
        work
        for work in works
        if len(work.x)
        and (work.command.header.opcode == Opcode.LOAD or work.command.header.out != Out.BF16)
    ]
    quantised(
        params,
        chosen,
        [(1 - work.command.header.high, work.command.header.plain) for work in chosen],
    )


def _upset(params: "Params", programs: list[list[Work]], upsets: Iterable[Upset]) -> None:
    """Store what blocks share, flip bits of it, and read it as the guard gives it."""
    flips: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for each in upsets:
        flips.setdefault((each.program, each.load), []).append((each.block, each.bit))
    fields = Payload(tuple(f for f in params.quantiser.format.payload.fields if f.name in BLOCK))
    guard = params.stored.guard
    for (program, load), places in flips.items():
        loads = [
            work
            for work in programs[program]
            if work.command.header.opcode == Opcode.LOAD and work.command.status == Status.OK
        ]
        blocks = loads[load].blocks
        packed = fields.pack({name: blocks[name] for name in BLOCK})
        stored = guard.encode(np.unpackbits(packed, axis=1, bitorder="little")[:, : fields.width])
        for block, bit in places:
            stored[block, bit] ^= 1
        bits = guard.decode(stored).bits
        blocks |= fields.unpack(np.packbits(bits, axis=1, bitorder="little"))


def array_blocks(
    params: "Params", programs: list[list[Work]], upsets: Iterable[Upset] = ()
) -> dict[int, Batch]:
    """Blocks of every MATVEC and ATTEND that has whole rows, by the id of its command."""
    works = [work for listed in programs for work in listed]
    _loads(params, works)
    _upset(params, programs, upsets)
    loads = {id(work.command): work for work in works}
    return {
        id(work.command): _dots_of(params, work, loads[id(work.command.vector.load)])
        for work in works
        if work.command.rows_whole and work.command.vector is not None
    }
