"""Baseline cores: control, element memory, array, bf16 softmax, collector.

Beats of rows go straight from the input to the array; the word of the vector, or of the
probabilities, was fetched the cycle before. A queue beside the array holds what belongs to its
results: where they go, how the command ends, the scale of the row where rows have one. Results are
rounded to bf16 on their way to the collector, and scores on theirs to the softmax, whose
probabilities go to the memory; rows of V wait until all are there.
"""

from abc import ABC, abstractmethod
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data

from narrowgauge.golden.arith.fp_mul import Params as MulParams
from narrowgauge.golden.cores.bf16_core import Params as Bf16Params
from narrowgauge.golden.cores.w4a16_core import Params as W4a16Params
from narrowgauge.hdl.arith.fp_mul import FpMul
from narrowgauge.hdl.cores.collector import Collector
from narrowgauge.hdl.cores.control import Control, Limits
from narrowgauge.hdl.cores.elements import Elements
from narrowgauge.hdl.cores.frame import receive, rounding, route
from narrowgauge.hdl.cores.queue import Queue
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.bf16_softmax import Bf16Softmax

__all__ = ["BaselineCore"]


class BaselineCore(StreamUnit, ABC):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.cores.bf16_core.Params`, or those of another such core

    Ports
    -----
    i : stream of `params.input`, packets
    o : stream of `params.output`, their answers
    """

    latency = None
    interval = None
    scaled = False
    """Whether results are multiplied by the row's scale."""

    def __init__(self, params: Bf16Params | W4a16Params) -> None:
        self._params = params
        super().__init__(params)

    @abstractmethod
    def array(self, m: Module) -> Any:
        """The dot product unit, its weights connected; its `a`, `last` and handshake are not."""

    def elaborate(self, platform: object) -> Module:
        """The parts, and what goes from one to the other."""
        m = Module()
        p = self._params
        beat = self.i.payload
        m.submodules.control = control = Control(
            Limits(
                q_lanes=p.q_lanes,
                lanes=p.lanes,
                vector=p.vector,
                head=p.head,
                length=p.length,
                mixed=False,
                transposed=True,
            )
        )
        m.submodules.elements = elements = Elements(
            lanes=p.lanes,
            q_lanes=p.q_lanes,
            depth=p.vector // p.lanes,
            shares=p.length // p.lanes,
        )
        m.submodules.dot = dot = self.array(m)
        m.submodules.softmax = softmax = Bf16Softmax(p.softmax)
        m.submodules.collector = collector = Collector(output=p.output, head=p.head, quantiser=None)
        tag_of = {"score": 1, "last": 1, "drop": 1, "status": 3}
        if self.scaled:
            tag_of |= {"plain": 1, "row_scale": 16}
        m.submodules.tags = tags = Queue(data.StructLayout(tag_of), dot.latency + 2)
        receive(m, self, control, collector, p.q_lanes)

        # A row of V waits for the probabilities.
        open_, run = Signal(), Signal()
        m.d.comb += [
            open_.eq((control.rows | (control.values & elements.shares_ready)) & tags.i.ready),
            run.eq(open_ & dot.i.ready),
            control.take.eq(Mux(control.stream, collector.beats.ready, run)),
            control.operand.eq(elements.ready),
        ]

        # Vectors loaded.
        stored = collector.stored
        m.d.comb += [
            elements.write.eq(collector.store),
            elements.data.eq(Cat(stored.x)),
            elements.write_end.eq(stored.end),
            elements.write_keep.eq(stored.keep),
            elements.pop.eq(control.pop),
            elements.restart.eq(control.restart),
        ]

        # Rows.
        row_end = Signal()
        tag = tags.i.payload
        m.d.comb += [
            row_end.eq(control.row_end | beat.last),
            dot.i.valid.eq(self.i.valid & open_),
            dot.i.payload.last.eq(row_end),
            elements.values.eq(control.values),
            elements.advance.eq(control.moved & ~control.stream),
            elements.row_end.eq(control.row_end),
            tags.i.valid.eq(control.moved & ~control.stream & row_end),
            tag.score.eq(control.attend & control.rows),
            tag.last.eq(control.ends),
            tag.drop.eq(~control.row_end),
            tag.status.eq(control.status),
        ]
        for j in range(p.lanes):
            m.d.comb += dot.i.payload.a[j].eq(elements.word[16 * j : 16 * (j + 1)])

        # Results.
        made = tags.o.payload
        rounded = Signal(16)
        result = collector.rows.payload
        m.d.comb += [rounded.eq(rounding(dot.o.payload.result)), result.x.eq(rounded)]
        route(m, tags, dot, softmax, collector, rounded)
        if self.scaled:
            m.submodules.scale = scale = FpMul(MulParams(exp_bits=8, man_bits=7))
            m.d.comb += [
                # Attention has no scales of rows.
                tag.plain.eq(control.attend),
                tag.row_scale.eq(beat.row_scale),
                scale.a.eq(rounded),
                scale.b.eq(made.row_scale),
                result.x.eq(Mux(made.plain, rounded, scale.o)),
            ]

        # Probabilities; those of an attention that was cut are thrown away.
        share = softmax.o.payload
        m.d.comb += [
            control.drained.eq(softmax.o.valid & share.last),
            softmax.o.ready.eq(1),
            elements.share_write.eq(softmax.o.valid & ~control.drain),
            elements.share.eq(share.p),
            elements.share_end.eq(share.last),
        ]
        return m
