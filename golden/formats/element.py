"""Element formats: what a code means, and the two choices that every conversion has to state.

A format is a frozen description without data. Codes of `FloatFormat` and `E8M0` are bit patterns,
0..2**width-1; codes of `IntFormat` are the signed integers themselves.

Sources: IEEE 754-2019; OCP 8-bit Floating Point (OFP8) 1.0; OCP Microscaling Formats (MX) 1.0.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from narrowgauge.golden.errors import UsageError

__all__ = ["E8M0", "FloatFormat", "Format", "IntFormat", "Overflow", "Rounding"]


class Rounding(StrEnum):
    """How a value between two neighbours of a format is rounded; subnormals round alike.

    STOCHASTIC takes a random word of r bits for each value. F is the top r bits of the discarded
    part (the r bits right below the last bit kept, zeros where there are fewer; lower bits are
    ignored), and the magnitude is rounded up where F + random >= 2**r, that is with probability
    F / 2**r over uniform words. Hardware adds the word below the last bit and truncates.
    """

    RNE = "rne"
    """To nearest, ties to the even code."""
    RTZ = "rtz"
    """Towards zero (truncate the magnitude)."""
    RNA = "rna"
    """To nearest, ties away from zero."""
    STOCHASTIC = "stochastic"
    """Away from zero where the random word carries into the last bit kept."""


class Overflow(StrEnum):
    """What stands for a magnitude that rounds, with unbounded exponent, to more than the largest.

    NONFINITE gives the infinity of that sign; the NaN where the format has no infinity; and is a
    `UsageError` where it has neither. Under `Rounding.RTZ` a finite value never overflows: it
    becomes the largest finite one (IEEE 754, 7.4). SATURATE gives the largest finite value of that
    sign, also for an infinite input (OFP8's saturating mode).
    """

    SATURATE = "saturate"
    NONFINITE = "nonfinite"


@dataclass(frozen=True, kw_only=True)
class FloatFormat:
    """A binary floating-point format: sign, exponent field, mantissa field, from the top bit down.

    Field 0 of the exponent holds zero and the subnormals. Two formats are equal where they mean
    the same; the name does not count.

    Parameters
    ----------
    name : what tables and reports call it
    exponent_bits : E, 2..11
    mantissa_bits : M, 1..52, where 1 + E + M is at most 62
    specials : "ieee" keeps the all-ones exponent for Inf (mantissa 0) and NaN; "nan" has no Inf and
        one NaN a sign, all ones (OCP E4M3); "none" has neither
    """

    name: str = field(compare=False)
    exponent_bits: int
    mantissa_bits: int
    specials: Literal["ieee", "nan", "none"] = "ieee"

    def __post_init__(self) -> None:
        if not 2 <= self.exponent_bits <= 11:
            raise UsageError(f"exponent bits must be 2..11, got {self.exponent_bits}")
        if not 1 <= self.mantissa_bits <= 52:
            raise UsageError(f"mantissa bits must be 1..52, got {self.mantissa_bits}")
        if self.width > 62:
            raise UsageError(f"a float format must have at most 62 bits, got {self.width}")
        if self.specials not in ("ieee", "nan", "none"):
            raise UsageError(f"specials must be ieee, nan or none, got {self.specials!r}")

    @classmethod
    def ieee(cls, exponent_bits: int, mantissa_bits: int) -> "FloatFormat":
        """The IEEE-like format of any size, named `ieee_e<E>m<M>`."""
        name = f"ieee_e{exponent_bits}m{mantissa_bits}"
        return cls(name=name, exponent_bits=exponent_bits, mantissa_bits=mantissa_bits)

    @property
    def width(self) -> int:
        """Bits of a code."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def precision(self) -> int:
        """Bits of a normal significand, the hidden one counted."""
        return self.mantissa_bits + 1

    @property
    def bias(self) -> int:
        """What is taken from the exponent field to give the exponent."""
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def emin(self) -> int:
        """Exponent of the smallest normal value."""
        return 1 - self.bias

    @property
    def emax(self) -> int:
        """Exponent of the largest value."""
        return (1 << self.exponent_bits) - 1 - self.bias - (self.specials == "ieee")

    @property
    def quantum(self) -> int:
        """Exponent of the last bit of a subnormal, so that the smallest value is 2**quantum."""
        return self.emin - self.mantissa_bits

    @property
    def sign_mask(self) -> int:
        """The sign bit of a code."""
        return 1 << (self.width - 1)

    @property
    def exponent_mask(self) -> int:
        """The exponent field of a code, in place."""
        return ((1 << self.exponent_bits) - 1) << self.mantissa_bits

    @property
    def mantissa_mask(self) -> int:
        """The mantissa field of a code."""
        return (1 << self.mantissa_bits) - 1

    @property
    def magnitude_mask(self) -> int:
        """All of a code but its sign; magnitudes order as their codes do."""
        return self.sign_mask - 1

    @property
    def inf_code(self) -> int | None:
        """Code of +Inf, or None."""
        return self.exponent_mask if self.specials == "ieee" else None

    @property
    def nan_code(self) -> int | None:
        """Code of the NaN that results carry (sign 0; quiet: top mantissa bit), or None."""
        if self.specials == "ieee":
            return self.exponent_mask | (1 << (self.mantissa_bits - 1))
        return self.magnitude_mask if self.specials == "nan" else None

    @property
    def max_code(self) -> int:
        """Code of the largest finite value."""
        if self.specials == "ieee":
            return self.exponent_mask - 1
        return self.magnitude_mask - (self.specials == "nan")

    @property
    def max(self) -> float:
        """Largest finite value."""
        significand = (self.max_code & self.mantissa_mask) | (1 << self.mantissa_bits)
        return float(significand) * 2.0 ** (self.emax - self.mantissa_bits)

    @property
    def smallest_normal(self) -> float:
        """Smallest positive normal value."""
        return 2.0**self.emin

    @property
    def smallest(self) -> float:
        """Smallest positive value."""
        return 2.0**self.quantum

    def overflow_code(self, overflow: Overflow) -> int:
        """Magnitude code that stands for too large a magnitude (a NaN then drops its sign)."""
        if Overflow(overflow) is Overflow.SATURATE:
            return self.max_code
        code = self.nan_code if self.inf_code is None else self.inf_code
        if code is None:
            raise UsageError(f"format {self.name} has no Inf and no NaN: overflow must saturate")
        return code


@dataclass(frozen=True, kw_only=True)
class IntFormat:
    """A two's complement integer; its codes are signed integers.

    Parameters
    ----------
    name : what tables and reports call it
    width : bits, 2..32
    symmetric : the most negative code is never made (it still reads as -2**(width-1))
    """

    name: str = field(compare=False)
    width: int
    symmetric: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 32:
            raise UsageError(f"width of an integer format must be 2..32, got {self.width}")

    @property
    def max(self) -> int:
        """Largest code."""
        return (1 << (self.width - 1)) - 1

    @property
    def min(self) -> int:
        """Smallest code that is made."""
        return -self.max - (not self.symmetric)


@dataclass(frozen=True, kw_only=True)
class E8M0:
    """The shared scale of OCP MX: byte e is 2**(e-127), 255 is NaN; no zero, no sign, no Inf."""

    name: str = field(default="e8m0", compare=False)
    width: int = field(default=8, init=False)
    bias: int = field(default=127, init=False)
    emin: int = field(default=-127, init=False)
    emax: int = field(default=127, init=False)
    nan_code: int = field(default=255, init=False)
    max_code: int = field(default=254, init=False)
    inf_code: None = field(default=None, init=False)

    @property
    def max(self) -> float:
        """Largest value."""
        return 2.0**self.emax

    @property
    def smallest(self) -> float:
        """Smallest value."""
        return 2.0**self.emin

    def overflow_code(self, overflow: Overflow) -> int:
        """Code of too large a scale."""
        return self.max_code if Overflow(overflow) is Overflow.SATURATE else self.nan_code


Format = FloatFormat | IntFormat | E8M0
"""Any element format."""
