"""Programs for `flexblock_core`: LOADs and RUNs of any kind, errors, and layers of real tensors.

A program begins with the words that it may read, so that its answers depend on nothing before it.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores import flexblock_packets as host
from narrowgauge.golden.cores import packets
from narrowgauge.golden.cores.flexblock_packets import Load, Run, Side
from narrowgauge.golden.cores.flexblock_random import Program
from narrowgauge.golden.cores.flexblock_real import captured
from narrowgauge.golden.cores.flexblock_words import encoded, interleaved, words
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["make", "product"]

Floats = npt.NDArray[np.float64]


def make(params: "Params", level: str, seed: int) -> list[Batch]:
    """Programs of as many beats each."""
    if level not in ("smoke", "full", "real"):
        raise UsageError(f"level must be smoke, full or real, got {level!r}")
    rng = np.random.default_rng(seed)
    if level == "real":
        programs = _real(params)
    else:
        programs = [Program(params, rng).tour()]
        total = 0
        while total < (8_000 if level == "smoke" else 100_000) or len(programs) < 8:
            made = Program(params, rng)
            programs.append(made.program(600))
            total += made.work
    size = max(sum(len(part["last"]) for part in parts) for parts in programs)
    return [packets.program(params.input, parts, size) for parts in programs]


def product(
    params: "Params", mode: int, weights: Floats, x: Floats, size: int
) -> tuple[list[Batch], list[Run]]:
    """The packets of weights (rows, n) times x (columns, n), and the RUN of each answer.

    Rows are as many as the elements have, P or 2 P in FB12; columns of FB12 are even. What does not
    fit the memories comes in pieces of whole groups, whose results add up.

    Parameters
    ----------
    size : elements of a group
    """
    p = params
    each = -(-size // p.pe.depth(mode))
    sides = []
    for values in (weights, x):
        codes, fields = encoded(mode, size, values)
        if mode == 0:
            codes = codes.reshape(-1, 2, *codes.shape[1:])
            fields = fields.reshape(-1, 2, *fields.shape[1:])
        sides.append((codes, fields))
    columns = len(sides[1][0])
    groups = sides[0][1].shape[-1]
    most = min(p.a_depth, p.pes * p.b_depth // columns) // each
    parts, runs = [], []
    for start in range(0, groups, most):
        stop = min(groups, start + most)
        beats = (stop - start) * each
        for side, (codes, fields) in zip(Side, sides, strict=True):
            piece = codes[..., start:stop, :], fields[..., start:stop]
            made = words(p, mode, side, *piece)
            if side == Side.A:
                made = interleaved(p, made)
            count = len(made["scales"])
            load = Load(side=side, address=0, words=count, after=True)
            parts.append(host.packet(p, load, made))
        run = Run(
            mode=mode,
            a=0,
            b=0,
            beats=beats,
            group=each,
            columns=(1, columns),
            column_steps=(0, beats),
            add=start > 0,
            hold=stop < groups,
        )
        parts.append(host.packet(p, run))
        runs.append(run)
    return parts, runs


def _real(params: "Params") -> list[list[Batch]]:
    """Every pass of captured layers in every mode: a program, for they differ in length."""
    return [[packet for each in captured(params) for packet in each.packets(params)]]
