"""What a host does between the cores' commands: norms, rotary positions, SiLU, residual sums.

Every rounding is stated, so that another host can repeat it bit for bit.

- State, norm weights and tables are float32; `+` and `*` below are float32, to nearest even, one
  rounding each, nothing fused.
- RMSNorm: s = sum of x^2 in float64, by halves (`tree_sum`); r = RNE_f32(1 / sqrt(s / width + eps))
  with the inside in float64; y = RNE_bf16((x * r) * weight).
- Rotary: angles, cosine and sine in float64, rounded to float32; (e * cos) - (o * sin) and
  (e * sin) + (o * cos), times RNE_f32(1 / sqrt(head)) for queries; then RNE_bf16.
- SiLU: g is bf16, s = RNE_bf16(g / (1 + exp(-g))) from a table of all codes; RNE_bf16(s * u).
- Residual: state + y, y bf16.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import bf16_codes, bf16_values

__all__ = ["gated", "rms_norm", "rotary", "rotate", "scaled", "tree_sum"]

Codes = npt.NDArray[np.uint16]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


def tree_sum(x: F64) -> F64:
    """Sums along the last axis: filled up with zeros to a power of two, halves added to halves."""
    width = 1 << (x.shape[-1] - 1).bit_length()
    total = np.zeros((*x.shape[:-1], width))
    total[..., : x.shape[-1]] = x
    while width > 1:
        width //= 2
        total = total[..., :width] + total[..., width:]
    return total[..., 0]


def rms_norm(state: F32, weight: F32, epsilon: float) -> F32:
    """The normalised state, (tokens, width), float32: bf16 is the caller's rounding."""
    square = tree_sum(state.astype(np.float64) ** 2)
    inverse = 1.0 / np.sqrt(square / state.shape[-1] + epsilon)
    return np.asarray(state * inverse.astype(np.float32)[:, None] * weight, np.float32)


def rotary(positions: npt.NDArray[np.int64], head: int, base: float) -> tuple[F32, F32]:
    """Cosines and sines of positions, (tokens, head / 2)."""
    half = head // 2
    speed = base ** (-np.arange(half) / half)
    angle = np.outer(positions, speed)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def rotate(x: Codes, tables: tuple[F32, F32], scale: float | None = None) -> Codes:
    """Rotated bf16 codes of x, (tokens, heads, head); elements 2i and 2i + 1 are a pair."""
    cos, sin = (table[:, None, :] for table in tables)
    values = bf16_values(x)
    even, odd = values[..., 0::2], values[..., 1::2]
    y = np.empty_like(values)
    y[..., 0::2] = even * cos - odd * sin
    y[..., 1::2] = even * sin + odd * cos
    if scale is not None:
        y *= np.float32(scale)
    return bf16_codes(y)


@cache
def _silu() -> F32:
    """SiLU of every bf16 code, rounded to bf16."""
    with np.errstate(over="ignore", invalid="ignore"):
        g = bf16_values(np.arange(1 << 16, dtype=np.uint16)).astype(np.float64)
        y = g / (1 + np.exp(-g))
        y[0xFF80] = 0
        return bf16_values(bf16_codes(y.astype(np.float32)))


def gated(gate: Codes, up: Codes) -> Codes:
    """silu(gate) * up, all bf16."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bf16_codes(_silu()[gate] * bf16_values(up))


def scaled(x: F32, row_scale: Codes | None) -> Codes:
    """RNE_bf16(RNE_bf16(x) * row_scale): finished dot products (tokens, rows) as a core answers."""
    codes = bf16_codes(x)
    if row_scale is None:
        return codes
    with np.errstate(over="ignore", invalid="ignore"):
        return bf16_codes(bf16_values(codes) * bf16_values(row_scale))
