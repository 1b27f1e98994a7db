"""The mode of each layer and pass: sums in a memory, a share by division, two comparisons.

A word of the memory holds an entry's mode and sums; it is read, added to and written in one cycle.
A report that ends an interval stays at the input while its share is made, so that neither it nor
the sums it completes are kept anywhere: a bit of the share a cycle from a remainder, which is the
only wide register, and the divisor is the sum as it leaves the adder.

A report a cycle; fraction_bits + 2 cycles for one that ends an interval.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.memory import Memory

from narrowgauge.golden.units.precision_control import Params
from narrowgauge.hdl.stream import StreamUnit

__all__ = ["PrecisionControl"]


class PrecisionControl(StreamUnit):
    """See the module.

    Parameters
    ----------
    params : see `narrowgauge.golden.units.precision_control.Params`

    Ports
    -----
    i : stream of `params.input`
    o : stream of `params.output`, one for each beat of `i` that ends an interval
    """

    latency = None
    interval = None

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """Entry, division, decision."""
        m = Module()
        p = self._params
        report, answer = self.i.payload, self.o.payload
        size = p.sum_bits
        m.submodules.words = words = Memory(shape=2 * size + 2, depth=p.entries, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        old = read.data
        zeroed, elements = Signal(size), Signal(size)
        mode, wide, keep = Signal(2), Signal(2), (~report.load).replicate(size)
        m.d.comb += [
            read.addr.eq(report.entry),
            zeroed.eq((old[:size] & keep) + report.zeroed),
            elements.eq((old[size : 2 * size] & keep) + report.elements),
            wide.eq(Cat(report.mode[0] & ~report.mode[1], report.mode[1])),
            mode.eq(Mux(report.load, wide, old[2 * size :])),
        ]

        end, give = Signal(), Signal()
        step = Signal(range(p.fraction_bits + 2))
        share, over = Signal(p.fraction_bits), Signal()
        rest, trial = Signal(size), Signal(size + 2)
        twice, fits = Signal(size + 1), Signal()
        first, ready = ~step.any(), step == p.fraction_bits + 1
        m.d.comb += [
            end.eq(report.end | report.last),
            # Whether the share is one or more, then its bits from the top.
            twice.eq(Mux(first, zeroed, rest << 1)),
            trial.eq(twice - elements),
            fits.eq(~trial[-1]),
            self.o.valid.eq(ready),
            self.i.ready.eq(~end | (ready & self.o.ready)),
            give.eq(self.o.valid & self.o.ready),
        ]
        with m.If(give):
            m.d.sync += step.eq(0)
        with m.Elif(self.i.valid & end & ~ready):
            m.d.sync += step.eq(step + 1)
        # What stands here before the first step is not read.
        m.d.sync += rest.eq(Mux(fits, trial, twice))
        with m.If(~ready):
            m.d.sync += [over.eq(Mux(first, fits, over)), share.eq(Cat(fits | over, share))]

        some, up, down = Signal(), Signal(), Signal()
        chosen = Signal(2)
        m.d.comb += [
            some.eq(elements.any()),
            up.eq(some & ~mode[1] & (share > report.upper)),
            down.eq(some & mode.any() & (share < report.lower) & ~(share > report.upper)),
            # 0 up to 1, 1 up to 2 and down to 0, 2 down to 1.
            chosen.eq(Mux(up, mode + 1, Mux(down, mode - 1, mode))),
            answer.entry.eq(report.entry),
            answer.mode.eq(chosen),
            answer.share.eq(share & some.replicate(p.fraction_bits)),
            answer.raised.eq(up),
            answer.lowered.eq(down),
            answer.last.eq(report.last),
            write.addr.eq(report.entry),
            write.en.eq(self.i.valid & self.i.ready),
            write.data.eq(
                Cat((Cat(zeroed, elements) & (~end).replicate(2 * size)), Mux(end, chosen, mode))
            ),
        ]
        return m
