"""Groups of block floating point along one axis of a torch tensor, with the codes of the formats.

The codes and exponent fields are those of `golden.formats.bfp` with 8 bits of exponent, of which
FlexBlock's FB12, FB16 and FB24 are the ones that are used here, for any rounding. Every step is
exact but the one rounding: scales are powers of two, quotients of powers of two are exact, and
groups near the least normal number are worked out in float64.
"""

from dataclasses import dataclass

import torch

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BFP, Rounding
from narrowgauge.golden.training.blocks import exponents, power

__all__ = ["RANDOM_BITS", "Grouped", "group"]

RANDOM_BITS = 8
"""Bits of a word of stochastic rounding, as `bfp_convert` draws them."""

_TINY = 2.0**-126
"""The least normal number: what is smaller is not counted as set to zero."""
_SAFE = -100
"""Above it the scale that makes codes is a normal float32, and subnormals leave no code."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grouped:
    """A tensor in groups of up to k along an axis, the final one as long as what is left.

    Parameters
    ----------
    fmt, axis : the format, and the axis that groups lie along
    codes : whole numbers as float32, of the tensor's shape, without -0
    fields : exponent fields as int32, of the same shape but for groups along the axis
    zeroed : elements that alignment set to zero, None where they were not counted
    """

    fmt: BFP
    axis: int
    codes: torch.Tensor
    fields: torch.Tensor
    zeroed: int | None

    def values(self) -> torch.Tensor:
        """What the codes are worth, float32; NaN in groups of field 255."""
        exponent = self.fields.clamp(min=1) - (self.fmt.bias + self.fmt.fraction_bits)
        if bool((exponent < -126).any()):
            step = power(exponent, torch.float64)
            made = (self.codes.to(torch.float64) * self._spread(step)).to(torch.float32)
        else:
            made = self.codes * self._spread(power(exponent, torch.float32))
        bad = self.fields == self.fmt.nan_field
        return made.masked_fill(self._spread(bad), float("nan")) if bool(bad.any()) else made

    def _spread(self, each: torch.Tensor) -> torch.Tensor:
        """A value of each group for all of its elements; one group broadcasts."""
        if each.shape[self.axis] == 1:
            return each
        count = self.codes.shape[self.axis]
        return each.repeat_interleave(self.fmt.k, self.axis).narrow(self.axis, 0, count)


def group(
    fmt: BFP,
    values: torch.Tensor,
    axis: int,
    *,
    words: torch.Tensor | None = None,
    count: bool = False,
) -> Grouped:
    """Convert float32 values; groups begin at index 0 of the axis.

    Parameters
    ----------
    words : random words of `RANDOM_BITS` bits, of the shape of values, for stochastic rounding
    count : whether to count what is set to zero, as `golden.formats.zero_setting`
    """
    if fmt.exponent_bits != 8:
        raise UsageError(f"groups must have 8 bits of exponent, got {fmt.exponent_bits}")
    if (words is None) == (fmt.rounding is Rounding.STOCHASTIC):
        raise UsageError(f"rounding {fmt.rounding} takes {'no' if words is not None else 'random'} "
                         "words")  # fmt: skip
    parts = values.split(fmt.k, axis)
    drawn = [None] * len(parts) if words is None else words.split(fmt.k, axis)
    made = [_one(fmt, p, axis, w, count) for p, w in zip(parts, drawn, strict=True)]
    if len(made) == 1:
        codes, fields, zeroed = made[0]
    else:
        codes = torch.cat([each[0] for each in made], axis)
        fields = torch.cat([each[1] for each in made], axis)
        zeroed = sum(each[2] for each in made)
    return Grouped(fmt=fmt, axis=axis, codes=codes, fields=fields, zeroed=zeroed if count else None)


def _one(
    fmt: BFP, values: torch.Tensor, axis: int, words: torch.Tensor | None, count: bool
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Codes, fields and count of groups that are whole along the axis."""
    largest = torch.maximum(values.amax(axis, True), values.amin(axis, True).neg_()).abs_()
    bad = None
    if not bool(torch.isfinite(largest).all()):
        bad = ~torch.isfinite(largest)
        values = values.masked_fill(bad, 0)
        largest.masked_fill_(bad, 0)
    top = exponents(largest).clamp_(min=1 - fmt.bias)
    wide = bool(((top < _SAFE) & (largest > 0)).any())
    dtype = torch.float64 if wide else torch.float32
    # Zeros are zeros on any scale.
    scale = power(fmt.fraction_bits - (top if wide else top.clamp(min=_SAFE)), dtype)
    scaled = values.to(dtype) * scale
    zeroed = 0
    if count:
        normal, left = values.abs() >= _TINY, scaled.abs() >= 1
        # On a normal scale only normal numbers leave a code.
        zeroed = int((normal & ~left if wide else normal ^ left).sum())
    fields = top.add_(fmt.bias)
    if bad is not None:
        fields.masked_fill_(bad, fmt.nan_field)
    return _rounded(fmt, scaled, words), fields, zeroed


def _rounded(fmt: BFP, scaled: torch.Tensor, words: torch.Tensor | None) -> torch.Tensor:
    """Whole numbers as float32; -0 becomes 0."""
    most = (1 << fmt.mantissa_bits) - 1
    if fmt.rounding is Rounding.RTZ:
        # By way of integers, which is several times as fast as `trunc`.
        return scaled.to(torch.int32).to(torch.float32)
    if fmt.rounding is Rounding.RNE:
        return scaled.round_().clamp_(-most, most).to(torch.int32).to(torch.float32)
    size = scaled.abs()
    if fmt.rounding is Rounding.RNA:
        low = size.to(torch.int32).to(size.dtype)
        up = size - low >= 0.5
    else:
        assert words is not None
        low = size.to(torch.int32).to(size.dtype)
        rest = ((size - low) * float(1 << RANDOM_BITS)).to(torch.int32)
        up = rest + words >= 1 << RANDOM_BITS
    made = (low + up.to(size.dtype)).clamp_(max=most)
    return (made * scaled.sign()).to(torch.int32).to(torch.float32)
