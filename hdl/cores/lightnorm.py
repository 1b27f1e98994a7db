"""Range batch normalisation, forward and backward, between two streams of packets.

The lanes are `range_bn_array`, what works between the passes is `range_bn_constants`; memories of a
word a channel hold what passes leave and what they are given. Records are read a cycle before they
are used, so that every memory is synchronous but the three bits of a block's state.
"""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.memory import Memory

from narrowgauge.golden.cores.lightnorm import Params
from narrowgauge.hdl.cores.lightnorm_between import Between
from narrowgauge.hdl.cores.lightnorm_commands import Table
from narrowgauge.hdl.cores.lightnorm_control import Control
from narrowgauge.hdl.payload import layout
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.units.range_bn_array import RangeBnArray

__all__ = ["Lightnorm"]


class Lightnorm(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.cores.lightnorm.Params`

    Ports
    -----
    i : stream of `params.input`
    o : stream of `params.output`
    """

    latency = None
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Control, memories, array and engine."""
        m = Module()
        p = self._params
        m.submodules.control = control = Control(p)
        m.submodules.between = between = Between(p)
        m.submodules.array = array = RangeBnArray(p.array)
        word = Signal(p.input["word"].bits)
        header = data.View(layout(p.header), word[: p.header.width])
        m.d.comb += [
            word.eq(Cat(self.i.payload.word)),
            control.word.eq(word),
            control.valid.eq(self.i.valid),
            control.last.eq(self.i.payload.last),
            self.i.ready.eq(control.ready),
            control.busy.eq(between.busy),
            control.busy_at.eq(between.at),
            between.start.eq(control.start),
            between.kind.eq(header.kind),
            between.average.eq(header.average),
            between.block.eq(header.block),
            between.layer.eq(control.layer),
        ]
        given_lane = Signal(len(control.lane))
        with m.If(control.giving & array.o.valid):
            m.d.sync += given_lane.eq(given_lane + 1)
        m.d.comb += control.given.eq(control.giving & array.o.valid & (given_lane == p.lanes - 1))
        constants, places, tables = self._memories(m, control, between, array, word, given_lane)
        self._offer(m, control, array, word, constants, places)
        self._answer(m, control, array, tables)
        return m

    def _memories(
        self,
        m: Module,
        control: Control,
        between: Between,
        array: RangeBnArray,
        word: Value,
        given_lane: Value,
    ) -> tuple[Signal, Signal, dict[Table, Value]]:
        """Constants and places for the array; the record of each table that can be read."""
        p = self._params
        # READ waits until the engine has nothing to do.
        mine, fetched = Cat(between.lane, between.at), Signal(range(p.channels))
        channel = Cat(control.next_lane, control.of)
        passing = Cat(control.next_lane, control.block)
        m.d.comb += fetched.eq(Mux(control.reading, channel, mine))
        fetch = between.fetch | (control.fetch & control.reading)

        def memory(name: str, width: int, depth: int) -> tuple[Any, Any]:
            made = Memory(shape=width, depth=depth, init=[])
            m.submodules[name] = made
            return made.write_port(), made.read_port()

        def written(table: Table) -> Value:
            return control.write & (control.table == table)

        here = Cat(control.lane, control.of)
        answers, out = Cat(given_lane, control.block), array.o.payload
        gives = control.giving & array.o.valid

        write, read = memory("weights", p.weights.width, p.channels)
        m.d.comb += [
            write.addr.eq(here),
            write.data.eq(word),
            write.en.eq(written(Table.WEIGHTS)),
            read.addr.eq(mine),
            read.en.eq(between.fetch),
            between.weights.eq(read.data),
        ]
        write, read = memory("sums", p.sums.width, p.channels)
        sums = read.data
        second = Mux(control.mode[2], out.moment, out.spread)
        m.d.comb += [
            write.addr.eq(Mux(control.giving, answers, here)),
            write.data.eq(
                Mux(
                    control.giving,
                    Cat(out.total, _wide(second, p.sums["second"].width), out.clipped, out.nan),
                    word,
                )
            ),
            write.en.eq(gives | written(Table.SUMS)),
            read.addr.eq(fetched),
            read.en.eq(fetch),
            between.sums.eq(sums),
        ]
        write, read = memory("averages", p.averages.width, p.channels)
        averages = read.data
        m.d.comb += [
            write.addr.eq(Mux(between.busy, mine, here)),
            write.data.eq(Mux(between.busy, between.averaged.as_value(), word)),
            write.en.eq(between.move | written(Table.AVERAGES)),
            read.addr.eq(fetched),
            read.en.eq(fetch),
            between.averages.eq(averages),
        ]
        write, read = memory("channel", p.channel_bits, p.channels)
        kept = read.data
        done = Cat(between.done_lane, between.at)
        m.d.comb += [
            write.addr.eq(done),
            write.data.eq(between.made),
            write.en.eq(between.done),
            read.addr.eq(fetched),
            read.en.eq(fetch),
            between.channel.eq(kept),
        ]
        write, read = memory("constants", p.constants.width, p.channels)
        constants = read.data
        m.d.comb += [
            write.addr.eq(done),
            write.data.eq(between.constants),
            write.en.eq(between.done),
            read.addr.eq(passing),
            read.en.eq(control.fetch),
        ]
        write, read = memory("places", p.places.width, p.channels * p.chunks)
        places = read.data
        m.d.comb += [
            write.addr.eq(
                Mux(
                    control.giving,
                    Cat(given_lane, control.chunk_given, control.block),
                    Cat(control.lane, control.row, control.of),
                )
            ),
            write.data.eq(Mux(control.giving, Cat(out.largest, out.least), word)),
            write.en.eq((gives & ~control.mode[2]) | written(Table.PLACES)),
            read.addr.eq(
                Mux(
                    control.reading,
                    Cat(control.next_lane, control.next_row, control.of),
                    Cat(control.next_lane, control.chunk, control.block),
                )
            ),
            read.en.eq(control.fetch),
        ]
        results = Cat(kept[: p.results.width - 1], kept[-1])
        return (
            constants,
            places,
            {
                Table.SUMS: sums,
                Table.AVERAGES: averages,
                Table.PLACES: places,
                Table.RESULTS: results,
            },
        )

    def _offer(
        self,
        m: Module,
        control: Control,
        array: RangeBnArray,
        word: Value,
        constants: Value,
        places: Value,
    ) -> None:
        """What the array is offered: a position, or a lane's constants."""
        p, beat = self._params, array.i.payload
        position = data.View(layout(p.position), word[: p.position.width])
        given = data.View(layout(p.constants), constants)
        at = data.View(layout(p.places), places)
        m.d.comb += [
            array.i.valid.eq(control.load | control.places | control.tile),
            control.array_ready.eq(array.i.ready),
            beat.base.eq(Mux(control.mode[2], control.layer.gradient_base, control.layer.base)),
            beat.lane.eq(control.lane),
            beat.mode.eq((control.mode & control.tiling.replicate(3)) | control.places),
            beat.chunk_last.eq(control.chunk_last),
            beat.last.eq(control.pass_last),
            *(beat[field.name].eq(position[field.name]) for field in p.position.fields),
            *(beat[field.name].eq(given[field.name]) for field in p.constants.fields),
            *(beat[field.name].eq(at[field.name]) for field in p.places.fields),
        ]

    def _answer(
        self,
        m: Module,
        control: Control,
        array: RangeBnArray,
        tables: dict[Table, Value],
    ) -> None:
        """A position, a record, or a beat with a status alone."""
        out = self.o.payload
        flight, ends, status = Signal(), Signal(reset_less=True), Signal(3, reset_less=True)
        shown = Signal()
        m.d.comb += [
            shown.eq(array.o.valid & ~control.giving),
            array.o.ready.eq(control.giving | self.o.ready),
            control.free.eq(~flight),
            control.answered.eq((control.read | control.bare) & self.o.ready),
            self.o.valid.eq(shown | control.read | control.bare),
        ]
        with m.If(control.moved & control.mode[0]):
            m.d.sync += [
                flight.eq(1),
                ends.eq(control.ends),
                status.eq(control.tile_status),
            ]
        with m.Elif(shown & self.o.ready):
            m.d.sync += flight.eq(0)
        size = len(Cat(out.data))
        made = Cat(array.o.payload.codes, array.o.payload.scales)
        word: Value = _wide(made, size) & flight.replicate(size)
        for table, record in tables.items():
            chosen = control.read & (control.table == table)
            word = word | (_wide(record, size) & chosen.replicate(size))
        last = Mux(flight, ends, control.final)
        m.d.comb += [
            Cat(out.data).eq(word),
            out.last.eq(last),
            out.status.eq(Mux(flight, status, control.status) & last.replicate(3)),
        ]


def _wide(value: Value, width: int) -> Value:
    """With zeros above."""
    return Cat(value)[:width] if len(value) >= width else Cat(value, Const(0, width - len(value)))
