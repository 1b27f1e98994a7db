"""MX blocks of numbers to codes and back, in NumPy: what `tensor` runs on whole tensors.

For bf16 input the codes of a block come out of one table. Let t be the exponent field of the
block's maximum (outliers aside): code + ((255 - t) << 7) moves every kept element to where it
would lie were t 255, without a carry into the sign, so one table of 65536 entries, made by the
exact `vector.round_pack`, serves every t. It is wrong only where subnormals count or the scale is
clamped, that is for small t; there a table of its own is made for each t that occurs.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import vector
from narrowgauge.golden.formats.block import BlockFormat, MXOpal, OcpMX
from narrowgauge.golden.formats.element import FloatFormat, IntFormat, Overflow, Rounding
from narrowgauge.golden.formats.table import BF16

__all__ = [
    "Blocks",
    "Codes",
    "code_dtype",
    "dequantize_blocks",
    "quantize_blocks",
    "quantize_values",
]

Codes = npt.NDArray[np.int8 | np.uint8 | np.int16 | np.int32]
U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
Blocks = tuple[Codes, U8, U16, U16]
"""codes (blocks, k), scales (blocks,), outliers (blocks, n), positions (blocks, n)."""

_CHUNK = 1 << 16
"""Elements a pass: the keys of a chunk then stay in a core's second-level cache."""


def code_dtype(fmt: BlockFormat) -> type[np.int8 | np.uint8 | np.int16 | np.int32]:
    """Type of the codes: uint8 for floating point, for integers the smallest that holds them."""
    if isinstance(fmt.element, FloatFormat):
        return np.uint8
    width = fmt.element.width
    return np.int8 if width <= 8 else np.int16 if width <= 16 else np.int32


def _first_regular(fmt: MXOpal | OcpMX) -> int:
    """Least t of the common table: from there on field 0 is below half of the smallest code."""
    element = fmt.element
    smallest = element.quantum if isinstance(element, FloatFormat) else -fmt.fraction_bits
    return fmt.emax - smallest + 2


@lru_cache(maxsize=512)
def _table(fmt: MXOpal | OcpMX, t: int) -> Codes:
    """Element code of every finite bf16 code under the scale of t; 255 is the common table."""
    codes = np.arange(1 << 16)
    field = (codes & BF16.exponent_mask) >> 7
    hidden = np.where((field > 0) | (t == 255), 128, 0)
    exponent = np.where(hidden > 0, field, 1) - 127 - 7
    scale = max(t - fmt.emax, 0) - 127
    made = vector.round_pack(
        fmt.element,
        codes >> 15,
        (codes & BF16.mantissa_mask) | hidden,
        exponent + fmt.fraction_bits - scale,
        rounding=fmt.rounding,
        overflow=Overflow.SATURATE,
    )
    return made.astype(code_dtype(fmt))


def _elements(fmt: MXOpal | OcpMX, blocks: U16, t: U16) -> Codes:
    """Codes of all elements; those above 2**(t+1) or of a block with t = 255 are meaningless."""
    shifted = blocks + ((255 - t) << 7).astype(np.uint16)[:, None]
    codes: Codes = _table(fmt, 255)[shifted]
    for small in np.unique(t[t < _first_regular(fmt)]):
        rows = np.flatnonzero(t == small)
        codes[rows] = _table(fmt, int(small))[blocks[rows]]
    return codes


def _opal(fmt: MXOpal, blocks: U16) -> Blocks:
    magnitude = blocks & np.uint16(0x7FFF)
    rows = np.arange(len(blocks))[:, None]
    if fmt.n == 0:
        t = magnitude.max(axis=1) >> 7
        positions = np.zeros((len(blocks), 0), np.uint16)
    else:
        # One key orders by magnitude, then by the lower index.
        bits = fmt.position_bits
        key = (magnitude.astype(np.uint32) << bits) | np.arange(fmt.k, dtype=np.uint32)[::-1]
        key.partition(fmt.k - fmt.n - 1, axis=1)
        kept = key[:, fmt.k - fmt.n - 1]
        largest = np.sort(key[:, fmt.k - fmt.n :], axis=1)[:, ::-1]
        t = (kept >> (bits + 7)).astype(np.uint16)
        positions = (~largest & np.uint32(fmt.k - 1)).astype(np.uint16)
    codes = _elements(fmt, blocks, t)
    codes[rows, positions] = 0
    codes[t == 255] = 0
    return codes, t.astype(np.uint8), blocks[rows, positions], positions


def _no_outliers(count: int) -> U16:
    return np.zeros((count, 0), np.uint16)


def _ocp(fmt: OcpMX, blocks: U16) -> Blocks:
    magnitude = blocks & np.uint16(0x7FFF)
    special = magnitude >= BF16.exponent_mask
    t = np.where(special, 0, magnitude).max(axis=1).astype(np.uint16) >> 7
    codes = _elements(fmt, blocks, t)
    scales = np.maximum(t.astype(np.int64) - fmt.emax, 0).astype(np.uint8)
    if special.any():
        _put_specials(fmt, codes, scales, special, vector.decode(BF16, blocks[special]))
    empty = _no_outliers(len(blocks))
    return codes, scales, empty, empty


def _put_specials(
    fmt: OcpMX,
    codes: Codes,
    scales: U8,
    special: npt.NDArray[np.bool_],
    values: npt.NDArray[np.floating],
) -> None:
    """Write what Inf and NaN become, in place; `values` are those that `special` selects."""
    if fmt.keeps_specials:
        codes[special] = vector.encode(
            fmt.element, values, rounding=fmt.rounding, overflow=Overflow.NONFINITE
        )
        return
    bad = special.any(axis=1)
    codes[bad] = 0
    scales[bad] = 255


