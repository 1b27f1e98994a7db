"""What the baseline cores share: commands, operand memory, softmax, answers; all but the array.

    MATVEC:  y_r = RNE_bf16(dot_r), with a row scale RNE_bf16(RNE_bf16(dot_r) * row_scale_r)
    ATTEND:  y_e = RNE_bf16(sum_p p_p v_pe),   p = bf16_softmax(RNE_bf16(key_p . loaded vector))

Commands, packets, operand memory, order and status are those of `opal_core`, with these
differences. Vectors stay bf16, so `high` and `plain` are not read, and `out` other than 0 is
illegal.
V comes transposed: after the keys, for each of `length` elements of the head, a row of `rows`
positions, multiplied by the probabilities, which are kept in a memory. An ATTEND that is cut among
the keys answers with a beat of zeros, one cut in V with the elements that were whole, as MATVEC.

The vector's elements beyond its length, and the probabilities beyond the last, are +0; what the
final beat of a row holds beyond its end is multiplied by them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores.packets import HEADER_BITS
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units import bf16_softmax

__all__ = ["Baseline", "input_beats", "lengths", "output_beats", "output_lengths"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Baseline(ABC):
    """What: lanes, fraction, head, length, vector. How: q_lanes.

    Parameters
    ----------
    lanes : products a cycle, added on one window, a power of two, 2..1024
    fraction : fraction bits of the dot products' window
    head : elements of the widest head, 2..vector
    length : positions of the longest attention, a power of two, lanes..4096
    vector : elements of the longest vector loaded, a multiple of lanes, at most 32768
    q_lanes : elements a cycle of LOAD and of answers, a power of two, at most lanes
    """

    lanes: int = 128
    fraction: int = 23
    head: int = 64
    length: int = 1024
    vector: int = 1536
    q_lanes: int = 8

    def __post_init__(self) -> None:
        for name in ("lanes", "q_lanes"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise UsageError(f"{name} must be a power of two, got {value}")
        if self.q_lanes > self.lanes:
            raise UsageError(f"q_lanes must not exceed lanes={self.lanes}, got {self.q_lanes}")
        bits = self.word.bits
        if bits < max(HEADER_BITS, 16 * self.q_lanes):
            raise UsageError(
                f"a word of {bits} bits must hold a header of {HEADER_BITS} and "
                f"{self.q_lanes} elements of 16"
            )
        if not self.lanes <= self.vector <= 32768 or self.vector % self.lanes:
            raise UsageError(
                f"vector must be a multiple of lanes={self.lanes} up to 32768, got {self.vector}"
            )
        if not self.lanes <= self.length <= 4096 or self.length & (self.length - 1):
            raise UsageError(
                f"length must be a power of two, {self.lanes}..4096, got {self.length}"
            )
        if not 2 <= self.head <= self.vector:
            raise UsageError(f"head must be 2..vector={self.vector}, got {self.head}")
        _ = self.dot, self.softmax

    @property
    @abstractmethod
    def word(self) -> Field:
        """The field that holds headers, elements of vectors, and weights."""

    @property
    def sides(self) -> tuple[Field, ...]:
        """The fields beside `word`."""
        return ()

    @property
    @abstractmethod
    def dot(self) -> Any:
        """The array's parameters."""

    @property
    def softmax(self) -> bf16_softmax.Params:
        """The softmax's parameters."""
        return bf16_softmax.Params(length=self.length)

    @abstractmethod
    def dots(self, a: Ints, data: Batch, last: Ints) -> Ints:
        """FP32 results of the array: operands (beats, lanes) with data beats."""

    @property
    def input(self) -> Payload:
        """One beat of a packet; what each field means depends on the command."""
        return Payload((self.word, *self.sides, Field(name="last", width=1)))

    @property
    def output(self) -> Payload:
        """One beat of a response."""
        return Payload(
            (
                Field(name="data", width=16, count=self.q_lanes, format="bf16"),
                Field(name="status", width=4),
                Field(name="last", width=1),
            )
        )

    def beats_of(self, size: int) -> int:
        """Beats of a row of `size` elements."""
        return -(-size // self.lanes)


def input_beats(params: Baseline, batch: Batch) -> Batch:
    """Programs to beats, one after the other."""
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in batch.items()}
    flat["last"] = flat.pop("final")
    return flat


def lengths(params: Baseline, batch: Batch) -> Ints:
    """Beats of each program: all alike."""
    count, size = batch["final"].shape
    return np.full(count, size, np.int64)


def output_beats(params: Baseline, outputs: Batch) -> Batch:
    """The beats of `answers`."""
    return {field.name: outputs[field.name] for field in params.output.fields}


def output_lengths(params: Baseline, outputs: Batch) -> Ints:
    """Beats that answer each program."""
    return outputs["answered"]
