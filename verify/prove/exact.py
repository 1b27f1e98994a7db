"""Rounding to a floating-point format by its definition, in exact integers.

The values of all non-negative codes are listed; a number is rounded by looking up its neighbours
in that list. Nothing is normalised, shifted or incremented: this is written apart from the golden
models and from the hardware, and is what both are proved against.
"""

from bisect import bisect_right
from fractions import Fraction
from functools import cached_property

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import FloatFormat, Overflow, Rounding

__all__ = ["NAN", "Grid", "Number"]

NAN = "nan"
Number = tuple[int, Fraction | None]
"""Sign bit and magnitude; the magnitude None is infinite."""


class Grid:
    """The values of a format with Inf and NaN, and the rounding to them.

    Parameters
    ----------
    fmt : `specials` is "ieee"
    rounding : RNE, RTZ or RNA
    overflow : what stands for too large a magnitude, an infinite one included
    """

    def __init__(
        self,
        fmt: FloatFormat,
        rounding: str = Rounding.RNE,
        overflow: str = Overflow.NONFINITE,
    ) -> None:
        self._fmt = fmt
        self._rounding = Rounding(rounding)
        self._saturate = overflow == Overflow.SATURATE
        E, M = fmt.exponent_bits, fmt.mantissa_bits
        self._infinity = ((1 << E) - 1) << M
        self._unit = 2 - (1 << (E - 1)) - M
        self.canonical_nan = self._infinity | (1 << (M - 1))

    @cached_property
    def _counts(self) -> list[int]:
        """All finite magnitudes in units of the smallest, then the one that Inf's code would have.

        What rounds to the last is too large.
        """
        fmt = self._fmt
        if fmt.width > 16:
            raise UsageError(f"the values of at most 16 bits can be listed, {fmt.name} has more")
        M, fields = fmt.mantissa_bits, (1 << fmt.exponent_bits) - 1
        counts = list(range(1 << M))
        for field in range(1, fields):
            counts += [((1 << M) + fraction) << (field - 1) for fraction in range(1 << M)]
        return [*counts, 1 << (M + fields - 1)]

    def value(self, code: int) -> Number | str:
        """What a code means: NAN, or sign and magnitude."""
        sign, rest = divmod(code, self._fmt.sign_mask)
        if rest > self._infinity:
            return NAN
        if rest == self._infinity:
            return sign, None
        return sign, self._counts[rest] * _power(self._unit)

    def code(self, number: Number | str) -> int:
        """The code of a number after rounding; NAN is the canonical NaN."""
        if isinstance(number, str):
            return self.canonical_nan
        sign, magnitude = number
        largest = self._infinity - 1
        if magnitude is None:
            code = largest if self._saturate else self._infinity
        else:
            code = self._nearest(magnitude * _power(-self._unit))
            if code == self._infinity and (self._saturate or self._rounding == Rounding.RTZ):
                code = largest
        return code | sign * self._fmt.sign_mask

    def _nearest(self, count: Fraction) -> int:
        low = bisect_right(self._counts, int(count)) - 1
        if self._counts[low] == count or self._rounding == Rounding.RTZ:
            return low
        if low == self._infinity:
            return low
        below, above = count - self._counts[low], self._counts[low + 1] - count
        if below != above:
            return low if below < above else low + 1
        # Neighbouring codes are neighbouring numbers: the even code is the even significand.
        return low + (low & 1) if self._rounding == Rounding.RNE else low + 1


def _power(exponent: int) -> Fraction:
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)
