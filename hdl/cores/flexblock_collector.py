"""Answers of `flexblock_core`: results of all elements in turn, sums that are kept, statuses.

The elements offer a result each at the same time, and hold it while `results` of them a cycle go by
the adders of FP32 to the output's register. Sums have a memory of words of as many.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.arith.fp_add import Params as AddParams
from narrowgauge.golden.cores.flexblock_core import Params
from narrowgauge.hdl.arith.fp_add import FpAdd
from narrowgauge.hdl.arith.multimode_mul import or_all
from narrowgauge.hdl.cores.flexblock_commands import COLUMN, ORDER, RUN, Status
from narrowgauge.hdl.payload import layout

__all__ = ["Collector"]


class Collector(wiring.Component):
    """See the module.

    Parameters
    ----------
    params : of the core

    Ports
    -----
    orders : stream of `ORDER`, one an answer
    runs : stream of `RUN`, one an answer with results
    columns : stream of `COLUMN`
    valid, last, results, ready : of the elements; `last` with the final result of a column
    o : stream of `params.output`
    """

    def __init__(self, params: Params) -> None:
        p = self._params = params
        super().__init__(
            {
                "orders": In(stream.Signature(ORDER)),
                "runs": In(stream.Signature(RUN)),
                "columns": In(stream.Signature(COLUMN)),
                "valid": In(1),
                "last": In(1),
                "results": In(data.ArrayLayout(32, p.pes)),
                "ready": Out(1),
                "o": Out(stream.Signature(layout(p.output))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Turns, sums, the output's register."""
        m = Module()
        p = self._params
        order, run, column = (x.payload for x in (self.orders, self.runs, self.columns))
        # After a RUN its sums are written before the next one's are read.
        pause, free = Signal(), Signal()
        come, bare, keep, show = Signal(), Signal(), Signal(), Signal()
        take, step_last, gone, over = Signal(), Signal(), Signal(), Signal()
        number, more = Signal(2), Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            bare.eq(self.orders.valid & ~order.run & ~pause),
            come.eq(self.orders.valid & order.run & ~pause & self.valid),
            keep.eq(~run.four | run.keep.bit_select(number, 1)),
            # Outputs behind this one go on as well.
            more.eq(run.four & (run.keep >> (number + 1)).any()),
            show.eq(come & keep),
            take.eq(show & free),
            self.ready.eq(come & Mux(keep, free & step_last, 1)),
            gone.eq(self.ready & self.last),
            self.columns.ready.eq(gone),
            self.runs.ready.eq(gone & column.final),
            self.orders.ready.eq((gone & column.final) | (bare & free)),
        ]
        m.d.sync += pause.eq(self.runs.ready)
        with m.If(self.ready):
            m.d.sync += number.eq(Mux(self.last, 0, number + 1))

        # Whose turn it is.
        turns = [show]
        m.d.comb += step_last.eq(1)
        if p.steps > 1:
            step = Signal(range(p.steps))
            turns = [Signal(name=f"turn{i}") for i in range(p.steps)]
            m.d.comb += [turn.eq(show & (step == i)) for i, turn in enumerate(turns)]
            m.d.comb += step_last.eq(step == p.steps - 1)
            with m.If(take):
                m.d.sync += step.eq(step + 1)
        given = [
            or_all(
                [
                    self.results[i * p.results + j] & turn.replicate(32)
                    for i, turn in enumerate(turns)
                ]
            )
            for j in range(p.results)
        ]
        made = self._sums(m, given, show, take, gone & column.final, over)

        final, shown, status = Signal(), Signal(), Signal(3)
        out = self.o.payload
        m.d.comb += [
            final.eq(bare | (column.final & step_last & ~more)),
            shown.eq(Mux(bare, free, take & (final | ~run.hold))),
            status.eq(
                Mux(order.run & (column.beyond | over), Status.BEYOND, order.status)
                & final.replicate(3)
            ),
        ]
        with m.If(free):
            m.d.sync += self.o.valid.eq(shown)
        with m.If(shown):
            m.d.sync += [
                Cat(out.data).eq(Cat(made)),
                out.last.eq(final),
                out.status.eq(status),
            ]
        return m

    def _sums(
        self,
        m: Module,
        given: list[Signal],
        show: Signal,
        take: Signal,
        done: Signal,
        over: Signal,
    ) -> list[Signal]:
        """Results with what is kept in their place; `over`: there is no such place."""
        p = self._params
        run = self.runs.payload
        depth = p.sums * p.steps
        m.submodules.sums = sums = Memory(shape=32 * p.results, depth=depth, init=[])
        write, read = sums.write_port(), sums.read_port()
        bits = (depth - 1).bit_length()
        place, following = Signal(bits), Signal(bits + 1)
        fetched = Signal()
        made = [Signal(32, name=f"made{j}") for j in range(p.results)]
        m.d.comb += [
            following.eq(place + (take & (run.add | run.hold))),
            read.addr.eq(following),
            read.en.eq(self.runs.valid & run.add & (take | ~fetched)),
            write.addr.eq(place),
            write.data.eq(Cat(made)),
            write.en.eq(take & run.hold),
        ]
        with m.If(done):
            m.d.sync += [place.eq(0), over.eq(0), fetched.eq(0)]
        with m.Else():
            m.d.sync += [
                place.eq(following),
                over.eq(over | following[-1]),
                fetched.eq(fetched | read.en),
            ]
        for j, x in enumerate(given):
            m.submodules[f"add{j}"] = add = FpAdd(AddParams(exp_bits=8, man_bits=23))
            before = read.data[32 * j : 32 * j + 32]
            m.d.comb += [
                add.a.eq(before & (show & run.add).replicate(32)),
                add.b.eq(x),
                made[j].eq(add.o),
            ]
        return made
