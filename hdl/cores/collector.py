"""Answers of the cores: elements gathered to beats, made blocks where asked, in order.

One beat is gathered at a time, from the source that the oldest order names. It goes out, or into
the quantiser, which has zeros appended up to whole blocks; blocks go out, or to the operand memory.
Beats of both ways leave in order, as a beat waits until the blocks before it have gone.

A beat is offered the cycle after its last element came; one element, or one beat of a stream, a
cycle.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.payload import Payload
from narrowgauge.golden.units.mx_quantize import Params as QuantiserParams
from narrowgauge.hdl.cores.control import Source, Status, order
from narrowgauge.hdl.cores.queue import Queue
from narrowgauge.hdl.payload import layout
from narrowgauge.hdl.units.mx_quantize import MxQuantize

__all__ = ["Collector", "Element", "stored"]

Element = data.StructLayout({"x": 16, "last": 1, "drop": 1, "status": 3})
"""A result: `last` of its answer, with the answer's status; `drop`: it is none, but may end it."""

_ORDERS = 2
"""Answers in flight: what is gathered, and what the array works on."""


def stored(lanes: int, quantiser: QuantiserParams | None) -> data.StructLayout:
    """A beat for the operand memory.

    `end`: the vector's final; `keep`: the vector counts; `block_end` and `low` with a quantiser.
    """
    fields: dict[str, object] = {"end": 1, "keep": 1}
    if quantiser is None:
        return data.StructLayout({"x": data.ArrayLayout(16, lanes), **fields})
    return data.StructLayout({"block": layout(quantiser.output), "low": 1, **fields})


@dataclass
class _Beat:
    """Registers beside the gathered elements: what the beat is and where it goes."""

    valid: Signal
    ended: Signal
    status: Signal
    blocks: Signal
    memory: Signal
    low: Signal
    plain: Signal


