"""Elements of `bfp_convert`: what the ring keeps of a float, and the code that is made of it.

Kept are sign, exponent field, and what rounding can look at: 15 bits of the fraction where codes
are cut off, with a guard bit and whether anything is below it for RNE, all bits for 8 random ones.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal, Value

from narrowgauge.golden.formats import Rounding
from narrowgauge.golden.units.bfp_convert import Params
from narrowgauge.hdl.arith.rounder import round_up
from narrowgauge.hdl.arith.shifter import saturated, shift_right

__all__ = ["Kept", "code", "keep"]

_BITS = 16


def _sizes(params: Params) -> tuple[int, int]:
    """Bits of the fraction that are kept, and whether a sticky bit is below them."""
    size = params.format.mantissa_bits
    most = {Rounding.RTZ: _BITS - 1, Rounding.RNE: _BITS}.get(Rounding(params.rounding), size)
    return min(size, most), int(params.rounding is Rounding.RNE and size > most)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An element in the ring; `sticky` has no bits where nothing can be below the fraction."""

    sign: Value
    field: Value
    fraction: Value
    sticky: Value

    @property
    def bits(self) -> Value:
        """All of it."""
        return Cat(self.sticky, self.fraction, self.field, self.sign)

    @classmethod
    def of(cls, params: Params, bits: Value) -> "Kept":
        """The same from its bits."""
        size, sticky = _sizes(params)
        return cls(
            sticky=bits[:sticky],
            fraction=bits[sticky : sticky + size],
            field=bits[sticky + size : sticky + size + 8],
            sign=bits[-1],
        )


def keep(params: Params, x: Value) -> Kept:
    """What is kept of a float's code."""
    have = params.format.mantissa_bits
    size, sticky = _sizes(params)
    below = x[: have - size]
    return Kept(
        sticky=below.any() if sticky else x[:0],
        fraction=x[have - size : have],
        field=x[have : have + 8],
        sign=x[-1],
    )


def code(
    m: Module,
    p: Params,
    kept: Kept,
    reference: Value,
    *,
    wide: Value,
    widest: Value,
    random: Value | None,
    name: str,
) -> tuple[Value, Signal]:
    """Code of an element, sign and magnitude; whether alignment sets it to zero.

    Parameters
    ----------
    reference : 9 bits, the group's field, higher by 16 less the bits of a magnitude
    wide, widest : magnitudes have more than 4 bits, more than 8
    random : 8 bits, for stochastic rounding
    """
    normal, gone = Signal(name=f"{name}_normal"), Signal(name=f"{name}_gone")
    apart = Signal(9, name=f"{name}_apart")
    amount = Signal(5, name=f"{name}_amount")
    m.d.comb += [
        normal.eq(kept.field.any()),
        # Never negative; field 0 stands where field 1 does.
        apart.eq(reference - Cat(kept.field[0] | ~normal, kept.field[1:])),
        amount.eq(saturated(apart, 5)),
        gone.eq(normal & amount[4]),
    ]
    significand = Cat(kept.fraction, normal)
    spare = max(0, _BITS - len(significand))
    significand = Cat(Const(0, spare), significand)
    rounding = Rounding(p.rounding)
    below = {Rounding.RTZ: 0, Rounding.RNE: 1, Rounding.STOCHASTIC: 8}[rounding]
    moved, sticky = shift_right(m, significand, amount, keep=_BITS + below, name=f"{name}_moved")
    whole = moved[below:]
    magnitude = Signal(_BITS, name=f"{name}_magnitude")
    if rounding is Rounding.RTZ:
        m.d.comb += magnitude.eq(whole)
    else:
        full = Signal(name=f"{name}_full")
        m.d.comb += full.eq(
            whole[:4].all() & (~wide | whole[4:8].all()) & (~widest | whole[8:].all())
        )
        if random is None:
            up = round_up(
                m,
                odd=whole[0],
                guard=moved[0],
                sticky=sticky | kept.sticky.any() if len(kept.sticky) else sticky,
                rounding=rounding,
                name=f"{name}_up",
            )
            m.d.comb += magnitude.eq(whole + (up & ~full))
        else:
            total = Signal(_BITS + below, name=f"{name}_total")
            m.d.comb += total.eq(moved + (random & (~full).replicate(below)))
            m.d.comb += magnitude.eq(total[below:])
    return Cat(magnitude, kept.sign & magnitude.any()), gone
