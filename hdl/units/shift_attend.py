"""Attention times V by shifts: shifters, adders and accumulators, one converter for all.

Code and scales make one shift amount for all lanes (`attend_lanes`). With `share` = 1 every element
of the head has a lane. Otherwise a lane serves `share` elements, one a cycle: a position takes as
many cycles, and a third of the gates of a lane, its register, become bits of a memory.

After a row's last position the elements leave one by one, converted to bf16, and no position is
taken meanwhile.

With `renormalise` the same converter first makes bf16 of the sum of probabilities, a divider gives
a bit of its reciprocal a cycle, and one multiplier stands at the output.

Latency 1, or 12 with `renormalise`; a row of T positions takes share * T + lanes cycles (11 more).
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from narrowgauge.golden.arith.fp_mul import Params as MultiplyParams
from narrowgauge.golden.arith.int_to_fp import Params as ConvertParams
from narrowgauge.golden.units.shift_attend import Params
from narrowgauge.hdl.arith.fp_mul import FpMul
from narrowgauge.hdl.arith.int_to_fp import IntToFp
from narrowgauge.hdl.arith.shifter import saturated
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.attend_lanes import Chain, Shared

__all__ = ["ShiftAttend"]

_QUOTIENT = 9
"""Bits of the quotient before it is rounded."""


class ShiftAttend(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.shift_attend.Params`

    Ports
    -----
    i : stream of `params.input`, one position a cycle
    o : stream of `params.output`, `lanes` elements a row
    """

    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        self.latency = 3 + _QUOTIENT if params.renormalise else 1
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Amount, lanes, flags of the row, chain, conversion."""
        m = Module()
        p = self._params
        beat = self.i.payload
        # Elements leave; a chain begins so after a reset, when there is nothing to show.
        drain, show = Signal(init=p.share == 1), Signal()
        index = Signal(range(p.lanes))
        take, step, final = Signal(), Signal(), Signal()
        m.submodules.lanes = lanes = Chain(p) if p.share == 1 else Shared(p)
        m.d.comb += [
            self.i.ready.eq(~drain & lanes.whole),
            self.o.valid.eq(show),
            take.eq(self.i.valid & ~drain & lanes.whole),
            final.eq(index == p.lanes - 1),
        ]
        apart = Signal(signed(9))
        reach = Signal(9)
        live, bad = Signal(), Signal()
        amount = Signal((p.fraction + 1).bit_length())
        m.d.comb += [
            apart.eq(beat.reference - beat.scale),
            reach.eq(apart[:8] + beat.code),
            live.eq(self.i.valid & ~drain & ~beat.zero),
            amount.eq(saturated(reach, len(amount)) | (~live).replicate(len(amount))),
            bad.eq(beat.nan | (~beat.zero & (apart[8] | beat.reference.all()))),
        ]
        m.d.comb += [
            lanes.v.eq(beat.v.as_value()),
            lanes.work.eq(self.i.valid & ~drain),
            lanes.live.eq(live),
            lanes.amount.eq(amount),
            lanes.step.eq(step),
        ]

        # The sum of the probabilities, whose overflow is as bad as a NaN.
        share, total = Signal(p.sum_fraction + 1), Signal(p.sum_fraction + p.sum_bits)
        summed = Signal(len(total) + 1)
        nan = Signal()
        reference = Signal(8, reset_less=True)
        m.d.comb += [
            Cat(share[p.sum_fraction - code] for code in range(1 << p.bits)).eq(
                Cat((beat.code == code) & ~beat.zero for code in range(1 << p.bits))
            ),
            summed.eq(total + share),
        ]
        with m.If(take):
            m.d.sync += [
                total.eq(summed),
                nan.eq(nan | bad | summed[-1]),
                reference.eq(beat.reference),
            ]
        with m.If(step):
            m.d.sync += index.eq(Mux(final, 0, index + 1))
        with m.If(take & beat.last):
            m.d.sync += drain.eq(1)
        with m.Elif(step & final):
            m.d.sync += [drain.eq(0), nan.eq(0), total.eq(0)]

        width = max(p.width, len(total) + 1)
        m.submodules.convert = convert = IntToFp(
            ConvertParams(int_width=width, exp_bits=8, man_bits=7, scale_width=9)
        )
        acc = lanes.acc.as_signed()
        scale = Signal(signed(9))
        m.d.comb += scale.eq(reference - (127 + p.fraction))
        result = Signal(16)
        if p.renormalise:
            busy, first, factor = self._reciprocal(m, take & beat.last, total, convert.o)
            m.submodules.multiply = multiply = FpMul(MultiplyParams(exp_bits=8, man_bits=7))
            m.d.comb += [
                convert.i.eq(Mux(first, total, acc)),
                convert.scale.eq(Mux(first, -p.sum_fraction, scale)),
                multiply.a.eq(convert.o),
                multiply.b.eq(factor),
                result.eq(multiply.o),
                step.eq(drain & ~busy & (~show | self.o.ready)),
            ]
            starts = Signal()
            m.d.comb += starts.eq(busy & ~first & self._done)
        else:
            m.d.comb += [
                convert.i.eq(acc),
                convert.scale.eq(scale),
                result.eq(convert.o),
                step.eq(drain & (~show | self.o.ready)),
            ]
            starts = take & beat.last
        with m.If(starts):
            m.d.sync += show.eq(1)
        with m.Elif(step & final):
            m.d.sync += show.eq(0)
        m.d.comb += [
            self.o.payload.result.eq(Mux(nan, 0x7FC0, result)),
            self.o.payload.last.eq(final),
        ]
        return m

    def _reciprocal(
        self, m: Module, start: Value, total: Value, converted: Value
    ) -> tuple[Signal, Signal, Value]:
        """Busy, the cycle in which the sum is converted, and bf16 of 1 / sum afterwards.

        Nine steps of restoring division of 2^15 by the significand, then one that rounds: what is
        left is at least half a divisor where one more bit would be 1, and a tie does not occur.
        """
        busy, first = Signal(name="dividing"), Signal(name="dividing_first")
        field, mantissa = Signal(8, reset_less=True), Signal(7, reset_less=True)
        rest = Signal(9, reset_less=True)
        quotient = Signal(_QUOTIENT, reset_less=True)
        count = Signal(range(_QUOTIENT + 1))
        less = Signal(signed(10))
        fits = Signal()
        self._done = Signal(name="dividing_done")
        m.d.comb += [
            less.eq(rest - Cat(mantissa, Const(1, 1))),
            fits.eq(~less[-1]),
            self._done.eq(count == _QUOTIENT),
        ]
        with m.If(start):
            m.d.sync += [busy.eq(1), first.eq(1)]
        with m.If(first):
            m.d.sync += [
                first.eq(0),
                mantissa.eq(converted[:7]),
                field.eq(converted[7:15]),
                rest.eq(1 << 7),
                quotient.eq(0),
                count.eq(0),
            ]
        with m.Elif(busy):
            m.d.sync += [
                rest.eq(Mux(fits, less, rest) << 1),
                count.eq(count + 1),
                quotient.eq(Mux(self._done, quotient + fits, Cat(fits, quotient))),
            ]
            with m.If(self._done):
                m.d.sync += busy.eq(0)
        exponent = Signal(8, name="factor_exponent")
        m.d.comb += exponent.eq(253 - field + quotient[8])
        return busy, first, Cat(quotient[:7], exponent, Const(0, 1))
