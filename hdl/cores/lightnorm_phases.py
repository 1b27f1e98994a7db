"""Phases of `lightnorm`: what comes after a header, a tile, and a packet's last beat."""

from typing import TYPE_CHECKING

from amaranth.hdl import Module, Signal, Value

from narrowgauge.hdl.cores.lightnorm_commands import Opcode
from narrowgauge.hdl.cores.lightnorm_header import Header

if TYPE_CHECKING:
    from narrowgauge.hdl.cores.lightnorm_control import Control

__all__ = ["PHASES", "advance"]

PHASES = (
    *("clear", "header", "layer", "write", "fetch", "loads", "tile", "settle"),
    *("read", "bare", "discard"),
)
"""States of the blocks are cleared; a header is awaited; LAYER's and WRITE's data; the first record
is fetched; the array is given constants; positions; their answers are awaited; records and statuses
are given; a packet's rest is discarded."""


def advance(
    m: Module,
    blocks: int,
    control: "Control",
    phase: dict[str, Signal],
    header: Header,
    *,
    accept: Value,
    open_: Value,
    beat: Value,
    done: Value,
    record_last: Value,
) -> None:
    """One phase to the next, one bit each.

    Parameters
    ----------
    blocks : that the memories hold
    control : whose ports say what goes on
    phase : a bit for each of `PHASES`
    accept, open_ : a header is taken, and carried out
    beat : a beat is taken
    done : LAYER takes effect
    record_last : the record at hand is its block's last
    """
    # What follows a packet's last beat: nothing, records, or a beat with the status.
    silent, booted, forget = Signal(), Signal(), Signal()
    reading = control.reading
    # Positions of a pass: LOADs come first; the tile has ended; with beats to discard.
    loading, over, more = Signal(), Signal(), Signal()

    def go(name: str) -> None:
        m.d.sync += [flag.eq(int(each == name)) for each, flag in phase.items()]

    m.d.comb += [
        control.load.eq(phase["loads"] & loading),
        control.places.eq(phase["loads"] & ~loading),
        control.tiling.eq(phase["tile"]),
        control.tile.eq(phase["tile"] & control.valid),
        control.read.eq(phase["read"]),
        control.bare.eq(phase["bare"]),
    ]
    with m.If(phase["clear"]):
        m.d.sync += control.of.eq(control.of + 1)
        with m.If(control.of == blocks - 1):
            m.d.sync += [control.of.eq(0), booted.eq(1)]
            with m.If(booted):
                go("bare")
            with m.Else():
                go("header")
    with m.Elif(accept):
        m.d.sync += [
            silent.eq(header.is_(Opcode.NOP)),
            reading.eq(open_ & header.is_(Opcode.READ)),
            forget.eq(header.fields.forget),
            loading.eq(1),
            over.eq(0),
        ]
        data_follow = header.passed | header.is_(Opcode.LAYER, Opcode.WRITE)
        with m.If(open_ & ~control.last & data_follow):
            with m.If(header.is_(Opcode.LAYER)):
                go("layer")
            with m.Elif(header.is_(Opcode.WRITE)):
                go("write")
            with m.Elif(header.fields.first):
                go("fetch")
            with m.Else():
                go("tile")
        with m.Elif(~control.last):
            go("discard")
        with m.Elif(open_ & header.is_(Opcode.READ)):
            go("fetch")
        with m.Elif(~header.is_(Opcode.NOP)):
            go("bare")
    with m.Elif(phase["fetch"]):
        with m.If(reading):
            go("read")
        with m.Else():
            go("loads")
    with m.Elif(phase["loads"] & control.array_ready & record_last):
        m.d.sync += loading.eq(0)
        with m.If(over):
            go("settle")
        with m.Else():
            go("tile")
    with m.Elif(control.moved):
        m.d.sync += [over.eq(control.ends), more.eq(~control.last), loading.eq(0)]
        with m.If((control.mode == Opcode.PROPAGATE) & control.chunk_last & ~control.pass_last):
            go("fetch")
        with m.Elif(control.ends):
            go("settle")
    with m.Elif(phase["settle"]):
        # Nothing is under way behind a header, so that what is offered depends on one command.
        settled = ~control.giving & control.free
        m.d.sync += silent.eq(control.mode[0])
        with m.If(settled & more):
            go("discard")
        with m.Elif(settled & control.mode[0]):
            go("header")
        with m.Elif(settled):
            go("bare")
    with m.Elif((phase["layer"] | phase["write"]) & beat & control.ends):
        with m.If(done & forget):
            m.d.sync += control.of.eq(0)
            go("clear")
        with m.Elif(control.last):
            go("bare")
        with m.Else():
            go("discard")
    with m.Elif(phase["discard"] & control.valid & control.last):
        with m.If(silent):
            go("header")
        with m.Elif(reading):
            go("fetch")
        with m.Else():
            go("bare")
    with m.Elif(
        (phase["read"] & control.answered & record_last) | (phase["bare"] & control.answered)
    ):
        go("header")
