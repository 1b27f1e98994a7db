"""What the floating-point components share: their formats, checked choices, and stimuli."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import ELEMENT_FORMATS, FloatFormat, Overflow, Rounding

__all__ = ["codes_near", "corners", "ieee_format", "rounding_of", "sizes"]

Ints = npt.NDArray[np.int64]


def ieee_format(exponent_bits: int, mantissa_bits: int) -> FloatFormat:
    """The format with Inf and NaN of that size, under its usual name where it has one.

    Raises `UsageError` outside E 2..8, M 1..23, the sizes that components are made for.
    """
    for label, value, least, most in (("exp", exponent_bits, 2, 8), ("man", mantissa_bits, 1, 23)):
        if not least <= value <= most:
            raise UsageError(f"{label}_bits must be {least}..{most}, got {value}")
    plain = FloatFormat.ieee(exponent_bits, mantissa_bits)
    return next((f for f in ELEMENT_FORMATS.values() if f == plain), plain)  # type: ignore


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
