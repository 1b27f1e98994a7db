"""Words of `flexblock_core` of groups of codes: what LOAD takes."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.fused_mul import BITS, FB12
from narrowgauge.golden.formats.bfp import BFP, encode_values
from narrowgauge.golden.formats.element import Rounding
from narrowgauge.golden.payload import Batch

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["encoded", "interleaved", "words"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def encoded(mode: int, size: int, values: Floats) -> tuple[Ints, Ints]:
    """Values (..., n) in groups along the last axis, filled up with zeros.

    Returns
    -------
    codes (..., groups, size), fields (..., groups)
    """
    fmt = BFP(exponent_bits=8, mantissa_bits=BITS[mode], k=size, rounding=Rounding.RTZ)
    pad = [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % size)]
    whole = np.pad(values, pad)
    codes, fields = encode_values(fmt, whole.reshape(-1, size))
    shape = (*values.shape[:-1], -1)
    return codes.reshape(*shape, size), fields.reshape(shape)


def words(params: "Params", mode: int, side: int, codes: Ints, fields: Ints) -> Batch:
    """Vectors of groups as words, one vector after the other.

    Parameters
    ----------
    side : `flexblock_packets.Side`
    codes : (vectors, groups, size), in FB12 (vectors, 2, groups, size): two rows of A or columns
        of B
    fields : the same without the last axis

    Returns
    -------
    fields of `params.word`: slots (vectors * groups * beats, slots), scales (.., 2)
    """
    size = codes.shape[-1]
    if mode == FB12:
        flat: Ints = np.swapaxes(codes, 1, 2).reshape(-1, 2, size)
        scales: Ints = np.swapaxes(fields, 1, 2).reshape(-1, 2)
    else:
        flat = codes.reshape(-1, size)
        scales = np.repeat(fields.reshape(-1, 1), 2, axis=1)
    slots = params.pe.pack(mode, flat, flat)[side]
    count, beats = slots.shape[:2]
    return {
        "slots": slots.reshape(count * beats, -1),
        "scales": np.repeat(scales, beats, axis=0),
    }


def interleaved(params: "Params", made: Batch) -> Batch:
    """Words of one vector an element, (pes * n), in the order of addresses: row by row."""
    return {
        name: np.swapaxes(values.reshape(params.pes, -1, values.shape[1]), 0, 1).reshape(
            values.shape
        )
        for name, values in made.items()
    }
