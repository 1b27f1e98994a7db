"""Integers to a block of block floating point: leading zeros, maximum, shift and increment."""

from collections.abc import Callable
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.arith.bfp_pack import Params
from narrowgauge.golden.formats import BFP, Rounding
from narrowgauge.hdl.arith.rounder import round_up
from narrowgauge.hdl.arith.shifter import leading_zeros, magnitude, window
from narrowgauge.hdl.arith.sorting import largest

__all__ = ["BfpPack"]


class BfpPack(wiring.Component):
    """`codes` and `scale` of a block.

    Combinational. Each value's own field is clipped to the format's range before the maximum, which
    then compares `exp_bits` bits; each magnitude is moved once, to where the block's field puts it.
    Where the values share a unit, the leading one of all their bits together tells the field, and
    all are moved by the same amount. Of two formats the shorter codes end where the longer do, so
    that only constants and the largest code are chosen.

    Parameters
    ----------
    params : see `narrowgauge.golden.arith.bfp_pack.Params`

    Ports
    -----
    value : In, k signed values
    unit : In, k signed exponents, or one
    nan : In, 1 bit
    alt : In, 1 bit, where there are two formats
    codes : Out, k codes of 1 + man_bits bits, sign and magnitude; of two formats the wider
    scale : Out, exp_bits bits; of two formats the wider
    """

    def __init__(self, params: Params) -> None:
        self._params = p = params
        unit = signed(p.unit_bits)
        self._man_bits = max(fmt.mantissa_bits for fmt in p.formats)
        self._exp_bits = max(fmt.exponent_bits for fmt in p.formats)
        super().__init__(
            {
                **({"alt": In(1)} if p.alt_exp_bits else {}),
                "value": In(data.ArrayLayout(signed(p.width), p.k)),
                "unit": In(unit if p.shared else data.ArrayLayout(unit, p.k)),
                "nan": In(1),
                "codes": Out(data.ArrayLayout(1 + self._man_bits, p.k)),
                "scale": Out(self._exp_bits),
            }
        )

    def _pick(self, figure: Callable[[BFP], int]) -> Value:
        """A figure of the format that is asked for."""
        first, *rest = (figure(fmt) for fmt in self._params.formats)
        return Mux(self.alt, rest[0], first) if rest else Const(first)

    def elaborate(self, platform: object) -> Module:
        """Magnitudes, fields, the largest field, codes."""
        m = Module()
        p = self._params
        bits = [magnitude(m, self.value[i], f"magnitude{i}") for i in range(p.k)]
        if p.shared:
            together = Signal(p.width, name="together")
            m.d.comb += together.eq(reduce(or_, bits))
            shared, over = self._field(m, together, self.unit, "all")
            shift = self._shift(m, self.unit, shared, "all")
            # Where the block saturates: its bits beyond the largest exponent, q of them.
            firsts = [fmt.nan_field - 1 - fmt.bias - (p.width - 1) for fmt in p.formats]
            reach = max(1 << (p.unit_bits - 1), *(abs(first) + 1 for first in firsts))
            beyond = Signal(signed(reach.bit_length() + 2), name="beyond")
            above = Signal(p.width, name="above")
            size = (p.width - 1).bit_length()
            m.d.comb += beyond.eq(
                self.unit - self._pick(lambda fmt: fmt.nan_field - fmt.bias - (p.width - 1))
            )
            low, high = beyond[:size], beyond[size:].any()
            # At least one bit is beyond where any is, so that the top one needs no comparison.
            m.d.comb += above.eq(
                Cat(*(high | (low >= p.width - 1 - j) for j in range(p.width - 1)), Const(1, 1))
            )
            lanes = [(shift, over & (each & above).any()) for each in bits]
        else:
            own = [self._field(m, bits[i], self.unit[i], f"lane{i}") for i in range(p.k)]
            shared = Signal(self._exp_bits, name="shared")
            m.d.comb += shared.eq(largest(m, [field for field, _ in own], "largest"))
            shifts = [self._shift(m, self.unit[i], shared, f"lane{i}") for i in range(p.k)]
            lanes = [(shifts[i], own[i][1]) for i in range(p.k)]
        bad = self._pick(lambda fmt: fmt.nan_field)
        m.d.comb += self.scale.eq(Mux(self.nan, bad, shared))
        for i, (shift, over) in enumerate(lanes):
            code = self._code(m, bits[i], shift, over, f"lane{i}")
            sign = self.value[i][-1] & code.any()
            m.d.comb += self.codes[i].eq(
                Mux(self.nan, 0, Value.cast(code) | (sign << self._man_bits))
            )
        return m

    def _field(self, m: Module, bits: Value, unit: Value, name: str) -> tuple[Signal, Signal]:
        """The field that a magnitude would have alone, clipped; whether it was beyond the last."""
        p = self._params
        top = self._pick(lambda fmt: fmt.nan_field - 1)
        count, none = leading_zeros(m, bits, f"{name}_zeros")
        reach = max(1 << (p.unit_bits - 1), *(p.width + fmt.bias for fmt in p.formats))
        own = Signal(signed(reach.bit_length() + 2), name=f"{name}_own")
        under, over = Signal(name=f"{name}_under"), Signal(name=f"{name}_over")
        field = Signal(self._exp_bits, name=f"{name}_field")
        m.d.comb += [
            own.eq(unit + self._pick(lambda fmt: p.width - 1 + fmt.bias) - count),
            under.eq((own < 1) | none),
            over.eq((own > top) & ~none),
            field.eq(Mux(under, 1, Mux(over, top, own))),
        ]
        return field, over

    def _shift(self, m: Module, unit: Value, shared: Value, name: str) -> Signal:
        """How far left a magnitude goes, so that bit field - bias - unit comes to the top."""
        p = self._params
        # From width + man_bits on nothing is left, not even by rounding.
        most = p.width + self._man_bits
        reach = max(1 << (p.unit_bits - 1), *(fmt.nan_field for fmt in p.formats))
        left = Signal(signed(max(reach, most).bit_length() + 2), name=f"{name}_left")
        shift = Signal(most.bit_length(), name=f"{name}_shift")
        m.d.comb += [
            left.eq(self._pick(lambda fmt: p.width + fmt.mantissa_bits + fmt.bias) + unit - shared),
            shift.eq(Mux(left[-1], 0, left)),
        ]
        return shift

    def _code(self, m: Module, bits: Value, shift: Value, over: Value, name: str) -> Signal:
        """The magnitude of a code; all ones where it is `over`."""
        p, size = self._params, self._man_bits
        most = p.width + size
        # `bits` under as many zeros as it can move up, and one more for the guard bit.
        field = Signal(most + 1, name=f"{name}_placed")
        m.d.comb += field.eq(bits)
        kept, sticky = window(m, field, shift, keep=size + 1, limit=most, name=f"{name}_window")
        up = round_up(
            m,
            odd=kept[1],
            guard=kept[0],
            sticky=sticky,
            rounding=Rounding(p.rounding),
            name=f"{name}_up",
        )
        full = Signal(name=f"{name}_full")
        code = Signal(size, name=f"{name}_code")
        whole, plain = kept[1:].all(), (kept[1:] + (up & ~full)) | over.replicate(size)
        if p.alt_exp_bits:
            # Of the format that is asked for, whose codes may be shorter.
            ones = [(1 << fmt.mantissa_bits) - 1 for fmt in p.formats]
            mask = Mux(self.alt, ones[1], ones[0])
            whole, plain = (kept[1:] | ~mask)[:size].all(), plain & mask
        m.d.comb += [full.eq(whole), code.eq(plain)]
        return code
