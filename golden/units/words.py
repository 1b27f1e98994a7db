"""Blocks of a tensor as words of a memory: what a beat and a word are, and what a tensor takes.

A memory holds a tensor's blocks end to end from bit 0, without a bit between them: block i has the
bits i * w to (i + 1) * w - 1, w the width of the format's `payload`. A tensor begins with a word,
and its last word is filled up with zeros. Tensors that are packed are whole beats.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.formats import BFP, bf16_values, quantize
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units.stimuli import blocks as transactions
from narrowgauge.golden.units.stimuli import real_rows

__all__ = ["Words", "some_tensors"]

Raw = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Words:
    """Parameters of what packs and unpacks; all of them say what.

    Parameters
    ----------
    exponent_bits, mantissa_bits, group : of the format, see `BFP`; group is its k
    lanes : elements a beat, a multiple of group up to 256; beats have 8 bits at least
    word : bits of a word, a multiple of 8 up to 512
    """

    exponent_bits: int = 5
    mantissa_bits: int = 5
    group: int = 4
    lanes: int = 8
    word: int = 64

    def __post_init__(self) -> None:
        _ = self.format
        if not self.group <= self.lanes <= 256 or self.lanes % self.group:
            raise UsageError(
                f"lanes must be a multiple of group={self.group} up to 256, got {self.lanes}"
            )
        check_limits(self, word=(8, 512))
        if self.word % 8:
            raise UsageError(f"word must be a multiple of 8, got {self.word}")
        if self.beat < 8:
            raise UsageError(f"a beat must have 8 bits at least, got {self.beat}")

    @property
    def format(self) -> BFP:
        """The format of the blocks."""
        return BFP(exponent_bits=self.exponent_bits, mantissa_bits=self.mantissa_bits, k=self.group)

    @property
    def blocks(self) -> int:
        """Blocks a beat."""
        return self.lanes // self.group

    @property
    def beat(self) -> int:
        """Bits a beat takes in memory."""
        return self.blocks * self.format.payload.width

    @property
    def word_bytes(self) -> int:
        """Bytes of a word."""
        return self.word // 8

    @property
    def beats(self) -> tuple[Field, Field]:
        """The fields of a beat: codes and exponent fields."""
        return self.format.beat(self.lanes)

    @property
    def words(self) -> Payload:
        """A word; `empty` is the number of its bytes that the tensor does not have."""
        empty = Field(name="empty", width=max(1, (self.word_bytes - 1).bit_length()))
        return Payload(
            (
                Field(name="word", width=8, count=self.word_bytes),
                *([empty] if self.word_bytes > 1 else []),
                Field(name="last", width=1),
            )
        )

    def to_memory(self, beats: Batch) -> Raw:
        """Bytes that the beats of a tensor take."""
        return self.format.payload.pack_tight(
            {"codes": beats["codes"].reshape(-1, self.group), "scale": beats["scales"].ravel()}
        )

    def from_memory(self, raw: Raw, count: int) -> Batch:
        """`codes` and `scales` of the first beats in memory."""
        made = self.format.payload.unpack_tight(raw, count * self.blocks)
        return {
            "codes": made["codes"].reshape(count, self.lanes),
            "scales": made["scale"].reshape(count, self.blocks),
        }

    def to_words(self, raw: Raw) -> Batch:
        """The bytes of a tensor, one at least, as words."""
        count = -(-len(raw) // self.word_bytes)
        padded = np.zeros((count, self.word_bytes), np.uint8)
        padded.reshape(-1)[: len(raw)] = raw
        batch = self.words.beats(count, word=padded)
        batch["last"][-1] = 1
        if "empty" in batch:
            batch["empty"][-1] = padded.size - len(raw)
        return batch


def some_tensors(params: Words, level: str, seed: int) -> Iterator[Batch]:
    """Beats of tensors: codes of all kinds, lengths from one beat to beyond any period."""
    rng = np.random.default_rng(seed)
    payload = Payload((*params.beats, Field(name="last", width=1)))
    if level == "real":
        for x, _ in real_rows(rng):
            yield _real(params, payload, x)
        return
    size = transactions(level, smoke=3_000)
    most = (1 << params.mantissa_bits) - 1
    # Beats after which one begins with a word again.
    period = params.word // math.gcd(params.beat, params.word)
    while size > 0:
        count = int(rng.integers(1, 12)) if rng.random() < 0.9 else int(rng.integers(12, 150))
        if rng.random() < 0.05:
            count = period * -(-count // period)
        codes = rng.integers(-most, most + 1, (count, params.lanes))
        scales = rng.integers(0, 1 << params.exponent_bits, (count, params.blocks))
        # All zeros and all ones stand out where a bit of the neighbour gets in.
        kind = rng.integers(0, 5, (count, 1))
        codes = np.where(kind == 0, 0, np.where(kind == 1, -most, codes))
        ones = (1 << params.exponent_bits) - 1
        scales = np.where(kind == 0, 0, np.where(kind == 1, ones, scales))
        batch = payload.beats(count, codes=codes, scales=scales)
        batch["last"][-1] = 1
        yield batch
        size -= count


def _real(params: Words, payload: Payload, x: npt.NDArray[np.uint16]) -> Batch:
    """Activations, some tokens: a tensor each, cut to whole beats."""
    width = x.shape[1] - x.shape[1] % params.lanes
    made = quantize(bf16_values(x)[:, :width], params.format, axis=1)
    count = made.codes.size // params.lanes
    batch = payload.beats(
        count,
        codes=made.codes.reshape(count, params.lanes),
        scales=made.scales.reshape(count, params.blocks),
    )
    batch["last"][-1] = 1
    return batch
