"""OPAL core: control, operand memory, multi-mode array, softmax, attention, collector.

Beats of rows go straight from the input to the array; the operand's word was fetched the cycle
before. A queue beside the array holds what belongs to its results: the scale of the row, where it
goes, how the command ends. Results are rounded to bf16 and scaled on their way to the collector,
scores only rounded on theirs to the softmax. Rows of V meet the softmax's codes at the attention.

One quantiser serves LOAD, PASS and answers in blocks. The operand memory holds low codes four to a
cell, high ones two; where the mode takes fewer, a word serves two beats. What its blocks share has
a memory of its own, which a guard may stand at.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data

from narrowgauge.golden.arith.fp_mul import Params as MulParams
from narrowgauge.golden.cores.opal_core import Params
from narrowgauge.hdl.arith.fp_mul import FpMul
from narrowgauge.hdl.cores.collector import Collector
from narrowgauge.hdl.cores.control import Control, Limits
from narrowgauge.hdl.cores.frame import receive, rounding, route
from narrowgauge.hdl.cores.operands import Operands
from narrowgauge.hdl.cores.queue import Queue
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.log2_softmax import Log2Softmax
from narrowgauge.hdl.units.opal_dot import OpalDot
from narrowgauge.hdl.units.shift_attend import ShiftAttend

__all__ = ["OpalCore"]

_TAG = data.StructLayout({"row_scale": 16, "score": 1, "last": 1, "drop": 1, "status": 3})
"""What belongs to a result of the array."""

_ROWS = 3
"""Rows in flight: those of two beats and more are as fast as they come, those of one are not."""

_BLOCK = ("scale", "outliers", "positions")


class OpalCore(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.cores.opal_core.Params`

    Ports
    -----
    i : stream of `params.input`, packets
    o : stream of `params.output`, their answers

    With a guard, `events` are what it corrects and detects, for a system to count.
    """

    latency = None
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        guarded = params.guarded is not None
        self.events = {n: Signal(name=n.lower()) for n in ("CORRECTED", "DETECTED") if guarded}
        super().__init__(params)

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
                mixed=True,
                transposed=False,
            )
        )
        m.submodules.dot = dot = OpalDot(p.dot)
        m.submodules.softmax = softmax = Log2Softmax(p.softmax)
        m.submodules.attend = attend = ShiftAttend(p.attention)
        m.submodules.collector = collector = Collector(
            output=p.output, head=p.head, quantiser=p.quantiser
        )
        m.submodules.tags = tags = Queue(_TAG, _ROWS)
        word = receive(m, self, control, collector, p.q_lanes)
        m.d.comb += control.take.eq(
            Mux(
                control.stream,
                collector.beats.ready,
                Mux(
                    control.rows,
                    dot.i.ready & tags.i.ready,
                    softmax.o.valid & attend.i.ready,
                ),
            )
        )

        # Rows.
        m.submodules.operand = chosen = Module()
        block_end = self._operands(m, chosen, control, collector, dot)
        array = dot.i.payload
        m.d.comb += [
            dot.i.valid.eq(self.i.valid & control.rows & tags.i.ready),
            array.a_high.eq(control.a_high),
            # Nothing moves in the array while other beats pass by.
            array.w.eq(word & control.rows.replicate(len(word))),
            array.w_high.eq(control.w_high),
            *(array[f"w_{name}"].eq(beat[name]) for name in _BLOCK),
            array.end.eq(block_end | control.row_end | beat.last),
            array.last.eq(control.row_end | beat.last),
        ]
        tag = tags.i.payload
        m.d.comb += [
            tags.i.valid.eq(control.moved & control.rows & (control.row_end | beat.last)),
            tag.row_scale.eq(beat.row_scale),
            tag.score.eq(control.attend),
            tag.last.eq(control.ends),
            tag.drop.eq(~control.row_end),
            tag.status.eq(control.status),
        ]

        # Results.
        made = tags.o.payload
        rounded = Signal(16)
        # What the accumulator holds in between does not move the multiplier.
        with m.If(dot.o.valid):
            m.d.comb += rounded.eq(rounding(dot.o.payload.result))
        m.submodules.scale = scale = FpMul(MulParams(exp_bits=8, man_bits=7))
        m.d.comb += [
            scale.a.eq(rounded),
            scale.b.eq(made.row_scale),
            collector.rows.payload.x.eq(scale.o),
        ]
        route(m, tags, dot, softmax, collector, rounded)

        # Attention: a row of V with its code; what is left of a cut one is thrown away.
        code, position = softmax.o.payload, attend.i.payload
        m.d.comb += [
            control.drained.eq(softmax.o.valid & code.last),
            softmax.o.ready.eq(control.drain | (control.values & self.i.valid & attend.i.ready)),
            attend.i.valid.eq(control.values & self.i.valid & softmax.o.valid),
            *(position[name].eq(code[name]) for name in ("code", "zero", "nan")),
            position.scale.eq(beat.scale),
            position.reference.eq(control.reference),
            position.last.eq(control.ends),
            collector.heads.valid.eq(attend.o.valid),
            attend.o.ready.eq(collector.heads.ready),
            collector.heads.payload.x.eq(attend.o.payload.result),
            collector.heads.payload.last.eq(attend.o.payload.last),
        ]
        for e in range(p.head):
            start = 2 * p.low * e
            v = word[start : start + p.dot.high]
            m.d.comb += position.v[e].eq(v & control.values.replicate(len(v)))
        return m

    def _operands(
        self, m: Module, chosen: Module, control: Control, collector: Collector, dot: OpalDot
    ) -> Value:
        """Operand memory, written by the quantiser, read by the array; whether a block ends."""
        p = self._params
        stored, block = collector.stored, collector.stored.block
        low, step = p.low, p.low - 1
        depth = 2 * p.vector // p.lanes
        m.submodules.words = words = Operands(
            width=p.word_bits, depth=depth, chunk=2 * low * p.q_lanes, grains=2
        )
        meta = Cat(block.scale, block.outliers, block.positions)
        m.submodules.blocks = blocks = Operands(
            width=len(meta), depth=p.vector // p.k, chunk=len(meta), guard=p.guarded
        )
        for name, event in self.events.items():
            m.d.comb += event.eq(getattr(blocks, name.lower()))
        narrow: list[Value] = []
        wide: list[Value] = []
        for j in range(p.q_lanes):
            code = block.codes[j]
            narrow.append(Cat(code[:step], code[-1]))
            wide.append(Cat(code[:step], code[-1], code[step:-1], code[-1]))

        # The block ends where the low bits of the beat's number are ones.
        bits = (p.k // p.lanes).bit_length() - 1
        steps = [control.beat[: bits + more].all() for more in range(3)]
        double = Signal(2, name="high_sides")
        block_end = Signal()
        m.d.comb += [
            double.eq(control.a_high + control.w_high),
            block_end.eq(Mux(double[1], steps[2], Mux(double[0], steps[1], steps[0]))),
        ]
        m.d.comb += [
            words.write.eq(collector.store),
            words.write_half.eq(stored.low),
            words.data.eq(Mux(stored.low, Cat(*narrow, *narrow), Cat(wide))),
            words.write_end.eq(stored.end),
            blocks.write.eq(collector.store & block.last),
            blocks.data.eq(meta),
            blocks.write_end.eq(stored.end),
            words.advance.eq(control.moved & control.rows),
            words.row_end.eq(control.row_end),
            words.twice.eq(control.w_high),
            blocks.advance.eq(control.moved & control.rows & (block_end | control.row_end)),
            blocks.row_end.eq(control.row_end),
            control.operand.eq(words.ready),
        ]
        for memory in (words, blocks):
            m.d.comb += [
                memory.write_keep.eq(stored.keep),
                memory.pop.eq(control.pop),
                memory.restart.eq(control.restart),
            ]

        # As the cells take them (`golden.arith.multimode_mul.pack`): where the weights are high, a
        # half of the word serves the beat, each pair of slots doubled.
        array = dot.i.payload
        size = p.word_bits // 2
        part = Signal(size, name="half_word")
        chosen.d.comb += part.eq(Mux(words.half, words.word[size:], words.word[:size]))
        for c in range(p.lanes // 4):
            whole = [words.word[4 * low * c + low * s :][:low] for s in range(4)]
            lower, upper = part[2 * low * c :][:low], part[2 * low * c + low :][:low]
            middle = (
                Mux(control.a_high, upper, lower),
                Mux(control.a_high, lower, upper),
            )
            halved = (lower, *middle, upper)
            cell = Signal(4 * low, name=f"cell{c}")
            chosen.d.comb += cell.eq(Mux(control.w_high, Cat(halved), Cat(whole)))
            m.d.comb += array.a[c].eq(cell)
        shown = blocks.word
        start = 0
        for name in _BLOCK:
            field = array[f"a_{name}"]
            width = 8 if name == "scale" else len(field.as_value())
            m.d.comb += field.eq(shown[start : start + width])
            start += width
        return block_end
