"""Block formats: k elements, one shared scale, and for MX-OPAL the outliers kept in bf16.

Block floating point has a module of its own, `bfp`. For the others the scale is a byte in E8M0: e
means 2**(e-127), 255 means NaN, which makes every element of the block NaN (but not its outliers).
`tensor.quantize` and `tensor.dequantize` apply a format to arrays.

Sources: OCP Microscaling Formats (MX) Specification 1.0; Cho et al., "OPAL: Outlier-Preserved
Microscaling Quantization Accelerator for Generative Large Language Models", DAC 2024. Where the
paper is silent the rules here are ours.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats.bfp import BFP, get_bfp
from narrowgauge.golden.formats.element import FloatFormat, IntFormat, Rounding
from narrowgauge.golden.formats.table import get
from narrowgauge.golden.payload import Field, Payload

__all__ = ["BlockFormat", "MXOpal", "OcpMX", "get_block"]


def _check_rounding(rounding: Rounding) -> None:
    if rounding not in (Rounding.RNE, Rounding.RNA, Rounding.RTZ):
        raise UsageError(f"rounding of a block format must be rne, rna or rtz, got {rounding!r}")


@dataclass(frozen=True, kw_only=True)
class MXOpal:
    """MX-OPAL: b-bit integers on a shared scale, and the n largest elements kept in bf16.

    Input is bf16. Magnitudes are compared as the 15-bit field `code & 0x7FFF`, so that NaN is
    above Inf and Inf above every finite value.

    - Outliers are the n largest magnitudes, largest first; ties take the lower index first. They
      keep their bf16 code bit for bit, NaN payloads and -0 included.
    - The scale byte is the exponent field (bits 14:7) of the (n+1)-th largest magnitude, the
      largest of those that are not outliers. Field 0 (zeros and subnormals) means 2**-127. Field
      255 (Inf or NaN among them) means a NaN scale, and all codes 0.
    - Every other element v becomes q = clip(round(v * 2**(b-2-E)), -L, L) with E = byte - 127 and
      L = 2**(b-1) - 1, and reads back as q * 2**(E-(b-2)). The kept maximum lies in [1, 2) * 2**E,
      so the clip acts only where rounding reaches 2**(b-1). -0 becomes 0.
    - The code of an outlier's slot is 0, so that an integer dot product over all k slots is right
      without a mask. In memory codes are sign and magnitude, which a quantiser makes and a
      multiplier takes without negation; both zeros read 0.

    n = 0 is plain MXINT of width b, and k = 32, n = 0, b = 8 is OCP's MXINT8 for bf16 input.

    Parameters
    ----------
    k : elements a block, a power of two, 2..65536
    n : outliers a block, 0..k-1
    b : bits an element, 2..8
    rounding : RNE, RNA or RTZ
    """

    k: int = 128
    n: int = 4
    b: int
    rounding: Rounding = Rounding.RNE

    def __post_init__(self) -> None:
        if not 2 <= self.k <= 65536 or self.k & (self.k - 1):
            raise UsageError(f"k must be a power of two, 2..65536, got {self.k}")
        if self.n < 0:
            raise UsageError(f"n must be at least 0, got {self.n}")
        if self.n >= self.k:
            raise UsageError(f"n must be less than k={self.k}, got {self.n}")
        if not 2 <= self.b <= 8:
            raise UsageError(f"b must be 2..8, got {self.b}")
        _check_rounding(self.rounding)

    @property
    def name(self) -> str:
        """What `get_block` takes: `mx_opal<b>`, then what differs from k128, n4, rne."""
        parts = [f"mx_opal{self.b}"]
        parts += [f"k{self.k}"] * (self.k != 128)
        parts += [f"n{self.n}"] * (self.n != 4)
        parts += [str(self.rounding)] * (self.rounding != Rounding.RNE)
        return "_".join(parts)

    @property
    def element(self) -> IntFormat:
        """Format of a code."""
        return IntFormat(name=f"int{self.b}_symmetric", width=self.b, symmetric=True)

    @property
    def fraction_bits(self) -> int:
        """A code is worth code * 2**-fraction_bits of the scale."""
        return self.b - 2

    @property
    def emax(self) -> int:
        """Exponent of the scale's element above the scale."""
        return 0

    @property
    def position_bits(self) -> int:
        """Bits of an outlier's index in the block."""
        return self.k.bit_length() - 1

    @cached_property
    def payload(self) -> Payload:
        """Bit layout of a block, from the LSB: codes, scale, outliers, positions."""
        fields = [
            Field(
                name="codes",
                width=self.b,
                count=self.k,
                encoding="sign_magnitude",
                format=self.element.name,
            ),
            Field(name="scale", width=8, format="e8m0"),
        ]
        if self.n:
            fields += [
                Field(name="outliers", width=16, count=self.n, format="bf16"),
                Field(name="positions", width=self.position_bits, count=self.n),
            ]
        return Payload(tuple(fields))

    @property
    def bits_per_element(self) -> float:
        """Bits of a block as laid out by `payload`, outlier slots included, over k."""
        return self.payload.width / self.k

    @property
    def bits_per_element_packed(self) -> float:
        """The same without the slots of the outliers, the figure usual in the literature."""
        return (self.payload.width - self.n * self.b) / self.k


