"""Range batch normalisation on block floating point: statistics, normalisation and gradients.

    mu = sum x / N   R = sum_k (M_k - m_k) / K   s = 1 / (c R + eps)   y = gamma (x - mu) s + beta
    dbeta = sum g    dgamma = sum g (x - mu) s
    dx_i = gamma s (g_i - dbeta / N - (c / K) dgamma d_i)

for each channel, over its N values in K chunks: M_k and m_k are the largest and least of chunk k,
d_i is 1 at M_k, -1 at m_k and 0 elsewhere; of equal ones the first in scan order counts. Chunk k
holds the positions t with floor(t K / N) = k, so that lengths differ by one at most; c is one of
`range_bn_layer`, 1 / sqrt(2 ln(N / K)) in the paper.

Everything is fixed point, so that sums depend neither on lanes nor on the order of tiles:

- A value q 2^(E - (m-1)) is *placed* on a window of w bits below 2^(base + 1): cut off towards
  zero, clipped where E > base. Statistics are of x placed on the tensor's window.
- A channel's exponent e is that of c R + eps, and s = s_q 2^-(P + e) with s_q of P bits.
- Nothing is subtracted from x or g: codes of m bits are multiplied as they are, and what a mean
  takes off is a constant of the channel. Products of a code with a gain of P bits, or of two codes,
  are exact and placed on a window of f + 7 bits: cut off towards zero, clipped where they are
  above. It begins, for y, with 2^7 times 2^e, at `ROOM` bits above a deviation, so that f bits are
  below it; for dx with the window of g.
- y = a_q x + offset in a unit of the channel, rounded once, to its block. Gradients alike.

A constant channel (R = 0) has s = 0: y = beta, dx = 0, dgamma = 0.

Source: Noh et al., "LightNorm: Area and Energy-Efficient Batch Normalization Hardware for On-Device
DNN Training", ICCD 2022; Banner et al., "Scalable methods for 8-bit training of neural networks",
NeurIPS 2018. Windows, widths and rounding are ours.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.formats import BFP, FloatFormat, get, quantize
from narrowgauge.golden.formats.bfp import decode_values, quantize_groups
from narrowgauge.golden.units.range_bn_layer import Layer, chunk_of
from narrowgauge.golden.units.window import align

__all__ = [
    "FP10",
    "REACH",
    "ROOM",
    "Blocks",
    "Layer",
    "RangeBn",
    "blocks_of",
    "chunk_of",
    "exponent_offset",
    "gained",
    "offset_bits",
    "place",
    "place_product",
    "rounded_shift",
    "wrapped",
]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


_fp10 = get("fp10_e5m4")
assert isinstance(_fp10, FloatFormat)
FP10: FloatFormat = _fp10
"""The format of gamma; beta and the gradients of both are FP32."""

ROOM, REACH = 7, 4
"""Values and mean, and beta over gamma, have room up to these powers of two, times 2**e and 1."""


@dataclass(frozen=True, kw_only=True)
class RangeBn:
    """What: group, chunks, window, gradient_window, fraction, precision.

    Parameters
    ----------
    group : channels that share an exponent, a power of two, 1..64
    chunks : K, a power of two, 1..16
    window : bits of the window of x in the statistics, 8..20
    gradient_window : bits of that of g, 8..20
    fraction : f, bits of y's sums below gamma times the channel's power of two, 6..16
    precision : P, bits of s and of gamma s, 6..16
    """

    group: int = 4
    chunks: int = 8
    window: int = 16
    gradient_window: int = 12
    fraction: int = 12
    precision: int = 9

    def __post_init__(self) -> None:
        check_limits(
            self,
            group=(1, 64),
            chunks=(1, 16),
            window=(8, 20),
            gradient_window=(8, 20),
            fraction=(6, 16),
            precision=(6, 16),
        )
        if self.precision + self.forward.mantissa_bits > self.product:
            raise UsageError(
                f"precision must be at most fraction + 2 = {self.fraction + 2}, "
                f"got {self.precision}"
            )
        for name in ("group", "chunks"):
            value = getattr(self, name)
            if value & (value - 1):
                raise UsageError(f"{name} must be a power of two, got {value}")

    @property
    def product(self) -> int:
        """Bits of the window of a product."""
        return self.fraction + ROOM

    @property
    def forward(self) -> BFP:
        """The format of x and y."""
        return BFP(exponent_bits=5, mantissa_bits=5, k=self.group)

    @property
    def backward(self) -> BFP:
        """The format of g and dx."""
        return BFP(exponent_bits=6, mantissa_bits=4, k=self.group)


def exponent_offset(params: RangeBn) -> int:
    """The field of x at which products begin with the window, in a channel whose e is 0."""
    return ROOM - 1 + params.forward.bias


def offset_bits(params: RangeBn) -> int:
    """Bits of an offset of y or dx, sign included: a product, and beta as large again."""
    return params.product + 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """A tensor of positions and channels in blocks of channels.

    Parameters
    ----------
    fmt : the format
    codes : (positions, channels), -L..L
    fields : (positions, channels / k), exponent fields; the format's NaN field among them
    """

    fmt: BFP
    codes: Ints
    fields: Ints

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or self.codes.shape[1] % self.fmt.k:
            raise UsageError(
                f"codes must be (positions, multiple of {self.fmt.k}), got {self.codes.shape}"
            )
        wanted = (len(self.codes), self.codes.shape[1] // self.fmt.k)
        if self.fields.shape != wanted:
            raise UsageError(f"fields must be {wanted}, got {self.fields.shape}")

    @classmethod
    def of(cls, x: npt.NDArray[np.float32 | np.float64], fmt: BFP) -> "Blocks":
        """Values (positions, channels), rounded to a format."""
        t = quantize(x, fmt, axis=1)
        codes = t.codes.reshape(len(x), -1).astype(np.int64)
        return cls(fmt=fmt, codes=codes, fields=t.scales.astype(np.int64))

    def values(self) -> npt.NDArray[np.float64]:
        """What the codes are worth, exactly; NaN in a NaN block."""
        codes = self.codes.reshape(*self.fields.shape, self.fmt.k)
        made = decode_values(self.fmt, codes, self.fields, np.float64)
        return made.reshape(self.codes.shape).astype(np.float64)

    def positions(self, start: int, stop: int) -> "Blocks":
        """Some positions of all channels."""
        part = slice(start, stop)
        return Blocks(fmt=self.fmt, codes=self.codes[part], fields=self.fields[part])

    def channels(self, start: int, stop: int) -> "Blocks":
        """All positions of some channels, whole blocks of them."""
        k = self.fmt.k
        fields = self.fields[:, start // k : stop // k]
        return Blocks(fmt=self.fmt, codes=self.codes[:, start:stop], fields=fields)

    @property
    def nan(self) -> Bools:
        """The elements whose block is NaN; their codes count as 0."""
        return np.repeat(self.fields == self.fmt.nan_field, self.fmt.k, axis=1)

    @property
    def base(self) -> int:
        """The exponent of the largest block with a code that is not 0, the least one without."""
        used = (self.codes != 0).reshape(*self.fields.shape, self.fmt.k).any(axis=2)
        used &= self.fields != self.fmt.nan_field
        top = int(np.maximum(self.fields, 1)[used].max(initial=1))
        return top - self.fmt.bias

    def exponents(self) -> Ints:
        """Exponent of the largest code's leading one in each element's block."""
        return self.places() + self.fmt.fraction_bits

    def places(self) -> Ints:
        """Exponent of the unit of each code, (positions, channels)."""
        fields = np.where(self.fields == self.fmt.nan_field, 1, np.maximum(self.fields, 1))
        units = fields - self.fmt.bias - self.fmt.fraction_bits
        return np.repeat(units, self.fmt.k, axis=1)


def place(blocks: Blocks, window: int, base: npt.ArrayLike) -> tuple[Ints, Bools]:
    """Values on a window of so many bits below 2**(base + 1), and which of them were clipped."""
    codes = np.where(blocks.nan, 0, blocks.codes)
    top = np.asarray(base, np.int64) - blocks.fmt.fraction_bits
    right = top - blocks.places()
    clipped = (right < 0) & (codes != 0)
    moved = align(codes, window - blocks.fmt.mantissa_bits, np.maximum(right, 0))
    return np.where(clipped, np.sign(codes) * ((1 << window) - 1), moved), clipped


def place_product(magnitude: Ints, bits: int, right: npt.ArrayLike, window: int) -> Ints:
    """Magnitudes of so many bits at the top of a window, moved right, or left; cut off and clipped.

    From `bits` places to the left on only 0 is not clipped.
    """
    amount = np.asarray(right, np.int64)
    moved = align(magnitude, window - bits, np.maximum(amount, 0))
    return np.minimum(moved << np.clip(-amount, 0, bits), (1 << window) - 1)


def gained(params: RangeBn, blocks: Blocks, gain: Ints, right: Ints) -> Ints:
    """Products of codes and gains, `right` of the window's top; shape of `blocks.codes`."""
    codes = np.where(blocks.nan, 0, blocks.codes)
    size = blocks.fmt.mantissa_bits + params.precision
    moved = place_product(np.abs(codes * gain), size, right, params.product)
    return np.where((codes < 0) == (gain < 0), moved, -moved)


