"""bf16 core: the commands of `opal_core` on a bf16 array with a bf16 softmax, the baseline.

    MATVEC:  y_r = RNE_bf16(dot_r),   dot_r = weight row r . loaded vector
    ATTEND:  y_e = RNE_bf16(sum_p p_p v_pe),   p = bf16_softmax(RNE_bf16(key_p . loaded vector))

All operands are bf16: weights, keys, V transposed, the vectors in the operand memory. The dot
products are those of `units.bf16_dot`, whose zeros, subnormals, NaN, Inf and overflow these are;
commands, order, status and what a cut packet answers: `cores.baseline`.

Source: a matrix unit with fixed-point alignment and a conventional softmax; commands, packets and
order are those of `opal_core`.
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
from narrowgauge.golden.payload import Batch, Field
from narrowgauge.golden.units import bf16_dot
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


@dataclass(frozen=True, kw_only=True)
class Params(Baseline):
    """See `Baseline`; fraction is 14..32."""

    @property
    def word(self) -> Field:
        """`lanes` bf16 elements of a row, or of a header or vector as many bits as they take."""
        return Field(name="word", width=16, count=self.lanes, format="bf16")

    @property
    def dot(self) -> bf16_dot.Params:
        """The array's parameters."""
        return bf16_dot.Params(lanes=self.lanes, fraction=self.fraction)

    def dots(self, a: Ints, data: Batch, last: Ints) -> Ints:
        """FP32 results of the array: operands (beats, lanes) with data beats."""
        return bf16_dot.model(self.dot, {"a": a, "b": data["word"], "last": last})["result"]

    def rows(self, values: npt.NDArray[np.integer]) -> Batch:
        """Data beats of rows of bf16 codes, (rows, width)."""
        count, width = values.shape
        each = self.beats_of(width)
        padded = np.pad(values.astype(np.int64), ((0, 0), (0, each * self.lanes - width)))
        return self.input.beats(count * each, word=padded.reshape(-1, self.lanes))

    def disturb(self, data: Batch, rng: np.random.Generator) -> None:
        """Specials in few elements of data beats, padding included."""
        word = data["word"]
        corner = rng.random(word.shape) < rng.choice([0, 0, 0.02])
        word[corner] = rng.choice(SPECIAL_BF16, int(corner.sum()))


def model(params: Params, batch: Batch) -> Batch:
    """Programs to the beats that answer them; see `baseline_answers.answers`."""
    return baseline_answers.answers(params, batch)


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Programs of all commands, with errors at smoke and full; see `baseline_programs`."""
    return baseline_programs.make(params, level, seed)
