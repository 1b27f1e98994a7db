"""A core of packets as a system: AXI4-Stream for data, AXI4-Lite for control and counters.

The core's streams pass through a `Guard`; the registers (`registers.REGISTERS`, then the core's
parameters) lie behind an `AxiLite` slave. Busy means that a command has begun and its response has
not ended: every packet but one whose first four bits are 0 (NOP) is answered by one response.

No latency on the streams beyond the core's. At most 255 commands may be under way in the core.
"""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.errors import UsageError
from narrowgauge.hdl.systems import registers
from narrowgauge.hdl.systems.axi_lite import AxiLite, bus
from narrowgauge.hdl.systems.guard import Guard

__all__ = ["PacketSystem"]

_COUNTER_BITS = 32


class PacketSystem(wiring.Component):
    """See the module.

    Parameters
    ----------
    core : component with streams `i` and `o`; `last` in both payloads, `status` of 4 bits in that
        of `o`; the first 4 bits of a packet are its opcode; `events`, where it has them, are what
        the counters `registers.GUARD` count, by name
    parameters : name -> number, what software can read of the core; words, negative ones refused

    Ports
    -----
    axi_awaddr .. axi_rready : AXI4-Lite, 32 bits, `registers.ADDRESS_BITS` of address
    i, o : streams of the core's payloads
    """

    def __init__(self, core: Any, parameters: Mapping[str, int]) -> None:
        given, made = core.i.payload.shape(), core.o.payload.shape()
        fields = {name for name, _ in made}
        if "last" not in {name for name, _ in given} or not {"last", "status"} <= fields:
            raise UsageError(f"{type(core).__name__} has no packets: last and status are missing")
        if made["status"].width != 4:
            raise UsageError(f"status must have 4 bits, got {made['status'].width}")
        room = ((1 << registers.ADDRESS_BITS) - registers.PARAMETERS) // 4
        if len(parameters) > room:
            raise UsageError(f"at most {room} parameters, got {len(parameters)}")
        for name, value in parameters.items():
            if not 0 <= value < 1 << 32:
                raise UsageError(f"parameter {name} must be 0..{(1 << 32) - 1}, got {value}")
        self._core = core
        self._parameters = dict(parameters)
        self.latency = core.latency
        self.interval = core.interval
        super().__init__(
            {
                **{f"axi_{name}": member for name, member in bus(registers.ADDRESS_BITS).items()},
                "i": In(stream.Signature(given)),
                "o": Out(stream.Signature(made)),
            }
        )

    @property
    def bus_ports(self) -> dict[str, str]:
        """Names of the AXI4-Lite ports in Verilog, in order, and the members that they show."""
        return {f"s_axi_{name}": f"axi_{name}" for name in bus(registers.ADDRESS_BITS)}

    def elaborate(self, platform: object) -> Module:
        """Guard around the core, registers behind the bus."""
        m = Module()
        m.submodules.guard = guard = Guard(self.i.payload.shape(), self.o.payload.shape())
        m.submodules.core = core = ResetInserter(guard.reset)(self._core)
        m.submodules.lite = lite = AxiLite(registers.ADDRESS_BITS)
        for name, member in bus(registers.ADDRESS_BITS).items():
            port, inner = getattr(self, f"axi_{name}"), getattr(lite, name)
            m.d.comb += inner.eq(port) if member.flow is In else port.eq(inner)
        for outer, inner in (
            (self.i, guard.i),
            (guard.core_i, core.i),
            (core.o, guard.core_o),
            (guard.o, self.o),
        ):
            m.d.comb += [
                inner.payload.eq(outer.payload),
                inner.valid.eq(outer.valid),
                outer.ready.eq(inner.ready),
            ]

        enable = Signal(init=1)
        control, status = Signal(), Signal()
        low, first = Signal(8), Signal()
        m.d.comb += [
            first.eq(lite.write & lite.write_strobe[0]),
            control.eq(first & (lite.write_word == registers.address("CONTROL") // 4)),
            status.eq(first & (lite.write_word == registers.address("STATUS") // 4)),
            low.eq(lite.write_data[:8]),
            lite.write_known.eq(
                (lite.write_word == registers.address("CONTROL") // 4)
                | (lite.write_word == registers.address("STATUS") // 4)
            ),
            guard.enable.eq(enable),
            guard.request.eq(control & low[1]),
            guard.fresh.eq(low[2]),
        ]
        with m.If(control):
            m.d.sync += enable.eq(low[0])

        busy, failed, kind = self._state(m, guard, status & low[1])
        counters = self._counters(m, busy, control & low[3])
        words: dict[int, Value] = {
            registers.address("ID"): Const(registers.IDENTITY, 32),
            registers.address("VERSION"): Const(registers.VERSION, 32),
            registers.address("CONTROL"): enable,
            registers.address("STATUS"): Cat(busy, failed, guard.waiting, Const(0, 1), kind),
            **counters,
        }
        for place, value in enumerate(self._parameters.values()):
            words[registers.PARAMETERS + 4 * place] = Const(value, 32)
        m.d.comb += lite.read_known.eq(1)
        with m.Switch(lite.read_word):
            for where, word in words.items():
                with m.Case(where // 4):
                    m.d.comb += lite.read_data.eq(word)
            with m.Default():
                m.d.comb += [lite.read_known.eq(0), lite.read_data.eq(0)]
        return m

    def _state(self, m: Module, guard: Guard, clear: Value) -> tuple[Signal, Signal, Signal]:
        """Busy; whether an error was answered, and the status of the first."""
        begun, ended, wrong = Signal(), Signal(), Signal()
        outstanding = Signal(8)
        busy, failed, kind = Signal(), Signal(), Signal(4)
        opcode = Value.cast(self.i.payload)[:4]
        m.d.comb += [
            begun.eq(guard.begin & opcode.any()),
            ended.eq(self.o.valid & self.o.ready & self.o.payload.last & ~guard.cut),
            wrong.eq(ended & self.o.payload.status.any()),
            busy.eq(outstanding.any() | guard.partial | guard.waiting),
        ]
        with m.If(guard.reset):
            m.d.sync += outstanding.eq(0)
        with m.Else():
            m.d.sync += outstanding.eq(outstanding + begun - (ended & outstanding.any()))
        with m.If(clear):
            m.d.sync += failed.eq(0)
        with m.If(wrong):
            m.d.sync += failed.eq(1)
            with m.If(~failed | clear):
                m.d.sync += kind.eq(self.o.payload.status)
        with m.Elif(clear):
            m.d.sync += kind.eq(0)
        return busy, failed, kind

    def _counters(self, m: Module, busy: Value, clear: Value) -> dict[int, Value]:
        """Address -> counter."""
        taken, given = Signal(), Signal()
        ended = Signal()
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            given.eq(self.o.valid & self.o.ready),
            ended.eq(given & self.o.payload.last),
        ]
        events: dict[str, Value] = {
            "CYCLES": Const(1, 1),
            "BUSY": busy,
            "STALL_IN": self.i.valid & ~self.i.ready,
            "STALL_OUT": self.o.valid & ~self.o.ready,
            "BEATS_IN": taken,
            "BEATS_OUT": given,
            "PACKETS_IN": taken & self.i.payload.last,
            "PACKETS_OUT": ended,
        }
        for number, name in enumerate(("ILLEGAL", "ORDER", "CUT", "OVERRUN"), 1):
            events[name] = ended & (self.o.payload.status == number)
        made: dict[int, Value] = {}
        more: Mapping[str, Value] = getattr(self._core, "events", {})
        events |= more
        for register in (*registers.COUNTERS, *(r for r in registers.GUARD if r.name in more)):
            count = Signal(_COUNTER_BITS, name=f"count_{register.name.lower()}")
            m.d.sync += count.eq(Mux(clear, 0, count + events[register.name]))
            made[register.address] = count
        return made
