"""Packets of `opal_core`: rows of weights, keys and values as beats, and responses as numbers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import multimode_mul
from narrowgauge.golden.cores import packets
from narrowgauge.golden.cores.packets import Header, Opcode, Out
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BlockTensor
from narrowgauge.golden.payload import Batch, join

if TYPE_CHECKING:
    from narrowgauge.golden.cores.opal_core import Params

__all__ = [
    "Rows",
    "attend",
    "blocks_of",
    "elements_of",
    "load",
    "matvec",
    "row_beats",
    "through",
]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of weights or keys in blocks.

    Parameters
    ----------
    codes : signed codes, shape (rows, blocks, k)
    scales : E8M0, shape (rows, blocks)
    outliers : bf16 codes, shape (rows, blocks, n); +0 is an empty slot
    positions : shape (rows, blocks, n)
    """

    codes: Ints
    scales: Ints
    outliers: Ints
    positions: Ints

    @classmethod
    def of(cls, tensor: BlockTensor, n: int) -> "Rows":
        """Rows of a tensor quantised along axis 1; a format without outliers has empty slots."""
        codes, scales = tensor.codes.astype(np.int64), tensor.scales.astype(np.int64)
        shape = (*scales.shape, n)
        outliers = np.zeros(shape, np.int64)
        positions = np.broadcast_to(np.arange(n, dtype=np.int64), shape).copy()
        have = tensor.outliers.shape[-1]
        if have > n:
            raise UsageError(f"blocks have {have} outliers, the core {n} slots")
        if have:
            outliers[..., :have] = tensor.outliers
            positions[..., :have] = tensor.positions
        return cls(codes=codes, scales=scales, outliers=outliers, positions=positions)


def row_beats(params: "Params", length: int, a_high: bool, w_high: bool) -> int:
    """Beats of a row of `length` elements."""
    return -(-length // (params.lanes >> (int(a_high) + int(w_high))))


def _rows(params: "Params", rows: Rows, length: int, a_high: bool, w_high: bool) -> Batch:
    """Rows as data beats, in order; the final block of a row ends with the row."""
    unit = params.lanes >> (int(a_high) + int(w_high))
    each = row_beats(params, length, a_high, w_high)
    count, blocks = rows.scales.shape
    if blocks != -(-length // params.k):
        raise UsageError(
            f"a row of {length} elements has {-(-length // params.k)} blocks of "
            f"k={params.k}, got {blocks}"
        )
    codes = rows.codes.reshape(count, -1)[:, : each * unit]
    codes = np.where(np.arange(each * unit) < length, codes, 0).reshape(count * each, unit)
    _, words = multimode_mul.pack(params.dot.cell, np.zeros_like(codes), codes, a_high, w_high)
    block = np.tile(np.arange(each) * unit // params.k, count)
    row = np.repeat(np.arange(count), each)
    return params.input.beats(
        count * each,
        word=words,
        scale=rows.scales[row, block],
        outliers=rows.outliers[row, block],
        positions=rows.positions[row, block],
    )


def load(params: "Params", x: npt.ArrayLike, *, high: bool = False, plain: bool = False) -> Batch:
    """LOAD of a vector of bf16 codes."""
    return packets.load(params.input, params.q_lanes, x, high=high, plain=plain)


def through(
    params: "Params",
    x: npt.ArrayLike,
    *,
    high: bool = False,
    plain: bool = False,
    quantise: bool = True,
) -> Batch:
    """PASS of a vector of bf16 codes: back as blocks, or as it is."""
    return packets.through(
        params.input, params.q_lanes, x, high=high, plain=plain, quantise=quantise
    )


def matvec(
    params: "Params",
    rows: Rows,
    row_scale: npt.ArrayLike,
    *,
    length: int,
    a_high: bool,
    w_high: bool = False,
    out: Out = Out.BF16,
    release: bool = True,
) -> Batch:
    """MATVEC of weight rows with the oldest vector, which has `length` elements.

    Parameters
    ----------
    row_scale : bf16 codes, shape (rows,)
    a_high : whether the vector was loaded high; the words are laid out for it
    """
    data = _rows(params, rows, length, a_high, w_high)
    scale = np.broadcast_to(np.asarray(row_scale, np.int64), (len(rows.scales),))
    data["row_scale"] = np.repeat(scale, len(data["last"]) // len(scale))
    header = Header(
        opcode=Opcode.MATVEC, high=int(w_high), out=out, release=int(release), rows=len(scale)
    )
    return packets.packet(params.input, header, data)


def attend(
    params: "Params",
    keys: Rows,
    v: Ints,
    v_scale: Ints,
    *,
    out: Out = Out.BF16,
    release: bool = True,
    reference: int | None = None,
) -> Batch:
    """ATTEND of the oldest vector, a high query, to keys and values.

    Parameters
    ----------
    keys : high rows of the head's width
    v : high codes without outliers, shape (positions, width of the head)
    v_scale : their scales, shape (positions,)
    reference : the largest of `v_scale` by default
    """
    count, width = v.shape
    first = _rows(params, keys, width, True, True)
    high = params.dot.high
    codes = np.abs(v) | (v < 0).astype(np.int64) << (high - 1)
    words = packets.to_words(params.input["word"], 2 * params.low, codes)
    second = params.input.beats(count, word=words, scale=v_scale)
    header = Header(
        opcode=Opcode.ATTEND,
        high=1,
        out=out,
        release=int(release),
        length=width,
        rows=count,
        reference=int(v_scale.max()) if reference is None else reference,
    )
    return packets.packet(params.input, header, join([first, second]))


def elements_of(response: Batch, count: int) -> Ints:
    """The first `count` bf16 codes of a response."""
    return response["data"].reshape(-1)[:count]


def blocks_of(params: "Params", response: Batch) -> Rows:
    """The blocks of a response with `out` other than 0, as one row."""
    each = params.k // params.q_lanes
    high = params.dot.high
    data = response["data"].reshape(-1, params.k)
    magnitude = data & ((1 << (high - 1)) - 1)
    codes = np.where(data >> (high - 1) & 1, -magnitude, magnitude)
    return Rows(
        codes=codes[None],
        scales=response["scale"][None, ::each],
        outliers=response["outliers"][None, ::each],
        positions=response["positions"][None, ::each],
    )
