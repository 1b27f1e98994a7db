"""What the units of range batch normalisation are made of: placing, and products of codes.

Negative values are ones' complement, with the one that is missing as an adder's carry, so that
nothing is negated. A code has few bits before it is moved, so it is multiplied there.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from narrowgauge.hdl.arith.carry_save import CarrySave

__all__ = ["multiply", "place", "place_product"]


def place(
    m: Module,
    code: Value,
    right: Value,
    over: Value,
    nan: Value,
    window: int,
    name: str,
    *,
    fine: Value | None = None,
    coarse: int = 0,
) -> tuple[Signal, Signal]:
    """A code on a window: sign, and magnitude complemented where it is set; the sign is never -0's.

    Parameters
    ----------
    code : sign and magnitude
    right : places to the right of the window's top, unsigned
    over, nan : the block is above the window, is NaN
    fine, coarse : where `fine` is not set, the window has `coarse` bits, the upper ones

    Returns
    -------
    value : window + 1 bits, ones' complement
    clipped : 1 bit
    """
    size = len(code) - 1
    clipped = Signal(name=f"{name}_clipped")
    moved = Signal(window, name=f"{name}_moved")
    magnitude = Signal(window, name=f"{name}_magnitude")
    sign = Signal(name=f"{name}_sign")
    value = Signal(window + 1, name=f"{name}_value")
    whole = (moved & (~nan).replicate(window)) | clipped.replicate(window)
    if fine is not None and coarse < window:
        whole = whole & Cat(fine.replicate(window - coarse), Const(-1, coarse))
    m.d.comb += [
        clipped.eq(over & ~nan & code[:size].any()),
        moved.eq(Cat(Const(0, window - size), code[:size]) >> right),
        magnitude.eq(whole),
        sign.eq(code[size] & magnitude.any()),
        value.eq(Cat(magnitude ^ sign.replicate(window), sign)),
    ]
    return value, clipped


def multiply(m: Module, factor: Value, code: Value, name: str) -> Signal:
    """The product of two magnitudes, a row for each bit of the second."""
    tree = CarrySave(m, len(factor) + len(code), f"{name}_tree")
    for weight in range(len(code)):
        row = Signal(len(factor), name=f"{name}_row{weight}")
        m.d.comb += row.eq(factor & code[weight].replicate(len(factor)))
        tree.add(row, weight)
    product = Signal(len(factor) + len(code), name=f"{name}_product")
    m.d.comb += product.eq(tree.total())
    return product


def place_product(m: Module, product: Value, right: Value, window: int, name: str) -> Signal:
    """A product at the top of a window, moved right, or left where `right` is negative.

    Parameters
    ----------
    product : magnitude, no wider than the window
    right : signed

    Returns
    -------
    magnitude : window bits, all ones where the product is above
    """
    size = len(product)
    # From all of it above the window, to the right; further above only 0 fits.
    most = window + size
    amount = Signal(signed(len(right) + 1), name=f"{name}_amount")
    far, over = Signal(name=f"{name}_far"), Signal(name=f"{name}_over")
    shift = Signal(most.bit_length(), name=f"{name}_shift")
    whole = Signal(most, name=f"{name}_moved")
    result = Signal(window, name=f"{name}_placed")
    m.d.comb += [
        amount.eq(right + size),
        far.eq(~amount[-1] & (amount > most)),
        shift.eq(amount | far.replicate(len(shift))),
        whole.eq(Cat(Const(0, window), product) >> shift),
        over.eq(Mux(amount[-1], product.any(), whole[window:].any())),
        result.eq(whole[:window] | over.replicate(window)),
    ]
    return result
