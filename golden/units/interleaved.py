"""Units whose channels are interleaved: what a beat of values is, and stimuli of such beats.

A beat holds `lanes` channels of one position; `channel_last` ends the position.
"""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BFP
from narrowgauge.golden.payload import Batch, Field
from narrowgauge.golden.units.range_bn import Blocks, RangeBn

__all__ = ["Interleaved", "position_ends", "some_depth", "with_nan"]

Ints = npt.NDArray[np.int64]


class Interleaved:
    """What the parameters of such units share; the fields are those of the unit's dataclass.

    Parameters
    ----------
    group : channels that share an exponent
    channels : most channels, a multiple of lanes by a power of two, up to 4096
    lanes : channels a beat, a multiple of group
    """

    group: int
    channels: int
    lanes: int

    def check_lanes(self) -> None:
        """Lanes and channels fit the group and each other."""
        if not self.group <= self.lanes <= 256 or self.lanes % self.group:
            raise UsageError(
                f"lanes must be a multiple of group={self.group} up to 256, got {self.lanes}"
            )
        depth = self.depth
        if not 1 <= depth <= 4096 or depth * self.lanes != self.channels or depth & (depth - 1):
            raise UsageError(
                f"channels must be lanes={self.lanes} times a power of two, got {self.channels}"
            )

    @property
    def format(self) -> BFP:
        """The format of x."""
        return RangeBn(group=self.group).forward

    @property
    def depth(self) -> int:
        """Beats of the longest position."""
        return self.channels // self.lanes

    @property
    def blocks(self) -> tuple[Field, Field]:
        """The fields of a beat's values: codes and exponent fields."""
        return self.format.beat(self.lanes)

    def laid_out(self, x: Blocks) -> Batch:
        """The values of all channels as beats, and where positions end."""
        count = len(x.codes)
        return {
            "codes": x.codes.reshape(count * self.depth, -1),
            "scales": x.fields.reshape(count * self.depth, -1),
            "channel_last": position_ends(count, self.depth),
        }


def position_ends(count: int, depth: int) -> Ints:
    """`channel_last` of positions of so many beats."""
    return np.tile(np.arange(depth) == depth - 1, count).astype(np.int64)


def some_depth(params: Interleaved, rng: np.random.Generator) -> int:
    """Beats of a tensor's positions: one, as many as there can be, or some."""
    some = int(rng.integers(1, params.depth + 1))
    return (1, params.depth, some)[rng.integers(0, 3)]


def with_nan(
    params: Interleaved, rng: np.random.Generator, codes: Ints, fields: Ints
) -> tuple[Ints, Ints]:
    """Some blocks of a tensor in five are NaN.

    Their codes are 0 where a packer made them, and count as 0 in any case.
    """
    nan = params.format.nan_field
    if rng.random() < 0.2:
        fields = np.where(rng.random(fields.shape) < 0.05, nan, fields)
        if rng.random() < 0.5:
            codes = np.where(np.repeat(fields, params.group, axis=1) == nan, 0, codes)
    return codes, fields
