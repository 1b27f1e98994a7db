"""Whole tensors in a block format: quantise along an axis, keep the parts, read back.

Blocks run along one axis. Where its length is not a multiple of k, zeros are appended for the last
block; they cost storage and are dropped on the way back.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bfp, kernel, vector
from narrowgauge.golden.formats.bfp import BFP
from narrowgauge.golden.formats.block import BlockFormat, MXOpal
from narrowgauge.golden.formats.element import IntFormat, Overflow, Rounding
from narrowgauge.golden.formats.table import BF16
from narrowgauge.golden.payload import Batch

__all__ = ["BlockTensor", "bf16_codes", "bf16_values", "dequantize", "quantize", "sqnr_db"]


def bf16_codes(x: npt.NDArray[np.floating]) -> npt.NDArray[np.uint16]:
    """float32 or float64 to bf16 codes: nearest even, overflow to Inf, NaN to the canonical one."""
    if x.dtype != np.float32:
        codes = vector.encode(BF16, x, rounding=Rounding.RNE, overflow=Overflow.NONFINITE)
        return codes.astype(np.uint16)
    bits = np.asarray(x, order="C").view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(x), np.uint16(BF16.nan_code or 0), rounded.astype(np.uint16))


def bf16_values(codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """bf16 codes to float32, exactly."""
    return (codes.astype(np.uint32) << 16).view(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockTensor:
    """A tensor in a block format.

    `rest` is `shape` without `axis`, in order; `blocks` is ceil(shape[axis] / k).

    Parameters
    ----------
    fmt : the block format
    shape : shape of the tensor, padding not counted
    axis : axis along which blocks run, 0 or more
    codes : (*rest, blocks, k), uint8 for floating point elements, for integers int8, or int16 or
        int32 where they are wider
    scales : (*rest, blocks), uint8
    outliers : (*rest, blocks, n), uint16, bf16 codes
    positions : (*rest, blocks, n), uint16, below k, distinct within a block
    """

    fmt: BlockFormat
    shape: tuple[int, ...]
    axis: int
    codes: npt.NDArray[np.int8 | np.uint8 | np.int16 | np.int32]
    scales: npt.NDArray[np.uint8]
    outliers: npt.NDArray[np.uint16]
    positions: npt.NDArray[np.uint16]

    def __post_init__(self) -> None:
        if not 0 <= self.axis < len(self.shape):
            raise UsageError(f"axis must be 0..{len(self.shape) - 1}, got {self.axis}")
        blocks = -(-self.shape[self.axis] // self.fmt.k)
        lead = (*self.shape[: self.axis], *self.shape[self.axis + 1 :], blocks)
        wanted: dict[str, tuple[tuple[int, ...], npt.DTypeLike]] = {
            "codes": ((*lead, self.fmt.k), kernel.code_dtype(self.fmt)),
            "scales": (lead, np.uint8),
            "outliers": ((*lead, self.fmt.n), np.uint16),
            "positions": ((*lead, self.fmt.n), np.uint16),
        }
        for name, (shape, dtype) in wanted.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise UsageError(
                    f"{name} must be {np.dtype(dtype)} of shape {shape}, "
                    f"got {array.dtype} of shape {array.shape}"
                )
        element = self.fmt.element
        low, high = 0, (1 << element.width) - 1
        if isinstance(element, IntFormat):
            low, high = -element.max - 1, element.max
        if self.codes.size and (self.codes.min() < low or self.codes.max() > high):
            raise UsageError(
                f"codes of {self.fmt.name} lie in {low}..{high}, "
                f"got {self.codes.min()}..{self.codes.max()}"
            )
        if self.positions.size and self.positions.max() >= self.fmt.k:
            raise UsageError(f"positions must be below k={self.fmt.k}, got {self.positions.max()}")

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.scales.size

    @property
    def bits(self) -> int:
        """Storage as laid out by `fmt.payload`, padding included."""
        return self.blocks * self.fmt.payload.width

    @property
    def bits_per_element(self) -> float:
        """Storage over the elements of `shape`: `fmt.bits_per_element` plus the padding's share."""
        return self.bits / math.prod(self.shape)

    def batch(self) -> Batch:
        """The blocks as a batch of `fmt.payload`, one beat a block, in C order."""
        batch: Batch = {
            "codes": self.codes.reshape(-1, self.fmt.k).astype(np.int64),
            "scale": self.scales.reshape(-1).astype(np.int64),
        }
        if self.fmt.n:
            batch["outliers"] = self.outliers.reshape(-1, self.fmt.n).astype(np.int64)
            batch["positions"] = self.positions.reshape(-1, self.fmt.n).astype(np.int64)
        return batch

    def pack(self) -> npt.NDArray[np.uint8]:
        """The blocks as bytes, (blocks, ceil(payload width / 8)), little-endian."""
        return self.fmt.payload.pack(self.batch())

    def pack_tight(self) -> npt.NDArray[np.uint8]:
        """The blocks as bytes without a bit between blocks, (ceil(bits / 8),), little-endian."""
        return self.fmt.payload.pack_tight(self.batch())


def _axis(ndim: int, axis: int) -> int:
    if not -ndim <= axis < ndim:
        raise UsageError(f"axis must be {-ndim}..{ndim - 1}, got {axis}")
    return axis % ndim


