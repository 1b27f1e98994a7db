"""Packets of `flexblock_core`: headers are checked, words and descriptors counted, answers ordered.

One packet after the other: a header takes one cycle, its first data beat may follow in the next. A
RUN waits at its header until the one before has read its operands, so that what describes it needs
no second place.
"""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.cores.flexblock_core import Params
from narrowgauge.hdl.cores.flexblock_commands import ORDER, RUN, Opcode, Status
from narrowgauge.hdl.payload import layout

__all__ = ["Control"]


class Control(wiring.Component):
    """See the module.

    Parameters
    ----------
    params : of the core

    Ports
    -----
    valid, word, last, ready : the input stream
    busy : In, a RUN still reads operands
    orders : stream of `ORDER`, one an answer
    runs : stream of `RUN`, one a RUN that is carried out
    come : Out, a beat of a RUN's description is taken, one bit each
    start : Out, the final one is, and the RUN begins
    group_most : Out, beats of a group, less one, that the sums have room for
    group : In, beats of a group, less one, with the final beat
    mode, shared : Out, of the RUN
    write : Out, a beat of LOAD is taken
    side, row, banks, few, rest : Out, of that beat: which memory, its row, which of the groups of
        banks; it is the final one, of which word `rest` is the last
    """

    def __init__(self, params: Params) -> None:
        p = self._params = params
        group_bits = max(1, (p.pes // p.load - 1).bit_length())
        super().__init__(
            {
                **{name: In(1) for name in ("valid", "last", "busy")},
                "word": In(p.input["word"].bits),
                "group": In(p.group_bits),
                "ready": Out(1),
                "orders": Out(stream.Signature(ORDER)),
                "runs": Out(stream.Signature(RUN)),
                "come": Out(p.run_beats),
                **{name: Out(1) for name in ("start", "shared", "write", "side", "few")},
                "group_most": Out(p.group_bits),
                "mode": Out(2),
                "row": Out(max(p.row_bits)),
                "banks": Out(group_bits),
                "rest": Out(max(1, (p.load - 1).bit_length())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Headers, phases, the counter of words, answers."""
        m = Module()
        p = self._params
        names = ("header", "load", "run", "discard")
        phase = {name: Signal(name=f"in_{name}", init=int(name == "header")) for name in names}
        header = data.View(layout(p.header), self.word[: p.header.width])
        is_load, is_run, none = Signal(), Signal(), Signal()
        free, accept, open_, moved = Signal(), Signal(), Signal(), Signal()
        refused, final = Signal(), Signal()
        m.d.comb += [
            is_load.eq(header.opcode == Opcode.LOAD),
            is_run.eq(header.opcode == Opcode.RUN),
            none.eq(header.opcode == Opcode.NOP),
            refused.eq(
                ~(is_load | is_run)
                | (is_load & self._outside(m, header))
                | (is_run & ~header.mode.any() & ~header.keep.any())
            ),
            free.eq(
                self.orders.ready
                & ~(self.busy & (is_run | (is_load & header.after)))
                & (self.runs.ready | ~is_run)
            ),
            self.ready.eq(~phase["header"] | free),
            accept.eq(self.valid & phase["header"] & free),
            open_.eq(accept & ~none & ~refused & ~self.last),
            moved.eq(self.valid & (phase["load"] | phase["run"])),
        ]

        final_load = self._words(m, accept, header, moved & phase["load"])
        final_run = self._description(m, accept, header, moved & phase["run"])
        m.d.comb += final.eq((phase["load"] & final_load) | (phase["run"] & final_run))

        # How a data beat ends its command.
        long, large, kept = Signal(), Signal(), Signal(RUN)
        done = moved & (final | self.last)
        m.d.comb += [
            long.eq(final & ~self.last),
            large.eq(phase["run"] & (self.group > self.group_most)),
            self.start.eq(moved & phase["run"] & final & ~large),
            self.orders.valid.eq((accept & ~none & ~open_) | done),
            self.orders.payload.run.eq(self.start),
            self.orders.payload.status.eq(
                Mux(
                    phase["header"],
                    Mux(refused, Status.ILLEGAL, Status.CUT),
                    Mux(
                        final,
                        Mux(large, Status.ILLEGAL, Mux(long, Status.OVERRUN, Status.OK)),
                        Status.CUT,
                    ),
                )
            ),
            self.runs.valid.eq(self.start),
            self.runs.payload.eq(kept),
        ]
        with m.If(accept):
            m.d.sync += [
                kept.four.eq(~header.mode.any()),
                *(kept[name].eq(header[name]) for name in ("keep", "add", "hold")),
            ]
            with m.If(is_run):
                m.d.sync += [self.mode.eq(header.mode), self.shared.eq(header.shared)]

        def go(name: str) -> None:
            m.d.sync += [flag.eq(int(each == name)) for each, flag in phase.items()]

        with m.If(open_):
            m.d.sync += [
                phase["header"].eq(0),
                phase["load"].eq(is_load),
                phase["run"].eq(is_run),
            ]
        with m.Elif(self.valid & self.ready & self.last):
            go("header")
        with m.Elif(accept | (moved & final)):
            go("discard")
        return m

    def _outside(self, m: Module, header: data.View) -> Value:
        """Whether a LOAD has no words, or some that are in no memory."""
        p = self._params
        total = Signal(len(header.address) + 1, name="load_end")
        m.d.comb += total.eq(header.address + header.words)

        def beyond(bits: int) -> Value:
            return total[bits + 1 :].any() | (total[bits] & total[:bits].any())

        a, b = (bits + p.bank_bits for bits in p.row_bits)
        odd = header.address[: (p.load - 1).bit_length()]
        return (
            ~header.words.any()
            | (odd.any() if len(odd) else 0)
            | (Mux(header.side, beyond(b), beyond(a)) if a != b else beyond(a))
        )

    def _words(self, m: Module, accept: Value, header: data.View, moved: Value) -> Value:
        """Where the words of a beat go; whether it is the final one."""
        p = self._params
        skip = (p.load - 1).bit_length()
        bits = max(p.row_bits) + p.bank_bits
        address = Signal(bits - skip, name="load_address")
        # One less than what is still to come.
        left = Signal(bits, name="load_left", reset_less=True)
        m.d.comb += [
            self.write.eq(moved),
            self.few.eq(~left[skip:].any()),
            self.rest.eq(left[:skip]),
            self.banks.eq(address[: p.bank_bits - skip]),
            self.row.eq(address[p.bank_bits - skip :]),
        ]
        with m.If(accept):
            m.d.sync += [
                address.eq(header.address >> skip),
                left.eq(header.words - 1),
                self.side.eq(header.side),
            ]
        with m.Elif(moved):
            m.d.sync += [address.eq(address + 1), left[skip:].eq(left[skip:] - 1)]
        return self.few

    def _description(self, m: Module, accept: Value, header: data.View, moved: Value) -> Value:
        """The number of a RUN's data beat; whether it is the final one."""
        p = self._params
        part = Signal(p.run_beats, name="run_part", init=1)
        most = [p.pe.beats(mode) - 1 for mode in range(3)]
        m.d.comb += [
            self.come.eq(part & moved.replicate(p.run_beats)),
            self.group_most.eq(Mux(self.mode[1], most[2], Mux(self.mode[0], most[1], most[0]))),
        ]
        if p.run_beats > 1:
            with m.If(accept):
                m.d.sync += part.eq(1)
            with m.Elif(moved):
                m.d.sync += part.eq(part << 1)
        return part[-1]
