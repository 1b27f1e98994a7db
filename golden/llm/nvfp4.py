"""An NVFP4-like format: E2M1 elements, an E4M3 scale for 16 of them, an FP32 scale a row.

    row scale = RNE_f32(max|row| / (6 * 448)), 1 for a row of zeros
    scale     = RNE_E4M3(max|16 elements| / 6 / row scale), saturating
    element   = RNE_E2M1(x / (scale * row scale)), saturating; 0 where the scale is 0

NVIDIA's format has one FP32 scale a tensor, found beforehand; a row here is a token or an output,
which suits it better. Quotients are in float64.
"""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Overflow, Rounding, get, vector

__all__ = ["quantize"]

F64 = npt.NDArray[np.float64]
_E2M1, _E4M3 = get("fp4_e2m1"), get("fp8_e4m3")
_GROUP = 16


def quantize(x: npt.NDArray[np.float32]) -> tuple[F64, F64]:
    """Element times its E4M3 scale, shape of x, and the scales of the rows; both exact in float64.

    x : finite, (rows, columns), columns a multiple of 16
    """
    if x.ndim != 2 or x.shape[1] % _GROUP or not np.isfinite(x).all():
        raise UsageError(f"x must be finite with columns a multiple of {_GROUP}, got {x.shape}")
    wide = x.astype(np.float64).reshape(len(x), -1, _GROUP)
    row = (np.abs(wide).max(axis=(1, 2)) / (6 * 448)).astype(np.float32).astype(np.float64)
    row[row == 0] = 1
    target = np.abs(wide).max(axis=2) / 6 / row[:, None]
    options = {"rounding": Rounding.RNE, "overflow": Overflow.SATURATE}
    scale = vector.decode(_E4M3, vector.encode(_E4M3, target, **options))  # type: ignore[arg-type]
    step = np.where(scale == 0, 1.0, scale)[:, :, None] * row[:, None, None]
    ratio = np.where(scale[:, :, None] == 0, 0.0, wide / step)
    # E2M1 by hand: half steps below 2, whole ones below 4, then 4 and 6; to even.
    size = np.minimum(np.abs(ratio), 6.0)
    unit = np.where(size < 2, 0.5, np.where(size < 4, 1.0, 2.0))
    element = np.copysign(np.minimum(np.rint(size / unit) * unit, 6.0), ratio)
    return (element * scale[:, :, None]).reshape(x.shape), row