def quantize(
    x: npt.ArrayLike,
    fmt: BlockFormat,
    *,
    axis: int,
    random: npt.ArrayLike | None = None,
    random_bits: int | None = None,
) -> BlockTensor:
    """Quantise a tensor along an axis.

    Parameters
    ----------
    x : float32 or float64 values, which MX-OPAL first rounds to bf16 (nearest even, overflow to
        Inf); or uint16, which are bf16 codes and reach the outliers bit for bit
    fmt : the block format, which states the rounding
    axis : where blocks run; negative counts from the end
    random, random_bits : words of that many bits, of the shape of x, for stochastic rounding (BFP)

    Raises
    ------
    UsageError : any other dtype, a scalar, an axis that is not there, or words that do not fit
    """
    array = np.asarray(x)
    if array.dtype not in (np.float32, np.float64, np.uint16):
        raise UsageError(
            f"x must be float32, float64, or uint16 holding bf16 codes, got {array.dtype}"
        )
    if array.ndim == 0:
        raise UsageError("x must have at least one axis, got a scalar")
    axis = _axis(array.ndim, axis)
    if isinstance(fmt, MXOpal) and array.dtype != np.uint16:
        array = bf16_codes(array)

    length = array.shape[axis]
    count = -(-length // fmt.k)

    def in_blocks(given: npt.NDArray[Any]) -> npt.NDArray[Any]:
        moved = np.moveaxis(given, axis, -1)
        if length != count * fmt.k:
            pad = [(0, 0)] * (moved.ndim - 1) + [(0, count * fmt.k - length)]
            moved = np.pad(moved, pad)
        return np.ascontiguousarray(moved).reshape(-1, fmt.k)

    rows = in_blocks(array)
    codes: kernel.Codes
    scales: npt.NDArray[np.uint8]
    if isinstance(fmt, BFP):
        words = None if random is None else np.asarray(random)
        if words is not None and words.shape != array.shape:
            raise UsageError(f"random must have the shape {array.shape} of x, got {words.shape}")
        values = bf16_values(rows) if rows.dtype == np.uint16 else rows
        plain, fields = bfp.encode_values(
            fmt, values, None if words is None else in_blocks(words), random_bits
        )
        codes, scales = plain.astype(kernel.code_dtype(fmt)), fields.astype(np.uint8)
        outliers = positions = np.zeros((len(rows), 0), np.uint16)
    else:
        if random is not None or random_bits is not None:
            raise UsageError(f"random words are for block floating point, not for {fmt.name}")
        if rows.dtype == np.uint16:
            made = kernel.quantize_blocks(fmt, rows)
        else:
            assert not isinstance(fmt, MXOpal)
            made = kernel.quantize_values(fmt, rows)
        codes, scales, outliers, positions = made
    lead = (*array.shape[:axis], *array.shape[axis + 1 :], count)
    return BlockTensor(
        fmt=fmt,
        shape=array.shape,
        axis=axis,
        codes=codes.reshape(*lead, fmt.k),
        scales=scales.reshape(lead),
        outliers=outliers.reshape(*lead, fmt.n),
        positions=positions.reshape(*lead, fmt.n),
    )


def dequantize(
    t: BlockTensor, dtype: type[np.float32 | np.float64] = np.float32
) -> npt.NDArray[np.float32 | np.float64]:
    """Values of a block tensor, in its `shape`.

    float32 is exact for MX-OPAL and BFP, and for OCP unless a value exceeds float32's largest (then
    Inf, which needs a scale that no float32 tensor quantises to); float64 is always exact.
    """
    if dtype not in (np.float32, np.float64):
        raise UsageError(f"dtype must be float32 or float64, got {dtype!r}")
    fmt = t.fmt
    codes, scales = t.codes.reshape(-1, fmt.k), t.scales.reshape(-1)
    if isinstance(fmt, BFP):
        values = bfp.decode_values(fmt, codes, scales, dtype)
    else:
        outliers = t.outliers.reshape(t.scales.size, fmt.n)
        positions = t.positions.reshape(t.scales.size, fmt.n)
        values = kernel.dequantize_blocks(fmt, (codes, scales, outliers, positions), dtype)
    rest = (*t.shape[: t.axis], *t.shape[t.axis + 1 :])
    length = t.shape[t.axis]
    flat = values.reshape(*rest, t.scales.shape[-1] * fmt.k)[..., :length]
    return np.ascontiguousarray(np.moveaxis(flat, -1, t.axis))


def sqnr_db(reference: npt.ArrayLike, approx: npt.ArrayLike) -> float:
    """Signal to quantisation noise, 10 log10(sum r**2 / sum (r - a)**2), in dB.

    Inf where the two are equal, -Inf where only the reference is all zero. Shapes that differ,
    an empty array, Inf and NaN are `UsageError`s.
    """
    r, a = np.asarray(reference, np.float64), np.asarray(approx, np.float64)
    if r.shape != a.shape or not r.size:
        raise UsageError(f"sqnr_db needs two arrays of one shape, got {r.shape} and {a.shape}")
    if not (np.isfinite(r).all() and np.isfinite(a).all()):
        raise UsageError("sqnr_db needs finite values, got Inf or NaN")
    signal, noise = float(np.sum(r * r)), float(np.sum((r - a) ** 2))
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
