"""What the floating-point components share: their formats, checked choices, and stimuli."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import (
    ELEMENT_FORMATS,
    FloatFormat,
    Overflow,
    Rounding,
    vector,
)

__all__ = ["codes_near", "corners", "finish", "ieee_format", "pairs", "rounding_of", "sizes"]

Ints = npt.NDArray[np.int64]


def ieee_format(exponent_bits: int, mantissa_bits: int, prefix: str = "") -> FloatFormat:
    """The format with Inf and NaN of that size, under its usual name where it has one.

    Raises `UsageError` outside E 2..8, M 1..23, the sizes that components are made for.
    """
    for label, value, least, most in (("exp", exponent_bits, 2, 8), ("man", mantissa_bits, 1, 23)):
        if not least <= value <= most:
            raise UsageError(f"{prefix}{label}_bits must be {least}..{most}, got {value}")
    plain = FloatFormat.ieee(exponent_bits, mantissa_bits)
    for fmt in ELEMENT_FORMATS.values():
        if isinstance(fmt, FloatFormat) and fmt == plain:
            return fmt
    return plain


def rounding_of(rounding: str, overflow: str) -> tuple[Rounding, Overflow]:
    """The two choices as their enumerations; what the hardware does not do is a `UsageError`."""
    modes = [Rounding.RNE, Rounding.RTZ, Rounding.RNA]
    if rounding not in modes:
        raise UsageError(f"rounding must be one of {', '.join(modes)}, got {rounding!r}")
    if overflow not in list(Overflow):
        raise UsageError(f"overflow must be one of {', '.join(Overflow)}, got {overflow!r}")
    return Rounding(rounding), Overflow(overflow)


def sizes(level: str, smoke: int, full: int) -> int:
    """Random vectors of a level; components have no tensors of their own, so `real` is refused."""
    if level not in ("smoke", "full"):
        raise UsageError(f"level must be smoke or full, got {level!r}")
    return smoke if level == "smoke" else full


def corners(fmt: FloatFormat) -> Ints:
    """Codes on both sides of every edge of a format with Inf and NaN, both signs."""
    one = fmt.bias << fmt.mantissa_bits
    least_normal = 1 << fmt.mantissa_bits
    edges = [0, least_normal, one, 2 * one // 2 + least_normal, fmt.exponent_mask]
    near = {edge + step for edge in edges for step in (-2, -1, 0, 1, 2)}
    half = 1 << (fmt.mantissa_bits - 1)
    near |= {half, least_normal | half, one | half, fmt.exponent_mask | half, fmt.magnitude_mask}
    # One unit either side of the middle of the exponent's range, for products and alignments.
    for field in (fmt.bias // 2, fmt.bias + fmt.bias // 2, 2 * fmt.bias - fmt.mantissa_bits):
        near |= {(field << fmt.mantissa_bits) + step for step in (-1, 0, 1)}
    inside = np.array(sorted(c for c in near if 0 <= c <= fmt.magnitude_mask), np.int64)
    return np.concatenate([inside, inside | fmt.sign_mask])


def codes_near(fmt: FloatFormat, codes: Ints, reach: int, rng: np.random.Generator) -> Ints:
    """Random codes whose exponent field differs from that of `codes` by at most `reach`."""
    field = (codes & fmt.exponent_mask) >> fmt.mantissa_bits
    step = rng.integers(-reach, reach + 1, codes.shape)
    top = (1 << fmt.exponent_bits) - 1
    other = np.clip(field + step, 0, top) << fmt.mantissa_bits
    rest = rng.integers(0, fmt.mantissa_mask + 1, codes.shape)
    return other | rest | (rng.integers(0, 2, codes.shape) << (fmt.width - 1))


def pairs(first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Every code of `first` with every code of `second`, flat."""
    a, b = np.meshgrid(first, second, indexing="ij")
    return a.reshape(-1).astype(np.int64), b.reshape(-1).astype(np.int64)


def finish(
    fmt: FloatFormat,
    sign: Ints,
    significand: Ints,
    exponent: Ints,
    *,
    sticky: npt.NDArray[np.bool_] | None = None,
    infinite: npt.NDArray[np.bool_],
    nan: npt.NDArray[np.bool_],
    rounding: Rounding,
    overflow: Overflow,
) -> Ints:
    """Codes of exact results, where those are finite, with the special cases put over them."""
    finite = ~(infinite | nan)
    code = vector.round_pack(
        fmt,
        sign,
        np.where(finite, significand, 0),
        exponent,
        rounding=rounding,
        overflow=overflow,
        sticky=None if sticky is None else sticky & finite,
    )
    endless = fmt.overflow_code(overflow) | (sign << (fmt.width - 1))
    return np.where(nan, np.int64(fmt.nan_code or 0), np.where(infinite, endless, code))
