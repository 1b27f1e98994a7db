"""Streams that a soft reset never leaves in the middle of a packet.

Between the streams outside and those of a core. A beat that is offered outside stays until it is
taken: a soft reset waits for that, then resets the core for a cycle. A response that it cuts is
ended by a beat of zeros with status 15; the rest of a packet that it cuts is discarded up to its
`last`, or taken for new packets where `fresh` was given with it. While `enable` is 0 no packet is
begun; one that is under way goes on.

No latency: beats pass straight through.
"""

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["STATUS_RESET", "Guard"]

STATUS_RESET = 15
"""Status of a response that a soft reset has cut."""


class Guard(wiring.Component):
    """See the module.

    Parameters
    ----------
    input, output : layouts of the core's payloads, with `last`, and `status` in the output

    Ports
    -----
    i, o : the streams outside
    core_i, core_o : the streams of the core
    enable : In, packets may begin
    request, fresh : In, a soft reset is asked for
    reset : Out, the core is reset in this cycle
    waiting : Out, a soft reset is asked for and not yet done
    begin : Out, a header is taken in this cycle
    partial : Out, a packet or a response is under way, or its rest is discarded
    cut : Out, the beat that is offered ends a response that was cut
    """

    def __init__(self, input: Any, output: Any) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(input)),
                "o": Out(stream.Signature(output)),
                "core_i": Out(stream.Signature(input)),
                "core_o": In(stream.Signature(output)),
                "enable": In(1),
                "request": In(1),
                "fresh": In(1),
                "reset": Out(1),
                "waiting": Out(1),
                "begin": Out(1),
                "partial": Out(1),
                "cut": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Input side, output side, the reset between them."""
        m = Module()
        inside, discard, unlocked = Signal(), Signal(), Signal(init=1)
        answering, fresh = Signal(), Signal()
        taken, given, gate = Signal(), Signal(), Signal()
        m.d.comb += [
            gate.eq((inside | unlocked) & ~discard & ~self.waiting & ~self.reset),
            self.core_i.payload.eq(self.i.payload),
            self.core_i.valid.eq(self.i.valid & gate),
            self.i.ready.eq((self.core_i.ready & gate) | discard),
            taken.eq(self.i.valid & self.i.ready),
            self.begin.eq(taken & ~inside),
            self.partial.eq(inside | answering | self.cut),
        ]
        with m.If(taken):
            m.d.sync += inside.eq(~self.i.payload.last)
            with m.If(self.i.payload.last):
                m.d.sync += discard.eq(0)
        # What has been offered to the core is not withdrawn.
        with m.If(~self.core_i.valid | self.core_i.ready):
            m.d.sync += unlocked.eq(self.enable)

        m.d.comb += [
            self.o.valid.eq((self.core_o.valid & ~self.reset) | self.cut),
            self.core_o.ready.eq(self.o.ready & ~self.reset & ~self.cut),
            given.eq(self.o.valid & self.o.ready),
        ]
        zeros = Value.cast(self.core_o.payload) & (~self.cut).replicate(
            len(Value.cast(self.o.payload))
        )
        m.d.comb += Value.cast(self.o.payload).eq(zeros)
        with m.If(self.cut):
            m.d.comb += [self.o.payload.last.eq(1), self.o.payload.status.eq(STATUS_RESET)]
        with m.If(given):
            m.d.sync += [answering.eq(~self.o.payload.last), self.cut.eq(0)]

        m.d.sync += self.reset.eq(0)
        with m.If(self.request):
            m.d.sync += [self.waiting.eq(1), fresh.eq(self.fresh)]
        with m.Elif(self.waiting & (~self.o.valid | self.o.ready)):
            m.d.sync += [self.waiting.eq(0), self.reset.eq(1)]
        with m.If(self.reset):
            m.d.sync += [
                self.cut.eq(answering),
                answering.eq(0),
                discard.eq(inside & ~fresh & ~(taken & self.i.payload.last)),
            ]
            with m.If(fresh):
                m.d.sync += inside.eq(0)
        return m
