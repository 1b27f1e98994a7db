"""Elements of multi-mode block floating point in lockstep, between two streams of packets.

    i -+-> control --> banks of A, B --> elements --> collector --> o
       +-> sequencer ----+

A bank is two memories, of which FB24 reads the first alone (`flexblock_banks`). With a guard it is
one, words lie in it with their check bits, and leave it decoded.

Banks are read a cycle before the elements take what they hold. A word of B goes to all elements
through one multiplexer, or each element's own to it.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory

from narrowgauge.golden.cores.flexblock_core import Params
from narrowgauge.hdl.arith.guard_code import Decoder, checks
from narrowgauge.hdl.cores.flexblock_banks import Halves, words_of_a, words_of_b
from narrowgauge.hdl.cores.flexblock_collector import Collector
from narrowgauge.hdl.cores.flexblock_commands import COLUMN, ORDER, RUN
from narrowgauge.hdl.cores.flexblock_control import Control
from narrowgauge.hdl.cores.flexblock_sequencer import Sequencer
from narrowgauge.hdl.cores.queue import Queue
from narrowgauge.hdl.payload import layout
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.bfp_pe import BfpPe

__all__ = ["FlexblockCore"]

_ORDERS = 8
"""Answers that are under way: words for what comes next are loaded while a RUN goes on."""

_RUNS = 2

_COLUMNS = 4
"""Columns between an element's input and its output, and one."""


