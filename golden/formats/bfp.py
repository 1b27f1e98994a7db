"""Block floating point: k signed magnitudes on one shared exponent, as training cores store them.

A code q of a block with exponent field f is worth q * 2**(E - (m - 1)), E = max(f, 1) - bias, with
bias = 2**(e-1) - 1 as in IEEE 754: m bits of magnitude with the leading one explicit, so that
nothing is hidden and a small element only loses bits. Field 2**e - 1 makes every element NaN.

- The exponent is that of the largest magnitude, 1 - bias at least: tiny blocks are subnormal. A
  block of zeros has field 1. Field 0 is never made and reads as 1.
- q = clip(round(v * 2**(m-1-E)), -L, L), L = 2**m - 1: each element is rounded once, at the shared
  exponent. The clip acts where the largest rounds up to 2**m, and where the exponent is beyond the
  format's largest, 2**e - 2 - bias: the block then saturates. Taking the next exponent instead of
  clipping would double the step of all others, which costs more from k = 4 on.
- NaN or Inf in a block: field 2**e - 1, all codes 0. -0 becomes 0.

Sources: Noh et al., "FlexBlock: A Flexible DNN Training Accelerator with Multi-Mode Block Floating
Point Support", IEEE Trans. Computers 2023; Noh et al., "LightNorm: Area and Energy-Efficient Batch
Normalization Hardware for On-Device DNN Training", ICCD 2022. Rounding, clip and specials are ours.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.formats import vector
from narrowgauge.golden.formats.element import IntFormat, Overflow, Rounding
from narrowgauge.golden.payload import Field, Payload

__all__ = ["BFP", "decode_values", "encode_values", "get_bfp", "quantize_groups"]

Ints = npt.NDArray[np.int64]

_CHUNK = 1 << 16
"""Elements a pass of `encode_values`."""

_NAME = re.compile(r"bfp_e(\d+)m(\d+)_k(\d+)(?:_(rne|rna|rtz|stochastic))?")
_FLEXBLOCK = re.compile(r"fb(12|16|24)(?:_k(\d+))?(?:_(rne|rna|rtz|stochastic))?")


@dataclass(frozen=True, kw_only=True)
class BFP:
    """See the module.

    Parameters
    ----------
    exponent_bits : e, bits of the shared exponent, 2..8
    mantissa_bits : m, bits of a magnitude, leading one included, 2..16
    k : elements a block, 1..65536
    rounding : any of `Rounding`
    """

    exponent_bits: int
    mantissa_bits: int
    k: int
    rounding: Rounding = Rounding.RNE

    n = 0
    emax = 0

    def __post_init__(self) -> None:
        check_limits(self, exponent_bits=(2, 8), mantissa_bits=(2, 16), k=(1, 65536))
        if self.rounding not in tuple(Rounding):
            raise UsageError(f"rounding must be {', '.join(Rounding)}, got {self.rounding!r}")

    @property
    def name(self) -> str:
        """What `get_block` takes."""
        base = f"bfp_e{self.exponent_bits}m{self.mantissa_bits}_k{self.k}"
        return base if self.rounding is Rounding.RNE else f"{base}_{self.rounding}"

    @property
    def element(self) -> IntFormat:
        """Format of a code."""
        width = self.mantissa_bits + 1
        return IntFormat(name=f"int{width}_symmetric", width=width, symmetric=True)

    @property
    def bias(self) -> int:
        """What is taken from the exponent field to give the exponent."""
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def nan_field(self) -> int:
        """Exponent field of a block of NaN; the largest finite one is one less."""
        return (1 << self.exponent_bits) - 1

    @property
    def fraction_bits(self) -> int:
        """A code is worth code * 2**-fraction_bits of the scale."""
        return self.mantissa_bits - 1

    def beat(self, lanes: int, prefix: str = "") -> tuple[Field, Field]:
        """Fields of so many elements side by side, a multiple of k: codes, and a scale a block."""
        return (
            Field(
                name=f"{prefix}codes",
                width=self.element.width,
                count=lanes,
                encoding="sign_magnitude",
            ),
            Field(name=f"{prefix}scales", width=self.exponent_bits, count=lanes // self.k),
        )

    @cached_property
    def payload(self) -> Payload:
        """Bit layout of a block, from the LSB: codes (sign and magnitude), shared exponent."""
        return Payload(
            (
                Field(
                    name="codes",
                    width=self.element.width,
                    count=self.k,
                    encoding="sign_magnitude",
                ),
                Field(name="scale", width=self.exponent_bits),
            )
        )

    @property
    def bits_per_element(self) -> float:
        """Bits of a block over k."""
        return self.payload.width / self.k

    @property
    def bits_per_element_packed(self) -> float:
        """The same: there are no outliers."""
        return self.bits_per_element


def get_bfp(name: str) -> BFP | None:
    """The format of a name; None where it is none.

    `bfp_e<e>m<m>_k<k>[_rna|_rtz|_stochastic]`; or `fb12`, `fb16` or `fb24`, which truncate, with
    `[_k<k>][_rne|_rna|_stochastic]`: FlexBlock's along an axis, of 216, 108 and 54 elements.
    """
    if match := _FLEXBLOCK.fullmatch(name):
        bits = int(match[1]) - 8
        return BFP(
            exponent_bits=8,
            mantissa_bits=bits,
            k=int(match[2] or {4: 216, 8: 108, 16: 54}[bits]),
            rounding=Rounding(match[3] or "rtz"),
        )
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    exponent_bits, mantissa_bits, k, rounding = match.groups()
    return BFP(
        exponent_bits=int(exponent_bits),
        mantissa_bits=int(mantissa_bits),
        k=int(k),
        rounding=Rounding(rounding or "rne"),
    )


def quantize_groups(
    fmt: BFP,
    sign: npt.ArrayLike,
    significand: npt.ArrayLike,
    exponent: npt.ArrayLike,
    *,
    sticky: npt.ArrayLike | None = None,
    random: npt.ArrayLike | None = None,
    random_bits: int | None = None,
) -> tuple[Ints, Ints]:
    """Codes and exponent fields of blocks of exact values.

    Parameters
    ----------
    sign, significand, exponent : values (-1)**sign * significand * 2**exponent, each (..., k) or
        broadcast to it; significands 0..2**62 - 1
    sticky, random, random_bits : as for `vector.round_pack`, for each element

    Returns
    -------
    codes : (..., k), -L..L
    fields : (...), 1..2**e - 2
    """
    s, x, e = np.broadcast_arrays(
        np.asarray(sign, np.int64), np.asarray(significand, np.int64), np.asarray(exponent)
    )
    if x.ndim == 0 or x.shape[-1] != fmt.k:
        raise UsageError(f"blocks of {fmt.name} must be (..., {fmt.k}), got {x.shape}")
    e = e.astype(np.int64)
    length = vector.bit_length(x)
    top = np.where(x > 0, e + length - 1, 1 - fmt.bias).max(axis=-1)
    fields = np.clip(top + fmt.bias, 1, fmt.nan_field - 1)
    codes = vector.round_pack(
        fmt.element,
        s,
        x,
        e + fmt.fraction_bits - (fields - fmt.bias)[..., None],
        rounding=fmt.rounding,
        overflow=Overflow.SATURATE,
        sticky=sticky,
        random=random,
        random_bits=random_bits,
    )
    return codes, fields


def encode_values(
    fmt: BFP,
    values: npt.NDArray[np.float32 | np.float64],
    random: npt.NDArray[np.integer] | None = None,
    random_bits: int | None = None,
) -> tuple[Ints, Ints]:
    """The same from values of shape (blocks, k), NaN and Inf included."""
    codes = np.empty(values.shape, np.int64)
    fields = np.empty(len(values), np.int64)
    step = max(1, _CHUNK // fmt.k)
    for start in range(0, len(values), step):
        part = slice(start, start + step)
        good = np.asarray(np.isfinite(values[part]).all(axis=1))
        finite = np.where(good[:, None], values[part], 0).astype(np.float64)
        if random is None and fmt.rounding in (Rounding.RTZ, Rounding.RNE):
            codes[part], fields[part] = _by_scaling(fmt, finite)
            fields[part] = np.where(good, fields[part], fmt.nan_field)
            continue
        fraction, power = np.frexp(np.abs(finite))
        codes[part], fields[part] = quantize_groups(
            fmt,
            np.signbit(finite),
            np.ldexp(fraction, 53).astype(np.int64),
            power.astype(np.int64) - 53,
            random=None if random is None else random[part],
            random_bits=random_bits,
        )
        fields[part] = np.where(good, fields[part], fmt.nan_field)
    return codes, fields


def _by_scaling(fmt: BFP, values: npt.NDArray[np.float64]) -> tuple[Ints, Ints]:
    """The same of finite values by one multiplication: exact, but where nothing is left anyway."""
    largest = np.abs(values).max(axis=1)
    top = np.where(largest > 0, np.frexp(largest)[1] - 1, 1 - fmt.bias)
    fields = np.clip(top + fmt.bias, 1, fmt.nan_field - 1)
    with np.errstate(over="ignore"):
        scaled = values * np.ldexp(1.0, fmt.fraction_bits + fmt.bias - fields)[:, None]
    whole = np.trunc(scaled) if fmt.rounding is Rounding.RTZ else np.rint(scaled)
    most = fmt.element.max
    return np.clip(whole, -most, most).astype(np.int64), fields.astype(np.int64)


def decode_values(
    fmt: BFP,
    codes: npt.NDArray[np.integer],
    fields: npt.NDArray[np.integer],
    dtype: type[np.float32 | np.float64],
) -> npt.NDArray[np.float32 | np.float64]:
    """Values of shape (..., k) of codes (..., k) and fields (...), exact in either type."""
    exponent = np.maximum(fields, 1).astype(np.intc) - fmt.bias - fmt.fraction_bits
    made: npt.NDArray[np.float32 | np.float64]
    made = np.asarray(np.ldexp(codes.astype(dtype), exponent[..., None]))
    made[fields == fmt.nan_field] = np.nan
    return made
