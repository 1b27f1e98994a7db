"""Codes of one element of a block from its bf16 code and the block's reference exponent.

Functions that add named signals to a module. The significand moves right by its distance from the
reference, is rounded to the bits of a code, and clipped.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from narrowgauge.golden.formats import Rounding
from narrowgauge.golden.units.mx_quantize import Params
from narrowgauge.hdl.arith.rounder import round_up
from narrowgauge.hdl.arith.shifter import saturated

__all__ = ["fp4_code", "int_code"]


def _distance(m: Module, x: Value, reference: Value, most: int, name: str) -> tuple[Value, Value]:
    """Distance of an element from the reference, at least `most` for all beyond; normal."""
    normal = Signal(name=f"{name}_normal")
    apart = Signal(len(reference), name=f"{name}_apart")
    m.d.comb += normal.eq(x[7:15].any())
    m.d.comb += apart.eq(reference - Cat(x[7] | ~normal, x[8:15]))
    size = most.bit_length()
    distance = Signal(size, name=f"{name}_distance")
    m.d.comb += distance.eq(saturated(apart, size))
    return distance, normal


def _round(m: Module, p: Params, value: Value, keep: int, name: str) -> tuple[Value, Value]:
    """The top `keep` bits of a value and whether rounding adds one to them."""
    below = value[: len(value) - keep]
    guard = below[-1] if len(below) else Const(0, 1)
    kept = value[len(below) :]
    up = round_up(
        m,
        odd=kept[0],
        guard=guard,
        sticky=below[:-1].any() if len(below) > 1 else Const(0, 1),
        rounding=Rounding(p.rounding),
        name=f"{name}_up",
    )
    return kept, up


def int_code(
    m: Module,
    p: Params,
    x: Value,
    reference: Value,
    zero_scale: Value,
    low: Signal | None,
    name: str,
) -> Value:
    """Sign-magnitude code of b bits, the upper ones zero where `low`; -0 does not occur."""
    keep = p.b - 1
    amount, normal = _distance(m, x, reference, p.b, name)
    significand = Signal(8, name=f"{name}_significand")
    high = Cat(x[:7], normal)
    m.d.comb += significand.eq(Mux(zero_scale, Cat(Const(0, 1), x[:7]), high))
    shifted = _shift(m, significand, amount, name)
    kept, up = _round(m, p, shifted, keep, name)
    magnitude = Signal(keep, name=f"{name}_magnitude")
    most: Value = kept.all()
    if low is not None:
        narrow = p.b_low - 1
        most = kept[:narrow].all() & (low | kept[narrow:].all())
    m.d.comb += magnitude.eq(kept + (up & ~most))
    return Cat(magnitude, x[15] & magnitude.any())


def fp4_code(m: Module, p: Params, x: Value, reference: Value, name: str) -> Value:
    """E2M1 code: two bits at a place that the upper three exponents move up."""
    apart, normal = _distance(m, x, reference, 7, name)
    near = [Signal(name=f"{name}_near{i}") for i in range(2)]
    m.d.comb += [near[i].eq(apart == i) for i in range(2)]
    # A subnormal one below the reference has no hidden bit to stand there: one place higher.
    low = Signal(name=f"{name}_low")
    significand = Signal(8, name=f"{name}_significand")
    amount = Signal(3, name=f"{name}_amount")
    m.d.comb += [
        low.eq(near[1] & ~normal),
        significand.eq(Mux(low, Cat(Const(0, 1), x[:7]), Cat(x[:7], normal))),
        amount.eq(Mux(near[0] | near[1], 0, apart - 2)),
    ]
    shifted = _shift(m, significand, amount, name)
    kept, up = _round(m, p, shifted, 2, name)
    base = Cat(near[1] & ~low, near[0])
    whole = Signal(4, name=f"{name}_whole")
    m.d.comb += whole.eq(Cat(Const(0, 1), base) + kept + up)
    return Cat(whole[:3] | whole[3].replicate(3), x[15])


def _shift(m: Module, value: Value, amount: Value, name: str) -> Value:
    """`value` shifted right, with room below so that nothing is lost."""
    current: Value = value
    for i in range(len(amount)):
        step = 1 << i
        whole = Cat(current, Const(0, step))
        still = Cat(Const(0, step), current)
        row = Signal(len(whole), name=f"{name}_by{step}")
        m.d.comb += row.eq(Mux(amount[i], whole, still))
        current = row
    return current