class Collector(wiring.Component):
    """See the module.

    Parameters
    ----------
    output : beats of answers: `data`, `status`, `last`; with a quantiser its block's fields too
    head : elements of the widest head
    quantiser : parameters of the quantiser, or None for a core whose vectors stay bf16

    Ports
    -----
    orders : stream of `order(head)`
    beats : stream of {x, last, status}, elements of LOAD and PASS, zeros beyond the last
    rows : stream of `Element`, results of rows
    heads : stream of {x, last}, elements of heads of full width
    o : stream of `output`
    store : Out, a beat for the operand memory is there; stored : Out, the beat
    """

    def __init__(self, *, output: Payload, head: int, quantiser: QuantiserParams | None) -> None:
        self._quantiser = quantiser
        self._lanes = output["data"].count or 1
        self._head = head
        beat = data.StructLayout({"x": data.ArrayLayout(16, self._lanes), "last": 1, "status": 3})
        super().__init__(
            {
                "orders": In(stream.Signature(order(head))),
                "beats": In(stream.Signature(beat)),
                "rows": In(stream.Signature(Element)),
                "heads": In(stream.Signature(data.StructLayout({"x": 16, "last": 1}))),
                "o": Out(stream.Signature(layout(output))),
                "store": Out(1),
                "stored": Out(stored(self._lanes, quantiser)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Orders, gathering, the way out."""
        m = Module()
        lanes = self._lanes
        m.submodules.queue = queue = Queue(order(self._head), _ORDERS)
        wiring.connect(m, wiring.flipped(self.orders), queue.i)
        asked = queue.o.payload

        slots = [Signal(16, name=f"slot{j}", reset_less=True) for j in range(lanes)]
        fill = Signal(range(lanes)) if lanes > 1 else Signal(1)
        b = _Beat(
            Signal(name="valid"),
            *(Signal(n, name=k, reset_less=True) for k, n in (("ended", 1), ("status", 3))),
            *(Signal(name=k, reset_less=True) for k in ("blocks", "memory", "low", "plain")),
        )
        free, taken, clear = Signal(), Signal(), Signal()
        self._way_out(m, slots, b, taken, clear)
        m.d.comb += free.eq(~b.valid | (taken & ~clear))

        # What the oldest order's source gives.
        come = Signal()
        sources = {
            Source.BARE: come,
            Source.BEATS: self.beats.valid,
            Source.ROWS: self.rows.valid,
            Source.HEADS: self.heads.valid,
        }
        chosen = {each: Signal(name=f"from_{each.name.lower()}") for each in Source}
        for each, flag in chosen.items():
            m.d.comb += flag.eq(queue.o.valid & (asked.source == each))
        # A head of less than full width ends early; one that was cut is not wanted at all.
        index, beyond = Signal(len(asked.width)), Signal()
        unwanted, swallow, head_end = Signal(), Signal(), Signal()
        m.d.comb += [
            come.eq(1),
            unwanted.eq(asked.status == Status.CUT),
            swallow.eq(chosen[Source.HEADS] & (beyond | (unwanted & ~self.heads.payload.last))),
            head_end.eq((index == asked.width) | (unwanted & self.heads.payload.last)),
        ]
        got = Signal()
        m.d.comb += [
            got.eq(
                free & Cat(flag & sources[each] for each, flag in chosen.items()).any() & ~swallow
            ),
            self.beats.ready.eq(chosen[Source.BEATS] & free),
            self.rows.ready.eq(chosen[Source.ROWS] & free),
            self.heads.ready.eq(chosen[Source.HEADS] & (free | swallow)),
        ]
        heads_moved = Signal()
        m.d.comb += heads_moved.eq(self.heads.valid & self.heads.ready)
        with m.If(heads_moved):
            with m.If(self.heads.payload.last):
                m.d.sync += [index.eq(0), beyond.eq(0)]
            with m.Elif(~swallow & head_end):
                m.d.sync += beyond.eq(1)
            with m.Else():
                m.d.sync += index.eq(index + 1)

        single, ends = Signal(), Signal()
        x = Signal(16)
        keep = Signal()
        rows, beats = self.rows.payload, self.beats.payload
        m.d.comb += [
            single.eq(chosen[Source.ROWS] | chosen[Source.HEADS]),
            x.eq(Mux(chosen[Source.ROWS], rows.x, self.heads.payload.x)),
            keep.eq(Mux(chosen[Source.ROWS], ~rows.drop, ~unwanted)),
            ends.eq(
                chosen[Source.BARE]
                | (chosen[Source.BEATS] & beats.last)
                | (chosen[Source.ROWS] & rows.last)
                | (chosen[Source.HEADS] & head_end)
            ),
            queue.o.ready.eq(
                Mux(
                    chosen[Source.HEADS],
                    heads_moved & self.heads.payload.last,
                    got & ends,
                )
            ),
        ]
        whole = Signal()
        m.d.comb += whole.eq(~single | ends | (fill == lanes - 1))
        with m.If(got):
            for j, slot in enumerate(slots):
                first = Mux(single & keep & (fill == j), x, 0)
                with m.If(~single):
                    m.d.sync += slot.eq(beats.x[j] & chosen[Source.BEATS].replicate(16))
                with m.Elif((fill == 0) | ((fill == j) & keep)):
                    m.d.sync += slot.eq(first)
            m.d.sync += [
                b.valid.eq(whole),
                fill.eq(Mux(whole, 0, fill + 1)),
                b.ended.eq(ends),
                b.status.eq(
                    Mux(
                        chosen[Source.BEATS],
                        beats.status,
                        Mux(chosen[Source.ROWS], rows.status, asked.status),
                    )
                ),
                b.blocks.eq(asked.blocks),
                b.memory.eq(asked.memory),
                b.low.eq(asked.low),
                b.plain.eq(asked.plain),
            ]
        with m.Elif(taken & ~clear):
            m.d.sync += b.valid.eq(0)
        return m

    def _way_out(
        self, m: Module, slots: list[Signal], b: _Beat, taken: Signal, clear: Signal
    ) -> None:
        """Where the gathered beat goes; `taken` with `clear`: zeros follow it, for the same answer.

        These fill up a block, or tell the status of a vector that went to the memory.
        """
        with m.If(taken & clear):
            m.d.sync += [slot.eq(0) for slot in slots]
        out = self.o.payload
        closing = Signal()
        m.d.comb += closing.eq(taken & b.memory & b.ended)
        if self._quantiser is None:
            m.d.comb += [
                self.store.eq(b.valid & b.memory),
                self.stored.x.eq(Cat(slots)),
                self.stored.end.eq(b.ended),
                self.stored.keep.eq(b.status == Status.OK),
                self.o.valid.eq(b.valid & ~b.memory),
                taken.eq(b.valid & (b.memory | self.o.ready)),
                clear.eq(b.memory & b.ended),
                out.data.eq(Cat(slots)),
                out.last.eq(b.ended),
                out.status.eq(Mux(b.ended, b.status, 0)),
            ]
            with m.If(closing):
                m.d.sync += b.memory.eq(0)
            return

        p = self._quantiser
        m.submodules.quantise = quantise = MxQuantize(p)
        number = Signal(range(p.beats))
        final, direct, busy = Signal(), Signal(), Signal()
        # Of the block that comes out: it is the answer's last, and where it goes.
        tag = Signal(
            data.StructLayout({"memory": 1, "ended": 1, "low": 1, "status": 3}), reset_less=True
        )
        block = quantise.o.payload
        m.d.comb += [
            final.eq(number.all()),
            direct.eq(b.valid & ~b.blocks),
            busy.eq(quantise.o.valid & ~tag.memory),
            quantise.i.valid.eq(b.valid & b.blocks),
            quantise.i.payload.x.eq(Cat(slots)),
            quantise.i.payload.low.eq(b.low),
            quantise.i.payload.plain.eq(b.plain),
            quantise.o.ready.eq(tag.memory | self.o.ready),
            taken.eq(Mux(b.blocks, b.valid & quantise.i.ready, direct & ~busy & self.o.ready)),
            clear.eq(b.blocks & b.ended & (~final | b.memory)),
        ]
        with m.If(taken & b.blocks):
            m.d.sync += number.eq(number + 1)
            with m.If(final):
                m.d.sync += [
                    tag.memory.eq(b.memory),
                    tag.ended.eq(b.ended),
                    tag.low.eq(b.low),
                    tag.status.eq(b.status),
                ]
        with m.If(closing & final):
            m.d.sync += [b.blocks.eq(0), b.memory.eq(0)]

        last = Signal()
        m.d.comb += [
            self.store.eq(quantise.o.valid & tag.memory),
            self.stored.block.eq(block),
            self.stored.low.eq(tag.low),
            self.stored.end.eq(block.last & tag.ended),
            self.stored.keep.eq(tag.status == Status.OK),
            self.o.valid.eq(busy | direct),
            last.eq(Mux(busy, block.last & tag.ended, b.ended)),
            out.last.eq(last),
            out.status.eq(Mux(last, Mux(busy, tag.status, b.status), 0)),
        ]
        for j, slot in enumerate(slots):
            m.d.comb += out.data[j].eq(Mux(busy, block.codes[j], slot))
        for name in ("scale", "outliers", "positions"):
            field: Value = block[name].as_value() if name != "scale" else block.scale
            m.d.comb += out[name].eq(field & busy.replicate(len(field)))