def wrapped(values: Ints, bits: int) -> Ints:
    """Values modulo 2**bits, two's complement."""
    half = 1 << (bits - 1)
    return (values + half) % (2 * half) - half


def rounded_shift(values: Ints, right: npt.ArrayLike) -> Ints:
    """Values times 2**-right, to nearest, ties to even; results must fit 62 bits."""
    amount = np.asarray(right, np.int64)
    down = np.clip(amount, 0, 62)
    base = values >> down
    rest = values - (base << down)
    half = np.where(down > 0, np.int64(1) << np.maximum(down - 1, 0), 1)
    up = (rest > half) | ((rest == half) & (base & 1 == 1))
    base = base + np.where(down > 0, up, False)
    return np.where(amount > 62, 0, base << np.clip(-amount, 0, 62))


def blocks_of(fmt: BFP, total: Ints, unit: Ints, nan: Bools) -> Blocks:
    """Values total * 2**unit in blocks of a format."""
    shape = (len(total), -1, fmt.k)
    grid = np.broadcast_to(unit, total.shape).reshape(shape)
    codes, fields = quantize_groups(
        fmt, (total < 0).reshape(shape), np.abs(total).reshape(shape), grid
    )
    bad: Bools = np.logical_or.reduce(nan.reshape(codes.shape), axis=2)
    codes = np.where(bad[..., None], 0, codes)
    return Blocks(
        fmt=fmt, codes=codes.reshape(total.shape), fields=np.where(bad, fmt.nan_field, fields)
    )
