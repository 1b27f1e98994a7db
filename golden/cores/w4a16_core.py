"""Weight-only core: the commands of `opal_core` on bf16 activations and INT weights, the baseline.

    MATVEC:  y_r = RNE_bf16(RNE_bf16(dot_r) * row_scale_r),   dot_r = weight row r . loaded vector
    ATTEND:  y_e = RNE_bf16(sum_p p_p v_pe),   p = bf16_softmax(RNE_bf16(key_p . loaded vector))

Weights, keys and V transposed are integers with a scale for each beat; the vectors in the operand
memory and the probabilities are bf16. So both caches are as narrow as the weights, which is more
than weight-only quantisation usually has. The dot products are those of `units.w4a16_dot`, whose
zeros, subnormals, NaN, Inf and overflow these are; commands, order, status and what a cut packet
answers: `cores.baseline`.

Source: weight-only quantisation (OWQ, AAAI 2024; FIGNA, HPCA 2024); commands, packets and order are
those of `opal_core`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores import baseline_answers, baseline_programs
from narrowgauge.golden.cores.baseline import (
    Baseline,
    input_beats,
    lengths,
    output_beats,
    output_lengths,
)
from narrowgauge.golden.formats import MXOpal, bf16_codes, quantize
from narrowgauge.golden.payload import Batch, Field
from narrowgauge.golden.units import w4a16_dot
from narrowgauge.golden.units.stimuli import SPECIAL_BF16

__all__ = [
    "Params",
    "input_beats",
    "lengths",
    "model",
    "output_beats",
    "output_lengths",
    "vectors",
]

Ints = npt.NDArray[np.int64]

_ONE = 0x3F80


@dataclass(frozen=True, kw_only=True)
class Params(Baseline):
    """See `Baseline`; `w_bits`, 2..8, is the width of weights, keys and V."""

    w_bits: int = 4

    @property
    def word(self) -> Field:
        """`lanes` codes of a row, or of a header or vector as many bits as they take."""
        return Field(name="word", width=self.w_bits, count=self.lanes)

    @property
    def sides(self) -> tuple[Field, ...]:
        """The scale of the beat's codes, and that of the row, read with its final beat."""
        return (
            Field(name="scale", width=8, format="e8m0"),
            Field(name="row_scale", width=16, format="bf16"),
        )

    @property
    def dot(self) -> w4a16_dot.Params:
        """The array's parameters."""
        return w4a16_dot.Params(lanes=self.lanes, w_bits=self.w_bits, fraction=self.fraction)

    def dots(self, a: Ints, data: Batch, last: Ints) -> Ints:
        """FP32 results of the array: operands (beats, lanes) with data beats."""
        w = self.dot.input["w"].from_bits(data["word"])
        beats = {"a": a, "w": w, "w_scale": data["scale"], "last": last}
        return w4a16_dot.model(self.dot, beats)["result"]

    def rows(self, values: npt.NDArray[np.integer]) -> Batch:
        """Data beats of rows of bf16 codes, (rows, width), quantised with a scale a beat.

        Row scales are one.
        """
        count, width = values.shape
        each = self.beats_of(width)
        made = quantize(values.astype(np.uint16), MXOpal(k=self.lanes, n=0, b=self.w_bits), axis=1)
        return self.input.beats(
            count * each,
            word=self.dot.input["w"].to_bits(made.codes.astype(np.int64).reshape(-1, self.lanes)),
            scale=made.scales.reshape(-1),
            row_scale=_ONE,
        )

    def disturb(self, data: Batch, rng: np.random.Generator) -> None:
        """Any row scales; any codes in some beats, padding included; any scales in few."""
        count = len(data["last"])
        data["row_scale"][:] = bf16_codes(rng.standard_normal(count).astype(np.float32))
        corner = rng.random(count) < rng.choice([0, 0, 0.1])
        data["row_scale"][corner] = rng.choice(SPECIAL_BF16, int(corner.sum()))
        loose = rng.random(count) < rng.choice([0, 0.3])
        codes = rng.integers(0, 1 << self.w_bits, data["word"].shape)
        data["word"][loose] = codes[loose]
        wild = rng.random(count) < rng.choice([0, 0, 0.1])
        data["scale"][wild] = rng.choice([0, 1, 90, 200, 254, 255], int(wild.sum()))


def model(params: Params, batch: Batch) -> Batch:
    """Programs to the beats that answer them; see `baseline_answers.answers`."""
    return baseline_answers.answers(params, batch)


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Programs of all commands, with errors at smoke and full; see `baseline_programs`."""
    return baseline_programs.make(params, level, seed)
