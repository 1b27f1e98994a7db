"""Linear layers of each kind: bf16 activations in, bf16 results out, as cores have them."""

from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import MXOpal, bf16_codes, bf16_values, dequantize, get_block
from narrowgauge.golden.formats import quantize as to_blocks
from narrowgauge.golden.llm import bf16, int_weight, nvfp4, opal
from narrowgauge.golden.llm.elementwise import scaled
from narrowgauge.golden.llm.operand import Operand
from narrowgauge.golden.owq import OwqWeights

__all__ = [
    "Bf16Linear",
    "BlockLinear",
    "Inputs",
    "IntLinear",
    "Linear",
    "OpalLinear",
    "exact",
    "operand_of",
]

Codes = npt.NDArray[np.uint16]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

_BLOCK = 128


def _mxfp4(x: Codes | F32) -> F64:
    """What MXFP4 makes of a matrix."""
    values = dequantize(to_blocks(x, get_block("mxfp4_e2m1"), axis=1), np.float64)
    return values.astype(np.float64, copy=False)


class Inputs:
    """Activations, (tokens, width), bf16, and what they become when quantised, made once."""

    def __init__(self, codes: Codes) -> None:
        self.codes = codes
        self._made: dict[tuple[int, int], Operand] = {}

    def operand(self, bits: int, slots: int) -> Operand:
        """The activations in MX-OPAL with `slots` outliers a block of 128."""
        key = (bits, slots)
        if key not in self._made:
            self._made[key] = Operand.of(to_blocks(self.codes, MXOpal(b=bits, n=slots), axis=1))
        return self._made[key]

    @cached_property
    def mxfp4(self) -> F64:
        """The activations as MXFP4 has them."""
        return _mxfp4(self.codes)


class Linear(Protocol):
    """A linear layer."""

    def __call__(self, x: Inputs) -> Codes:
        """Results, (tokens, outputs), bf16 codes."""
        ...


def operand_of(weights: OwqWeights) -> Operand:
    """The blocks of weights as an operand."""
    return Operand(
        codes=weights.codes,
        scales=weights.scales,
        outliers=weights.outliers,
        positions=weights.positions,
        fraction=weights.bits - 2,
        length=weights.columns,
    )


class Bf16Linear:
    """bf16 weights by bf16_dot."""

    def __init__(self, weights: F32) -> None:
        self._side = bf16.Side(bf16_codes(weights))

    def __call__(self, x: Inputs) -> Codes:
        """RNE_bf16 of the dot products."""
        return bf16.products(x.codes, self._side)


class OpalLinear:
    """MX-OPAL activations and INT weights by opal_dot; of plain MXINT without a row scale.

    Parameters
    ----------
    weights : blocks, with or without outliers
    row_scale : bf16 codes, (outputs,), or None
    low : bits of the low width
    bits : of the activations
    """

    def __init__(self, weights: Operand, row_scale: Codes | None, *, low: int, bits: int) -> None:
        self._weights, self._row_scale = weights, row_scale
        self._low, self._bits = low, bits

    def __call__(self, x: Inputs) -> Codes:
        """RNE_bf16(RNE_bf16(dot product) * row_scale)."""
        a = x.operand(self._bits, self._weights.outliers.shape[2])
        return scaled(opal.products(a, self._weights, low=self._low), self._row_scale)


class IntLinear:
    """bf16 activations and the same INT weights, by w4a16_dot.

    The columns kept in bf16 follow the blocks as one more beat, of bf16_dot, added in FP32.
    """

    def __init__(self, weights: OwqWeights) -> None:
        self._weights = weights
        operand = operand_of(weights)
        columns = [
            block * weights.k + place for block, places in enumerate(operand.columns)
            for place in places
        ]  # fmt: skip
        self._columns = np.array(columns, np.intp)
        values = np.concatenate([v.astype(np.float32) for v in operand.column_values], axis=1)
        self._side = bf16.Side(bf16_codes(values)) if columns else None

    def __call__(self, x: Inputs) -> Codes:
        """RNE_bf16(RNE_bf16(dot product) * row_scale)."""
        w = self._weights
        codes = np.pad(x.codes, ((0, 0), (0, -w.columns % w.k)))
        made = int_weight.products(codes, w.codes, w.scales, bits=w.bits)
        if self._side is None:
            return scaled(made, w.row_scale)
        result = bf16.products(codes[:, self._columns], self._side, start=made)
        with np.errstate(over="ignore", invalid="ignore"):
            return bf16_codes(bf16_values(result) * bf16_values(w.row_scale))


def exact(a: F64, w: F64, scale: F64 | None = None) -> F32:
    """Dot products with exact sums of 128, each rounded to FP32, added in FP32 in order.

    A float64 GEMM gives the sums; 4-bit numbers and their scales leave it no rounding. `scale`,
    (rows of a, rows of w), multiplies each sum before its rounding.
    """
    total = np.zeros((len(a), len(w)), np.float32)
    for start in range(0, a.shape[1], _BLOCK):
        part = slice(start, start + _BLOCK)
        sums = a[:, part] @ w[:, part].T
        if scale is not None:
            sums *= scale
        total += sums.astype(np.float32)
    return total


class BlockLinear:
    """MXFP4 or NVFP4 on both sides, by `exact`."""

    def __init__(self, weights: F32, kind: str) -> None:
        self._kind = kind
        if kind == "mxfp4":
            self._values = _mxfp4(weights)
        else:
            self._values, self._scale = nvfp4.quantize(weights)

    def __call__(self, x: Inputs) -> Codes:
        """RNE_bf16 of the dot products."""
        if self._kind == "mxfp4":
            return bf16_codes(exact(x.mxfp4, self._values))
        values, scale = nvfp4.quantize(bf16_values(x.codes))
        return bf16_codes(exact(values, self._values, np.outer(scale, self._scale)))
