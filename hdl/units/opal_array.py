"""The INT array of `opal_dot`: one sum for each of the cells' sub-multipliers, shifted once.

The mode is the same in all cells, so sub-product j of every cell goes into one tree and what a
cell would shift is shifted once, behind it: an array of two precisions costs little more than one
of low codes. The result always has the fraction bits of high by high codes.
"""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed

from narrowgauge.golden.units.opal_dot import Params
from narrowgauge.hdl.arith.carry_save import CarrySave
from narrowgauge.hdl.arith.multimode_mul import SlotProduct, or_all

__all__ = ["array_sum", "sum_bits"]


def sum_bits(params: Params) -> int:
    """Bits of a block's INT sum with the fraction bits of high by high codes, sign included."""
    top = (1 << (params.high - 1)) - 1
    return (params.k * top * top).bit_length() + 1


def array_sum(
    m: Module,
    params: Params,
    words: tuple[list[Value], list[Value]],
    high: tuple[Value, Value],
    before: Value,
) -> Value:
    """The sum of `before` and a beat's products, `sum_bits` wide.

    Parameters
    ----------
    words : of a and of w, one a cell
    high : modes of a and of w
    before : signed
    """
    low, step = params.low, params.low - 1
    cells, top = params.cells, (1 << (params.low - 1)) - 1
    width = sum_bits(params)
    both, one = Signal(name="high_high"), Signal(name="high_any")
    m.d.comb += [both.eq(high[0] & high[1]), one.eq(high[0] | high[1])]
    # When the sum of sub-products j is shifted by 0, m and 2m.
    shifts: tuple[tuple[Value | None, ...], ...] = (
        (both, one & ~both, ~one),
        (None, None, Const(1, 1)),
        (None, one, ~one),
        (None, both, ~both),
    )
    tree = CarrySave(m, width, "int_sum")
    size = (cells * top * top).bit_length() + 1
    # A tree's highest bits come last.
    late = 4 * (cells.bit_length() + 2)
    for j, gates in enumerate(shifts):
        part = CarrySave(m, size, f"sub{j}")
        for cell, (a, w) in enumerate(zip(*words, strict=True)):
            slot = slice(j * low, (j + 1) * low)
            product = SlotProduct(m, a[slot], w[slot], f"cell{cell}_{j}")
            part.add(product.term)
            part.add_bit(product.carry, 1)
        total = Signal(signed(size), name=f"sub{j}_sum")
        m.d.comb += total.eq(part.total())
        least = next(i for i, gate in enumerate(gates) if gate is not None)
        if least == 2:
            tree.add(total, 2 * step, arrival=late)
            continue
        wide = size + (2 - least) * step
        shifted = Signal(signed(wide), name=f"sub{j}_shifted")
        m.d.comb += shifted.eq(
            or_all(
                [
                    _placed(total, (i - least) * step, wide) & gate.replicate(wide)
                    for i, gate in enumerate(gates)
                    if gate is not None
                ]
            )
        )
        tree.add(shifted, least * step, arrival=late)
    tree.add(before)
    return tree.total()


def _placed(value: Value, shift: int, size: int) -> Value:
    bits = Cat(Const(0, shift), value)
    return Cat(bits, value[-1].replicate(size - len(bits)))
