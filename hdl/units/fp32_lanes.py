"""What the FP32 baselines of batch normalisation share: words, operators, registers, handshake.

A lane is a few words, an adder before its multiplier and two behind it. Each operator has a cycle
of its own. All passes share them: accumulators are words that constants are loaded into, or
registers between stages, so that a pass needs no register of its own.

A load waits until the stages are empty. A pass of sums takes no beat after its last one until it
is answered, so that its totals stand still while they are offered.
"""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, Value

from narrowgauge.golden.arith.fp_add import Params as AddParams
from narrowgauge.golden.arith.fp_mul import Params as MulParams
from narrowgauge.golden.units.fp32_bn import Params as BnParams
from narrowgauge.golden.units.fp32_range_bn import Params as RangeBnParams
from narrowgauge.hdl.arith.fp_add import FpAdd
from narrowgauge.hdl.arith.fp_mul import FpMul
from narrowgauge.hdl.stream import StreamUnit

__all__ = ["Control", "Fp32LanesUnit", "chosen", "fp32_add", "fp32_multiply"]


@dataclass(frozen=True, kw_only=True)
class Control:
    """What all lanes are told; `valid`, `last`, `leave` have an entry for stage 1 and for stage 2.

    Parameters
    ----------
    mode : as the last load set it
    sums : the mode adds up
    load : the pairs that this cycle loads
    take : a beat of values is taken
    end : what is offered is the last of a sum
    enter : stage 1 is filled
    valid, last : the stage holds a beat; it is the last of its pass
    leave : a beat leaves the stage
    answers : what stage 2 holds is answered
    """

    mode: Signal
    sums: Signal
    load: Signal
    take: Signal
    end: Signal
    enter: Signal
    valid: tuple[Signal, Signal]
    last: tuple[Signal, Signal]
    leave: tuple[Signal, Signal]
    answers: Signal


def fp32_add(m: Module, a: Value, b: Value, name: str) -> Signal:
    """A named sum, rounded once."""
    m.submodules[name] = adder = FpAdd(AddParams(exp_bits=8, man_bits=23))
    total = Signal(32, name=f"{name}_sum")
    m.d.comb += [adder.a.eq(a), adder.b.eq(b), total.eq(adder.o)]
    return total


def fp32_multiply(m: Module, a: Value, b: Value, name: str) -> Signal:
    """A named product, rounded once; b is recoded, a zero there leaves the multiplier quiet."""
    m.submodules[name] = multiplier = FpMul(MulParams(exp_bits=8, man_bits=23))
    product = Signal(32, name=f"{name}_product")
    m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b), product.eq(multiplier.o)]
    return product


def chosen(m: Module, name: str, *ways: tuple[Value, Value]) -> Signal:
    """The value whose condition holds, of (condition, value); 0 where none does."""
    result = Signal(32, name=name)
    terms = [value & condition.replicate(32) for condition, value in ways]
    whole = terms[0]
    for term in terms[1:]:
        whole = whole | term
    m.d.comb += result.eq(whole)
    return result


class Fp32LanesUnit(StreamUnit):
    """The base of both units: the handshake."""

    latency = None
    interval = None

    def __init__(self, params: BnParams | RangeBnParams) -> None:
        self._pairs = params.pairs
        super().__init__(params)

    def control(self, m: Module) -> Control:
        """Take, load, move on, answer; `end`, `enter`, `answers` are the caller's to drive."""
        beat = self.i.payload
        mode, sums, closing, loads = Signal(2), Signal(), Signal(), Signal()
        load, take, end, enter = Signal(self._pairs), Signal(), Signal(), Signal()
        valid = Signal(name="valid1"), Signal(name="valid2")
        last = Signal(name="last1", reset_less=True), Signal(name="last2", reset_less=True)
        leave = Signal(name="leave1"), Signal(name="leave2")
        answers, go, free = Signal(), Signal(), Signal()
        m.d.comb += [
            sums.eq(mode[1]),
            loads.eq(beat.load.any()),
            free.eq(~valid[0] | go),
            self.i.ready.eq(~closing & Mux(loads, ~(valid[0] | valid[1]), free)),
            take.eq(self.i.valid & self.i.ready & ~loads),
            load.eq(beat.load & (self.i.valid & self.i.ready).replicate(len(load))),
            leave[0].eq(valid[0] & go),
            leave[1].eq(valid[1] & go),
            go.eq(~(valid[1] & answers) | self.o.ready),
            self.o.valid.eq(valid[1] & answers),
            self.o.payload.last.eq(last[1]),
        ]
        with m.If(load.any()):
            m.d.sync += mode.eq(beat.mode)
        # What follows the end of a sum waits until the sum has been answered.
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += closing.eq(0)
        with m.Elif(take & sums & end):
            m.d.sync += closing.eq(1)
        with m.If(free):
            m.d.sync += valid[0].eq(enter)
        with m.If(go):
            m.d.sync += valid[1].eq(valid[0])
        with m.If(take):
            m.d.sync += last[0].eq(beat.last)
        with m.If(leave[0]):
            m.d.sync += last[1].eq(last[0])
        return Control(
            mode=mode,
            sums=sums,
            load=load,
            take=take,
            end=end,
            enter=enter,
            valid=valid,
            last=last,
            leave=leave,
            answers=answers,
        )
