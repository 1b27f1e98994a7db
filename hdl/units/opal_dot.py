"""Multi-mode MX-OPAL dot product: an INT array beside a few bf16 multipliers, FP32 accumulation.

INT path: `opal_array`. Outlier path: `opal_outliers` finds which products are due of a beat and
their factors, fp_units a cycle, and holds the beat while some are left. Both are registered; then
products are multiplied, aligned to the block's largest exponent and added to the block's window,
and with the last of them its INT sum. The window is converted and accumulated
(`window.Accumulator`).

Latency 4 from the final beat (3 for n = 0). A beat takes as many cycles as golden `cycles` says.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring

from narrowgauge.golden.units.opal_dot import Params
from narrowgauge.hdl.arith.carry_save import CarrySave
from narrowgauge.hdl.arith.multiplier import multiply
from narrowgauge.hdl.arith.shifter import saturated
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.opal_array import array_sum, sum_bits
from narrowgauge.hdl.units.opal_outliers import Distributor, Side
from narrowgauge.hdl.units.opal_schedule import most_cycles
from narrowgauge.hdl.units.window import Accumulator, align, any_of

__all__ = ["OpalDot"]

_PRODUCT = 16
"""Bits of a product of two significands, of which 14 are fraction bits."""


class OpalDot(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.opal_dot.Params`

    Ports
    -----
    i : stream of `params.input`; scales, modes and slots stay the same over a block
    o : stream of `params.output`, one for every `last`
    """

    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        self.latency = 4 if params.n else 3
        super().__init__(params)

    @property
    def _term(self) -> int:
        """Bits of an aligned product's magnitude."""
        return _PRODUCT + self._params.fraction - 14

    @property
    def _int(self) -> int:
        """Bits of the INT sum on the window."""
        return sum_bits(self._params) + self._params.fraction - 2 * (self._params.high - 2)

    def elaborate(self, platform: object) -> Module:
        """INT sum and products' factors, register, window, accumulator."""
        m = Module()
        p = self._params
        beat = self.i.payload
        run, taken, first, end = Signal(), Signal(), Signal(), Signal()
        m.submodules.outliers = outliers = Module()
        steps = self._term.bit_length()
        a, w = (Side(outliers, p, beat, side, steps) for side in ("a", "w"))

        base = Signal(p.position_bits + 2 - (p.lanes.bit_length() - 1))
        final: Value = Const(1, 1)
        begins = ~base.any()
        cycles = most_cycles(p)
        phase = Signal(range(max(2, cycles)))
        if p.n:
            distributor = Distributor(outliers, p, a, w, base, phase, steps)
            final = distributor.final
        with m.If(run & self.i.valid):
            if cycles > 1:
                m.d.sync += phase.eq(Mux(final, 0, phase + 1))
            with m.If(final):
                step = Mux(a.high & w.high, 1, Mux(a.high | w.high, 2, 4))
                m.d.sync += base.eq(Mux(end, 0, base + step))
        m.d.comb += [
            # Nothing is asked of a bus that offers nothing.
            self.i.ready.eq(run & (final | ~self.i.valid)),
            end.eq(beat.end | beat.last),
            taken.eq(run & self.i.valid & final),
            first.eq(begins & (phase == 0) if cycles > 1 else begins),
        ]

        int_sum = Signal(signed(sum_bits(p)), reset_less=True)
        m.submodules.int_array = int_array = Module()
        words = ([*beat.a], [*beat.w])
        before = Mux(begins, 0, int_sum).as_signed()
        beat_sum = array_sum(int_array, p, words, (a.high, w.high), before)
        with m.If(taken):
            m.d.sync += int_sum.eq(beat_sum)

        held = Signal(
            data.StructLayout({"exponent": 9, "nan": 1, "end": 1, "last": 1}), reset_less=True
        )
        valid = Signal()
        with m.If(run):
            m.d.sync += [
                valid.eq(self.i.valid),
                held.exponent.eq(a.reference + w.reference),
                held.nan.eq(a.nan | w.nan),
                held.end.eq(final & end),
                held.last.eq(beat.last),
            ]
        if not p.n:
            total: Value = int_sum
            size, fraction = sum_bits(p), 2 * (p.high - 2)
            fields = {"exponent": held.exponent, "nan": held.nan, "last": held.last}
            fields |= {"pos_inf": Const(0, 1), "neg_inf": Const(0, 1)}
            done: Value = valid & held.end
        else:
            total, fields, done = self._window(
                m, run, valid, first, held, int_sum, a, w, distributor
            )
            size, fraction = len(total), p.fraction
        m.submodules.accumulator = accumulator = Accumulator(total=size, fraction=fraction)
        m.d.comb += [
            run.eq(accumulator.i.ready),
            accumulator.i.valid.eq(done),
            accumulator.i.payload.total.eq(total),
        ]
        m.d.comb += [accumulator.i.payload[name].eq(value) for name, value in fields.items()]
        wiring.connect(m, accumulator.o, wiring.flipped(self.o))
        return m

    def _window(
        self,
        m: Module,
        run: Value,
        valid: Value,
        first: Value,
        held: data.View,
        int_sum: Value,
        a: Side,
        w: Side,
        distributor: Distributor,
    ) -> tuple[Value, dict[str, Value], Value]:
        """The block's window, its other fields, and whether it is complete."""
        p = self._params
        fresh = Signal(reset_less=True)
        distance = Signal(self._int.bit_length(), reset_less=True)
        with m.If(run):
            m.d.sync += [
                fresh.eq(first),
                distance.eq(saturated(a.distance + w.distance, len(distance))),
            ]
        most = (1 << (self._int - 1)) + (2 * p.n << self._term)
        size = most.bit_length() + 1
        m.submodules.window = window = Module()
        tree = CarrySave(window, size, "window")
        special: dict[str, list[Value]] = {"nan": [held.nan], "pos_inf": [], "neg_inf": []}
        for u, product in enumerate(distributor.products):
            name = f"product{u}"
            kept = {
                key: Signal(len(value), name=f"{name}_{key}", reset_less=True)
                for key, value in vars(product).items()
            }
            with m.If(run):
                m.d.sync += [kept[key].eq(value) for key, value in vars(product).items()]
            sign = kept["sign"]
            exact = multiply(window, kept["x"], kept["y"], f"{name}_exact")
            term = Signal(_PRODUCT, name=f"{name}_term")
            window.d.comb += term.eq(exact ^ sign.replicate(_PRODUCT))
            aligned = align(
                window, term, self._term, kept["distance"], high=sign, low=sign, name=name
            )
            tree.add(Cat(aligned, sign).as_signed())
            tree.add_bit(sign, 0)
            special["nan"].append(kept["nan"])
            special["pos_inf"].append(kept["inf"] & ~sign)
            special["neg_inf"].append(kept["inf"] & sign)
        whole = align(
            window,
            int_sum,
            self._int,
            distance,
            high=int_sum[-1],
            low=Const(0, 1),
            name="int_align",
        )
        total = Signal(signed(size), reset_less=True)
        tree.add((whole & held.end.replicate(len(whole))).as_signed())
        tree.add((total & (~fresh).replicate(size)).as_signed())

        done = Signal()
        flags = {name: Signal(name=f"window_{name}", reset_less=True) for name in special}
        exponent, last = Signal(9, reset_less=True), Signal(reset_less=True)
        with m.If(run):
            m.d.sync += [
                done.eq(valid & held.end),
                exponent.eq(held.exponent),
                last.eq(held.last),
            ]
            with m.If(valid):
                m.d.sync += total.eq(tree.total())
                for name, flag in flags.items():
                    m.d.sync += flag.eq((flag & ~fresh) | any_of(special[name]))
        return total, {**flags, "exponent": exponent, "last": last}, done
