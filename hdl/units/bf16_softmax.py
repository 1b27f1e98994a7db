"""bf16 softmax with an FP32 sum, online: the baseline of `log2_softmax`.

The first pass multiplies a score by log2 e, a constant, looks up the mantissa of the fraction's
power of two, and keeps integer part and mantissa in the row's memory. The maximum of the integer
parts moves the exponents of the FP32 sum and of its next term. When the row is whole a divider
makes 12 bits of 1 / sum, one a cycle; the second pass multiplies each mantissa by them and rounds.

Latency 15, one element a cycle and 13 cycles more a row.
"""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed

from narrowgauge.golden.arith.fp_add import Params as AddParams
from narrowgauge.golden.units.bf16_softmax import Params
from narrowgauge.hdl.arith.carry_save import CarrySave
from narrowgauge.hdl.arith.fp_add import FpAdd
from narrowgauge.hdl.arith.multiplier import multiply
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.rows import RowMemory
from narrowgauge.hdl.units.window import align

__all__ = ["Bf16Softmax"]

_TOP = 133
"""The largest exponent field that is not clipped."""

_QUOTIENT = 12


class Bf16Softmax(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.bf16_softmax.Params`

    Ports
    -----
    i : stream of `params.input`, one element a cycle
    o : stream of `params.output`, as many as the row has, `length` at most
    """

    latency = 3 + _QUOTIENT
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Exponential, register, memory and sum, divider, products."""
        m = Module()
        p = self._params
        beat = self.i.payload
        # The element that came last: integer part of t, mantissa of 2^t.
        valid, last = Signal(), Signal()
        word = Signal(16, reset_less=True)
        word_nan = Signal(reset_less=True)
        m.submodules.exponential = exponential = Module()
        fresh, fresh_nan = self._exponential(exponential, beat.x, beat.mask)
        row = RowMemory(
            m,
            width=16,
            length=p.length,
            valid=valid,
            last=last,
            word=word,
            leave=self.o.ready,
        )
        m.d.comb += self.i.ready.eq(~valid | row.go)
        with m.If(self.i.ready):
            m.d.sync += valid.eq(self.i.valid)
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [last.eq(beat.last), word.eq(fresh), word_nan.eq(fresh_nan)]

        nan, held_nan = Signal(), Signal(reset_less=True)
        total = Signal(31)
        largest = Signal(signed(9), init=-256)
        held = Signal(signed(10), reset_less=True)
        m.submodules.sum = adder = Module()
        grown, summed = self._sum(adder, word, total, largest)
        m.submodules.divider = divider = Module()
        quotient = self._divide(divider, row, total)
        with m.If(row.take):
            m.d.sync += [total.eq(summed), largest.eq(grown), nan.eq(nan | word_nan | row.full)]
        with m.If(row.commit):
            m.d.sync += [
                total.eq(0),
                largest.eq(largest.init),
                nan.eq(0),
                held_nan.eq(nan),
                # What the exponent of an element lacks to that of its share.
                held.eq(253 - total[23:] - largest),
            ]
        m.submodules.product = product = Module()
        code = self._product(product, row.data, quotient, held)
        m.d.comb += [
            self.o.valid.eq(row.busy),
            self.o.payload.p.eq(Mux(held_nan, 0x7FC0, code)),
            self.o.payload.last.eq(row.final),
        ]
        return m

    def _exponential(self, m: Module, x: Value, mask: Value) -> tuple[Value, Value]:
        """Mantissa and, above it, integer part, -256 for probability 0; whether it is NaN or Inf.

        log2 e is 94548 / 2^16, that is 3 * 2^15 - 2^12 + 5 * 2^6 + 5 * 2^2.
        """
        sign, field = x[15], x[7:15]
        over, special = Signal(name="over"), Signal(name="special")
        significand = Signal(8)
        three, five = Signal(10), Signal(11)
        distance = Signal(8)
        m.d.comb += [
            over.eq(field > _TOP),
            special.eq(field.all()),
            significand.eq(Cat(x[:7], field.any()) | over.replicate(8)),
            three.eq(significand + (significand << 1)),
            five.eq(significand + (significand << 2)),
            distance.eq(Mux(over, 0, _TOP - field)),
        ]
        tree = CarrySave(m, 25, "scaled")
        tree.add(three, 15)
        tree.add(five, 6)
        tree.add(five, 2)
        tree.add(~significand, 12)
        tree.add_constant(-255 << 12)
        scaled = Signal(25)
        m.d.comb += scaled.eq(tree.total())
        # At the top field 9 places lie below t's last, of which one is asked for.
        nothing = Const(0, 1)
        moved = align(m, scaled[8:], 17, distance, high=nothing, low=nothing, name="moved")
        t = Signal(17)
        m.d.comb += t.eq(Cat(moved[1:] ^ sign.replicate(16), sign) + (moved[0] ^ sign))
        mantissa = Signal(7)
        m.d.comb += mantissa.eq(Array(self._params.table)[t[:8]])
        zero, nan = Signal(), Signal()
        m.d.comb += [
            zero.eq(mask | (special & sign & ~x[:7].any())),
            nan.eq(special & ~zero),
        ]
        return Cat(mantissa, Mux(zero, 1 << 8, t[8:])), nan

    def _sum(self, m: Module, word: Value, total: Value, largest: Value) -> tuple[Value, Value]:
        """The maximum and the sum with one more element."""
        integer = word[7:].as_signed()
        apart = Signal(signed(10))
        below = Signal()
        grown = Signal(signed(9))
        m.d.comb += [
            apart.eq(integer - largest),
            below.eq(apart[-1]),
            grown.eq(Mux(below, largest, integer)),
        ]
        # Exponent fields of the term and of the sum, less what they lie below the maximum.
        field, left = Signal(signed(11)), Signal(signed(11))
        keep, stay = Signal(), Signal()
        m.d.comb += [
            field.eq(127 + Mux(below, apart, 0)),
            left.eq(total[23:] - Mux(below, 0, apart)),
            keep.eq((field > 0) & ~_is_zero(word)),
            stay.eq(left > 0),
        ]
        m.submodules.add = add = FpAdd(AddParams(exp_bits=8, man_bits=23))
        m.d.comb += [
            add.a.eq(Cat(total[:23], left[:8]) & stay.replicate(31)),
            add.b.eq(Cat(Const(0, 16), word[:7], field[:8]) & keep.replicate(31)),
        ]
        summed = Signal(31)
        m.d.comb += summed.eq(add.o)
        return grown, summed

    def _divide(self, m: Module, row: RowMemory, total: Value) -> Signal:
        """floor((2^27 - 1) / s), made once the row is whole and the one before has left."""
        divisor = Cat(total[8:23], Const(1, 1))
        quotient = Signal(_QUOTIENT, reset_less=True)
        rest = Signal(16, reset_less=True)
        busy = Signal()
        count = Signal(range(_QUOTIENT))
        twice = Signal(17)
        less = Signal(signed(18))
        fits = Signal()
        m.d.comb += [
            twice.eq(Cat(Const(1, 1), rest)),
            less.eq(twice - divisor),
            fits.eq(~less[-1]),
            row.commit.eq(busy & (count == _QUOTIENT - 1)),
        ]
        with m.If(busy):
            m.d.sync += [
                rest.eq(Mux(fits, less, twice)),
                quotient.eq(Cat(fits, quotient)),
                count.eq(count + 1),
            ]
            with m.If(row.commit):
                m.d.sync += busy.eq(0)
        with m.Elif(row.whole & row.free):
            m.d.sync += [busy.eq(1), count.eq(0), rest.eq((1 << 15) - 1)]
        return quotient

    def _product(self, m: Module, word: Value, quotient: Value, base: Value) -> Value:
        """The share of an element."""
        product = multiply(m, quotient, Cat(word[:7], Const(1, 1)), "share")
        high, guard, sticky = Signal(), Signal(), Signal()
        kept = Signal(8)
        rounded = Signal(9)
        field = Signal(signed(12))
        m.d.comb += [
            high.eq(product[19]),
            kept.eq(Mux(high, product[12:20], product[11:19])),
            guard.eq(Mux(high, product[11], product[10])),
            sticky.eq(product[:10].any() | (high & product[10])),
            rounded.eq(kept + (guard & (sticky | kept[0]))),
            field.eq(base + word[7:].as_signed() + high + rounded[8]),
        ]
        code = Signal(15)
        zero = Signal()
        m.d.comb += [
            zero.eq(_is_zero(word) | (field < 1)),
            code.eq(Cat(rounded[:7], field[:8]) & (~zero).replicate(15)),
        ]
        return code


def _is_zero(word: Value) -> Value:
    """Whether a word of the memory stands for probability 0: no integer part begins with 100."""
    return word[15] & ~word[14] & ~word[13]
