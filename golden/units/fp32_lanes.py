"""What the FP32 baselines of batch normalisation share: words, beats, arithmetic, stimuli.

An array of `lanes` channels has a few FP32 words a channel. A beat with `load` brings words: each
set bit takes the pair of its number from u and v. It also sets the mode, which holds until the next
load. Any other beat brings values of one position on u and v.

Every operation is FP32, rounded once (nearest even), with subnormals, Inf and NaN of IEEE 754, as
`golden.arith.fp_add` and `fp_mul`: any NaN comes out as the canonical one. Sums are taken in the
order of positions.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import fp_add, fp_mul
from narrowgauge.golden.arith.ieee import corners
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_values
from narrowgauge.golden.payload import Batch, Field, Payload, join
from narrowgauge.golden.samples import norm
from narrowgauge.golden.units.scores import rows_of
from narrowgauge.golden.units.window import FP32

__all__ = [
    "FP32",
    "NAN",
    "ONE",
    "SIGN",
    "Fp32Lanes",
    "accumulate",
    "add",
    "code_of",
    "multiply",
    "output_lengths",
    "real_tensors",
    "runs",
    "some_loads",
    "value_of",
    "values",
    "words",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

SIGN, NAN, ONE = 1 << 31, 0x7FC00000, 0x3F800000
_ADD = fp_add.Params(exp_bits=8, man_bits=23)
_MUL = fp_mul.Params(exp_bits=8, man_bits=23)


@dataclass(frozen=True, kw_only=True)
class Fp32Lanes(ABC):
    """How: lanes, channels a beat, 1..256."""

    lanes: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.lanes <= 256:
            raise UsageError(f"lanes must be 1..256, got {self.lanes}")

    @property
    def pairs(self) -> int:
        """Pairs of words that can be loaded."""
        return 2

    @property
    def flags(self) -> tuple[Field, ...]:
        """Fields of a beat beside `load`, `mode` and `last`."""
        return ()

    @property
    @abstractmethod
    def output(self) -> Payload:
        """One answer."""

    def words(self, *names: str) -> tuple[Field, ...]:
        """FP32 fields, one element a channel."""
        return tuple(Field(name=n, width=32, count=self.lanes, format="fp32") for n in names)

    @property
    def input(self) -> Payload:
        """One beat."""
        return Payload(
            (
                *self.words("u", "v"),
                Field(name="load", width=self.pairs),
                Field(name="mode", width=2),
                *self.flags,
                Field(name="last", width=1),
            )
        )


def value_of(codes: npt.ArrayLike) -> Floats:
    """FP32 codes as numbers."""
    return np.asarray(codes, np.int64).astype(np.uint32).view(np.float32)


def code_of(numbers: npt.ArrayLike) -> Ints:
    """Numbers as FP32 codes, NaN as the canonical one."""
    array = np.asarray(numbers, np.float32)
    return np.where(np.isnan(array), NAN, array.view(np.uint32).astype(np.int64))


def add(a: Ints, b: Ints) -> Ints:
    """Sums of codes, rounded once."""
    a, b = np.broadcast_arrays(a, b)
    return fp_add.model(_ADD, {"a": a.reshape(-1), "b": b.reshape(-1)})["o"].reshape(a.shape)


def multiply(a: Ints, b: Ints) -> Ints:
    """Products of codes, rounded once."""
    a, b = np.broadcast_arrays(a, b)
    return fp_mul.model(_MUL, {"a": a.reshape(-1), "b": b.reshape(-1)})["o"].reshape(a.shape)


def accumulate(start: Ints, terms: Ints) -> Ints:
    """Sums so far, each rounded once: start, (lanes,), and terms, (positions, lanes).

    NumPy adds float32 one after the other; tests/test_fp32_lanes.py holds it to `fp_add`.
    """
    rows = value_of(np.concatenate([start[None], terms]))
    with np.errstate(all="ignore"):
        return code_of(np.add.accumulate(rows, axis=0, dtype=np.float32)[1:])


def runs(batch: Batch) -> Iterator[tuple[int, slice]]:
    """The beats one load, or run of values between loads, at a time: `load` and where it lies."""
    load = batch["load"]
    cuts = np.flatnonzero((load[1:] != 0) | (load[:-1] != 0)) + 1
    bounds = [0, *cuts.tolist(), len(load)] if len(load) else []
    for start, end in pairwise(bounds):
        yield int(load[start]), slice(start, end)


def output_lengths(params: Fp32Lanes, outputs: Batch) -> Ints:
    """Beats that answer each group of passes, of which only the final answer has `last`."""
    return rows_of(outputs["last"]).lengths


def values(rng: np.random.Generator, shape: tuple[int, int]) -> Ints:
    """Codes of channels, (positions, lanes): of one kind of number, or of any."""
    count, lanes = shape
    mean = rng.normal(0, 1, lanes) * rng.choice([0, 1, 100], lanes)
    plain = code_of(rng.normal(mean, 2.0 ** rng.integers(-4, 5, lanes), shape))
    anything = rng.integers(0, 1 << 32, shape)
    edges = rng.choice(corners(FP32), shape)
    sign = rng.integers(0, 2, shape) << 31
    tiny = rng.integers(0, 1 << 24, shape) | sign
    huge = (rng.integers(250, 255, shape) << 23) | rng.integers(0, 1 << 23, shape) | sign
    few = code_of(rng.integers(-3, 4, shape).astype(np.float32))
    kind = int(rng.integers(0, 8))
    made = [plain, plain, few, tiny, huge, edges, anything, plain][kind]
    if kind == 0:
        made = np.repeat(made[:1], count, axis=0)
    if kind in (1, 7):
        rare = rng.random(shape) < 0.02
        made = np.where(rare, (edges, anything)[kind == 7], made)
    return made


def words(rng: np.random.Generator, lanes: int) -> Ints:
    """Codes of one word a channel: ordinary, zeros, or of any kind."""
    kind = rng.integers(0, 6)
    if kind < 2:
        return code_of(rng.normal(0, 2, lanes))
    if kind == 2:
        return rng.choice(np.array([0, SIGN, ONE, ONE | SIGN]), lanes)
    if kind == 3:
        return np.full(lanes, rng.choice(np.array([0, SIGN, ONE])))
    return values(rng, (1, lanes))[0]


def some_loads(params: Fp32Lanes, rng: np.random.Generator, mode: int, *, every: bool) -> Batch:
    """Beats that load every pair, or any of them, in any order, and set the mode at the end."""
    bits = [int(b) for b in 1 << rng.permutation(params.pairs)]
    if rng.random() < 0.2:
        bits = [*bits, int(rng.integers(1, 1 << params.pairs))]
    if not every:
        bits = bits[: int(rng.integers(1, len(bits) + 1))]
    modes = rng.integers(0, 4, len(bits))
    modes[-1] = mode
    made = [
        params.input.beats(
            1, u=words(rng, params.lanes), v=words(rng, params.lanes), load=b, mode=each
        )
        for b, each in zip(bits, modes, strict=True)
    ]
    return join(made)


def real_tensors(lanes: int) -> Iterator[tuple[Ints, Ints]]:
    """Codes (positions, lanes) of x and g of the captured layer, a block of channels at a time."""
    for block in norm.load().blocks(lanes):
        yield code_of(bf16_values(block.x)), code_of(bf16_values(block.g))
