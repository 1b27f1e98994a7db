"""Words of a memory to beats of blocks: the reading side of a tensor's storage.

A tensor's words, up to `last`, hold beats end to end from bit 0; of the last one `empty` bytes do
not count (all but one where it says more), of the others every one. Whatever comes, a tensor ends
with one beat with `last`:

- the last whole beat, where it ends in the bytes of the last word. Less than 8 bits are left then
  of a tensor that `word_pack` made; more than that are dropped, and the beat is `cut`.
- else the beat that the last word breaks off, which is `cut`: the word's bits as they are, also
  those of bytes that do not count, then zeros.

Codes and exponent fields are bits: none is looked at. A code that is -0, which no format makes,
comes out as it is; integers cannot say that, so the model refuses it.

Source: `golden.units.words`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Field, Payload, join
from narrowgauge.golden.units.scores import rows_of
from narrowgauge.golden.units.words import Words, some_tensors

__all__ = ["Params", "Tensors", "model", "output_lengths", "tensors", "vectors"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Params(Words):
    """See `Words`."""

    @property
    def input(self) -> Payload:
        """One word."""
        return self.words

    @property
    def output(self) -> Payload:
        """One beat."""
        return Payload(
            (*self.beats, Field(name="cut", width=1), Field(name="last", width=1)),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensors:
    """What the words of each tensor hold; every array is (tensors,).

    Parameters
    ----------
    starts, words : first word, number of words
    bits : that count
    beats : that come out
    missing : the last of them is broken off by the last word
    left : more than 7 bits are dropped after it
    """

    starts: Ints
    words: Ints
    bits: Ints
    beats: Ints
    missing: Bools
    left: Bools

    @property
    def cut(self) -> Bools:
        """The tensor is not whole beats."""
        return self.missing | self.left


def tensors(params: Params, batch: Batch) -> Tensors:
    """Follow `last` and `empty`."""
    at = rows_of(batch["last"])
    ends = at.starts + at.lengths - 1
    empty = np.minimum(batch.get("empty", batch["last"] * 0)[ends], params.word_bytes - 1)
    bits = at.lengths * params.word - 8 * empty
    whole = bits // params.beat
    missing = whole * params.beat <= (at.lengths - 1) * params.word
    return Tensors(
        starts=at.starts,
        words=at.lengths,
        bits=bits,
        beats=whole + missing,
        missing=missing,
        left=~missing & (bits - whole * params.beat >= 8),
    )


def model(params: Params, batch: Batch) -> Batch:
    """Words of tensors to beats; words after the final `last` are no tensor."""
    words = params.input.check(batch)
    at = tensors(params, words)
    made = [params.output.beats(0)]
    for i, (start, length) in enumerate(zip(at.starts.tolist(), at.words.tolist(), strict=True)):
        count = int(at.beats[i])
        raw = np.zeros(-(-max(count * params.beat, length * params.word) // 8), np.uint8)
        raw[: length * params.word_bytes] = words["word"][start : start + length].ravel()
        beats = params.from_memory(raw, count)
        bits = count * params.beat
        again = np.unpackbits(params.to_memory(beats), count=bits, bitorder="little")
        if not np.array_equal(again, np.unpackbits(raw, count=bits, bitorder="little")):
            raise UsageError(f"tensor {i} has a code of -0, which no format makes")
        part = params.output.beats(count, **beats)
        part["last"][-1] = 1
        part["cut"][-1] = at.cut[i]
        made.append(part)
    return join(made)


def output_lengths(params: Params, outputs: Batch) -> Ints:
    """Beats that answer each tensor."""
    return rows_of(outputs["last"]).lengths


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Tensors of one beat to many, some cut short, some with another `empty`."""
    rng = np.random.default_rng(seed)
    made = []
    for beats in some_tensors(params, level, seed):
        words = params.to_words(params.to_memory(beats))
        broken = rng.integers(0, 8) if level != "real" else 7
        if broken == 0:
            length = rng.integers(1, len(words["last"]) + 1)
            words = {name: values[:length] for name, values in words.items()}
            words["last"][-1] = 1
        if "empty" in words:
            if broken <= 1:
                most = params.input["empty"].limits[1]
                words["empty"][-1] = (rng.integers(0, most + 1), most)[rng.integers(0, 2)]
            elif broken == 2:
                # Only that of the last word is read.
                words["empty"][:-1] = rng.integers(0, params.word_bytes, len(words["empty"]) - 1)
        made.append(words)
    return join(made)
