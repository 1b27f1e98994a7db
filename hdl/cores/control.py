"""Packets of the cores: headers are checked, data beats counted, what is answered is put in order.

One packet after the other: a header takes one cycle, the first data beat may follow in the next. A
`last` that comes early or late ends the command with its status; after a late one the rest of the
packet is discarded. What stands in flight behind does not matter here, so that the answer to a
packet is a function of the packets before it alone.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.hdl.cores.commands import HEADER, Limits, Opcode, Source, Status, order, refusal

__all__ = ["HEADER", "Control", "Limits", "Source", "Status", "order"]


class Control(wiring.Component):
    """See the module.

    Parameters
    ----------
    limits : of the core

    Ports
    -----
    valid, header, last, ready : the input stream, `header` the low bits of its word
    take : In, the present phase's data beat can go on
    operand : In, the oldest vector can be read
    drained : In, nothing is left of an attention that was cut
    orders : stream of `order(head)`, one an answer
    stream, rows, values, drain : Out, the phase: elements of LOAD and PASS, rows of weights or
        keys, the second part of ATTEND, waiting for `drained`
    attend : Out, the rows are keys
    moved : Out, a data beat of the phase is taken
    restart : Out, rows will begin: fetch the operand
    beat : Out, number of the beat in its row
    row_end, final : Out, the beat is its row's last, the phase's last
    status : Out, how the command ends with this beat, where `ends`
    ends : Out, the beat ends its command, or its keys
    tail : Out, elements of the final beat of a stream, less one
    a_high, w_high, reference : Out, of the present command
    length : Out, elements of the oldest vector, less one
    count : Out, rows of the present command, less one
    pop : Out, the oldest vector is released
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        vector_bits = (limits.vector - 1).bit_length()
        ins = ("valid", "last", "take", "operand", "drained")
        outs = (
            *("ready", "stream", "rows", "values", "drain", "attend", "moved", "restart"),
            *("row_end", "final", "ends", "a_high", "w_high", "pop"),
        )
        super().__init__(
            {
                **{name: In(1) for name in ins},
                **{name: Out(1) for name in outs},
                "header": In(HEADER),
                "orders": Out(stream.Signature(order(limits.head))),
                "beat": Out(limits.beat_bits),
                "status": Out(3),
                "tail": Out(max(1, (limits.q_lanes - 1).bit_length())),
                "reference": Out(8),
                "length": Out(vector_bits),
                "count": Out(16),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Headers, phases, counters, vectors that are held."""
        m = Module()
        p = self._limits
        header = self.header
        names = ("header", "wait", "rows", "values", "stream", "drain", "discard")
        phase = {name: Signal(name=f"in_{name}", init=int(name == "header")) for name in names}

        # Vectors that are held: the oldest's place, and of each place length less one and width.
        held, oldest = Signal(2), Signal()
        lengths = [Signal(len(self.length), name=f"length{j}", reset_less=True) for j in range(2)]
        highs = [Signal(name=f"high{j}", reset_less=True) for j in range(2)]
        m.d.comb += self.length.eq(Mux(oldest, lengths[1], lengths[0]))
        m.d.comb += self.a_high.eq(Mux(oldest, highs[1], highs[0]) if p.mixed else 0)

        kind = {each: Signal(name=f"is_{each.name.lower()}") for each in Opcode}
        m.d.comb += [flag.eq(header.opcode == each) for each, flag in kind.items()]
        load, matvec, attend, passed = (
            kind[Opcode[name]] for name in ("LOAD", "MATVEC", "ATTEND", "PASS")
        )
        streamed = Signal()
        refused = Signal(3)
        fits = Signal()
        m.d.comb += [
            streamed.eq(load | passed),
            # The oldest vector is a query of the head's width.
            fits.eq(
                held.any() & (self.length + 1 == header.length) & (self.a_high if p.mixed else 1)
            ),
            refused.eq(refusal(m, p, header, held, fits)),
        ]

        # One less than what is counted: elements, then beats, of a stream; rows.
        less = Signal(16)
        count = Signal(16)
        q_bits = (p.q_lanes - 1).bit_length()
        m.d.comb += [
            less.eq(Mux(streamed, header.length, header.rows) - 1),
            count.eq(Mux(streamed, less >> q_bits, less)),
        ]
        row = Signal(16)
        release, loading, attending = Signal(), Signal(), Signal()
        kept = Signal(data.StructLayout({"blocks": 1, "low": 1, "plain": 1}))
        w_high = Signal()
        width = self.orders.payload.width

        accept, open_, moved = Signal(), Signal(), Signal()
        m.d.comb += [
            self.ready.eq(
                (phase["header"] & self.orders.ready)
                | ((phase["stream"] | phase["rows"] | phase["values"]) & self.take)
                | phase["discard"]
            ),
            accept.eq(self.valid & phase["header"] & self.orders.ready),
            moved.eq(self.valid & self.take & (phase["stream"] | phase["rows"] | phase["values"])),
            # The command goes on after its header.
            open_.eq(accept & ~kind[Opcode.NOP] & ~refused.any() & ~self.last),
            self.moved.eq(moved),
            self.restart.eq((open_ & (matvec | attend)) | phase["wait"]),
            self.attend.eq(attending),
            self.w_high.eq(w_high),
        ]
        for name in ("stream", "rows", "values", "drain"):
            m.d.comb += getattr(self, name).eq(phase[name])

        # Beats of a row, rows of a phase.
        unit_bits = (p.lanes - 1).bit_length()
        beats_last = Signal(len(self.beat))
        rows_last = Signal(16)
        along: Value = self.length
        if p.mixed:
            wide = Signal(2)
            m.d.comb += wide.eq(self.a_high + w_high)
            shifted = [along >> (unit_bits - step) for step in range(3)]
            along = Mux(wide[1], shifted[2], Mux(wide[0], shifted[1], shifted[0]))
        else:
            along = along >> unit_bits
        across: Value = self.count
        if p.transposed:
            along = Mux(phase["values"], self.count >> unit_bits, along)
            across = Mux(phase["values"], self.length, across)
        m.d.comb += [beats_last.eq(along), rows_last.eq(across)]
        single = phase["stream"] if p.transposed else phase["stream"] | phase["values"]
        m.d.comb += [
            self.row_end.eq(single | (self.beat == beats_last)),
            self.final.eq(self.row_end & (row == rows_last)),
        ]

        early, late = Signal(), Signal()
        keys = Signal()
        m.d.comb += [
            keys.eq(phase["rows"] & attending),
            early.eq(self.last & ~(self.final & ~keys)),
            late.eq(self.final & ~keys & ~self.last),
            self.status.eq(Mux(early, Status.CUT, Mux(late, Status.OVERRUN, Status.OK))),
            self.ends.eq(self.final | self.last),
        ]
        over = Signal()
        m.d.comb += over.eq(moved & (self.last | (self.final & ~keys)))

        with m.If(accept):
            m.d.sync += [
                self.count.eq(count),
                self.tail.eq(less),
                row.eq(0),
                self.beat.eq(0),
                release.eq(header.release),
                loading.eq(load),
                attending.eq(attend),
                w_high.eq((header.high | attend) if p.mixed else 0),
                self.reference.eq(header.reference),
                kept.eq(self._blocks(streamed)),
            ]
            with m.If(load & ~held[1]):
                for j in range(2):
                    with m.If(held[0] ^ oldest == j):
                        m.d.sync += [lengths[j].eq(less), highs[j].eq(header.high)]
        with m.If(moved):
            m.d.sync += self.beat.eq(Mux(self.row_end, 0, self.beat + 1))
            with m.If(self.row_end):
                m.d.sync += row.eq(Mux(self.final, 0, row + 1))

        commit = Signal()
        m.d.comb += [
            commit.eq(moved & phase["stream"] & loading & self.final & self.last),
            self.pop.eq(over & ~phase["stream"] & release),
        ]
        m.d.sync += held.eq(held + commit - self.pop)
        with m.If(self.pop):
            m.d.sync += oldest.eq(~oldest)

        self._phases(m, phase, open_, accept, over, early, keys, streamed, moved)

        # An answer is put in order with the header, one of ATTEND with the beat that ends it; where
        # its results are rows, with the beat that ends its keys.
        done = Signal()
        m.d.comb += [
            done.eq(attending & (moved & keys & self.ends if p.transposed else over)),
            self.orders.valid.eq((accept & ~kind[Opcode.NOP] & ~(open_ & attend)) | done),
        ]
        told = self.orders.payload
        with m.If(done):
            m.d.comb += [
                told.source.eq(
                    Mux(early, Source.BARE, Source.ROWS)
                    if p.transposed
                    else Mux(keys, Source.BARE, Source.HEADS)
                ),
                told.status.eq(self.status),
                told.blocks.eq(kept.blocks & ~early),
                told.low.eq(kept.low),
                told.plain.eq(kept.plain),
                width.eq(self.length),
            ]
        with m.Else():
            fresh = data.View(kept.shape(), self._blocks(streamed))
            m.d.comb += [
                told.source.eq(Mux(open_, Mux(streamed, Source.BEATS, Source.ROWS), Source.BARE)),
                told.status.eq(Mux(refused.any(), refused, Status.CUT)),
                told.blocks.eq(fresh.blocks & open_),
                told.memory.eq(load & open_),
                told.low.eq(fresh.low),
                told.plain.eq(fresh.plain),
            ]
        return m

    def _blocks(self, streamed: Value) -> Value:
        """Whether a command's answer, or what it loads, is made blocks, and of which kind."""
        header = self.header
        if not self._limits.mixed:
            return Const(0, 3)
        load = header.opcode == Opcode.LOAD
        blocks = load | header.out.any()
        low = Mux(streamed, ~header.high, header.out == 1)
        plain = Mux(streamed, header.plain, header.out == 3)
        return Cat(blocks, low, plain)

    def _phases(
        self,
        m: Module,
        phase: dict[str, Signal],
        open_: Value,
        accept: Value,
        over: Value,
        early: Value,
        keys: Value,
        streamed: Value,
        moved: Value,
    ) -> None:
        """One phase to the next, one bit each."""

        def go(name: str) -> None:
            m.d.sync += [flag.eq(int(each == name)) for each, flag in phase.items()]

        with m.If(accept):
            with m.If(open_ & streamed):
                go("stream")
            with m.Elif(open_ & self.operand):
                go("rows")
            with m.Elif(open_):
                go("wait")
            with m.Elif(~self.last):
                go("discard")
        with m.Elif(phase["wait"] & self.operand):
            go("rows")
        with m.Elif(over):
            # Attention that goes with the rows of V comes to its end with them.
            drained = keys if self._limits.transposed else keys | phase["values"]
            with m.If(early & ~phase["stream"] & drained):
                go("drain")
            with m.Elif(self.last):
                go("header")
            with m.Else():
                go("discard")
        with m.Elif(moved & keys & self.final):
            go("values")
        with m.Elif(phase["discard"] & self.valid & self.last):
            go("header")
        with m.Elif(phase["drain"] & self.drained):
            go("header")
