"""Quantiser from bf16 to MX-OPAL blocks, and to OCP MXINT8 and MXFP4.

    scale = exponent field of the (n+1)-th largest magnitude - emax,  at least 0
    code  = clip(round(v / 2^(scale - 127)))   on the grid of the element

The n largest magnitudes leave the block in bf16, bit for bit, with their positions, the largest
first; ties take the lower position. Their slots get the code 0. The rules are those of the block
formats `MXOpal` and `OcpMX` (`golden.formats`), which are the model; `element` chooses:

- "int": b-bit sign-magnitude integers, MX-OPAL; with n = 0 plain MXINT, with k = 32 and b = 8 also
  OCP's MXINT8;
- "fp4_e2m1": OCP's MXFP4, n = 0 and k = 32.

With `b_low` the width is chosen block by block: where `low` is 1 the codes are those of b_low bits,
carried in b. Where `plain` is 1 no outlier leaves the block, as with n = 0: outliers +0, positions
0..n-1. Both are read with a block's first beat.

Zero block: scale 0, codes 0, positions 0..n-1. Subnormals: exact. NaN and Inf are the largest
magnitudes, so up to n of them are kept as outliers; more make the scale NaN (255) and the codes 0.
Saturation: only where rounding reaches past the last code.

Source: OPAL (arXiv 2409.05902); OCP Microscaling Formats 1.0.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from narrowgauge.golden import samples
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BlockFormat, MXOpal, Rounding, get_block, quantize
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units.checks import check_block
from narrowgauge.golden.units.stimuli import SPECIAL_BF16, blocks, random_bf16

__all__ = ["Params", "input_beats", "model", "output_beats", "vectors"]

_CHOICES = ("low", "plain")


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: element, k, n, b, rounding, b_low. How: lanes.

    Parameters
    ----------
    element : "int" or "fp4_e2m1"
    k : elements a block, a power of two, 2..1024
    n : outliers a block, 0..k-1
    b : bits a code, 2..8
    rounding : rne, rna or rtz
    b_low : 0, or the second width of the codes, 2..b-1, which brings the fields `low` and `plain`
    lanes : elements a cycle, a divisor of k below k
    """

    element: Literal["int", "fp4_e2m1"] = "int"
    k: int = 128
    n: int = 4
    b: int = 4
    rounding: str = Rounding.RNE
    b_low: int = 0
    lanes: int = 8

    def __post_init__(self) -> None:
        if self.element not in ("int", "fp4_e2m1"):
            raise UsageError(f"element must be int or fp4_e2m1, got {self.element!r}")
        if self.rounding not in (Rounding.RNE, Rounding.RNA, Rounding.RTZ):
            raise UsageError(f"rounding must be rne, rna or rtz, got {self.rounding!r}")
        object.__setattr__(self, "rounding", Rounding(self.rounding))
        check_block(self.k, self.n)
        if not 2 <= self.b <= 8:
            raise UsageError(f"b must be 2..8, got {self.b}")
        if self.element == "fp4_e2m1" and (self.k, self.n, self.b) != (32, 0, 4):
            got = f"k={self.k}, n={self.n}, b={self.b}"
            raise UsageError(f"element fp4_e2m1 is MXFP4: k=32, n=0, b=4, got {got}")
        if self.element == "fp4_e2m1" and self.b_low:
            raise UsageError(f"b_low must be 0 with element fp4_e2m1, got {self.b_low}")
        if self.b_low and not 2 <= self.b_low < self.b:
            raise UsageError(f"b_low must be 0 or 2..b-1 with b={self.b}, got {self.b_low}")
        if not 1 <= self.lanes < self.k or self.k % self.lanes:
            raise UsageError(f"lanes must divide k={self.k} and be less, got {self.lanes}")

    @cached_property
    def format(self) -> BlockFormat:
        """The block format that is the model where neither `low` nor `plain` is set."""
        if self.element == "fp4_e2m1":
            return get_block(f"mxfp4_e2m1_{self.rounding}")
        return self.format_of(low=False, plain=False)

    def format_of(self, *, low: bool, plain: bool) -> MXOpal:
        """The block format of a block with `low` and `plain`, for element int."""
        b, n = self.b_low if low else self.b, 0 if plain else self.n
        return MXOpal(k=self.k, n=n, b=b, rounding=Rounding(self.rounding))

    @property
    def beats(self) -> int:
        """Beats of a block."""
        return self.k // self.lanes

    @property
    def position_bits(self) -> int:
        """Bits of a position."""
        return (self.k - 1).bit_length()

    @property
    def input(self) -> Payload:
        """One beat: `lanes` bf16 codes; with `b_low` the choice for the block."""
        x = Field(name="x", width=16, count=self.lanes, format="bf16")
        chosen = [Field(name=name, width=1) for name in _CHOICES] if self.b_low else []
        return Payload((x, *chosen))

    @property
    def output(self) -> Payload:
        """One beat: `lanes` codes; the rest is the block's and the same on all its beats."""
        floating = self.element != "int"
        return Payload(
            (
                Field(
                    name="codes",
                    width=self.b,
                    count=self.lanes,
                    encoding="unsigned" if floating else "sign_magnitude",
                    format=self.element if floating else None,
                ),
                Field(name="scale", width=8, format="e8m0"),
                *self.format.payload.fields[2:],  # outliers and positions
                Field(name="last", width=1),
            )
        )


