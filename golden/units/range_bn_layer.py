"""What is the same for all channels of a layer in range batch normalisation, see `range_bn`.

The factor c makes a deviation of a mean range: c R is that of the channel if R, the mean range of
chunks of n = N / K values, is r(n) deviations, and c = 1 / r(n).

| factor | r(n) |
| --- | --- |
| `bound` | sqrt(2 ln n), the paper's: of normal values, what each extreme nears as n grows |
| `normal` | what the range of n independent normal values of deviation 1 is in the mean |

The second is the integral of 1 - F(t)^n - (1 - F(t))^n over all t, F the normal distribution: from
1.13 for n = 2 to 9.74 for 2^20. The hardware takes c as a number and knows of neither.

Sources: Noh et al., "LightNorm: Area and Energy-Efficient Batch Normalization Hardware for
On-Device DNN Training", ICCD 2022; Tippett, "On the extreme individuals and the range of samples
taken from a normal population", Biometrika 17, 1925.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError

__all__ = ["FACTORS", "Layer", "chunk_of", "expected_range"]

Ints = npt.NDArray[np.int64]

FACTORS = ("bound", "normal")
"""By name, see the module."""

_STEP, _STEPS = 1 / 32, 320


@cache
def expected_range(count: float) -> float:
    """Largest less least of so many independent normal values of deviation 1, in the mean.

    By trapezoids, which for a function that is smooth and 0 at both ends are as exact as float64.
    """

    def inside(t: float) -> float:
        """The probability that values lie on both sides of t."""
        above = math.erfc(t / math.sqrt(2)) / 2
        return -math.expm1(count * math.log1p(-above)) - above**count

    half = inside(0) / 2 + math.fsum(inside(_STEP * i) for i in range(1, _STEPS))
    return 2 * _STEP * half


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What is the same for all channels of a layer, worked out by the host.

    Parameters
    ----------
    count : N, values of a channel
    chunks : K
    epsilon : added to c R
    factor : which c, one of `FACTORS`
    """

    count: int
    chunks: int
    epsilon: float = 1e-5
    factor: str = "bound"

    def __post_init__(self) -> None:
        if not 2 * self.chunks <= self.count <= 1 << 20:
            raise UsageError(
                f"a channel must have {2 * self.chunks}..{1 << 20} values in {self.chunks} chunks "
                f"of two or more, got {self.count}"
            )
        if not 0 <= self.epsilon < 1:
            raise UsageError(f"epsilon must be from 0 to below 1, got {self.epsilon}")
        if self.factor not in FACTORS:
            raise UsageError(f"factor must be one of {', '.join(FACTORS)}, got {self.factor!r}")

    @property
    def ratio(self) -> float:
        """The factor c, unrounded."""
        length = self.count / self.chunks
        if self.factor == "normal":
            return 1 / expected_range(length)
        return 1 / math.sqrt(2 * math.log(length))

    @property
    def c(self) -> int:
        """The factor c as a fraction of 2**16, to nearest."""
        return round(65536 * self.ratio)

    @property
    def inverse(self) -> tuple[int, int]:
        """1 / N as (significand of 16 bits, right shift), to nearest."""
        shift = 15 + (self.count - 1).bit_length()
        return round(2**shift / self.count), shift

    def starts(self) -> Ints:
        """First position of each chunk."""
        return -(-np.arange(self.chunks) * self.count // self.chunks)


def chunk_of(layer: Layer, position: Ints) -> Ints:
    """The chunk of a position."""
    return position * layer.chunks // layer.count
