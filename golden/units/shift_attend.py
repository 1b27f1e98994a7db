"""Attention times V where probabilities are powers of two: shifts and additions only.

    acc_e  = sum over positions of v_e 2^(scale - reference - code)
    result = RNE_bf16(acc_e 2^(reference - 127))

v are sign-magnitude integers with v_bits - 2 fraction bits, an MXINT block a position; `reference`
is the row's largest scale. Terms lie on a fixed point with `fraction` fraction bits, cut off
towards zero; their sum is exact. With `renormalise` the result is divided by the sum of the
probabilities:

    result = RNE_bf16(RNE_bf16(acc_e 2^(reference - 127)) RNE_bf16(1 / RNE_bf16(sum 2^-code)))

Position with `zero`: adds nothing, its v and scale are not read. All zero: +0. NaN, of the whole
row: `nan` at any position, scale above reference, scale or reference 255, or probabilities that sum
to 2^sum_bits or more, which no codes of `log2_softmax` do. Subnormals: made. Overflow: Inf. The
reference that counts for the result is that of the row's final position.

Source: OPAL (arXiv 2409.05902); fixed point, rounding and renormalising are this project's.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import fp_mul
from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.formats import BF16, Overflow, Rounding, vector
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units.attend import attend_vectors
from narrowgauge.golden.units.scores import rows_of

__all__ = ["Params", "model", "output_beats", "reciprocal", "vectors"]

Ints = npt.NDArray[np.int64]

_NAN = 0x7FC0
_MULTIPLY = fp_mul.Params(exp_bits=8, man_bits=7)


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: bits, v_bits, lanes, length, fraction, renormalise. How: share.

    Parameters
    ----------
    bits : bits of a code, 3..5
    v_bits : bits of an element of V, 3..8
    lanes : width of the head, 2..256
    length : longest row that cannot overflow, a power of two, 2..4096
    fraction : fraction bits of the accumulators, v_bits - 2..24
    renormalise : divide by the sum of the probabilities
    share : elements that a shifter and adder serve one after the other, a divisor of lanes
    """

    bits: int = 4
    v_bits: int = 7
    lanes: int = 64
    length: int = 1024
    fraction: int = 14
    renormalise: bool = False
    share: int = 1

    def __post_init__(self) -> None:
        check_limits(self, bits=(3, 5), v_bits=(3, 8), lanes=(2, 256))
        if not 2 <= self.length <= 4096 or self.length & (self.length - 1):
            raise UsageError(f"length must be a power of two, 2..4096, got {self.length}")
        if not self.v_bits - 2 <= self.fraction <= 24:
            raise UsageError(f"fraction must be {self.v_bits - 2}..24, got {self.fraction}")
        if not 1 <= self.share <= self.lanes // 2 or self.lanes % self.share:
            raise UsageError(
                f"share must divide lanes={self.lanes} and leave two, got {self.share}"
            )

    @property
    def sum_fraction(self) -> int:
        """Fraction bits of the sum of probabilities, all that a code can name."""
        return (1 << self.bits) - 1

    @property
    def sum_bits(self) -> int:
        """Integer bits of that sum.

        Codes of `log2_softmax` sum to less than 1.7, and what its last code holds up beyond that.
        """
        bits = 1
        while 1.7 + self.length / (1 << self.sum_fraction) > 1 << bits:
            bits += 1
        return bits

    @property
    def width(self) -> int:
        """Bits of an accumulator: elements are below 2, their sum below 2^(sum_bits + 1)."""
        return self.fraction + self.sum_bits + 2

    @property
    def input(self) -> Payload:
        """One position: its code and its row of V; `last` ends the row of codes."""
        return Payload(
            (
                Field(name="code", width=self.bits),
                Field(name="zero", width=1),
                Field(name="nan", width=1),
                Field(name="v", width=self.v_bits, count=self.lanes, encoding="sign_magnitude"),
                Field(name="scale", width=8, format="e8m0"),
                Field(name="reference", width=8, format="e8m0"),
                Field(name="last", width=1),
            )
        )

    @property
    def output(self) -> Payload:
        """One element of the result; `last` with the head's final one."""
        return Payload((Field(name="result", width=16, format="bf16"), Field(name="last", width=1)))


def _to_bf16(magnitude: Ints, negative: Ints, exponent: Ints) -> Ints:
    return vector.round_pack(
        BF16,
        negative,
        magnitude,
        exponent,
        rounding=Rounding.RNE,
        overflow=Overflow.NONFINITE,
    )


def reciprocal(params: Params, total: Ints) -> Ints:
    """RNE_bf16(1 / RNE_bf16(total 2^-sum_fraction)) of positive sums."""
    code = _to_bf16(total, np.zeros_like(total), np.full_like(total, -params.sum_fraction))
    significand, field = (code & 0x7F) | 0x80, code >> 7
    # 2^15 / significand lies in 128..256; a tie would need a power of two for a divisor.
    quotient = (2 * (1 << 15) + significand) // (2 * significand)
    exponent = -(field - 134) - 15
    return _to_bf16(quotient, np.zeros_like(total), exponent)


def model(params: Params, batch: Batch) -> Batch:
    """Rows of positions to heads: `result` of shape (rows, lanes)."""
    beats = params.input.check(batch)
    rows = rows_of(beats["last"])
    used = int(rows.lengths.sum())
    live = (beats["zero"] == 0)[:used]
    code, scale, reference = (beats[n][:used] for n in ("code", "scale", "reference"))
    bad = live & ((scale > reference) | (scale == 255) | (reference == 255))
    bad |= beats["nan"][:used] == 1
    distance = np.clip(reference - scale + code, 0, 62)
    v = beats["v"][:used]
    magnitude = (np.abs(v) << (params.fraction - (params.v_bits - 2))) >> distance[:, None]
    term = np.where(live[:, None], np.where(v < 0, -magnitude, magnitude), 0)
    share = np.where(live, np.int64(1) << (params.sum_fraction - code), 0)
    if not len(rows.starts):
        return {"result": np.zeros((0, params.lanes), np.int64)}
    acc = np.add.reduceat(term, rows.starts, axis=0)
    total = np.add.reduceat(share, rows.starts)
    nan = np.add.reduceat(bad.astype(np.int64), rows.starts) > 0
    nan |= total >= 1 << (params.sum_bits + params.sum_fraction)
    final = reference[rows.starts + rows.lengths - 1]
    exponent = np.broadcast_to((final - 127 - params.fraction)[:, None], acc.shape)
    result = _to_bf16(np.abs(acc), (acc < 0).astype(np.int64), exponent)
    if params.renormalise:
        factor = reciprocal(params, np.maximum(total, 1))
        factor = np.broadcast_to(factor[:, None], acc.shape)
        product = fp_mul.model(_MULTIPLY, {"a": result.reshape(-1), "b": factor.reshape(-1)})["o"]
        result = product.reshape(acc.shape)
    return {"result": np.where(nan[:, None], _NAN, result)}


def output_beats(params: Params, batch: Batch) -> Batch:
    """Heads to beats: elements in order, `last` on the final one."""
    result = batch["result"].reshape(-1)
    last = (np.arange(len(result)) % params.lanes == params.lanes - 1).astype(np.int64)
    return {"result": result, "last": last}


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Rows of codes with rows of V: see `golden.units.attend`."""
    return attend_vectors(
        level,
        seed,
        bits=params.bits,
        v_bits=params.v_bits,
        lanes=params.lanes,
        length=params.length,
        sum_bits=params.sum_bits,
    )