@dataclass(frozen=True, kw_only=True)
class OcpMX:
    """A concrete format of OCP MX 1.0: 32 elements, one scale.

    - The scale exponent is floor(log2 max|V|) - emax of the element format, over the finite
      elements, clamped to -127..127; the byte is that + 127. A block without a finite nonzero
      element has byte 0. (The standard is silent on both.)
    - Elements are V / scale, rounded once and saturating; zeros keep their sign in the FP formats.
    - Inf and NaN: FP8 keeps NaN element by element; Inf stays Inf in E5M2 and becomes NaN in E4M3,
      which has none. FP6, FP4 and INT8 cannot hold them: the scale becomes NaN, all codes 0.
    - MXINT8 codes count 2**-6. They are clipped to ±127; -128 is never made, and reads as -2.

    Input is bf16 codes, or float32 or float64 values, which are not rounded to bf16 first.

    Parameters
    ----------
    element : fp8_e5m2, fp8_e4m3, fp6_e3m2, fp6_e2m3, fp4_e2m1 or int8_symmetric
    rounding : RNE (the standard's), RNA or RTZ
    """

    element: FloatFormat | IntFormat
    rounding: Rounding = Rounding.RNE

    def __post_init__(self) -> None:
        if self.element not in _OCP.values():
            raise UsageError(
                f"element must be one of {', '.join(e.name for e in _OCP.values())}, "
                f"got {self.element}"
            )
        _check_rounding(self.rounding)

    k = 32
    n = 0

    @property
    def name(self) -> str:
        """What `get_block` takes."""
        base = next(name for name, element in _OCP.items() if element == self.element)
        return base if self.rounding == Rounding.RNE else f"{base}_{self.rounding}"

    @property
    def emax(self) -> int:
        """Exponent of the element's largest value, after `fraction_bits`."""
        return self.element.emax if isinstance(self.element, FloatFormat) else 0

    @property
    def fraction_bits(self) -> int:
        """A code is worth decode(code) * 2**-fraction_bits of the scale."""
        return 0 if isinstance(self.element, FloatFormat) else 6

    @property
    def keeps_specials(self) -> bool:
        """Whether elements can be NaN."""
        return isinstance(self.element, FloatFormat) and self.element.nan_code is not None

    @cached_property
    def payload(self) -> Payload:
        """Bit layout of a block, from the LSB: codes, scale."""
        signed = isinstance(self.element, IntFormat)
        codes = Field(
            name="codes",
            width=self.element.width,
            count=self.k,
            encoding="signed" if signed else "unsigned",
            format=self.element.name,
        )
        return Payload((codes, Field(name="scale", width=8, format="e8m0")))

    @property
    def bits_per_element(self) -> float:
        """Bits of a block over k."""
        return self.payload.width / self.k

    @property
    def bits_per_element_packed(self) -> float:
        """The same: there are no outliers."""
        return self.bits_per_element


BlockFormat = MXOpal | OcpMX | BFP
"""Any block format."""


def _ocp() -> dict[str, FloatFormat | IntFormat]:
    names = ["fp8_e5m2", "fp8_e4m3", "fp6_e3m2", "fp6_e2m3", "fp4_e2m1"]
    table: dict[str, FloatFormat | IntFormat] = {}
    for name, key in [*((n, f"mx{n}") for n in names), ("int8_symmetric", "mxint8")]:
        element = get(name)
        assert isinstance(element, FloatFormat | IntFormat)
        table[key] = element
    return table


_OCP = _ocp()
_ROUNDING = r"(?:_(rne|rna|rtz))?"
_OPAL_NAME = re.compile(r"mx_opal(\d+)(?:_k(\d+))?(?:_n(\d+))?" + _ROUNDING)
_OCP_NAME = re.compile(f"({'|'.join(_OCP)})" + _ROUNDING)


def get_block(name: str) -> BlockFormat:
    """The block format of a name.

    `mx_opal<b>[_k<k>][_n<n>][_<rounding>]`, where k is 128, n is 4 and rounding is rne unless
    given; `mxfp8_e5m2`, `mxfp8_e4m3`, `mxfp6_e3m2`, `mxfp6_e2m3`, `mxfp4_e2m1`, `mxint8`, with
    `[_<rounding>]`; `bfp_e<e>m<m>_k<k>[_<rounding>]`; or `fb12`, `fb16` or `fb24`, with
    `[_k<k>][_<rounding>]`. Raises `UsageError`, which lists these.
    """
    if match := _OPAL_NAME.fullmatch(name):
        b, k, n, rounding = match.groups()
        return MXOpal(
            k=int(k or 128), n=int(n or 4), b=int(b), rounding=Rounding(rounding or "rne")
        )
    if match := _OCP_NAME.fullmatch(name):
        return OcpMX(element=_OCP[match[1]], rounding=Rounding(match[2] or "rne"))
    if found := get_bfp(name):
        return found
    raise UsageError(
        f"no block format {name!r}; block formats: mx_opal<b>[_k<k>][_n<n>][_rna|_rtz] "
        f"(b 2..8), {', '.join(_OCP)}, bfp_e<e>m<m>_k<k>[_rna|_rtz|_stochastic], "
        "fb12|fb16|fb24[_k<k>][_rne|_rna|_stochastic]"
    )
