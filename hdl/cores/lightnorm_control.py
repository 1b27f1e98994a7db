"""Packets of `lightnorm`: headers are checked, positions counted, tables addressed, answers told.

One packet after the other; a header takes a cycle, a pass its LOADs after its first header, and a
tile two more at its end. CONSTANTS is answered as soon as it has begun: what needs the engine, or
the block that it works on, waits at its header.
"""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.cores.lightnorm import Params
from narrowgauge.hdl.cores.commands import Status
from narrowgauge.hdl.cores.lightnorm_commands import Opcode, Table
from narrowgauge.hdl.cores.lightnorm_header import Header
from narrowgauge.hdl.cores.lightnorm_phases import PHASES, advance
from narrowgauge.hdl.cores.lightnorm_positions import Positions
from narrowgauge.hdl.cores.lightnorm_states import States
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
    array_ready, busy, busy_at : In, the array takes a beat; the engine works, on this block
    given : In, the final answer of the array to a chunk is taken
    free : In, no position is under way from the array to the output
    answered : In, the beat of `read` or `bare` is taken
    load, places, tile : Out, the array is offered constants, positions alone, a position
    tiling : Out, positions are what would be offered
    mode, block, chunk : Out, of the pass that is under way
    chunk_last, pass_last : Out, the position ends its chunk, its tensor
    moved, ends : Out, the array takes a position, which ends its packet with `tile_status`
    giving, chunk_given : Out, the array answers to a chunk
    start : Out, CONSTANTS begins, with the header's kind, average and block
    fetch, reading : Out, the record of `next_lane` is to be read; it is for READ
    write : Out, the record in `word` is to be written
    table, of, row, lane : Out, of the record at hand: table, block, row of PLACES, lane
    next_row, next_lane : Out, of the record to be read
    read, bare, final, status : Out, the output is offered a record, or a beat without one; it is
        the command's final beat, with this status
    layer : Out, the layer's fields
    """

    def __init__(self, params: Params) -> None:
        p = self._params = params
        lane_bits, block_bits = (p.lanes - 1).bit_length(), (p.blocks - 1).bit_length()
        chunk_bits = (p.chunks - 1).bit_length()
        ins = ("valid", "last", "array_ready", "given", "busy", "free", "answered")
        outs = (
            *("ready", "load", "places", "tile", "chunk_last", "pass_last", "moved", "ends"),
            *("giving", "start", "tiling", "fetch", "reading", "write", "read", "bare", "final"),
        )
        widths = {
            **dict.fromkeys(("chunk", "chunk_given", "row", "next_row"), chunk_bits),
            **dict.fromkeys(("lane", "next_lane"), lane_bits),
            **dict.fromkeys(("block", "of"), block_bits),
            **dict.fromkeys(("mode", "table", "status", "tile_status"), 3),
        }
        super().__init__(
            {
                **{name: In(1) for name in ins},
                "word": In(p.input["word"].bits),
                "busy_at": In(block_bits),
                **{name: Out(1) for name in outs},
                **{name: Out(width) for name, width in widths.items()},
                "layer": Out(layout(p.layer)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Headers, what a data beat means, phases."""
        m = Module()
        p = self._params
        phase = {name: Signal(name=f"in_{name}", init=int(name == "clear")) for name in PHASES}
        header = Header(m, p, self.word)
        m.submodules.states = states = States(p)
        m.submodules.positions = at = Positions(p)
        accept, open_, go, beat = Signal(), Signal(), Signal(), Signal()
        # The pass that is under way, the layer.
        active, known, same, begin = Signal(), Signal(), Signal(), Signal()
        refused = header.refused(
            m,
            state=states.state,
            known=known,
            same=same,
            limit=Mux(header.fields.first, self.layer.length, at.remaining),
        )
        m.d.comb += [
            same.eq(
                active & (self.mode == header.fields.opcode[:3]) & (self.block == header.block)
            ),
            go.eq(
                ~self.busy
                | header.is_(Opcode.NOP)
                | (header.passed & (header.block != self.busy_at))
            ),
            accept.eq(self.valid & phase["header"] & go),
            open_.eq(accept & ~header.is_(Opcode.NOP) & ~refused.any()),
            begin.eq(open_ & header.passed & header.fields.first),
            self.start.eq(open_ & header.is_(Opcode.CONSTANTS)),
            self.ready.eq(
                (phase["header"] & go)
                | phase["layer"]
                | phase["write"]
                | (phase["tile"] & self.array_ready)
                | phase["discard"]
            ),
            beat.eq(self.valid & self.ready),
            self.moved.eq(phase["tile"] & beat),
        ]
        with m.If(accept):
            m.d.sync += [self.table.eq(header.fields.table), self.of.eq(header.block)]
        with m.If(begin):
            m.d.sync += [self.mode.eq(header.fields.opcode), self.block.eq(header.block)]
        record_last = self._records(m, phase, accept, beat)
        legal = self._layer(m, phase["layer"] & beat, known)
        self._positions(m, at, header, begin, accept)

        # How a data beat ends its command.
        final = Signal()
        m.d.comb += [
            final.eq(
                phase["layer"] | (phase["write"] & record_last) | (phase["tile"] & at.tile_last)
            ),
            self.ends.eq(final | self.last),
            self.tile_status.eq(
                Mux(
                    self.last,
                    Mux(final, Mux(phase["layer"] & ~legal, Status.ILLEGAL, 0), Status.CUT),
                    Mux(final, Status.OVERRUN, Status.OK),
                )
            ),
            self.final.eq(record_last | phase["bare"]),
        ]
        alone = header.is_(Opcode.CONSTANTS, Opcode.READ)
        without = Mux(self.last, Mux(alone, Status.OK, Status.CUT), Status.OVERRUN)
        with m.If(accept):
            m.d.sync += self.status.eq(Mux(refused.any(), refused, without))
        with m.Elif(beat & ~phase["discard"]):
            m.d.sync += self.status.eq(self.tile_status)
        done = Signal()
        m.d.comb += done.eq(phase["layer"] & beat & self.last & legal)
        with m.If(open_ & header.passed):
            m.d.sync += active.eq(~self.last)
        with m.Elif(done | (self.moved & (at.pass_last | (self.last & ~final)))):
            m.d.sync += active.eq(0)

        sums = self.table == Table.SUMS
        rewrites = header.is_(Opcode.WRITE) & (header.fields.table == Table.SUMS)
        m.d.comb += [
            states.asked.eq(header.block),
            states.empties.eq((begin & header.is_(Opcode.STATISTICS)) | (open_ & rewrites)),
            states.solves.eq(self.start),
            states.kind.eq(header.fields.kind),
            states.ends.eq(self.moved & at.pass_last & ~self.mode[0]),
            states.block.eq(self.block),
            states.backward.eq(self.mode[2]),
            states.clear.eq(phase["clear"]),
            states.rewritten.eq(phase["write"] & beat & record_last & sums),
            states.of.eq(self.of),
        ]
        advance(
            m,
            p.blocks,
            self,
            phase,
            header,
            accept=accept,
            open_=open_,
            beat=beat,
            done=done,
            record_last=record_last,
        )
        return m

    def _positions(
        self, m: Module, at: Positions, header: Header, begin: Value, accept: Value
    ) -> None:
        """Counters of positions; whether the array answers to a chunk."""
        m.d.comb += [
            at.begin.eq(begin),
            at.moved.eq(self.moved),
            at.tile.eq(accept),
            at.positions.eq(header.fields.positions),
            at.length.eq(self.layer.length),
            at.chunk_bits.eq(self.layer.chunk_bits),
            self.chunk.eq(at.chunk),
            self.chunk_given.eq(at.chunk_before),
            self.chunk_last.eq(at.chunk_last),
            self.pass_last.eq(at.pass_last),
        ]
        gathers = self.moved & ~self.mode[0]
        with m.If(gathers & Mux(self.mode[2], at.pass_last, at.chunk_last)):
            m.d.sync += self.giving.eq(1)
        with m.Elif(self.given):
            m.d.sync += self.giving.eq(0)

    def _records(self, m: Module, phase: dict[str, Signal], accept: Value, beat: Value) -> Signal:
        """Lane and row of the next record; whether it is its block's last."""
        p = self._params
        lane_last, record_last, one = Signal(), Signal(), Signal()
        given, step = Signal(), Signal()
        m.d.comb += [
            given.eq((phase["read"] & self.answered) | (phase["loads"] & self.array_ready)),
            step.eq((phase["write"] & beat) | given),
            lane_last.eq(self.lane == p.lanes - 1),
            one.eq(phase["loads"] | (self.table != Table.PLACES)),
            # Rows end where all bits of a layer's chunk are ones.
            record_last.eq(lane_last & (one | ((self.row + 1) >> self.layer.chunk_bits).any())),
            self.next_lane.eq(self.lane + step),
            self.next_row.eq(self.row + (step & lane_last & ~one)),
            # What is fetched stays until it is given.
            self.fetch.eq(phase["fetch"] | given),
            self.write.eq(phase["write"] & beat),
        ]
        m.d.sync += [self.lane.eq(self.next_lane), self.row.eq(self.next_row)]
        with m.If(accept):
            m.d.sync += [self.lane.eq(0), self.row.eq(0)]
        return record_last

    def _layer(self, m: Module, come: Value, known: Signal) -> Signal:
        """A layer that comes; whether there is such a one."""
        p = self._params
        given = data.View(layout(p.layer), self.word[: p.layer.width])
        legal = Signal()
        # Where the field holds more than there are.
        most, room = (p.chunks - 1).bit_length(), (1 << len(given.chunk_bits)) - 1
        few = given.chunk_bits <= most if most < room else 1
        m.d.comb += legal.eq(
            few
            & ((given.length >> 1) >> given.chunk_bits).any()
            & ~(given.length[-1] & given.length[:-1].any())
        )
        held = Signal(layout(p.layer), reset_less=True)
        m.d.comb += self.layer.eq(held)
        with m.If(come & self.last & legal):
            m.d.sync += [held.eq(given), known.eq(1)]
        return legal
