"""Leading zeros, and the one logarithmic shifter that aligns, normalises and denormalises.

Functions that add named signals to a module, so that a unit stays one flat netlist. Both are built
of halves: `leading_zeros` is a tree of depth log2(width), `window` has one row of multiplexers a
bit of the amount, each only as wide as what can still reach the result.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.utils import ceil_log2

__all__ = ["any_bit", "leading_zeros", "magnitude", "saturated", "shift_right", "window"]


def any_bit(m: Module, value: Value, name: str) -> Signal:
    """A named signal that is 1 where `value` has a bit set; 0 for a value without bits."""
    result = Signal(1, name=name)
    if len(value):
        m.d.comb += result.eq(value.any())
    return result


def saturated(value: Value, width: int) -> Value:
    """`width` bits of an unsigned value, all ones where it does not fit."""
    if len(value) <= width:
        return value
    return value[:width] | value[width:].any().replicate(width)


def leading_zeros(m: Module, value: Value, name: str) -> tuple[Value, Signal]:
    """Count of zeros above the first one of `value`, and whether there is no one at all.

    Parameters
    ----------
    value : width bits, at least 1

    Returns
    -------
    count : ceil_log2(width) bits; width - 1 where `value` is 0, so the lowest bit does not matter
    zero : 1 bit
    """
    width = len(value)
    zero = Signal(1, name=f"{name}_zero")
    if width == 1:
        m.d.comb += zero.eq(~value)
        # Not a signal: Verilog has no word without bits.
        return Const(0, 0), zero
    count = Signal(ceil_log2(width), name=f"{name}_count")
    if width == 2:
        m.d.comb += [zero.eq(value == 0), count.eq(~value[1])]
    else:
        # The upper part is a power of two wide, so that its count is the low bits of the whole.
        low = width - (1 << (ceil_log2(width) - 1))
        upper, upper_zero = leading_zeros(m, value[low:], f"{name}_{width - 1}_{low}")
        lower, lower_zero = leading_zeros(m, value[:low], f"{name}_{low - 1}_0")
        m.d.comb += [
            zero.eq(upper_zero & lower_zero),
            count.eq(Cat(Mux(upper_zero, lower, upper), upper_zero)),
        ]
    return count, zero


def magnitude(m: Module, value: Value, name: str) -> Signal:
    """|value| of a signed value, in as many bits: unsigned, so that the least value has one.

    A bit of the negative is complemented where a lower one is set; the ORs of all lower bits are a
    parallel prefix, a third smaller than complement and increment.
    """
    width = len(value)
    below: list[Value] = [value[i] & value[-1] for i in range(width)]
    step = 1
    while step < width:
        row = Signal(width, name=f"{name}_below{step}")
        m.d.comb += row.eq(
            Cat(
                below[i] | below[i // step * step - 1] if i & step else below[i]
                for i in range(width)
            )
        )
        below = list(row)
        step *= 2
    result = Signal(width, name=name)
    m.d.comb += result.eq(value.as_unsigned() ^ Cat(Const(0, 1), *below[:-1]))
    return result


def window(
    m: Module, value: Value, amount: Value, *, keep: int, limit: int, name: str
) -> tuple[Signal, Signal]:
    """The top `keep` bits of `value` shifted left by `amount`, and the OR of all bits below them.

    Parameters
    ----------
    value : bits of the field that the window slides over; what it slides off is lost
    amount : unsigned, never more than `limit`
    keep : bits of the result, from the top of `value`
    limit : largest amount; bits beyond the reach of the window only feed the OR

    Returns
    -------
    kept : `keep` bits
    sticky : 1 bit
    """
    assert limit < 1 << len(amount), f"{limit} does not fit {len(amount)} bits"
    bits = min(len(amount), limit.bit_length())
    current = value
    lost: list[Value] = []
    for bit in reversed(range(bits)):
        step = 1 << bit
        reach = keep + min(step - 1, limit)
        size = min(len(current), reach)
        zeros = Const(0, min(step, len(current)))
        shifted = Cat(zeros, current[: len(current) - len(zeros)])
        drop = len(current) - size
        # Where the shift is taken, the bits that leave the top were the field's own zeros.
        low = any_bit(m, shifted[:drop], f"{name}_lost{bit}_shifted")
        flat = any_bit(m, current[:drop], f"{name}_lost{bit}")
        if drop:
            lost.append(Mux(amount[bit], low, flat))
        stage = Signal(size, name=f"{name}_by{step}")
        m.d.comb += stage.eq(Mux(amount[bit], shifted[drop:], current[drop:]))
        current = stage
    padding = Const(0, max(0, keep - len(current)))
    kept = Signal(keep, name=f"{name}_kept")
    sticky = Signal(1, name=f"{name}_sticky")
    top = Cat(padding, current)
    below = len(top) - keep
    rest = any_bit(m, top[:below], f"{name}_rest")
    m.d.comb += [kept.eq(top[below:]), sticky.eq(Cat(rest, *lost).any())]
    return kept, sticky


def shift_right(
    m: Module, value: Value, amount: Value, *, keep: int, name: str
) -> tuple[Signal, Signal]:
    """`value`, with `keep` - len(value) zeros below it, shifted right; and the OR of what fell off.

    Parameters
    ----------
    value : at most `keep` bits
    amount : unsigned; all ones is the largest shift

    Returns
    -------
    kept : `keep` bits
    sticky : 1 bit
    """
    # The amount's complement moves a window left over the value with zeros above it.
    most = (1 << len(amount)) - 1
    field = Cat(value, Const(0, most))
    inverted = Signal(len(amount), name=f"{name}_left")
    m.d.comb += inverted.eq(~amount)
    return window(m, field, inverted, keep=keep, limit=most, name=name)
