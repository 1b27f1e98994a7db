"""OPAL core: a multi-mode INT array with outliers, quantiser, log2 softmax and shift attention.

    MATVEC:  y_r = RNE_bf16(RNE_bf16(dot_r) * row_scale_r),   dot_r = weight row r . loaded vector
    ATTEND:  y   = sum_p v_p 2^-code_p,   code = log2_softmax(RNE_bf16(key_p . loaded vector))

Packets of commands come in, a response to each goes out, in order; docs/cores/opal_core.md has the
table of commands. The dot products are those of `units.opal_dot`, LOAD, PASS and requantised
answers those of `units.mx_quantize`, attention those of `units.log2_softmax` and
`units.shift_attend`, all bit for bit, so zeros, subnormals, NaN, Inf and overflow are theirs.

Operand memory: a queue of two quantised vectors. LOAD appends one, MATVEC and ATTEND use the oldest
and remove it with their final data beat, or the one that cuts them, where `release` is set.

Status: 1 illegal command, 2 out of order, 3 cut (`last` before the final data beat), 4 overrun
(`last` later: the rest is discarded). A LOAD with any of them loads nothing. A MATVEC or PASS that
is cut answers with what was whole; an ATTEND with a beat of zeros, as do 1 and 2. The beat after
`last` is a header.

Source: OPAL (arXiv 2409.05902) for the parts; commands, packets and order are this project's.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from narrowgauge.golden.arith import word_guard
from narrowgauge.golden.cores import opal_programs
from narrowgauge.golden.cores.opal_answers import answers
from narrowgauge.golden.cores.opal_cycles import cycles, macs
from narrowgauge.golden.cores.opal_work import Upset
from narrowgauge.golden.cores.packets import HEADER_BITS
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units import log2_softmax, mx_quantize, opal_dot, shift_attend

__all__ = [
    "Params",
    "Upset",
    "cycles",
    "input_beats",
    "lengths",
    "macs",
    "model",
    "output_beats",
    "output_lengths",
    "vectors",
]


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: k, n, low, fraction, bits, head, length, vector, renormalise, guard. How: the others.

    Parameters
    ----------
    k : elements a block, a power of two, 4..1024
    n : outliers a block, 1..k-1
    low : bits of a low code, 3 or 4; a high one has 2 * low - 1
    fraction : fraction bits of the dot products' window, 14..32
    bits : bits of a softmax code, 3..5
    head : elements of the widest head, 2..lanes / 2
    length : positions of the longest attention, a power of two, 2..4096
    vector : elements of the longest vector loaded, a multiple of k, at most 32768
    renormalise : divide attention by the sum of the probabilities
    lanes : low x low products a cycle, a power of two, 16..k
    fp_units : outlier products a cycle, 1..2n
    q_lanes : elements a cycle of the quantiser and of answers, a power of two, at most lanes / 2
    share : cycles of a row of V, in which a shifter and adder serve as many elements of the head
    guard : of what blocks of the operand share in their memory, of `golden.guard.KINDS`, without
        bounds; a block that it detects as wrong has scale 0, no outliers, and its codes
    """

    k: int = 128
    n: int = 4
    low: int = 4
    fraction: int = 23
    bits: int = 4
    head: int = 64
    length: int = 1024
    vector: int = 1536
    renormalise: bool = False
    lanes: int = 128
    fp_units: int = 4
    q_lanes: int = 8
    share: int = 2
    guard: str = "none"

    def __post_init__(self) -> None:
        if self.low not in (3, 4):
            raise UsageError(f"low must be 3 or 4, got {self.low}")
        if self.n < 1:
            raise UsageError(f"n must be at least 1, got {self.n}")
        if self.lanes < 16 or self.lanes & (self.lanes - 1):
            raise UsageError(f"lanes must be a power of two from 16 on, got {self.lanes}")
        if self.q_lanes < 1 or self.q_lanes & (self.q_lanes - 1):
            raise UsageError(f"q_lanes must be a power of two, got {self.q_lanes}")
        if self.word_bits < max(HEADER_BITS, 16 * self.q_lanes):
            raise UsageError(
                f"a word of {self.word_bits} bits must hold a header of {HEADER_BITS} and "
                f"{self.q_lanes} elements of 16"
            )
        if not 2 <= self.head <= self.lanes // 2:
            raise UsageError(f"head must be 2..lanes / 2 = {self.lanes // 2}, got {self.head}")
        if not self.k <= self.vector <= 32768 or self.vector % self.k:
            raise UsageError(
                f"vector must be a multiple of k={self.k} up to 32768, got {self.vector}"
            )
        if self.head > self.vector:
            raise UsageError(f"head must not exceed vector={self.vector}, got {self.head}")
        _ = self.dot, self.quantiser, self.softmax, self.attention
        if self.stored.guard.limits:
            raise UsageError(f"guard must be one without bounds, got {self.guard!r}")

    @property
    def word_bits(self) -> int:
        """Bits of `word`: four slots of `low` bits a cell."""
        return self.low * self.lanes

    @property
    def dot(self) -> opal_dot.Params:
        """The array's parameters."""
        return opal_dot.Params(
            k=self.k,
            n=self.n,
            low=self.low,
            fraction=self.fraction,
            lanes=self.lanes,
            fp_units=self.fp_units,
        )

    @property
    def quantiser(self) -> mx_quantize.Params:
        """The quantiser's parameters."""
        return mx_quantize.Params(
            k=self.k, n=self.n, b=2 * self.low - 1, b_low=self.low, lanes=self.q_lanes
        )

    @property
    def softmax(self) -> log2_softmax.Params:
        """The softmax's parameters."""
        return log2_softmax.Params(bits=self.bits, length=self.length)

    @property
    def attention(self) -> shift_attend.Params:
        """Parameters of attention times V."""
        return shift_attend.Params(
            bits=self.bits,
            v_bits=2 * self.low - 1,
            lanes=self.head,
            length=self.length,
            renormalise=self.renormalise,
            share=self.share,
        )

    @property
    def stored(self) -> word_guard.Params:
        """What blocks of the operand share, as words of their memory."""
        name = f"mx_opal{2 * self.low - 1}_k{self.k}_n{self.n}"
        return word_guard.Params(kind=self.guard, format=name)

    @property
    def guarded(self) -> word_guard.Params | None:
        """The same where there is a guard."""
        return None if self.guard == "none" else self.stored

    @property
    def input(self) -> Payload:
        """One beat of a packet; what each field means depends on the command."""
        return Payload(
            (
                Field(name="word", width=4 * self.low, count=self.lanes // 4),
                Field(name="scale", width=8, format="e8m0"),
                Field(name="outliers", width=16, count=self.n, format="bf16"),
                Field(name="positions", width=self.dot.position_bits, count=self.n),
                Field(name="row_scale", width=16, format="bf16"),
                Field(name="last", width=1),
            )
        )

    @property
    def output(self) -> Payload:
        """One beat of a response; scale, outliers and positions are 0 but in blocks."""
        return Payload(
            (
                Field(name="data", width=16, count=self.q_lanes),
                Field(name="scale", width=8, format="e8m0"),
                Field(name="outliers", width=16, count=self.n, format="bf16"),
                Field(name="positions", width=self.dot.position_bits, count=self.n),
                Field(name="status", width=4),
                Field(name="last", width=1),
            )
        )


def model(params: Params, batch: Batch, upsets: Iterable[Upset] = ()) -> Batch:
    """Programs to the beats that answer them, `answered` of them each.

    A program is a row of beats: fields of `params.input` with an axis of programs before that of
    beats, `last` being named `final`. Each starts with nothing loaded and ends so, after a packet.

    Parameters
    ----------
    upsets : bits that flip in the operand memory; none of vectors that are not loaded
    """
    return answers(params, batch, upsets)


def input_beats(params: Params, batch: Batch) -> Batch:
    """Programs to beats, one after the other."""
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in batch.items()}
    flat["last"] = flat.pop("final")
    return flat


def lengths(params: Params, batch: Batch) -> np.ndarray:
    """Beats of each program: all alike."""
    count, size = batch["final"].shape
    return np.full(count, size, np.int64)


def output_beats(params: Params, outputs: Batch) -> Batch:
    """The beats of `model`."""
    return {field.name: outputs[field.name] for field in params.output.fields}


def output_lengths(params: Params, outputs: Batch) -> np.ndarray:
    """Beats that answer each program."""
    return outputs["answered"]


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Programs of all commands, with errors at smoke and full; see `opal_programs`."""
    return opal_programs.make(params, level, seed)
