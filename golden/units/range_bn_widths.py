"""What the parameters of the units for whole layers share: their arithmetic, and widths from it."""

from functools import cached_property

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.units.range_bn import RangeBn, offset_bits
from narrowgauge.golden.units.range_bn_steps import ABOVE

__all__ = ["Widths"]


class Widths:
    """The fields are those of the unit's dataclass, see `RangeBn`; position_bits is 4..20."""

    group: int
    chunks: int
    window: int
    gradient_window: int
    fraction: int
    precision: int
    position_bits: int

    def check_widths(self) -> None:
        """There is such an arithmetic, and such positions."""
        _ = self.arithmetic
        if not 4 <= self.position_bits <= 20:
            raise UsageError(f"position_bits must be 4..20, got {self.position_bits}")

    @cached_property
    def arithmetic(self) -> RangeBn:
        """What is computed."""
        return RangeBn(
            group=self.group,
            chunks=self.chunks,
            window=self.window,
            gradient_window=self.gradient_window,
            fraction=self.fraction,
            precision=self.precision,
        )

    @property
    def offset_bits(self) -> int:
        """Bits of an offset, sign included."""
        return offset_bits(self.arithmetic)

    @property
    def patch_bits(self) -> int:
        """Bits of a patch, sign included."""
        return self.arithmetic.product + ABOVE + 1

    @property
    def moment_bits(self) -> int:
        """Bits of a sum of g x, sign included."""
        return self.arithmetic.product + self.position_bits + 1
