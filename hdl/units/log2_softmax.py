"""Softmax to powers of two: one pass that keeps a maximum and a sum, one that subtracts.

The first pass turns a score into a fixed-point logarithm by two additions and a shift, writes it to
the row's memory, and adds its power of two to the sum: where its integer part is a new maximum the
sum is shifted right, otherwise the term. The second reads the logarithms back and subtracts each
from that of the sum. The memory holds one row: the next row is written where this one has been
read, never in the same cycle, and its read port is synchronous.

Latency 3, one element a cycle and one cycle more a row.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from narrowgauge.golden.units.log2_softmax import Params
from narrowgauge.hdl.arith.shifter import leading_zeros, saturated, window
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.rows import RowMemory
from narrowgauge.hdl.units.window import align

__all__ = ["Log2Softmax"]


class Log2Softmax(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.log2_softmax.Params`

    Ports
    -----
    i : stream of `params.input`, one element a cycle
    o : stream of `params.output`, as many as the row has, `length` at most
    """

    latency = 3
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Logarithm, register, memory and sum, register, level, codes."""
        m = Module()
        p = self._params
        beat = self.i.payload
        # The element that came last, as it is written.
        valid, last = Signal(), Signal()
        t = Signal(signed(p.width), reset_less=True)
        t_nan = Signal(reset_less=True)
        m.submodules.logarithm = logarithm = Module()
        fresh_t, fresh_nan = self._logarithm(logarithm, beat.x, beat.mask)
        row = RowMemory(
            m,
            width=p.width,
            length=p.length,
            valid=valid,
            last=last,
            word=t,
            leave=self.o.ready,
        )
        m.d.comb += [self.i.ready.eq(~valid | row.go), row.commit.eq(row.whole & row.free)]
        with m.If(self.i.ready):
            m.d.sync += valid.eq(self.i.valid)
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [last.eq(beat.last), t.eq(fresh_t), t_nan.eq(fresh_nan)]

        nan, held_nan = Signal(), Signal(reset_less=True)
        total = Signal(p.sum_bits)
        largest = Signal(signed(p.whole), init=-1 << (p.whole - 1))
        level, held_level = Signal(p.width), Signal(p.width, reset_less=True)
        m.submodules.sum = adder = Module()
        grown, summed = self._sum(adder, t, total, largest)
        m.submodules.level = log_sum = Module()
        m.d.comb += level.eq(self._level(log_sum, total, largest))
        with m.If(row.take):
            m.d.sync += [total.eq(summed), largest.eq(grown), nan.eq(nan | t_nan | row.full)]
        with m.If(row.commit):
            m.d.sync += [
                total.eq(0),
                largest.eq(largest.init),
                nan.eq(0),
                held_nan.eq(nan),
                held_level.eq(level),
            ]
        m.submodules.code = subtracter = Module()
        code, zero = self._code(subtracter, row.data, held_level, held_nan)
        m.d.comb += [
            self.o.valid.eq(row.busy),
            self.o.payload.code.eq(code),
            self.o.payload.zero.eq(zero),
            self.o.payload.nan.eq(held_nan),
            self.o.payload.last.eq(row.final),
        ]
        return m

    def _logarithm(self, m: Module, x: Value, mask: Value) -> tuple[Value, Value]:
        """The t of a score, or what stands for probability 0; whether it is NaN or +Inf.

        Of two's complement numbers of that width, those that begin with 100 are no t.
        """
        p = self._params
        sign, field = x[15], x[7:15]
        top = p.reach + 126
        normal, over, special = (Signal(name=n) for n in ("normal", "over", "special"))
        significand = Signal(8)
        scaled = Signal(13)
        distance = Signal(8)
        m.d.comb += [
            normal.eq(field.any()),
            over.eq(field > top),
            special.eq(field.all()),
            significand.eq(Cat(x[:7], normal) | over.replicate(8)),
            scaled.eq((significand << 4) + (significand << 3) - significand),
            distance.eq(Mux(over, 0, top - field)),
        ]
        # At the top field t ends 12 - reach - fraction places above the last bit of `scaled`.
        size = p.reach + 1 + p.fraction
        guard = 11 - p.reach - p.fraction
        value = scaled[guard:] if guard >= 0 else Cat(Const(0, -guard), scaled)
        moved = align(m, value, size + 1, distance, high=Const(0, 1), low=Const(0, 1), name="moved")
        turned = Signal(size + 1)
        # Half of the last place goes up in magnitude: the negative of it is one's complement.
        m.d.comb += turned.eq(Cat(moved[1:] ^ sign.replicate(size), sign) + (moved[0] ^ sign))
        zero, nan = Signal(), Signal()
        m.d.comb += [
            zero.eq(mask | (special & sign & ~x[:7].any())),
            nan.eq(special & ~zero),
        ]
        t = Signal(signed(p.width))
        m.d.comb += t.eq(Mux(zero, -1 << (p.width - 1), turned.as_signed()))
        return t, nan

    def _sum(self, m: Module, t: Value, total: Value, largest: Value) -> tuple[Value, Value]:
        """The maximum and the sum with one more element."""
        p = self._params
        integer = Signal(signed(p.whole))
        apart = Signal(signed(p.whole + 1))
        below = Signal()
        m.d.comb += [integer.eq(t >> p.fraction), apart.eq(integer - largest), below.eq(apart[-1])]
        grown = Signal(signed(p.whole))
        m.d.comb += grown.eq(Mux(below, largest, integer))
        # -apart is one more than ~apart: such a term starts one place lower.
        one = Signal(p.fraction + 2)
        zero = _is_zero(t)
        whole = Cat(t[: p.fraction], Const(1, 1))
        m.d.comb += one.eq(Mux(below, whole, whole << 1) & (~zero).replicate(len(one)))
        term_distance = Signal(p.whole)
        sum_distance = Signal(p.whole)
        m.d.comb += [
            term_distance.eq(~apart[:-1] & below.replicate(p.whole)),
            sum_distance.eq(apart[:-1] & (~below).replicate(p.whole)),
        ]
        nothing = Const(0, 1)
        # With no guard bit of its own a term that starts lower loses its last bit at the end.
        width = max(p.guard + 1, len(one))
        term = align(m, one, width, term_distance, high=nothing, low=nothing, name="term")
        kept = align(m, total, p.sum_bits, sum_distance, high=nothing, low=nothing, name="kept")
        summed = Signal(p.sum_bits)
        m.d.comb += summed.eq(kept + term[width - p.guard - 1 :])
        return grown, summed

    def _level(self, m: Module, total: Value, largest: Value) -> Value:
        """log2 of the sum, and half of a code more."""
        p = self._params
        F, places = p.fraction, p.sum_bits - 1 - p.guard
        # The largest term is there whole, so the sum of a row that counts is at least 2^guard.
        zeros, _ = leading_zeros(m, total[p.guard :], "zeros")
        kept, _ = window(m, total[p.guard - F :], zeros, keep=F + 1, limit=places, name="leading")
        integer = Signal(signed(p.whole))
        m.d.comb += integer.eq(largest + places - zeros + kept[F - 1])
        return Cat(kept[: F - 1], ~kept[F - 1], integer)

    def _code(self, m: Module, t: Value, level: Value, nan: Value) -> tuple[Value, Value]:
        """The code of an element, and whether its probability is 0."""
        p = self._params
        distance = Signal(p.width)
        zero, none = Signal(), Signal()
        code = Signal(p.bits)
        m.d.comb += [
            distance.eq(level - t),
            zero.eq(_is_zero(t)),
            none.eq(zero | nan),
            code.eq(saturated(distance[p.fraction :], p.bits) | none.replicate(p.bits)),
        ]
        return code, zero


def _is_zero(t: Value) -> Value:
    """Whether a word of the memory stands for probability 0."""
    return t[-1] & ~t[-2] & ~t[-3]
