"""MX-OPAL dot product: an INT array beside a few bf16 multipliers, accumulated in FP32.

INT path: sign-magnitude products, complemented by their sign and added by full adders only, the
lanes' missing ones and sign extensions folded into the same tree. Outlier path: each outlier picks
its weight by a decoded position (rows and columns, AND-OR), multiplies 8 x (w_bits - 1) bits and is
aligned to the block's largest exponent. A block's INT sum and outlier sum are registered, then
added on the window, converted and accumulated (`window.Accumulator`).

Where a block takes several beats the INT sum accumulates in its register, weights met on the way
are kept, and the outliers are multiplied once, on the last beat.

Latency 3, k / lanes beats a block.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring

from narrowgauge.golden.units.mx_dot import Params
from narrowgauge.hdl.arith.carry_save import CarrySave
from narrowgauge.hdl.arith.shifter import saturated
from narrowgauge.hdl.arith.sorting import largest
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.window import Accumulator, Bf16Operand, align, any_of

__all__ = ["MxDot"]

_COLUMNS = 16
"""Columns of the position decoder; 8 to 32 are alike, 4 or multiplexers cost 2 to 3 % of W4A4."""


def _pick(m: Module, words: list[Value], position: Value, name: str) -> Signal:
    """words[position], by decoded rows and columns; 0 where the position lies beyond them."""
    columns = min(_COLUMNS, len(words))
    low = (columns - 1).bit_length()
    rows = -(-len(words) // columns)
    column = Signal(columns, name=f"{name}_column")
    row = Signal(rows, name=f"{name}_row")
    m.d.comb += [column[i].eq(position[:low] == i) for i in range(columns)]
    m.d.comb += [row[i].eq(position[low:] == i) for i in range(rows)]
    found = Signal(len(words[0]), name=name)
    parts: list[Value] = []
    for r in range(rows):
        part = Signal(len(found), name=f"{name}_part{r}")
        inside = enumerate(words[r * columns : (r + 1) * columns])
        terms = [word & column[c].replicate(len(found)) for c, word in inside]
        m.d.comb += part.eq(_or(terms) & row[r].replicate(len(found)))
        parts.append(part)
    m.d.comb += found.eq(_or(parts))
    return found


def _or(values: list[Value]) -> Value:
    while len(values) > 1:
        pairs = [a | b for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[len(values) & ~1 :]
    return values[0]


class _Outlier:
    """One outlier times its weight: `term` in one's complement with its `sign`, special cases."""

    def __init__(self, m: Module, outlier: Bf16Operand, weight: Value, name: str) -> None:
        magnitude = weight[:-1]
        width = 8 + len(magnitude)
        self.sign = Signal(name=f"{name}_sign")
        self.term = Signal(width, name=f"{name}_term")
        none = Signal(name=f"{name}_none")
        product = Signal(width, name=f"{name}_product")
        m.d.comb += [
            none.eq(~magnitude.any()),
            product.eq(outlier.significand * magnitude),
            self.sign.eq(outlier.sign ^ weight[-1]),
            self.term.eq(product ^ self.sign.replicate(width)),
        ]
        self.nan = outlier.nan | (outlier.special & none)
        self.pos_inf = outlier.special & ~self.sign
        self.neg_inf = outlier.special & self.sign


