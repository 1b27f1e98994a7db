"""Block floating point on torch tensors: the values that `golden.formats.bfp` makes, bit for bit.

Tensors are (channels, positions), channels a multiple of the block's k, as float32. Every step is
exact but one rounding to nearest even: scales are powers of two put together from bits, codes are
whole numbers of few bits, so that a processor and an accelerator give the same.
"""

import torch

from narrowgauge.golden.formats import BFP

__all__ = ["exponents", "power", "round_to", "to_blocks"]


def exponents(values: torch.Tensor) -> torch.Tensor:
    """floor(log2) of values >= 0 as int32; far below all formats for 0, far above for NaN, Inf."""
    if values.dtype == torch.float64:
        return ((values.view(torch.int64) >> 52) - 1023).to(torch.int32)
    return (values.view(torch.int32) >> 23) - 127


def power(exponent: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """2**exponent, exactly, of exponents that are normal in the type."""
    if dtype == torch.float64:
        return ((exponent.to(torch.int64) + 1023) << 52).view(torch.float64)
    return ((exponent.to(torch.int32) + 127) << 23).view(torch.float32)


def _largest(grouped: torch.Tensor) -> torch.Tensor:
    """Largest magnitude of each block; NaN where there is one."""
    if grouped.shape[1] == 1:
        return grouped.squeeze(1).abs()
    return torch.maximum(grouped.amax(1), grouped.amin(1).neg_()).abs_()


def _limits(fmt: BFP) -> tuple[int, int]:
    """Least and largest exponent of a block."""
    return 1 - fmt.bias, fmt.nan_field - 1 - fmt.bias


def round_to(fmt: BFP, total: torch.Tensor, unit: torch.Tensor | None) -> torch.Tensor:
    """Values total * 2**unit, each rounded once at its block's exponent; codes that clip saturate.

    Parameters
    ----------
    total : (channels, positions), finite float32 or float64; overwritten
    unit : (channels / k,), int32; None is 0
    """
    grouped = total.view(-1, fmt.k, total.shape[1])
    top = exponents(_largest(grouped))
    if unit is not None:
        top += unit[:, None]
    top.clamp_(*_limits(fmt))
    step = power(top.sub_(fmt.fraction_bits), total.dtype)
    # Quotients of powers of two are exact.
    one = torch.ones((), dtype=total.dtype, device=total.device)
    scale = one if unit is None else power(unit, total.dtype)[:, None]
    grouped *= (scale / step)[:, None]
    most = (1 << fmt.mantissa_bits) - 1
    codes = grouped.round_().clamp_(-most, most).to(torch.float32)
    # The sum makes -0 a 0: formats here have one zero.
    zero = torch.zeros((), dtype=torch.float32, device=total.device)
    return torch.addcmul(zero, codes, step.to(torch.float32)[:, None]).view_as(total)


def to_blocks(fmt: BFP, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Values (channels, positions) in a format, NaN blocks as zeros, and which blocks those are.

    The second is (channels / k, positions) of bool, or None where there is none; `values` are kept.
    """
    grouped = values.view(-1, fmt.k, values.shape[1])
    largest = _largest(grouped)
    if bool(torch.isfinite(largest).all()):
        return round_to(fmt, values.clone(), None), None
    bad = ~torch.isfinite(largest)
    return round_to(fmt, grouped.masked_fill(bad[:, None], 0).view_as(values), None), bad
