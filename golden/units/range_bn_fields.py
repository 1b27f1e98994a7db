"""Parameters and fields of channels between the passes: the base of `range_bn_constants`."""

from dataclasses import dataclass
from functools import cached_property

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BFP
from narrowgauge.golden.payload import Field, Payload
from narrowgauge.golden.units.range_bn import FP10, REACH, exponent_offset
from narrowgauge.golden.units.range_bn_passes import MOST_EPSILON
from narrowgauge.golden.units.range_bn_steps import ABOVE, CONSTANT, GUARD
from narrowgauge.golden.units.range_bn_widths import Widths
from narrowgauge.golden.units.window import FP32

__all__ = ["Channels"]


@dataclass(frozen=True, kw_only=True)
class Channels(Widths):
    """See `range_bn_constants.Params`."""

    group: int = 4
    window: int = 16
    gradient_window: int = 12
    fraction: int = 12
    precision: int = 9
    chunks: int = 8
    position_bits: int = 16

    def __post_init__(self) -> None:
        self.check_widths()
        if self.total_bits + self.mean_bits > 63:
            raise UsageError(
                "window, gradient_window, fraction and position_bits must leave at most 63 bits "
                f"to a total times a mean, got {self.total_bits + self.mean_bits}"
            )

    @property
    def formats(self) -> tuple[BFP, BFP]:
        """Of x and of g."""
        return self.arithmetic.forward, self.arithmetic.backward

    @property
    def total_bits(self) -> int:
        """Bits of a sum of x or g, sign included."""
        return max(self.window, self.gradient_window) + 1 + self.position_bits

    @property
    def product_bits(self) -> int:
        """Bits of a sum of g (x - mu), sign included."""
        return self.moment_bits + 1

    @property
    def chunk_bits(self) -> int:
        """The largest binary logarithm of a number of chunks."""
        return self.chunks.bit_length() - 1

    @property
    def epsilon_bits(self) -> int:
        """Bits of epsilon, below 1, in the unit of c R at the least exponent of a window."""
        return min(MOST_EPSILON.bit_length(), 30 + self.chunk_bits + self.window)

    @property
    def mean_bits(self) -> int:
        """Bits of a mean of x, sign included."""
        return self.arithmetic.product + 1

    @property
    def mean_of_g_bits(self) -> int:
        """Bits of a mean of g, sign included; its 16 bits of 1 / N may be too large by half one."""
        return self.gradient_window + GUARD + 1 + (self.gradient_window > 15)

    @property
    def above(self) -> int:
        """Bits of a patch above g's window."""
        return ABOVE

    @property
    def guard(self) -> int:
        """Bits of mean and patch below the unit of g's window."""
        return GUARD

    @property
    def reach(self) -> int:
        """Places that a beta may have above gamma's leading bit before it gives the unit."""
        return REACH

    @property
    def exponent_offset(self) -> int:
        """What an answered exponent is above that of the channel."""
        return exponent_offset(self.arithmetic)

    @property
    def constant(self) -> int:
        """The exponent of a channel that is constant."""
        return CONSTANT

    @cached_property
    def input(self) -> Payload:
        """One channel."""
        return Payload(
            (
                Field(name="total", width=self.total_bits, encoding="signed"),
                Field(name="spread", width=self.window + self.chunks.bit_length()),
                Field(name="moment", width=self.moment_bits, encoding="signed"),
                Field(name="scale", width=self.precision),
                Field(name="mean", width=self.mean_bits, encoding="signed"),
                Field(name="slope", width=self.precision + 1, encoding="sign_magnitude"),
                Field(name="slope_unit", width=8, encoding="signed"),
                Field(name="gamma", width=FP10.width, format=FP10.name),
                Field(name="beta", width=FP32.width, format=FP32.name),
                Field(name="base", width=self.formats[1].exponent_bits),
                Field(name="c", width=16),
                Field(name="inverse", width=16),
                Field(name="shift", width=6),
                Field(name="epsilon", width=self.epsilon_bits),
                Field(name="chunk_bits", width=max(1, self.chunk_bits.bit_length())),
                Field(name="backward", width=1),
                Field(name="last", width=1),
            )
        )

    @cached_property
    def output(self) -> Payload:
        """The answer to a channel."""
        signed = {
            "exponent": 7,
            "mean": self.mean_bits,
            "offset": self.offset_bits,
            "unit": 8,
            "slope_unit": 8,
            "patch": self.patch_bits,
        }
        return Payload(
            (
                *(Field(name=k, width=width, encoding="signed") for k, width in signed.items()),
                Field(name="gain", width=self.precision + 1, encoding="sign_magnitude"),
                Field(name="slope", width=self.precision + 1, encoding="sign_magnitude"),
                Field(name="scale", width=self.precision),
                Field(name="dbeta", width=FP32.width, format=FP32.name),
                Field(name="dgamma", width=FP32.width, format=FP32.name),
                Field(name="bad", width=1),
                Field(name="last", width=1),
            )
        )