def model(params: Params, batch: Batch) -> Batch:
    """Blocks to blocks of the format.

    `x` holds bf16 codes, shape (blocks, k); with `b_low` there are `low` and `plain`, (blocks,).
    """
    names = {"x", *(_CHOICES if params.b_low else ())}
    if set(batch) != names:
        raise UsageError(f"batch has fields {sorted(batch)}, expected {sorted(names)}")
    x = np.asarray(batch["x"])
    if x.ndim != 2 or x.shape[1] != params.k or x.dtype.kind not in "iu":
        raise UsageError(f"x must be integers of shape (blocks, {params.k}), got {x.shape}")
    if x.size and (x.min() < 0 or x.max() > 0xFFFF):
        raise UsageError(f"x must be bf16 codes, 0..65535, got {x.min()}..{x.max()}")
    codes = x.astype(np.uint16)
    if not params.b_low:
        return _quantized(params, codes, params.format)
    for name in _CHOICES:
        flags = np.asarray(batch[name])
        if flags.shape != (len(x),) or flags.dtype.kind not in "iub":
            raise UsageError(f"{name} must be integers of shape ({len(x)},), got {flags.shape}")
        if flags.size and not ((flags == 0) | (flags == 1)).all():
            raise UsageError(f"{name} must be 0 or 1, got {flags.min()}..{flags.max()}")
    made = _quantized(params, codes, params.format)
    for low, plain in ((False, True), (True, False), (True, True)):
        rows = np.flatnonzero((batch["low"] == low) & (batch["plain"] == plain))
        part = _quantized(params, codes[rows], params.format_of(low=low, plain=plain))
        for name, values in part.items():
            made[name][rows] = values
    return made


def _quantized(params: Params, x: npt.NDArray[np.uint16], fmt: BlockFormat) -> Batch:
    """The fields of the output, empty slots filled where the format has no outliers."""
    tensor = quantize(x, fmt, axis=1)
    made: Batch = {
        "codes": tensor.codes[:, 0].astype(np.int64),
        "scale": tensor.scales[:, 0].astype(np.int64),
    }
    if params.n:
        shape = (len(x), params.n)
        made["outliers"] = np.zeros(shape, np.int64)
        made["positions"] = np.broadcast_to(np.arange(params.n), shape).astype(np.int64)
    if fmt.n:
        made["outliers"] = tensor.outliers[:, 0].astype(np.int64)
        made["positions"] = tensor.positions[:, 0].astype(np.int64)
    return made


def input_beats(params: Params, batch: Batch) -> Batch:
    """Blocks to beats, elements in order.

    Only the first beat's `low` and `plain` are read: the others carry those of the next block.
    """
    beats: Batch = {"x": batch["x"].reshape(-1, params.lanes)}
    for name in _CHOICES if params.b_low else ():
        shown = np.repeat(np.roll(batch[name], -1)[:, None], params.beats, axis=1)
        shown[:, 0] = batch[name]
        beats[name] = shown.reshape(-1)
    return beats


