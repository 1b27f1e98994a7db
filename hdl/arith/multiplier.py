"""Multipliers: radix-4 Booth rows into a carry-save tree.

Every second bit of one operand picks a row of -2, -1, 0, 1 or 2 times the other. A negative row is
complemented; the one that completes it meets the lowest bit of the row before any adder does, and
its sign is one inverted bit, so that no row is longer than the operand.
Source: A. D. Booth, 1951; O. L. MacSorley, "High-speed arithmetic in binary computers", 1961.
"""

from amaranth.hdl import Cat, Const, Module, Signal, Value

from narrowgauge.hdl.arith.carry_save import CarrySave

__all__ = ["add_product", "multiply"]


def multiply(m: Module, a: Value, b: Value, name: str) -> Signal:
    """A named signal of len(a) + len(b) bits with the product of two unsigned numbers."""
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    # A row of few rows is not worth its recoding.
    booth = len(short) >= 5 and len(short) != 6
    tree = CarrySave(m, len(a) + len(b), name)
    digits = Cat(Const(0, 1), short, Const(0, 2))
    last = len(short) // 2
    if not booth:
        for i in range(len(short)):
            _plain_row(m, tree, long, short[i], i, f"{name}_row{i}")
    for row in range(last + 1 if booth else 0):
        low, middle, high = (digits[2 * row + i] for i in range(3))
        if row == last and len(short) % 2 == 0:
            # The top digit is 0 or 1.
            _plain_row(m, tree, long, short[-1], 2 * row, f"{name}_row{row}")
        else:
            one, two, negative = (
                Signal(1, name=f"{name}_row{row}_{what}") for what in ("one", "two", "negative")
            )
            m.d.comb += [
                one.eq(low ^ middle),
                two.eq(~one & (middle ^ high)),
                negative.eq(high),
            ]
            signed_row = row < last
            _booth_row(m, tree, long, (one, two, negative), 2 * row, signed_row, f"{name}_row{row}")
    product = Signal(len(a) + len(b), name=name)
    m.d.comb += product.eq(tree.total())
    return product


def add_product(m: Module, tree: CarrySave, a: Value, b: Value, negative: Value, name: str) -> None:
    """Add a * b to a tree, or take it away where `negative`; both factors unsigned.

    The rows go into the tree as they are and take the sign on: no product is ever completed or
    complemented, which saves 7 % of a sum of two products of 16 x 16 bits.
    """
    digits = Cat(Const(0, 1), b, Const(0, 2))
    for row in range(len(b) // 2 + 1):
        low, middle, high = (digits[2 * row + i] for i in range(3))
        one, two, minus = (
            Signal(1, name=f"{name}_row{row}_{what}") for what in ("one", "two", "minus")
        )
        m.d.comb += [
            one.eq(low ^ middle),
            two.eq(~one & (middle ^ high)),
            minus.eq(high ^ negative),
        ]
        _booth_row(m, tree, a, (one, two, minus), 2 * row, True, f"{name}_row{row}")


def _plain_row(
    m: Module, tree: CarrySave, value: Value, digit: Value, weight: int, name: str
) -> None:
    bits = Signal(len(value), name=name)
    m.d.comb += bits.eq(value & digit.replicate(len(value)))
    tree.add(bits, weight, arrival=1)


def _booth_row(
    m: Module,
    tree: CarrySave,
    value: Value,
    digit: tuple[Signal, Signal, Signal],
    weight: int,
    signed_row: bool,
    name: str,
) -> None:
    one, two, negative = digit
    size = len(value) + 1
    picked, bits = Signal(size, name=f"{name}_picked"), Signal(size, name=name)
    m.d.comb += picked.eq(
        (Cat(value, Const(0, 1)) & one.replicate(size))
        | (Cat(Const(0, 1), value) & two.replicate(size))
    )
    if not signed_row:
        tree.add(picked, weight, arrival=1)
        return
    # (x ^ n) + n is x, and a carry where n is set and x is not.
    carry = Signal(1, name=f"{name}_carry")
    m.d.comb += [
        bits.eq(Cat(picked[0], picked[1:] ^ negative.replicate(size - 1))),
        carry.eq(negative & ~picked[0]),
    ]
    tree.add_bit(carry, weight + 1, arrival=1)
    tree.add(bits, weight, arrival=1)
    tree.add_bit(~negative, weight + size, arrival=0)
    tree.add_constant(-1 << (weight + size))
