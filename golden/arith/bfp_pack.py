"""Integers on grids of their own, to one block of block floating point, each rounded once.

    field = clip(max_i floor(log2 |value_i| 2^unit_i) + bias, 1, 2^E - 2)
    code_i = clip(round(value_i 2^(unit_i + M - 1 - field + bias)), -(2^M - 1), 2^M - 1)

Zeros: code 0; a block of zeros has field 1, as has a block below the smallest exponent, whose codes
are subnormal. Too large: the largest field, codes clipped. `nan`: field 2^E - 1, all codes 0.
With `alt_exp_bits` there are two formats, of which `alt` chooses the second, block by block.
Source: `golden.formats.bfp`.
"""

from dataclasses import dataclass

import numpy as np

from narrowgauge.golden.arith.ieee import sizes
from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.formats import BFP, Rounding, vector
from narrowgauge.golden.formats.bfp import quantize_groups
from narrowgauge.golden.payload import Batch, Field, Payload

__all__ = ["Params", "model", "vectors"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of a packer.

    Parameters
    ----------
    k : elements a block, 1..16
    width : bits of a value, two's complement, 2..48
    unit_bits : bits of the signed exponent of a value's last bit, 2..10
    shared : whether the values of a block have one such exponent, or each its own
    exp_bits, man_bits : E and M of the block, 2..8 and 2..16
    rounding : rne, rtz or rna
    alt_exp_bits, alt_man_bits : E and M of the second format, or 0: there is none; where there is,
        `shared` must be
    """

    k: int = 4
    width: int
    unit_bits: int
    shared: bool = False
    exp_bits: int
    man_bits: int
    rounding: str = Rounding.RNE
    alt_exp_bits: int = 0
    alt_man_bits: int = 0

    def __post_init__(self) -> None:
        check_limits(self, k=(1, 16), width=(2, 48), unit_bits=(2, 10))
        modes = [Rounding.RNE, Rounding.RTZ, Rounding.RNA]
        if self.rounding not in modes:
            raise UsageError(f"rounding must be one of {', '.join(modes)}, got {self.rounding!r}")
        object.__setattr__(self, "rounding", Rounding(self.rounding))
        if self.alt_exp_bits and not self.shared:
            raise UsageError("two formats need a shared unit, got shared=False")
        if bool(self.alt_exp_bits) != bool(self.alt_man_bits):
            raise UsageError(
                "alt_exp_bits and alt_man_bits go together, "
                f"got {self.alt_exp_bits} and {self.alt_man_bits}"
            )
        _ = self.formats

    @property
    def format(self) -> BFP:
        """Format of the block, the first of two."""
        return self._format(self.exp_bits, self.man_bits)

    @property
    def formats(self) -> tuple[BFP, ...]:
        """The format, or both."""
        if not self.alt_exp_bits:
            return (self.format,)
        return (self.format, self._format(self.alt_exp_bits, self.alt_man_bits))

    def _format(self, exponent_bits: int, mantissa_bits: int) -> BFP:
        return BFP(
            exponent_bits=exponent_bits,
            mantissa_bits=mantissa_bits,
            k=self.k,
            rounding=Rounding(self.rounding),
        )

    @property
    def input(self) -> Payload:
        """Field `value` of each element, `unit` of each or of all, `nan`, and `alt` if need be."""
        alt = (Field(name="alt", width=1),) if self.alt_exp_bits else ()
        return Payload(
            (
                Field(name="value", width=self.width, count=self.k, encoding="signed"),
                Field(
                    name="unit",
                    width=self.unit_bits,
                    count=None if self.shared else self.k,
                    encoding="signed",
                ),
                Field(name="nan", width=1),
                *alt,
            )
        )

    @property
    def output(self) -> Payload:
        """Fields `codes` and `scale` of the block, as in memory; of two formats as the wider."""
        sizes = [(f.payload["codes"].width, f.payload["scale"].width) for f in self.formats]
        code, scale = (max(size) for size in zip(*sizes, strict=True))
        return Payload(
            (
                Field(name="codes", width=code, count=self.k, encoding="sign_magnitude"),
                Field(name="scale", width=scale),
            )
        )


def model(params: Params, batch: Batch) -> Batch:
    """Pack every block."""
    checked = params.input.check(batch)
    value, nan = checked["value"], checked["nan"] == 1
    unit = checked["unit"][:, None] if params.shared else checked["unit"]
    chosen = checked.get("alt", np.zeros(len(nan), np.int64))
    codes, scale = np.zeros_like(value), np.zeros(len(nan), np.int64)
    for number, fmt in enumerate(params.formats):
        made, fields = quantize_groups(fmt, value < 0, np.abs(value), unit)
        here = chosen == number
        codes = np.where((here & ~nan)[:, None], made, codes)
        scale = np.where(here, np.where(nan, fmt.nan_field, fields), scale)
    return {"codes": codes, "scale": scale}


def vectors(params: Params, level: str, seed: int) -> Batch:
    """All inputs up to 16 bits; else blocks of every length, on every exponent, full of ties."""
    p = params
    size = sizes(level, 4_000, 120_000)
    if p.input.width <= 16:
        # Codes of all bits at once, as they lie in a beat.
        words = np.arange(1 << p.input.width, dtype="<u4")
        raw = words.view(np.uint8).reshape(-1, 4)[:, : -(-p.input.width // 8)]
        return p.input.unpack(np.ascontiguousarray(raw))
    rng = np.random.default_rng(seed)
    low, high = p.input["value"].limits
    least, most = p.input["unit"].limits
    shape = (size, p.k)
    length = rng.integers(0, p.width, (size, 1)) - rng.choice([0, 0, 1, 2, 5], shape)
    length = np.clip(length, 0, p.width - 1)
    value = rng.integers(0, high + 1, shape) >> (p.width - 1 - length)
    alt = rng.integers(0, 2, size) if p.alt_exp_bits else np.zeros(size, np.int64)
    man_bits, nan_field, bias = (
        np.array([getattr(fmt, name) for fmt in p.formats])[alt][:, None]
        for name in ("mantissa_bits", "nan_field", "bias")
    )
    # A tie below the bits that the largest keeps, or one bit off it; all ones; a power of two.
    drop = np.clip(length.max(axis=1, keepdims=True) - man_bits - 1, 0, 62)
    tie = ((value >> drop) | 1) << drop
    tie |= np.where(rng.random(shape) < 0.3, np.int64(1) << rng.integers(0, drop + 1, shape), 0)
    ones = (np.int64(1) << length) - 1
    power = np.where(length > 0, np.int64(1) << np.maximum(length - 1, 0), 0)
    kind = rng.integers(0, 8, shape)
    value = np.select([kind < 3, kind == 3, kind == 4, kind == 5], [tie, ones, power, 0], value)
    value = np.minimum(value, high) * rng.choice([1, -1], shape)
    value[rng.random(shape) < 0.01] = low
    # The field that the longest gets: about both ends, or anywhere.
    top = vector.bit_length(np.abs(value)).max(axis=1, keepdims=True) - 1
    field = np.where(
        rng.random((size, 1)) < 0.5,
        np.where(rng.choice([False, True], (size, 1)), nan_field - 1, 1)
        + rng.integers(-int(man_bits.max()) - 2, 4, (size, 1)),
        rng.integers(1, int(nan_field.max()), (size, 1)) % nan_field,
    )
    apart = rng.choice([0, 0, 0, 1, -1, 2, -2, p.man_bits, -p.man_bits, -p.width], shape)
    apart = np.where(rng.random((size, 1)) < 0.4, 0, apart)
    unit = np.where(
        rng.random((size, 1)) < 0.1,
        rng.integers(least, most + 1, shape),
        field - bias - top + apart,
    )
    nan = (rng.random(size) < 0.03).astype(np.int64)
    unit = np.clip(unit, least, most)
    made = {"value": value, "unit": unit[:, 0] if p.shared else unit, "nan": nan}
    return made | ({"alt": alt} if p.alt_exp_bits else {})