def output_beats(params: Params, batch: Batch) -> Batch:
    """Blocks to beats: codes in order, the rest repeated, `last` on the final one."""
    beats = {name: np.repeat(v, params.beats, axis=0) for name, v in batch.items()}
    beats["codes"] = batch["codes"].reshape(-1, params.lanes)
    number = np.arange(len(beats["codes"])) % params.beats
    beats["last"] = (number == params.beats - 1).astype(np.int64)
    return beats


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Blocks: real activations, or heavy tails, ties of every kind, corners, tiny and huge.

    With `b_low` each is `low` and `plain` by chance: one half, and one in four.
    """
    rng = np.random.default_rng(seed)
    batch = {"x": _elements(params, level, rng)}
    if params.b_low:
        count = len(batch["x"])
        batch["low"] = rng.integers(0, 2, count)
        batch["plain"] = (rng.random(count) < 0.25).astype(np.int64)
    return batch


def _elements(params: Params, level: str, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Blocks of `vectors`."""
    if level == "real":
        parts = []
        for activations in samples.load().activations.values():
            tokens = activations[:: max(1, len(activations) // 8)]
            tokens = np.pad(tokens, ((0, 0), (0, -tokens.shape[1] % params.k)))
            parts.append(tokens.reshape(-1, params.k))
        return np.concatenate(parts).astype(np.int64)
    count = blocks(level, smoke=600)
    shape = (count, params.k)
    # Exponents fall off from a block's own top; spread 0 makes ties of exponent.
    top = np.where(rng.random((count, 1)) < 0.2, rng.integers(0, 12, (count, 1)), 0)
    top = np.where(top > 0, top, rng.integers(0, 255, (count, 1)))
    spread = rng.choice([0, 1, 3, 8, 40], (count, 1))
    field = np.clip(top - (rng.exponential(1, shape) * spread).astype(np.int64), 0, 254)
    x = random_bf16(rng, field)
    # Few distinct mantissas: ties in the search and in the rounding.
    coarse = rng.random(count) < 0.4
    x[coarse] &= rng.choice([0xFF80, 0xFFC0, 0xFFE0, 0xFFF0, 0xFFF8], (int(coarse.sum()), 1))
    full = rng.random(count) < 0.1
    x[full] |= 0x7F
    # Two ones at most: roundings that a single bit decides.
    thin = rng.random(count) < 0.2
    ones = (1 << rng.integers(0, 8, (2, int(thin.sum()), params.k))) & 0x7F
    x[thin] = (x[thin] & 0xFF80) | ones[0] | ones[1]
    # Elements that stand out, at any place.
    for _ in range(params.n + 1):
        rows = np.flatnonzero(rng.random(count) < 0.3)
        at = rng.integers(0, params.k, len(rows))
        rise = rng.integers(0, 14, len(rows)) << 7
        x[rows, at] = np.minimum((x[rows, at] & 0x7FFF) + rise, 0x7F7F) | (x[rows, at] & 0x8000)
    _crowded(params, x, rng)
    corner = rng.random(count) < 0.15
    rate = rng.choice([1, 3, 12], (count, 1)) / params.k
    at_corner = (rng.random(shape) < rate) & corner[:, None]
    x[at_corner] = rng.choice(SPECIAL_BF16, int(at_corner.sum()))
    # Blocks of zeros but for a few, both signs.
    sparse = np.flatnonzero(rng.random(count) < 0.06)
    keep = rng.random((len(sparse), params.k)) < rng.choice([0, 1, 4], (len(sparse), 1)) / params.k
    x[sparse] &= np.where(keep, 0xFFFF, 0x8000)
    return x


def _crowded(params: Params, x: np.ndarray, rng: np.random.Generator) -> None:
    """In a quarter of the blocks, far above the rest, magnitudes that differ in a bit or by one.

    They are one or two more than leave the block, so that every comparison of the search decides.
    """
    rows = np.flatnonzero(rng.random(len(x)) < 0.25)
    shape = (len(rows), min(params.n + 2, params.k))
    base = rng.integers(0x2000, 0x7F00, (len(rows), 1))
    rest = np.clip((x[rows] & 0x7FFF) >> 7, 0, (base >> 7) - 24) << 7
    x[rows] = (x[rows] & 0x807F) | rest
    # Without outliers exponents alone are compared.
    step = rng.choice([-1, 0, 1, 1], shape) << rng.integers(0 if params.n else 7, 13, shape)
    near = np.clip(np.where(rng.random(shape) < 0.5, base + step, base ^ np.abs(step)), 0, 0x7F7F)
    at = np.argsort(rng.random((len(rows), params.k)), axis=1)[:, : shape[1]]
    # Half of them next to each other: the comparisons inside a beat.
    close = (rng.integers(0, params.k, (len(rows), 1)) ^ np.arange(shape[1])) % params.k
    at = np.where(rng.random((len(rows), 1)) < 0.5, at, close)
    sign = rng.integers(0, 2, shape) << 15
    x[rows[:, None], at] = near | sign
