"""Integer times a power of two, to floating point: leading zeros, one shifter, one increment."""

from typing import Any

from amaranth.hdl import Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.arith.int_to_fp import Params
from narrowgauge.golden.formats import Overflow, Rounding
from narrowgauge.hdl.arith.rounder import normalise, pack, round_up
from narrowgauge.hdl.arith.shifter import leading_zeros, magnitude

__all__ = ["IntToFp"]


class IntToFp(wiring.Component):
    """`o = round(i * 2**scale)`.

    Combinational. A two's complement integer that is only shifted left is never negated: its
    leading sign bits are counted and it is shifted as it is, the bits kept are complemented, and
    the one that negation adds at the very end goes into the increment of the rounding. Where it
    may be shifted right too, filling with the sign costs more than the magnitude made first.

    Parameters
    ----------
    params : see `narrowgauge.golden.arith.int_to_fp.Params`

    Ports
    -----
    i : In, int_width bits
    scale : In, scale_width bits signed, absent for scale_width 0
    o : Out, 1 + exp_bits + man_bits bits
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        width = params.int_width
        ports: dict[str, Any] = {"i": In(signed(width) if params.encoding == "signed" else width)}
        if params.scale_width:
            ports["scale"] = In(signed(params.scale_width))
        ports["o"] = Out(params.format.width)
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        """Count, normalise, round, pack."""
        m = Module()
        p, fmt = self._params, self._params.format
        rounding, overflow = Rounding(p.rounding), Overflow(p.overflow)

        reach = 1 << (p.scale_width - 1) if p.scale_width else 0
        sign: Value = Const(0, 1) if p.encoding == "unsigned" else self.i[-1]
        twos = p.encoding == "signed" and p.int_width - 2 + fmt.bias - 1 >= reach
        if p.encoding == "signed" and not twos:
            bits: Value = magnitude(m, self.i, "magnitude")
        else:
            bits = self.i.as_unsigned() if p.encoding == "unsigned" else self.i[:-1]
        width = len(bits)
        # For a negative number that is not negated, the magnitude less one.
        length = Signal(width, name="length")
        m.d.comb += length.eq(bits ^ sign.replicate(width) if twos else bits)
        count, none = leading_zeros(m, length, "length")
        zero = Signal(1, name="zero")
        m.d.comb += zero.eq(none & ~sign if twos else none)

        offset = width - 1 + fmt.bias - 1
        size = max((offset - reach).bit_length(), (offset + reach).bit_length())
        base = Signal(signed(1 + size), name="base")
        m.d.comb += base.eq((self.scale if p.scale_width else 0) + offset)
        normal = normalise(
            m,
            bits,
            base,
            count,
            zero,
            lowest=offset - reach,
            keep=fmt.mantissa_bits + 2,
            name="normal",
        )

        significand = Signal(fmt.precision, name="significand")
        guard, sticky = Signal(1, name="guard"), Signal(1, name="sticky")
        carry = Signal(1, name="carry")
        m.d.comb += sticky.eq(normal.sticky)
        if twos:
            # Below the kept bits a negative number has 2**n - (guard, sticky), or nothing there
            # and one more above.
            m.d.comb += [
                significand.eq(normal.kept[1:] ^ sign.replicate(fmt.precision)),
                guard.eq(normal.kept[0] ^ (sign & sticky)),
                carry.eq(sign & ~normal.kept[0] & ~sticky),
            ]
        else:
            m.d.comb += [significand.eq(normal.kept[1:]), guard.eq(normal.kept[0])]
        up = round_up(
            m, odd=significand[0], guard=guard, sticky=sticky, rounding=rounding, name="up"
        )
        total = Signal(1, name="total")
        m.d.comb += total.eq(up | carry)
        code = pack(
            m,
            fmt,
            sign=sign & ~zero if p.encoding == "sign_magnitude" else sign,
            exponent=normal.exponent,
            significand=significand,
            up=total,
            rounding=rounding,
            overflow=overflow,
            name="result",
        )
        m.d.comb += self.o.eq(code)
        return m
