"""What the units of range batch normalisation are made of: placing, differences, products.

Negative values are ones' complement wherever the one that is missing can be an adder's carry or the
digit below a multiplier, so that nothing is negated.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from narrowgauge.golden.formats import BFP
from narrowgauge.hdl.arith.carry_save import CarrySave

__all__ = ["clipped", "moved", "place", "product"]


def place(
    m: Module, code: Value, right: Value, over: Value, nan: Value, window: int, name: str
) -> tuple[Signal, Signal]:
    """A code on a window: sign, and magnitude complemented where it is set; the sign is never -0's.

    Parameters
    ----------
    code : sign and magnitude
    right : places to the right of the window's top, unsigned
    over, nan : the block is above the window, is NaN

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
    m.d.comb += [
        clipped.eq(over & ~nan & code[:size].any()),
        moved.eq(Cat(Const(0, window - size), code[:size]) >> right),
        magnitude.eq((moved & (~nan).replicate(window)) | clipped.replicate(window)),
        sign.eq(code[size] & magnitude.any()),
        value.eq(Cat(magnitude ^ sign.replicate(window), sign)),
    ]
    return value, clipped


def moved(
    m: Module,
    code: Value,
    scale: Value,
    exponent: Value,
    *,
    fmt: BFP,
    fraction: int,
    window: int,
    name: str,
) -> tuple[Signal, Value]:
    """A code in units of 2^(exponent - fraction), cut off and clipped to `window` bits.

    Returns
    -------
    magnitude : window bits, complemented where the sign is set
    sign : 1 bit
    """
    size = fmt.mantissa_bits
    nan = scale.all()
    # From all of the code above the window, to the right; further above only 0 fits.
    right = Signal(signed(9), name=f"{name}_right")
    far, over = Signal(name=f"{name}_far"), Signal(name=f"{name}_over")
    most = window + size
    amount = Signal(most.bit_length(), name=f"{name}_amount")
    whole = Signal(window + size, name=f"{name}_moved")
    magnitude = Signal(window, name=f"{name}_magnitude")
    sign = Signal(name=f"{name}_sign")
    m.d.comb += [
        right.eq(exponent - (scale | ~scale.any()) + (fmt.bias + window - fraction - 1 + size)),
        far.eq(right > most),
        amount.eq(Mux(far, most, right[: len(amount)])),
        whole.eq(Cat(Const(0, window), code[:size]) >> amount),
        over.eq(~nan & Mux(right[-1], code[:size].any(), whole[window:].any())),
        magnitude.eq((whole[:window] & (~nan).replicate(window)) | over.replicate(window)),
        sign.eq(code[size]),
    ]
    return magnitude, sign


def clipped(m: Module, value: Value, bits: int, name: str, *, keep: Value | None = None) -> Signal:
    """A signed value clipped to 2^bits - 1 on either side, in bits + 1 bits.

    Where `keep` is set it is not clipped; the result is then as wide as the value.
    """
    fits = Signal(name=f"{name}_fits")
    width = bits + 1 if keep is None else len(value)
    result = Signal(signed(width), name=f"{name}_clipped")
    top = value[-1]
    # The least of that many bits is one too small for the symmetric clip.
    low = value[:bits].any()
    inside = (value[bits:] == top.replicate(len(value) - bits)) & ~(top & ~low)
    ends = Cat(Mux(top, 1, (1 << bits) - 1), top.replicate(width - bits))
    m.d.comb += [
        fits.eq(inside if keep is None else inside | keep),
        result.eq(Mux(fits, value[:width], ends)),
    ]
    return result


def product(
    m: Module,
    tree: CarrySave,
    value: Value,
    factor: Value,
    name: str,
    *,
    below: Value | None = None,
    narrow: int | None = None,
    wide_digits: int | None = None,
) -> None:
    """Rows of radix-4 Booth digits: value times factor, into a tree.

    Parameters
    ----------
    value, factor : signed
    below : added to the factor as a unit, which makes a ones' complement whole
    narrow, wide_digits : from row `wide_digits` on the value has no more than `narrow` bits
    """
    digits = Cat(Const(0, 1) if below is None else below, factor, factor[-1])
    for row in range((len(factor) + 1) // 2):
        full = wide_digits is None or row < wide_digits
        taken = value if full else value[:narrow].as_signed()
        low, middle, high = (digits[2 * row + i] for i in range(3))
        prefix = f"{name}_row{row}"
        one, two = Signal(name=f"{prefix}_one"), Signal(name=f"{prefix}_two")
        picked = Signal(signed(len(taken) + 1), name=f"{prefix}_picked")
        bits = Signal(signed(len(taken) + 1), name=prefix)
        m.d.comb += [
            one.eq(low ^ middle),
            two.eq((high & ~middle & ~low) | (~high & middle & low)),
            picked.eq(
                (Cat(taken, taken[-1]) & one.replicate(len(picked)))
                | (Cat(Const(0, 1), taken) & two.replicate(len(picked)))
            ),
            bits.eq(picked ^ high.replicate(len(picked))),
        ]
        tree.add(bits, 2 * row, arrival=1)
        tree.add_bit(high, 2 * row)
