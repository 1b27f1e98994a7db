"""Beats of blocks to words of a memory, laid end to end: the writing side of a tensor's storage.

A tensor's beats, up to `last`, take ceil(beats * bits of a beat / word) words, the last one filled
up with zeros, with `last` and with `empty`: how many of its bytes the tensor does not have, as in
Avalon-ST; AXI's TKEEP has that many zeros at its top. All other words have `empty` 0. So the number
of bytes of a tensor, ceil(beats * bits of a beat / 8), is what a DMA is told.

Codes and exponent fields are bits: none is looked at.

Source: `golden.units.words`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.payload import Batch, Field, Payload, join
from narrowgauge.golden.units.scores import rows_of
from narrowgauge.golden.units.words import Words, some_tensors

__all__ = ["Params", "model", "output_lengths", "vectors"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Params(Words):
    """See `Words`."""

    @property
    def input(self) -> Payload:
        """One beat."""
        return Payload((*self.beats, Field(name="last", width=1)))

    @property
    def output(self) -> Payload:
        """One word."""
        return self.words


def model(params: Params, batch: Batch) -> Batch:
    """Beats of tensors to words; beats after the final `last` are no tensor."""
    beats = params.input.check(batch)
    at = rows_of(beats["last"])
    made = [params.output.beats(0)]
    for start, length in zip(at.starts.tolist(), at.lengths.tolist(), strict=True):
        part = {name: values[start : start + length] for name, values in beats.items()}
        made.append(params.to_words(params.to_memory(part)))
    return join(made)


def output_lengths(params: Params, outputs: Batch) -> Ints:
    """Words that answer each tensor."""
    return rows_of(outputs["last"]).lengths


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Tensors of one beat to many."""
    return join(list(some_tensors(params, level, seed)))
