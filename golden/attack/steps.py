"""Integer weights on a step kept apart: two's complement, symmetric, by tensor or channel.

A code q is worth q * step, step = max|w| / (2^(N-1) - 1) in float32, of the tensor or of each
output channel; q = clip(round(w / step), -L, L), L = 2^(N-1) - 1, to nearest even, so that
-2^(N-1) is never made; a flipped bit can make it, and it reads as what it says. Steps lie in
registers, not among the words. The step of zeros is 1.

Source: the quantisation of the bit-flip attacks (Rakin et al., "Bit-Flip Attack: Crushing Neural
Network with Progressive Bit Search", ICCV 2019; Park et al., "ZeBRA: Precisely Destroying Neural
Networks with Zero-Data Based Repeated Bit Flip Attack", BMVC 2021).
"""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.payload import Field, Payload

__all__ = ["IntSteps", "get_steps"]

_NAME = re.compile(r"int(\d+)(_channel)?")


@dataclass(frozen=True, kw_only=True)
class IntSteps:
    """See the module.

    Parameters
    ----------
    bits : of a code, 2..8
    by_channel : a step for each row, in place of one for the tensor
    """

    bits: int
    by_channel: bool = False

    k = 1
    n = 0

    def __post_init__(self) -> None:
        check_limits(self, bits=(2, 8))

    @property
    def name(self) -> str:
        """What `get_weights` takes: `int<bits>`, with `_channel` for steps by row."""
        return f"int{self.bits}{'_channel' * self.by_channel}"

    @property
    def largest(self) -> int:
        """L."""
        return (1 << (self.bits - 1)) - 1

    @cached_property
    def payload(self) -> Payload:
        """One code: there is nothing that codes share."""
        return Payload((Field(name="codes", width=self.bits, count=1, encoding="signed"),))

    def steps(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The step of each row, (rows,)."""
        most = np.abs(rows).max(axis=1, initial=0)
        if not self.by_channel:
            most = np.full_like(most, most.max(initial=0))
        step = most / np.float32(self.largest)
        return np.where(step > 0, step, 1).astype(np.float32)

    def encode(
        self, rows: npt.NDArray[np.float32], steps: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.int64]:
        """Codes of (rows, columns); NaN and Inf are a `UsageError`."""
        if not np.isfinite(rows).all():
            raise UsageError(f"weights in {self.name} must be finite, got NaN or Inf")
        quotient = np.rint(rows.astype(np.float64) / steps[:, None].astype(np.float64))
        return np.clip(quotient, -self.largest, self.largest).astype(np.int64)


def get_steps(name: str) -> IntSteps | None:
    """The format of a name `int<bits>[_channel]`; None where it is none."""
    match = _NAME.fullmatch(name)
    return None if match is None else IntSteps(bits=int(match[1]), by_channel=bool(match[2]))