class MxDot(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.mx_dot.Params`

    Ports
    -----
    i : stream of `params.input`; scales, outliers and positions stay the same over a block's beats
    o : stream of `params.output`, one for every `last`
    """

    latency = 3

    def __init__(self, params: Params) -> None:
        self._params = params
        self.interval = params.beats
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """INT sum and outlier sum, register, window, accumulator."""
        m = Module()
        p = self._params
        beat = self.i.payload
        run = Signal()
        m.d.comb += self.i.ready.eq(run)
        first, final = self._count_beats(m, run)

        int_sum = Signal(signed(p.sum_bits), reset_less=True)
        nan = beat.a_scale.all() | beat.w_scale.all()
        sums: dict[str, Value] = {}
        if p.n:
            m.submodules.outliers = outliers = Module()
            sums, exponent, special = self._outliers(outliers, run)
        else:
            exponent, special = beat.a_scale, (Const(0, 1), Const(0, 1), Const(0, 1))

        held = Signal(
            data.StructLayout(
                {
                    **{name: value.shape() for name, value in sums.items()},
                    **{"exponent": 9, "nan": 1, "pos_inf": 1, "neg_inf": 1, "last": 1},
                }
            ),
            reset_less=True,
        )
        valid = Signal()
        with m.If(run):
            m.d.sync += valid.eq(self.i.valid & final)
            m.d.sync += [held[name].eq(value) for name, value in sums.items()]
            m.d.sync += [
                held.exponent.eq(exponent + beat.w_scale),
                held.nan.eq(nan | special[0]),
                held.pos_inf.eq(special[1]),
                held.neg_inf.eq(special[2]),
                held.last.eq(beat.last),
            ]
        before = Mux(first, 0, int_sum).as_signed() if p.beats > 1 else None
        m.submodules.int_array = int_array = Module()
        beat_sum = self._int_sum(int_array, before)
        with m.If(run & self.i.valid if p.beats > 1 else run):
            m.d.sync += int_sum.eq(beat_sum)

        fraction = p.fraction
        if p.n:
            width = p.sum_bits + p.int_shift
            size = max(width, len(held.outlier_sum)) + 1
            aligned = align(
                m,
                int_sum,
                width,
                held.distance,
                high=int_sum[-1],
                low=Const(0, 1),
                name="int_align",
            )
            total = Signal(signed(size))
            m.d.comb += total.eq(aligned.as_signed() + held.outlier_sum)
        else:
            # Nothing to be aligned with: the INT sum is the window.
            size, total, fraction = p.sum_bits, int_sum, (p.a_bits - 2) + (p.w_bits - 2)
        m.submodules.accumulator = accumulator = Accumulator(total=size, fraction=fraction)
        m.d.comb += [
            run.eq(accumulator.i.ready),
            accumulator.i.valid.eq(valid),
            accumulator.i.payload.total.eq(total),
        ]
        for name in ("exponent", "nan", "pos_inf", "neg_inf", "last"):
            m.d.comb += accumulator.i.payload[name].eq(held[name])
        wiring.connect(m, accumulator.o, wiring.flipped(self.o))
        return m

    def _count_beats(self, m: Module, run: Value) -> tuple[Value, Value]:
        """Whether this beat is the first and the final one of its block."""
        beats = self._params.beats
        if beats == 1:
            return Const(1, 1), Const(1, 1)
        number = Signal(range(beats), name="beat_number")
        with m.If(run & self.i.valid):
            m.d.sync += number.eq(number + 1)
        self._number = number
        return number == 0, number.all()

    def _int_sum(self, m: Module, before: Value | None) -> Value:
        """The beat's products and the sum of the beats before it."""
        p = self._params
        beat = self.i.payload
        tree = CarrySave(m, p.sum_bits, "int_sum")
        size = p.a_bits + p.w_bits - 2
        for i in range(p.lanes):
            a, w = beat.a[i], beat.w[i]
            sign = Signal(name=f"lane{i}_sign")
            product = Signal(size, name=f"lane{i}_product")
            term = Signal(size, name=f"lane{i}_term")
            m.d.comb += [
                sign.eq(a[-1] ^ w[-1]),
                product.eq(a[:-1] * w[:-1]),
                term.eq(product ^ sign.replicate(size)),
            ]
            tree.add(Cat(term, sign).as_signed())
            tree.add_bit(sign, 0)
        if before is not None:
            tree.add(before)
        return tree.total()

    def _outliers(
        self, m: Module, run: Value
    ) -> tuple[dict[str, Value], Value, tuple[Value, Value, Value]]:
        """Outlier sum and the INT sum's distance; the exponent R; whether NaN, +Inf, -Inf."""
        p = self._params
        beat = self.i.payload
        outliers = [Bf16Operand(m, beat.outliers[j], f"outlier{j}") for j in range(p.n)]
        reference = Signal(8)
        fields = [beat.a_scale, *(outlier.field for outlier in outliers)]
        m.d.comb += reference.eq(largest(m, fields, "largest"))

        products: list[_Outlier] = []
        for j, outlier in enumerate(outliers):
            name = f"outlier{j}"
            weight = self._weight(m, run, beat.positions[j], f"{name}_weight")
            products.append(_Outlier(m, outlier, weight, name))
        width = len(products[0].term) + p.outlier_shift
        size = width + 1 + (p.n - 1).bit_length()
        tree = CarrySave(m, size, "outlier_sum")
        for j, (outlier, product) in enumerate(zip(outliers, products, strict=True)):
            name, sign = f"outlier{j}", product.sign
            distance = Signal(8, name=f"{name}_distance")
            m.d.comb += distance.eq(reference - outlier.field)
            term = align(m, product.term, width, distance, high=sign, low=sign, name=name)
            tree.add(Cat(term, sign).as_signed())
            tree.add_bit(sign, 0)

        # Beyond the width of the aligned INT sum all distances are alike.
        steps = (p.sum_bits + p.int_shift).bit_length()
        apart = Signal(8)
        distance = Signal(steps)
        m.d.comb += [
            apart.eq(reference - beat.a_scale),
            distance.eq(saturated(apart, steps)),
        ]
        special = (
            any_of([product.nan for product in products]),
            any_of([product.pos_inf for product in products]),
            any_of([product.neg_inf for product in products]),
        )
        sums: dict[str, Value] = {"outlier_sum": tree.total().as_signed(), "distance": distance}
        return sums, reference, special

    def _weight(self, m: Module, run: Value, position: Value, name: str) -> Value:
        """The weight at a position of the block, from this beat or kept from an earlier one."""
        p = self._params
        words = [self.i.payload.w[i] for i in range(p.lanes)]
        inside = (p.lanes - 1).bit_length()
        found = _pick(m, words, position[:inside], name)
        if p.beats == 1:
            return found
        kept = Signal(p.w_bits, name=f"{name}_kept", reset_less=True)
        here = Signal(name=f"{name}_here")
        m.d.comb += here.eq(position[inside:] == self._number)
        with m.If(run & self.i.valid & here):
            m.d.sync += kept.eq(found)
        return Mux(here, found, kept)