def _exact(fmt: OcpMX, values: npt.NDArray[np.floating]) -> Blocks:
    """From values of any precision by `vector.round_pack`; INT8 from float32 by float64."""
    special = ~np.isfinite(values)
    finite = np.where(special, 0, values)
    largest = np.abs(finite).max(axis=1)
    floor_log2 = np.frexp(largest)[1].astype(np.int64) - 1
    exponent = np.where(largest == 0, -127, np.clip(floor_log2 - fmt.emax, -127, 127))
    scales = (exponent + 127).astype(np.uint8)
    shift = fmt.fraction_bits - exponent
    if values.dtype == np.float32 and isinstance(fmt.element, IntFormat):
        # 24-bit significands: every step is exact in float64.
        scaled = finite * np.ldexp(1.0, shift.astype(np.intc))[:, None]
        if fmt.rounding is Rounding.RNE:
            scaled = np.rint(scaled)
        elif fmt.rounding is Rounding.RNA:
            scaled = np.trunc(scaled + np.copysign(0.5, scaled))
        limit = fmt.element.max
        codes: Codes = np.clip(scaled, -limit, limit).astype(np.int8)
    else:
        fraction, power = np.frexp(np.abs(finite))
        codes = vector.round_pack(
            fmt.element,
            np.signbit(values),
            np.ldexp(fraction.astype(np.float64), 53).astype(np.int64),
            power.astype(np.int64) - 53 + shift[:, None],
            rounding=fmt.rounding,
            overflow=Overflow.SATURATE,
        ).astype(code_dtype(fmt))
    if special.any():
        _put_specials(fmt, codes, scales, special, values[special])
    empty = _no_outliers(len(values))
    return codes, scales, empty, empty


def _round_to_odd(fmt: OcpMX, values: npt.NDArray[np.float32]) -> Blocks:
    """FP8, FP6 and FP4 from float32 by way of bf16, yet rounded once.

    The value is cut to bf16 and what is cut off ORed into the last bit. The 8 significand bits
    then tell every element and every tie of these formats apart (INT8 would need 9), but for
    blocks so small that bf16's subnormals are too coarse: those go the exact way.
    """
    bits = values.view(np.uint32)
    odd = (bits >> 16).astype(np.uint16) | (bits.astype(np.uint16) != 0)
    made = _ocp(fmt, odd)
    small = np.flatnonzero(made[1] < _first_regular(fmt) - fmt.emax)
    if small.size:
        exact = _exact(fmt, values[small])
        made[0][small], made[1][small] = exact[0], exact[1]
    return made


def _parts(count: int, k: int) -> list[slice]:
    step = max(1, _CHUNK // k)
    return [slice(start, start + step) for start in range(0, count, step)]


def _run(fmt: MXOpal | OcpMX, data: npt.NDArray[Any], one: Callable[..., Blocks]) -> Blocks:
    codes: Codes = np.empty(data.shape, code_dtype(fmt))
    scales = np.empty(len(data), np.uint8)
    outliers = np.empty((len(data), fmt.n), np.uint16)
    positions = np.empty((len(data), fmt.n), np.uint16)
    for part in _parts(*data.shape):
        codes[part], scales[part], outliers[part], positions[part] = one(fmt, data[part])
    return codes, scales, outliers, positions


def quantize_blocks(fmt: MXOpal | OcpMX, blocks: U16) -> Blocks:
    """Quantise bf16 codes of shape (blocks, k)."""
    return _run(fmt, blocks, _opal if isinstance(fmt, MXOpal) else _ocp)


def quantize_values(fmt: OcpMX, values: npt.NDArray[np.float32 | np.float64]) -> Blocks:
    """Quantise float32 or float64 values of shape (blocks, k), each rounded once."""
    by_odd = values.dtype == np.float32 and isinstance(fmt.element, FloatFormat)
    return _run(fmt, values, _round_to_odd if by_odd else _exact)


@lru_cache(maxsize=64)
def _values(fmt: MXOpal | OcpMX) -> npt.NDArray[np.float64]:
    """Value of every byte of the code array under scale 1."""
    raw = np.arange(256)
    if isinstance(fmt.element, IntFormat):
        raw = raw.astype(np.int8).astype(np.int64)
        return np.ldexp(raw.astype(np.float64), -fmt.fraction_bits)
    return vector.decode(fmt.element, raw & ((1 << fmt.element.width) - 1))


def dequantize_blocks(
    fmt: MXOpal | OcpMX, made: Blocks, dtype: npt.DTypeLike
) -> npt.NDArray[np.float32 | np.float64]:
    """Values of shape (blocks, k); exact but where they exceed float32's largest (then Inf)."""
    values: npt.NDArray[np.float32 | np.float64] = np.empty(made[0].shape, dtype)
    table = _values(fmt).astype(dtype)
    for part in _parts(*values.shape):
        codes, scales, outliers, positions = (a[part] for a in made)
        exponent = np.minimum(scales, 254).astype(np.intc) - 127
        unit = np.ldexp(np.ones(len(scales), dtype), exponent)
        unit[scales == 255] = np.nan
        rows = np.arange(len(codes))[:, None]
        # A signalling NaN among the outliers makes NumPy warn when it is widened.
        with np.errstate(over="ignore", invalid="ignore"):
            here = np.take(table, codes.view(np.uint8)) * unit[:, None]
            here[rows, positions] = (outliers.astype(np.uint32) << 16).view(np.float32)
        values[part] = here
    return values
