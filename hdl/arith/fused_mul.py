"""Fused multiplier: nibble products of one weight added first, over all cells; the sums fused last.

A multiplier takes the same two slots in every mode, so nothing stands in front of it. Its product
is a magnitude by radix 4: both multipliers of a slot of a share three times the slot. Products that
weigh the same in every mode go into one tree whatever the number of cells; the mode only masks and
shifts the twelve sums that are left.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.arith.fused_mul import Params
from narrowgauge.hdl.arith.carry_save import CarrySave

__all__ = ["FusedMul", "add_fused", "slot_sums"]

_PLACES = ((0,), (1, 2), (3,))
"""Numbers d of the products that are shifted alike: by 0, 8 and 16 bits in FB24."""

_MANY = 8
"""Products of a sum from which on counting the negative ones is smaller."""

_LATE, _LATER = 40, 60
"""Arrival of the sums of products, and of what is made of them, in half gates."""


def _triples(m: Module, slots: Sequence[Value]) -> list[Signal]:
    """Three times each magnitude."""
    made = [Signal(6, name=f"a{i}_triple") for i in range(len(slots))]
    for triple, slot in zip(made, slots, strict=True):
        m.d.comb += triple.eq(slot[:4] + (slot[:4] << 1))
    return made


def _digits(m: Module, slots: Sequence[Value]) -> list[list[Signal]]:
    """Of each magnitude its two digits of radix 4, a bit for each of 1, 2 and 3."""
    made: list[list[Signal]] = []
    for i, slot in enumerate(slots):
        digits = [Signal(3, name=f"b{i}_digit{k}") for k in range(2)]
        for k, digit in enumerate(digits):
            low, high = slot[2 * k], slot[2 * k + 1]
            m.d.comb += digit.eq(Cat(low & ~high, high & ~low, low & high))
        made.append(digits)
    return made


def _product(m: Module, once: Value, triple: Value, digits: Sequence[Value], name: str) -> Signal:
    """The product of two magnitudes, 8 bits."""
    tree = CarrySave(m, 8, name)
    for k, digit in enumerate(digits):
        row = Signal(6, name=f"{name}_row{k}")
        m.d.comb += row.eq(
            (Cat(once, Const(0, 2)) & digit[0].replicate(6))
            | (Cat(Const(0, 1), once, Const(0, 1)) & digit[1].replicate(6))
            | (triple & digit[2].replicate(6))
        )
        tree.add(row, 2 * k, arrival=4)
    product = Signal(8, name=name)
    m.d.comb += product.eq(tree.total())
    return product


def slot_sums(m: Module, a: Sequence[Value], b: Sequence[Value]) -> list[list[Signal]]:
    """Signed sums over cells: of each output three, which weigh 1, 2^8 and 2^16 in FB24.

    Parameters
    ----------
    a, b : the slots of all cells, sign on top
    """
    triples, digits = _triples(m, a), _digits(m, b)
    cells = len(a) // 8
    made: list[list[Signal]] = []
    for output in range(4):
        row, column = output >> 1, output & 1
        made.append([])
        for place, numbers in enumerate(_PLACES):
            width = (cells * len(numbers) * 225).bit_length() + 1
            name = f"sum{output}_{place}"
            tree = CarrySave(m, width, name)
            count = cells * len(numbers)
            negatives = Signal(count.bit_length(), name=f"{name}_negatives")
            counted = CarrySave(m, len(negatives), f"{name}_negatives")
            for cell in range(cells):
                for d in numbers:
                    i, j = 8 * cell + 2 * d + row, 8 * cell + 2 * d + column
                    label = f"cell{cell}_{d}_{output}"
                    product = _product(m, a[i][:4], triples[i], digits[j], f"{label}_product")
                    negative = Signal(name=f"{label}_negative")
                    term = Signal(8, name=f"{label}_term")
                    m.d.comb += negative.eq(a[i][4] ^ b[j][4])
                    if count < _MANY:
                        # The complement and one more, which the lowest bit takes.
                        carry = Signal(name=f"{label}_carry")
                        m.d.comb += [
                            term.eq(Cat(product[0], product[1:] ^ negative.replicate(7))),
                            carry.eq(negative & ~product[0]),
                        ]
                        tree.add(Cat(term, negative).as_signed(), arrival=20)
                        tree.add_bit(carry, 1, arrival=20)
                    else:
                        # 255 too much, which is taken away from all of them at once.
                        m.d.comb += term.eq(product ^ negative.replicate(8))
                        tree.add(term, arrival=20)
                        counted.add_bit(negative, 0)
            if count >= _MANY:
                m.d.comb += negatives.eq(counted.total())
                tree.add(negatives, arrival=20)
                tree.add(~negatives, 8, arrival=20)
                tree.add_constant(-((1 << len(negatives)) - 1) << 8)
            made[-1].append(Signal(signed(width), name=name))
            m.d.comb += made[-1][-1].eq(tree.total())
    return made


def add_fused(
    m: Module, tree: CarrySave, sums: Sequence[Sequence[Signal]], fused: Value, wide: Value
) -> None:
    """Add output 0 to a tree.

    Parameters
    ----------
    sums : of `slot_sums`
    fused : the mode is FB16 or FB24
    wide : the mode is FB24
    """
    for place in range(3):
        parts = [output[place] for output in sums]
        middle = Signal(signed(len(parts[1]) + 1), name=f"middle{place}")
        pair = CarrySave(m, len(middle), f"middle{place}")
        for part in parts[1:3]:
            pair.add(part)
        low, high = (
            Signal(signed(len(x)), name=f"{name}{place}_fused")
            for name, x in (("middle", middle), ("high", parts[3]))
        )
        m.d.comb += [
            middle.eq(pair.total()),
            low.eq(middle & fused.replicate(len(low))),
            high.eq(parts[3] & fused.replicate(len(high))),
        ]
        terms = ((parts[0], 0), (low, 4), (high, 8))
        if place == 0:
            for term, weight in terms:
                tree.add(term, weight, arrival=_LATE)
            continue
        width = len(high) + 9
        whole = CarrySave(m, width, f"block{place}")
        for term, weight in terms:
            whole.add(term, weight, arrival=_LATE)
        block = Signal(signed(width), name=f"block{place}")
        shifted = Signal(signed(width + 8 * place), name=f"block{place}_shifted")
        size = len(shifted)
        m.d.comb += [
            block.eq(whole.total()),
            shifted.eq(
                (_placed(block, 0, size) & (~wide).replicate(size))
                | (_placed(block, 8 * place, size) & wide.replicate(size))
            ),
        ]
        tree.add(shifted, arrival=_LATER)


def _placed(value: Value, shift: int, size: int) -> Value:
    bits = Cat(Const(0, shift), value)
    return Cat(bits, value[-1].replicate(size - len(bits)))


class FusedMul(wiring.Component):
    """Sums of the products of a mode.

    Combinational, exact.

    Parameters
    ----------
    params : see `narrowgauge.golden.arith.fused_mul.Params`

    Ports
    -----
    a, b : In, slots of all cells, 5 bits each
    mode : In, 2 bits
    o : Out, signed sum, output 0
    rest : Out, the sums of FB12 of outputs 1 to 3, signed
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        size = 40 * params.cells
        rest = 3 * params.rest_width
        super().__init__(
            {"a": In(size), "b": In(size), "mode": In(2), "o": Out(params.width), "rest": Out(rest)}
        )

    def elaborate(self, platform: object) -> Module:
        """Sums of products; three of them as they are, all of them fused."""
        m = Module()
        p = self._params
        words = [[word[5 * i : 5 * i + 5] for i in range(8 * p.cells)] for word in (self.a, self.b)]
        sums = slot_sums(m, words[0], words[1])
        fused, wide = Signal(name="fused"), Signal(name="wide")
        m.d.comb += [fused.eq(self.mode[0] | self.mode[1]), wide.eq(self.mode[1])]
        tree = CarrySave(m, p.width, "fused_sum")
        add_fused(m, tree, sums, fused, wide)
        m.d.comb += self.o.eq(tree.total())
        for output in range(3):
            rest = CarrySave(m, p.rest_width, f"rest{output}")
            for part in sums[1 + output]:
                rest.add(part, arrival=_LATE)
            m.d.comb += self.rest.word_select(output, p.rest_width).eq(rest.total())
        return m
