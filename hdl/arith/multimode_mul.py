"""Multi-mode multiplier cell: sign-magnitude sub-products, shifted by the mode, in one tree.

`SlotProduct` is what every lane of a multi-mode array consists of; the cell adds four of them.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.arith.multimode_mul import Params
from narrowgauge.hdl.arith.carry_save import CarrySave

__all__ = ["MultimodeMul", "SlotProduct", "or_all"]


def or_all(values: Sequence[Value]) -> Value:
    """The OR of words, by a tree."""
    while len(values) > 1:
        pairs = [a | b for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + list(values[len(values) & ~1 :])
    return values[0]


class SlotProduct:
    """The product of two slots as bits to be added: `term` + `carry` * 2, `term` signed.

    With a sign, a product p is the complement of its bits and one more. Its lowest bit takes that
    one: it stays as it is, and a carry goes up where it is 0.

    Parameters
    ----------
    m : module that gets the gates
    a, w : slots, sign on top
    """

    def __init__(self, m: Module, a: Value, w: Value, name: str) -> None:
        size = len(a) + len(w) - 2
        self.sign = Signal(name=f"{name}_sign")
        product = Signal(size, name=f"{name}_product")
        bits = Signal(size, name=f"{name}_term")
        self.carry = Signal(name=f"{name}_carry")
        m.d.comb += [
            self.sign.eq(a[-1] ^ w[-1]),
            product.eq(a[:-1] * w[:-1]),
            bits.eq(Cat(product[0], product[1:] ^ self.sign.replicate(size - 1))),
            self.carry.eq(self.sign & ~product[0]),
        ]
        self.term = Cat(bits, self.sign).as_signed()


class MultimodeMul(wiring.Component):
    """Sum of a cell's four, two or one products.

    Combinational, exact.

    Parameters
    ----------
    params : see `narrowgauge.golden.arith.multimode_mul.Params`

    Ports
    -----
    a, w : In, words of four slots
    a_high, w_high : In, the mode
    o : Out, signed sum
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(
            {
                "a": In(4 * params.low),
                "w": In(4 * params.low),
                "a_high": In(1),
                "w_high": In(1),
                "o": Out(params.output["o"].width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Four products; each in the columns that its mode says."""
        m = Module()
        p = self._params
        low, step = p.low, p.step
        both, one = Signal(), Signal()
        m.d.comb += [both.eq(self.a_high & self.w_high), one.eq(self.a_high | self.w_high)]
        # When sub-product j is shifted by 0, m and 2m.
        shifts: tuple[tuple[Value, ...], ...] = (
            (),
            (~one, one & ~both, both),
            (~both, both),
            (~one, one),
        )
        tree = CarrySave(m, p.width, "sum")
        for j, gates in enumerate(shifts):
            a, w = (word[j * low : (j + 1) * low] for word in (self.a, self.w))
            product = SlotProduct(m, a, w, f"sub{j}")
            carry = Cat(Const(0, 1), product.carry)
            if not gates:
                tree.add(product.term)
                tree.add(carry)
                continue
            reach = (len(gates) - 1) * step
            size, carries = len(product.term) + reach, 2 + reach
            term = Signal(signed(size), name=f"sub{j}_shifted")
            ones = Signal(carries, name=f"sub{j}_carries")
            m.d.comb += [
                term.eq(
                    or_all([_at(product.term, g, i * step, size) for i, g in enumerate(gates)])
                ),
                ones.eq(or_all([_at(carry, g, i * step, carries) for i, g in enumerate(gates)])),
            ]
            tree.add(term)
            for i in range(len(gates)):
                tree.add_bit(ones[1 + i * step], 1 + i * step)
        m.d.comb += self.o.eq(tree.total())
        return m


def _at(value: Value, gate: Value, shift: int, size: int) -> Value:
    """`value` shifted left within `size` bits, its sign extended, where `gate` is 1; else 0."""
    bits = Cat(Const(0, shift), value)
    fill = value[-1] if value.shape().signed else Const(0, 1)
    return Cat(bits, fill.replicate(size - len(bits))) & gate.replicate(size)
