"""Integer times a power of two, to a floating-point number, rounded once.

    o = round(i * 2**scale)

Zero gives +0; a negative value that rounds to zero gives -0. Subnormals are made. Too large a
magnitude gives Inf or the largest finite value by `overflow`; with `rtz` always the latter.
Source: IEEE 754-2019, 5.4.1 convertFromInt and 5.3.3 scaleB, in one rounding.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from narrowgauge.golden.arith.ieee import ieee_format, rounding_of, sizes
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import FloatFormat, Overflow, Rounding, vector
from narrowgauge.golden.payload import Batch, Field, Payload

__all__ = ["Params", "model", "vectors"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of a conversion from integer.

    Parameters
    ----------
    int_width : bits of the integer, its sign included, 2..62
    encoding : "signed" is two's complement; "sign_magnitude" reads both its zeros as +0;
        "unsigned" has no sign
    exp_bits, man_bits : the result, 2..8 and 1..23
    scale_width : bits of the signed exponent of two, up to 12; 0 leaves the port out (scale 0)
    rounding : rne, rtz or rna
    overflow : nonfinite or saturate
    """

    int_width: int
    encoding: Literal["signed", "sign_magnitude", "unsigned"] = "signed"
    exp_bits: int
    man_bits: int
    scale_width: int = 0
    rounding: str = Rounding.RNE
    overflow: str = Overflow.NONFINITE

    def __post_init__(self) -> None:
        if not 2 <= self.int_width <= 62:
            raise UsageError(f"int_width must be 2..62, got {self.int_width}")
        if self.encoding not in ("signed", "sign_magnitude", "unsigned"):
            raise UsageError(
                f"encoding must be signed, sign_magnitude or unsigned, got {self.encoding!r}"
            )
        if not (self.scale_width == 0 or 2 <= self.scale_width <= 12):
            raise UsageError(f"scale_width must be 0 or 2..12, got {self.scale_width}")
        ieee_format(self.exp_bits, self.man_bits)
        rounding, overflow = rounding_of(self.rounding, self.overflow)
        object.__setattr__(self, "rounding", rounding)
        object.__setattr__(self, "overflow", overflow)

    @property
    def format(self) -> FloatFormat:
        """Format of the result."""
        return ieee_format(self.exp_bits, self.man_bits)

    @property
    def input(self) -> Payload:
        """Field `i`, and `scale` where there is one."""
        fields = [Field(name="i", width=self.int_width, encoding=self.encoding)]
        if self.scale_width:
            fields.append(Field(name="scale", width=self.scale_width, encoding="signed"))
        return Payload(tuple(fields))

    @property
    def output(self) -> Payload:
        """Field `o`."""
        return Payload((Field(name="o", width=self.format.width, format=self.format.name),))


def model(params: Params, batch: Batch) -> Batch:
    """Convert every integer."""
    checked = params.input.check(batch)
    value = checked["i"]
    code = vector.round_pack(
        params.format,
        (value < 0).astype(np.int64),
        np.abs(value),
        checked.get("scale", np.int64(0)),
        rounding=Rounding(params.rounding),
        overflow=Overflow(params.overflow),
    )
    return {"o": code}


def vectors(params: Params, level: str, seed: int) -> Batch:
    """All inputs up to 16 bits; else integers of every length and rounding case, and all scales.

    The random half lies where the result is subnormal, or just overflows, or is a tie; some end in
    zeros, and some subnormal results are a tie but for one bit at any place below.
    """
    fields = params.input
    size = sizes(level, 4_000, 120_000)
    low, high = fields["i"].limits
    least, most = fields["scale"].limits if params.scale_width else (0, 0)
    if fields.width <= 16:
        grid = np.meshgrid(np.arange(low, high + 1), np.arange(least, most + 1), indexing="ij")
        value, scale = (axis.reshape(-1).astype(np.int64) for axis in grid)
        return _batch(params, value, scale)
    rng = np.random.default_rng(seed)
    M = params.man_bits
    length = rng.integers(0, params.int_width + 1, size)
    value = rng.integers(0, high + 1, size) >> np.clip(high.bit_length() - length, 0, 62)
    # Five in eight: a run of ones, a tie with or without one more bit far below, zeros at the end.
    kind = rng.integers(0, 8, size)
    drop = np.clip(length - M - 2, 0, 62)
    tie = _off(((value >> drop) | 1) << drop, drop, rng)
    ones = (np.int64(1) << np.clip(length, 0, high.bit_length())) - 1
    zeros = rng.integers(0, params.int_width, size)
    whole = (value >> zeros) << zeros
    value = np.select([kind == 0, kind <= 2, kind <= 4], [ones, tie, whole], value)
    value = np.where((low < 0) & (rng.integers(0, 2, size) == 1), -value, value)
    edges = [low, low + 1, -1, 0, 1, 2, high - 1, high, high // 2, high // 2 + 1]
    # Multiples of every power of two, where a negation carries on and on.
    odd = 2 * rng.integers(0, high // 2 + 1, (6, params.int_width - 1)) + 1
    bits = np.arange(params.int_width - 1)
    multiples = ((odd << bits) & high).reshape(-1).tolist()
    edges += [*multiples, *(-value for value in multiples)]
    edge = np.array([v for v in edges if low <= v <= high], np.int64)
    value = np.clip(np.concatenate([edge, value]), low, high)
    # The scale that puts the leading bit at some place below, at or above the format's range.
    fmt = params.format
    top = vector.bit_length(np.abs(value)) - 1
    around = rng.choice([fmt.quantum, fmt.emin, 0, fmt.emax], value.shape)
    near = around - top + rng.integers(-M - 3, M + 4, value.shape)
    scale = np.where(
        rng.integers(0, 4, value.shape) == 0, rng.integers(least, most + 1, value.shape), near
    )
    if params.scale_width:
        # Subnormal results: half-way, or off that by one bit.
        place = rng.integers(0, params.int_width - 1, value.shape)
        half = _off((np.abs(value) >> place | 1) << place, place, rng)
        tiny = (rng.integers(0, 4, value.shape) == 0) & (half <= high)
        value = np.where(tiny, np.where(value < 0, -half, half), value)
        scale = np.where(tiny, fmt.quantum - 1 - place, scale)
    # The outermost integers at every place about the subnormals.
    sweep = np.arange(fmt.quantum - params.int_width - 1, fmt.emin + 2)
    ends = np.array([low, high, 1])
    value = np.concatenate([np.repeat(edge, 3), np.tile(ends, len(sweep)), value])
    scale = np.concatenate(
        [np.resize([least, 0, most], 3 * len(edge)), np.repeat(sweep, len(ends)), scale]
    )
    return _batch(params, value, np.clip(scale, least, most))


def _off(value: np.ndarray, zeros: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the values as they are, half with one of their low `zeros` bits set."""
    bit = np.int64(1) << rng.integers(0, np.maximum(zeros, 1))
    return value | np.where((zeros > 0) & (rng.integers(0, 2, value.shape) == 1), bit, 0)


def _batch(params: Params, value: np.ndarray, scale: np.ndarray) -> Batch:
    return {"i": value, "scale": scale} if params.scale_width else {"i": value}
