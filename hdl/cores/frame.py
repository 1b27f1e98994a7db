"""What the cores' parts have to do with each other, whatever the array: packets in, results out."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring

from narrowgauge.hdl.cores.collector import Collector
from narrowgauge.hdl.cores.control import HEADER, Control
from narrowgauge.hdl.cores.queue import Queue
from narrowgauge.hdl.stream import StreamUnit

__all__ = ["receive", "rounding", "route"]


def receive(
    m: Module, core: StreamUnit, control: Control, collector: Collector, q_lanes: int
) -> Signal:
    """The input at the control, elements of LOAD and PASS at the collector, answers at the output.

    What lies beyond a vector's length is 0. Returns the beat's `word` as one signal.
    """
    beat = core.i.payload
    word = Signal(len(Value.cast(beat.word)))
    elements = collector.beats.payload
    wiring.connect(m, control.orders, collector.orders)
    wiring.connect(m, collector.o, wiring.flipped(core.o))
    m.d.comb += [
        word.eq(Cat(beat.word)),
        control.valid.eq(core.i.valid),
        control.header.eq(data.View(HEADER, word[: HEADER.size])),
        control.last.eq(beat.last),
        core.i.ready.eq(control.ready),
        collector.beats.valid.eq(core.i.valid & control.stream),
        elements.last.eq(control.ends),
        elements.status.eq(control.status),
    ]
    for j in range(q_lanes):
        there = ~control.final | (control.tail >= j) if j else 1
        m.d.comb += elements.x[j].eq(Mux(there, word[16 * j : 16 * (j + 1)], 0))
    return word


def route(
    m: Module, tags: Queue, dot: Any, softmax: Any, collector: Collector, rounded: Value
) -> None:
    """Results of the array, which `tags` tells of, to the collector or as scores to the softmax.

    `rounded` is the result in bf16; what the collector takes of it is connected elsewhere.
    """
    made, row = tags.o.payload, collector.rows.payload
    m.d.comb += [
        row.last.eq(made.last),
        row.drop.eq(made.drop),
        row.status.eq(made.status),
        collector.rows.valid.eq(dot.o.valid & ~made.score),
        softmax.i.valid.eq(dot.o.valid & made.score),
        softmax.i.payload.x.eq(rounded),
        softmax.i.payload.last.eq(made.last),
        dot.o.ready.eq(Mux(made.score, softmax.i.ready, collector.rows.ready)),
        tags.o.ready.eq(dot.o.valid & dot.o.ready),
    ]


def rounding(fp32: Value) -> Value:
    """FP32 to bf16, RNE; of a NaN only the canonical one."""
    return fp32[16:] + (fp32[15] & (fp32[16] | fp32[:15].any()))