class FlexblockCore(StreamUnit):
    """See the module.

    With a guard, `events` are how many words it corrects and detects, for a system to count.

    Parameters
    ----------
    params : see `narrowgauge.golden.cores.flexblock_core.Params`

    Ports
    -----
    i : stream of `params.input`
    o : stream of `params.output`
    """

    latency = None
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        names = ("CORRECTED", "DETECTED") if params.guarded is not None else ()
        self.events = {name: Signal(range(2 * params.pes + 1), name=name.lower()) for name in names}
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Control, sequencer, banks, elements, collector."""
        m = Module()
        p = self._params
        m.submodules.control = control = Control(p)
        m.submodules.sequencer = sequencer = Sequencer(p)
        m.submodules.collector = collector = Collector(p)
        for name, shape, depth in (("orders", ORDER, _ORDERS), ("runs", RUN, _RUNS)):
            m.submodules[name] = queue = Queue(shape, depth)
            wiring.connect(m, getattr(control, name), queue.i)
            wiring.connect(m, queue.o, getattr(collector, name))
        m.submodules.columns = columns = Queue(COLUMN, _COLUMNS)
        wiring.connect(m, columns.o, collector.columns)
        wiring.connect(m, collector.o, wiring.flipped(self.o))
        word = Signal(p.input["word"].bits)
        m.d.comb += [
            word.eq(Cat(self.i.payload.word)),
            control.word.eq(word),
            control.valid.eq(self.i.valid),
            control.last.eq(self.i.payload.last),
            self.i.ready.eq(control.ready),
            control.busy.eq(sequencer.running),
            control.group.eq(sequencer.group),
            sequencer.word.eq(word),
            sequencer.come.eq(control.come),
            sequencer.start.eq(control.start),
            sequencer.shared.eq(control.shared),
        ]

        # Operands that have been read, and what is known of them.
        there, taken, fetch = Signal(), Signal(), Signal()
        about = Signal(
            data.StructLayout(
                {
                    **{"mode": 2, "way": 4, "chosen": p.pes},
                    **{"end": 1, "last": 1, "column": COLUMN},
                }
            ),
            name="about",
            reset_less=True,
        )
        m.d.comb += [
            sequencer.go.eq(~there | taken),
            fetch.eq(sequencer.running & sequencer.go),
            columns.i.valid.eq(taken & about.last),
            columns.i.payload.eq(about.column),
        ]
        ways = [
            one & half
            for one in (~control.shared, control.shared)
            for half in (~control.mode[1], control.mode[1])
        ]
        with m.If(fetch):
            m.d.sync += [
                about.mode.eq(control.mode),
                about.way.eq(Cat(ways)),
                about.chosen.eq(
                    Cat(control.shared & (sequencer.b[: p.bank_bits] == i) for i in range(p.pes))
                ),
                about.end.eq(sequencer.end),
                about.last.eq(sequencer.last),
                about.column.final.eq(sequencer.final),
                about.column.beyond.eq(sequencer.beyond),
            ]
        m.d.sync += there.eq(fetch | (there & ~taken))

        a, b = self._banks(m, control, sequencer, word, fetch)
        a = words_of_a(m, p, about.mode[1], a)
        b = words_of_b(m, p, about.way, about.chosen, b)
        elements = []
        for i in range(p.pes):
            m.submodules[f"element{i}"] = element = BfpPe(p.pe)
            elements.append(element)
            beat = element.i.payload
            m.d.comb += [
                element.i.valid.eq(there),
                beat.mode.eq(about.mode),
                beat.end.eq(about.end),
                beat.last.eq(about.last),
                element.o.ready.eq(collector.ready),
                collector.results[i].eq(element.o.payload.result),
            ]
            for side, words in (("a", a), ("b", b)):
                word_of = data.View(layout(p.word), words[i])
                m.d.comb += [
                    beat[side].eq(word_of.slots),
                    beat[f"{side}_scale"].eq(word_of.scales),
                ]
        # In lockstep: the first one speaks for all.
        m.d.comb += [
            taken.eq(there & elements[0].i.ready),
            collector.valid.eq(elements[0].o.valid),
            collector.last.eq(elements[0].o.payload.last),
        ]
        return m

    def _banks(
        self, m: Module, control: Control, sequencer: Sequencer, word: Value, fetch: Value
    ) -> tuple[Sequence[Value], Sequence[Value]]:
        """What was read of each element's bank of A and of B."""
        p = self._params
        width, skip = p.word.width, (p.load - 1).bit_length()
        found_wrong: dict[str, list[Value]] = {name: [] for name in self.events}
        row = Mux(control.shared, sequencer.b[p.bank_bits :], sequencer.b[: p.row_bits[1]])
        read_rows = (sequencer.a_row, row)
        found: tuple[list[Value], list[Value]] = ([], [])
        for side, depth in enumerate((p.a_depth, p.b_depth)):
            halves = Halves(p, side)
            for i in range(p.pes):
                mine: Value = control.write & (control.side == side)
                if p.load < p.pes:
                    mine = mine & (control.banks == i >> skip)
                place = i & (p.load - 1)
                if place:
                    mine = mine & ~(control.few & (control.rest < place))
                wanted = fetch
                if side:
                    wanted = fetch & (~control.shared | (sequencer.b[: p.bank_bits] == i))
                given: Value = word[place * width : (place + 1) * width]
                stored = given if p.guarded is None else Cat(given, checks(p.guarded, given))
                name = f"{'ab'[side]}{i}"
                shown: Value = Signal(len(stored), name=f"read_{name}")
                for number, (half, parts) in enumerate(halves.parts.items()):
                    bits = sum(high - low for low, high in parts)
                    memory: Any = Memory(shape=bits, depth=depth, init=[])
                    m.submodules[f"bank_{name}{half}"] = memory
                    write, read = memory.write_port(), memory.read_port()
                    m.d.comb += [
                        write.addr.eq(control.row),
                        write.data.eq(Cat(stored[low:high] for low, high in parts)),
                        write.en.eq(mine),
                        read.addr.eq(read_rows[side]),
                        read.en.eq(wanted & ~control.mode[1] if number else wanted),
                        Cat(shown[low:high] for low, high in parts).eq(read.data),
                    ]
                if p.guarded is not None:
                    guarded = Decoder(m, p.guarded, shown, {})
                    shown = guarded.word
                    fetched = Signal(name="fetched")
                    m.d.sync += fetched.eq(wanted)
                    found_wrong["CORRECTED"].append(guarded.corrected & fetched)
                    found_wrong["DETECTED"].append(guarded.detected & fetched)
                found[side].append(shown)
        for name, event in self.events.items():
            m.d.comb += event.eq(sum(found_wrong[name], Const(0)))
        return found
