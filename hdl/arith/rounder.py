"""Normalise, round and pack: what stands at the end of every floating-point component.

A result comes as an exponent below its hidden bit and a significand with the hidden bit on top.
The code is their sum, `(exponent << M) + significand + round_up`: a hidden bit of 1 makes the
exponent field one more, of 0 leaves a subnormal with the field 0, and a carry of the rounding goes
where it should by itself, from subnormal to normal and from the largest finite value to infinity.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from narrowgauge.golden.formats import FloatFormat, Overflow, Rounding
from narrowgauge.hdl.arith.shifter import window

__all__ = ["Normal", "add", "normalise", "pack", "round_up"]


@dataclass(frozen=True, kw_only=True)
class Normal:
    """A significand in its place, before rounding.

    exponent : exponent field below the hidden bit, 0 where the value is subnormal or zero
    kept : M + 1 bits, the hidden bit on top, and the guard bit below them
    sticky : OR of everything below the guard bit
    """

    exponent: Signal
    kept: Signal
    sticky: Signal


def add(m: Module, a: Value, b: Value, carry: Value, name: str) -> Signal:
    """Sum a + b + carry modulo 2**len(a), one adder."""
    # A constant one below both makes the carry-in of the adder.
    whole = Signal(len(a) + 1, name=f"{name}_whole")
    total = Signal(len(a), name=name)
    m.d.comb += [whole.eq(Cat(Const(1, 1), a) + Cat(carry, b)), total.eq(whole[1:])]
    return total


def normalise(
    m: Module,
    value: Value,
    base: Value,
    count: Value,
    zero: Value,
    *,
    lowest: int,
    keep: int,
    name: str,
) -> Normal:
    """Shift left by `count`, or as far as the exponent allows, or right where it is negative.

    Parameters
    ----------
    value : the significand; `count` is how far it may go left, at most len(value) - 1
    base : signed exponent, below the hidden bit, of the top bit of `value`
    zero : 1 where the result is zero, whose exponent is 0
    lowest : least value of `base`, from which follows how much of the shifter is built
    keep : bits of the result, the guard bit included
    """
    width = len(base)
    most = min(len(value), 1 << len(count)) - 1
    exponent = Signal(width, name=f"{name}_exponent")
    left = Signal(signed(width + 1), name=f"{name}_left")
    m.d.comb += left.eq(base - count)
    if lowest >= most:
        m.d.comb += exponent.eq(Mux(zero, 0, left))
        kept, sticky = window(m, value, count, keep=keep, limit=most, name=f"{name}_window")
        return Normal(exponent=exponent, kept=kept, sticky=sticky)

    under = Signal(1, name=f"{name}_under")
    m.d.comb += [under.eq(left[-1]), exponent.eq(Mux(under | zero, 0, left))]
    if lowest >= 0:
        shift = Signal(len(count), name=f"{name}_shift")
        m.d.comb += shift.eq(Mux(under, base, count))
        kept, sticky = window(m, value, shift, keep=keep, limit=most, name=f"{name}_window")
        return Normal(exponent=exponent, kept=kept, sticky=sticky)

    # 2**fine places above the value: the low bits of the shift are the same for left and right,
    # and a right shift beyond those places leaves only the sticky bit.
    fine = min((keep - 1).bit_length(), (-lowest - 1).bit_length())
    coarse = max(0, len(count) - fine)
    right = Signal(1, name=f"{name}_right")
    m.d.comb += right.eq(base[-1])
    far = Signal(1, name=f"{name}_far")
    if lowest < -(1 << fine):
        m.d.comb += far.eq(right & ~base[fine:-1].all())
    low = Signal(fine, name=f"{name}_low")
    m.d.comb += low.eq(Mux(under, Mux(far, 0, base[:fine]), count[:fine]))
    high = Signal(coarse + 1, name=f"{name}_high")
    if coarse:
        m.d.comb += high.eq(Mux(right, 0, Mux(under, base[fine : fine + coarse], count[fine:]) + 1))
    else:
        m.d.comb += high.eq(~right)
    kept, sticky = window(
        m,
        Cat(value, Const(0, 1 << fine)),
        Cat(low, high),
        keep=keep,
        limit=(1 << fine) + most,
        name=f"{name}_window",
    )
    return Normal(exponent=exponent, kept=kept, sticky=sticky)


def round_up(
    m: Module, *, odd: Value, guard: Value, sticky: Value, rounding: Rounding, name: str
) -> Signal:
    """Whether the magnitude goes up by one unit in the last place."""
    up = Signal(1, name=name)
    if rounding is Rounding.RNE:
        m.d.comb += up.eq(guard & (odd | sticky))
    elif rounding is Rounding.RNA:
        m.d.comb += up.eq(guard)
    else:
        assert rounding is Rounding.RTZ, f"no hardware for {rounding}"
    return up


def pack(
    m: Module,
    fmt: FloatFormat,
    *,
    sign: Value,
    exponent: Value,
    significand: Value,
    up: Value,
    rounding: Rounding,
    overflow: Overflow,
    infinite: Value | None = None,
    nan: Value | None = None,
    name: str,
) -> Signal:
    """The code of a format with Inf and NaN, from a rounded result and its special cases.

    Parameters
    ----------
    exponent : exponent field below the hidden bit; may be wider than the field
    significand : M + 1 bits, the hidden bit on top
    up : 1 adds one unit in the last place
    infinite : the result is infinite whatever the rest says; saturates like an overflow
    nan : the result is NaN, before all else
    """
    E, M = fmt.exponent_bits, fmt.mantissa_bits
    body = add(
        m,
        Cat(significand[:M], exponent[:E]),
        Cat(Const(0, M), significand[M], Const(0, E - 1)),
        up,
        f"{name}_body",
    )
    field = Signal(E, name=f"{name}_field")
    mantissa = Signal(M, name=f"{name}_mantissa")
    over = Signal(1, name=f"{name}_over")
    # With a hidden bit of 1 the largest finite value has the field 2**E - 3 below it.
    too_big = exponent[1:E].all()
    if len(exponent) > E:
        too_big = too_big | exponent[E:].any()
    saturates = overflow is Overflow.SATURATE
    if saturates or rounding is Rounding.RTZ:
        # The increment must not make an infinity; truncating, it is that of a negation.
        too_big = too_big | body[M:].all()
    forced = Const(0, 1) if infinite is None else infinite
    quiet = Const(0, 1) if nan is None else nan
    if saturates:
        m.d.comb += over.eq(too_big | forced)
        m.d.comb += field.eq(Mux(quiet, -1, Mux(over, (1 << E) - 2, body[M:])))
        m.d.comb += mantissa.eq(Mux(quiet, 1 << (M - 1), body[:M] | over.replicate(M)))
    elif rounding is Rounding.RTZ:
        special = Signal(1, name=f"{name}_special")
        m.d.comb += [over.eq(too_big), special.eq(forced | quiet)]
        m.d.comb += field.eq(Mux(special, -1, Mux(over, (1 << E) - 2, body[M:])))
        m.d.comb += mantissa.eq(
            Mux(special, quiet << (M - 1), body[:M] | over.replicate(M)),
        )
    else:
        m.d.comb += over.eq(too_big | forced | quiet)
        m.d.comb += field.eq(body[M:] | over.replicate(E))
        m.d.comb += mantissa.eq(Mux(over, quiet << (M - 1), body[:M]))
    code = Signal(fmt.width, name=f"{name}_code")
    m.d.comb += code.eq(Cat(mantissa, field, sign & ~quiet))
    return code
