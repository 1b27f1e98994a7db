"""Tensors as words of the banks, and answers as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import fused_mul
from narrowgauge.golden.arith.fused_mul import BITS, FB12
from narrowgauge.golden.cores.flexblock_packets import Side
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BFP, Rounding
from narrowgauge.golden.formats.bfp import encode_values
from narrowgauge.golden.mapping.plan import Plan, group_beats
from narrowgauge.golden.mapping.problem import offsets
from narrowgauge.golden.mapping.schedule import Step
from narrowgauge.golden.payload import Batch

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["Answers", "Blocks", "blocks", "words_of"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """Runs in groups; a run of zeros is behind the last one.

    Parameters
    ----------
    codes : signed, (runs + 1, beats, depth)
    scales : exponent fields of a beat's group, (runs + 1, beats)
    """

    codes: Ints
    scales: Ints

    def widened(self) -> "Blocks":
        """Codes of FB12 as codes of FB16 of the same value."""
        return Blocks(codes=self.codes << 4, scales=self.scales)


def blocks(
    params: "Params",
    mode: int,
    runs: npt.NDArray[np.generic],
    rounding: Rounding = Rounding.RTZ,
) -> Blocks:
    """Convert runs (runs, depth) of float32 or float64 into groups."""
    lanes, group = params.pe.depth(mode), group_beats(params, mode)
    beats = -(-runs.shape[1] // lanes)
    group = min(group, beats)
    size = group * lanes
    filled = np.zeros((len(runs) + 1, -(-beats // group) * size))
    filled[:-1, : runs.shape[1]] = runs
    fmt = BFP(exponent_bits=8, mantissa_bits=BITS[mode], k=size, rounding=rounding)
    codes, fields = encode_values(fmt, filled.reshape(-1, size))
    return Blocks(
        codes=codes.reshape(len(filled), -1, lanes)[:, :beats],
        scales=np.repeat(fields.reshape(len(filled), -1), group, axis=1)[:, :beats],
    )


def _words(params: "Params", mode: int, side: Side, data: Blocks, runs: Ints, beats: Ints) -> Batch:
    """Words of runs (words, rows or columns of an element) at beats (words,)."""
    last = len(data.codes) - 1
    runs = np.where((runs < 0) | (runs > last), last, runs)
    codes, scales = data.codes[runs, beats[:, None]], data.scales[runs, beats[:, None]]
    if mode != FB12:
        codes, scales = codes[:, 0], np.concatenate([scales, np.zeros_like(scales)], axis=1)
    made = fused_mul.pack(mode, codes, codes)[side]
    return params.word.beats(len(runs), slots=made, scales=scales)


def _units(params: "Params", plan: Plan, step: Step) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """Instances (pes,) and rows (pes, rows of an element) of the elements; which there are."""
    each = -(-plan.rows // plan.pairs)
    element = step.rows * params.pes + np.arange(params.pes)
    instance = np.full(params.pes, step.instance)
    if not plan.shared:
        instance, element = element // each, element % each
    rows = element[:, None] * plan.pairs + np.arange(plan.pairs)
    count = int(np.prod([axis.count for axis in plan.instances]))
    return instance, rows, (rows < plan.rows) & (instance < count)[:, None]


def words_of(params: "Params", plan: Plan, step: Step, side: Side, data: Blocks) -> Batch:
    """What a LOAD of a step carries, fields of `params.word`."""
    piece = plan.pieces[step.piece]
    beat = piece.c + np.arange(piece.cs)
    instance, rows, there = _units(params, plan, step)
    base = offsets(plan.instances, "ab"[side])[np.where(there[:, 0], instance, 0)]
    t1, t2 = plan.problem.taps
    if side == Side.A:
        row = offsets(plan.problem.rows, "a")[np.where(there, rows, 0)] + base[:, None]
        at = (piece.t1 + np.arange(piece.t1s))[:, None] * t1.a
        taps = (at + (piece.t2 + np.arange(piece.t2s)) * t2.a).reshape(-1)
        # (taps, beats, elements, rows)
        runs = np.where(there, plan.problem.a + row + taps[:, None, None], -1)
        runs = np.repeat(runs[:, None], piece.cs, axis=1)
    else:
        n1, _ = plan.inner
        layout = plan.layout(plan.columns_of(step.columns), piece)
        first = plan.problem.b + step.columns * plan.tile * n1.step
        first += piece.t1 * t1.b + piece.t2 * t2.b
        first += sum(v * axis.step for v, axis in zip(step.outer, plan.outer, strict=True))
        elements = base[:1] if plan.shared else base
        runs = layout.runs[:, None] + first + elements
        runs = np.stack([runs + half * plan.pair[0] for half in range(plan.pairs)], axis=-1)
        if not plan.shared:
            runs = np.where(there[:, :1], runs, -1)
        if plan.pairs == 2 and not plan.pair[1]:
            runs[..., 1] = -1
        runs = np.repeat(runs[:, None], piece.cs, axis=1)
    beats = np.broadcast_to(beat[:, None], runs.shape[:3]).reshape(-1)
    return _words(params, plan.mode, side, data, runs.reshape(-1, plan.pairs), beats)


class Answers:
    """Results of a problem, FP32 codes, gathered RUN by RUN."""

    def __init__(self, params: "Params", plan: Plan) -> None:
        self._params, self._plan = params, plan
        first = plan.problem.columns[: int(plan.promoted)]
        instances = int(np.prod([axis.count for axis in plan.instances]))
        rest = plan.problem.columns[len(first) :]
        columns = int(np.prod([axis.count for axis in rest]))
        self._found = np.full((instances, plan.rows, columns), -1, np.int64)

    def take(self, step: Step, answer: Ints) -> None:
        """Take (columns, kept, elements) of a step's RUN."""
        plan = self._plan
        instance, rows, there = _units(self._params, plan, step)
        n1, n2 = plan.inner
        values = [*step.outer, 0, 0]
        index, whole = plan.odd
        count = plan.columns_of(step.columns)
        one = step.columns * plan.tile + np.arange(count)
        column = one[:, None] * n1.flat + np.arange(n2.count) * n2.flat
        column = column + sum(v * a.flat for v, a in zip(step.outer, plan.outer, strict=True))
        along = {
            len(plan.columns) - 2: np.broadcast_to(one[:, None], column.shape),
            len(plan.columns) - 1: np.broadcast_to(np.arange(n2.count), column.shape),
        }.get(index, np.full(column.shape, values[index]))
        half_count = plan.columns[index].count
        for number, output in enumerate(plan.kept):
            row, half = output >> 1, output & 1
            good = (along + half * half_count < whole).reshape(-1) if half else True
            at = (column + half * plan.pair[1]).reshape(-1)
            keep = np.broadcast_to(good, at.shape)
            here = np.flatnonzero(there[:, row])
            self._found[instance[here], rows[here, row], at[keep][:, None]] = answer[keep, number][
                :, here
            ]

    def values(self) -> npt.NDArray[np.float32]:
        """Float32 of the problem's shape, that before operands were exchanged."""
        plan = self._plan
        if (self._found < 0).any():
            raise UsageError("results are missing")
        problem = plan.problem
        shape = [axis.count for axis in problem.instances]
        rows, columns = ([axis.count for axis in x] for x in (problem.rows, problem.columns))
        made = self._found.astype(np.uint32).view(np.float32)
        if plan.promoted:
            made = made.reshape(columns[0], *shape, *rows, *columns[1:])
            made = np.moveaxis(made, 0, len(shape) + len(rows))
        made = made.reshape(*shape, *rows, *columns)
        if plan.swapped:
            axes: Sequence[int] = range(len(shape), len(shape) + len(rows))
            made = np.moveaxis(made, axes, range(made.ndim - len(rows), made.ndim))
        return made
