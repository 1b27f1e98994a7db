# amaranth: UnusedElaboratable=no
"""A system's registers and soft reset, cycle by cycle: AXI4-Lite in any order, packets cut."""

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from narrowgauge.golden.errors import UsageError
from narrowgauge.hdl.stream import StreamUnit
from narrowgauge.hdl.systems import registers
from narrowgauge.hdl.systems.packet_system import PacketSystem
from tests.system_designs import Echo, EchoParams, answers, packets

OKAY, SLVERR = 0, 2
CONTROL, STATUS = registers.address("CONTROL"), registers.address("STATUS")
Testbench = Callable[[Any], Awaitable[None]]


class Bus:
    """An AXI4-Lite master; `skew` cycles by which data come after (or before) the address."""

    def __init__(self, system: PacketSystem, ctx: Any) -> None:
        self._system, self._ctx = system, ctx

    def _set(self, **values: int) -> None:
        for name, value in values.items():
            self._ctx.set(getattr(self._system, f"axi_{name}"), value)

    def get(self, name: str) -> int:
        return int(self._ctx.get(getattr(self._system, f"axi_{name}")))

    async def write(
        self, address: int, data: int, strobe: int = 15, *, skew: int = 0, wait: int = 0
    ) -> int:
        """The response."""
        self._set(awaddr=address, wdata=data, wstrb=strobe)
        sent = {"aw": False, "w": False}
        at = {"aw": max(0, -skew), "w": max(0, skew)}
        cycle = 0
        while not all(sent.values()):
            for channel in sent:
                self._set(**{f"{channel}valid": int(not sent[channel] and cycle >= at[channel])})
            assert not self.get("bvalid"), "an answer before the write was whole"
            ready = {c: self.get(f"{c}ready") and self.get(f"{c}valid") for c in sent}
            await self._ctx.tick()
            cycle += 1
            for channel, taken in ready.items():
                sent[channel] = sent[channel] or bool(taken)
        self._set(awvalid=0, wvalid=0)
        return await self._answer("b", wait)

    async def read(self, address: int, *, wait: int = 0) -> tuple[int, int]:
        """Data and response."""
        self._set(araddr=address, arvalid=1)
        while not self.get("arready"):
            await self._ctx.tick()
        await self._ctx.tick()
        self._set(arvalid=0)
        response = await self._answer("r", wait)
        return self._data, response

    async def _answer(self, channel: str, wait: int) -> int:
        while not self.get(f"{channel}valid"):
            await self._ctx.tick()
        shown = (self.get("rdata"), self.get(f"{channel}resp"))
        for _ in range(wait):
            await self._ctx.tick()
            assert self.get(f"{channel}valid"), "an answer was withdrawn"
            assert (self.get("rdata"), self.get(f"{channel}resp")) == shown
        self._set(**{f"{channel}ready": 1})
        await self._ctx.tick()
        self._set(**{f"{channel}ready": 0})
        assert not self.get(f"{channel}valid")
        self._data = shown[0]
        return shown[1]


async def send(ctx: Any, system: PacketSystem, batch: dict[str, Any], gap: float = 0.0) -> None:
    """Beats into `i`, with gaps."""
    noise = random.Random(1)
    for word, last in zip(batch["word"].tolist(), batch["last"].tolist(), strict=True):
        while noise.random() < gap:
            await ctx.tick()
        ctx.set(system.i.payload, {"word": word, "last": last})
        ctx.set(system.i.valid, 1)
        taken = False
        while not taken:
            # At the edge, when all others have set what they set.
            _, _, taken = await ctx.tick().sample(system.i.ready)
        ctx.set(system.i.valid, 0)


class Sink:
    """What comes out of `o`; `ready` is its share of open cycles."""

    def __init__(self, system: PacketSystem, ready: float = 1.0) -> None:
        self.system, self.ready = system, ready
        self.beats: list[tuple[int, int, int]] = []

    async def run(self, ctx: Any) -> None:
        """Until the simulation ends."""
        noise, waiting = random.Random(2), None
        o = self.system.o
        while True:
            ready = noise.random() < self.ready
            ctx.set(o.ready, int(ready))
            p = o.payload
            _, _, valid, *values = await ctx.tick().sample(o.valid, p.data, p.status, p.last)
            beat = (int(values[0]), int(values[1]), int(values[2]))
            assert waiting is None or (valid and beat == waiting), "an offered beat was changed"
            waiting = beat if valid and not ready else None
            if valid and ready:
                self.beats.append(beat)


def system() -> PacketSystem:
    """An echo with two parameters."""
    return PacketSystem(Echo(EchoParams()), {"k": 128, "low": 4})


def simulate(
    dut: PacketSystem, *testbenches: Testbench, background: Testbench | None = None
) -> None:
    """Run until the testbenches end."""
    m = Module()
    m.submodules.dut = dut
    simulator = Simulator(m)
    simulator.add_clock(1e-9)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    if background is not None:
        simulator.add_testbench(background, background=True)
    simulator.run()


def beats_of(batch: dict[str, Any]) -> list[tuple[int, ...]]:
    """A batch as tuples."""
    columns = [batch[name].tolist() for name in ("data", "status", "last")]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("skew", [-3, -1, 0, 1, 2])
@pytest.mark.parametrize("wait", [0, 3])
def test_registers_whatever_the_order(skew: int, wait: int) -> None:
    dut = system()

    async def bench(ctx: Any) -> None:
        bus = Bus(dut, ctx)
        assert await bus.read(registers.address("ID"), wait=wait) == (registers.IDENTITY, OKAY)
        assert await bus.read(registers.address("VERSION")) == (registers.VERSION, OKAY)
        assert await bus.read(registers.PARAMETERS) == (128, OKAY)
        assert await bus.read(registers.PARAMETERS + 4, wait=wait) == (4, OKAY)
        assert await bus.read(CONTROL) == (registers.ENABLE, OKAY)
        assert await bus.write(CONTROL, 0, skew=skew, wait=wait) == OKAY
        assert await bus.read(CONTROL) == (0, OKAY)
        # Bytes that are not strobed are not written.
        assert await bus.write(CONTROL, 0xFFFF_FF01, 0b1110, skew=skew) == OKAY
        assert await bus.read(CONTROL) == (0, OKAY)
        assert await bus.write(CONTROL, 1, 0b0001, skew=skew, wait=wait) == OKAY
        assert await bus.read(CONTROL) == (1, OKAY)

    simulate(dut, bench)


def test_unknown_addresses_and_read_only_words_answer_slverr() -> None:
    dut = system()

    async def bench(ctx: Any) -> None:
        bus = Bus(dut, ctx)
        for address in (0x40, 0x7C, registers.PARAMETERS + 8, 0x800, 0xFFC):
            assert await bus.read(address) == (0, SLVERR)
            assert await bus.write(address, 1) == SLVERR
        for register in registers.REGISTERS:
            wanted = SLVERR if register.access == "ro" else OKAY
            assert await bus.write(register.address, 1) == wanted, register.name
            assert (await bus.read(register.address))[1] == OKAY, register.name
        # What was refused changed nothing.
        assert await bus.read(CONTROL) == (1, OKAY)

    simulate(dut, bench)


def test_reads_and_writes_do_not_wait_for_each_other() -> None:
    dut = system()

    async def bench(ctx: Any) -> None:
        bus = Bus(dut, ctx)
        # The answer to a write is left standing while reads go on, and the other way round.
        bus._set(awaddr=CONTROL, wdata=1, wstrb=15, awvalid=1, wvalid=1)
        await ctx.tick()
        bus._set(awvalid=0, wvalid=0)
        assert await bus.read(registers.address("ID")) == (registers.IDENTITY, OKAY)
        assert bus.get("bvalid")
        assert await bus._answer("b", 2) == OKAY
        bus._set(araddr=registers.address("ID"), arvalid=1)
        await ctx.tick()
        bus._set(arvalid=0)
        assert await bus.write(CONTROL, 1) == OKAY
        assert await bus._answer("r", 2) == OKAY

    simulate(dut, bench)


def test_the_next_write_is_kept_while_an_answer_stands() -> None:
    dut = system()

    async def bench(ctx: Any) -> None:
        bus = Bus(dut, ctx)
        for value in (0, 1):
            bus._set(awaddr=CONTROL, wdata=value, wstrb=15, awvalid=1, wvalid=1)
            await ctx.tick()
            bus._set(awvalid=0, wvalid=0)
            await ctx.tick()
        for _ in range(5):
            await ctx.tick()
            assert bus.get("bvalid")
            assert not bus.get("awready")
            assert not bus.get("wready")
        assert await bus.read(CONTROL) == (0, OKAY)
        bus._set(bready=1)
        await ctx.tick()
        await ctx.tick()
        assert bus.get("bvalid")
        bus._set(bready=0)
        assert await bus._answer("b", 0) == OKAY
        assert await bus.read(CONTROL) == (1, OKAY)

    simulate(dut, bench)


MIXED = [(1, 0, 5), (0, 0, 3), (2, 3, 2), (1, 0, 0), (0, 0, 0), (5, 1, 9)]


@pytest.mark.parametrize(("gap", "ready"), [(0.0, 1.0), (0.5, 0.4), (0.0, 0.2)])
def test_packets_pass_and_are_counted(gap: float, ready: float) -> None:
    dut = system()
    sink = Sink(dut, ready)
    batch = packets(MIXED * 4)
    wanted = answers(batch)

    async def bench(ctx: Any) -> None:
        bus = Bus(dut, ctx)
        await send(ctx, dut, batch, gap)
        while (await bus.read(STATUS))[0] & registers.STATUS_BUSY:
            pass
        assert sink.beats == beats_of(wanted)
        # The first error was of kind 3.
        assert await bus.read(STATUS) == (3 << 4 | registers.STATUS_ERROR, OKAY)
        assert await bus.write(STATUS, registers.STATUS_ERROR) == OKAY
        assert await bus.read(STATUS) == (0, OKAY)
        counted = {
            name: (await bus.read(registers.address(name)))[0]
            for name in (r.name for r in registers.COUNTERS)
        }
        assert counted["BEATS_IN"] == len(batch["last"])
        assert counted["BEATS_OUT"] == len(wanted["last"])
        assert counted["PACKETS_IN"] == sum(batch["last"])
        assert counted["PACKETS_OUT"] == sum(wanted["last"])
        assert [counted[n] for n in ("ILLEGAL", "ORDER", "CUT", "OVERRUN")] == [4, 0, 4, 0]
        # Busy from the cycle after a header on; a NOP of one beat never is.
        assert counted["CYCLES"] > counted["BUSY"] >= sum(batch["last"] == 0)
        assert (counted["STALL_OUT"] > 0) == (counted["STALL_IN"] > 0) == (ready < 1)
        await bus.write(CONTROL, registers.CLEAR | registers.ENABLE)
        assert await bus.read(registers.address("BEATS_IN")) == (0, OKAY)
        assert (await bus.read(registers.address("CYCLES")))[0] < 16

    simulate(dut, bench, background=sink.run)


def test_without_enable_no_packet_begins_but_one_under_way_ends() -> None:
    dut = system()
    sink = Sink(dut)
    batch = packets([(1, 0, 6), (1, 0, 2)])
    cut = {name: values[:3] for name, values in batch.items()}
    rest = {name: values[3:] for name, values in batch.items()}
    sent: list[bool] = []

    async def bench(ctx: Any) -> None:
        bus = Bus(dut, ctx)
        await send(ctx, dut, cut)
        assert await bus.write(CONTROL, 0) == OKAY
        sent.append(False)
        for _ in range(40):
            await ctx.tick()
        assert (await bus.read(registers.address("PACKETS_IN")))[0] == 1
        assert (await bus.read(STATUS))[0] == 0
        assert await bus.write(CONTROL, registers.ENABLE) == OKAY
        for _ in range(40):
            await ctx.tick()
        assert sink.beats == beats_of(answers(batch))

    async def source(ctx: Any) -> None:
        while not sent:
            await ctx.tick()
        await send(ctx, dut, rest)

    simulate(dut, bench, source, background=sink.run)


@pytest.mark.parametrize("ready", [1.0, 0.3])
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("at", range(1, 9))
def test_soft_reset_in_a_packet(at: int, fresh: bool, ready: float) -> None:
    dut = system()
    sink = Sink(dut, ready)
    batch = packets([(1, 0, 7)])
    after = packets([(1, 0, 3), (2, 0, 0), (1, 2, 4)], seed=1)

    async def bench(ctx: Any) -> None:
        bus = Bus(dut, ctx)
        await send(ctx, dut, {name: values[:at] for name, values in batch.items()})
        reset = registers.RESET | registers.ENABLE | (registers.FRESH if fresh else 0)
        assert await bus.write(CONTROL, reset) == OKAY
        while (await bus.read(STATUS))[0] & registers.STATUS_RESET:
            pass
        before = list(sink.beats)
        if not fresh:
            # The rest of the packet is discarded.
            await send(ctx, dut, {name: values[at:] for name, values in batch.items()})
        await send(ctx, dut, after)
        while (await bus.read(STATUS))[0] & registers.STATUS_BUSY:
            pass
        whole = beats_of(answers(batch))
        ended = [i for i, beat in enumerate(sink.beats) if beat == (0, 15, 1)]
        if before and not before[-1][2]:
            # A response that was cut is ended by status 15.
            assert ended == [len(before)]
        got = sink.beats[: ended[0]] if ended else before
        assert got == whole[: len(got)]
        start = ended[0] + 1 if ended else len(before)
        # The core begins anew: its count is 0 again.
        assert sink.beats[start:] == beats_of(answers(after))

    simulate(dut, bench, background=sink.run)


def test_soft_reset_waits_for_a_beat_that_is_offered() -> None:
    dut = system()

    async def bench(ctx: Any) -> None:
        bus = Bus(dut, ctx)
        await send(ctx, dut, packets([(1, 0, 1)]))
        assert ctx.get(dut.o.valid)
        assert await bus.write(CONTROL, registers.RESET | registers.ENABLE) == OKAY
        for _ in range(5):
            status = (await bus.read(STATUS))[0]
            assert status == registers.STATUS_RESET | registers.STATUS_BUSY
            assert ctx.get(dut.o.valid)
            assert not ctx.get(dut.i.ready)
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        ctx.set(dut.o.ready, 0)
        for _ in range(3):
            assert not ctx.get(dut.o.valid)
            await ctx.tick()
        assert (await bus.read(STATUS))[0] == 0

    simulate(dut, bench)


def test_what_is_no_core_is_refused() -> None:
    core = Echo(EchoParams())
    with pytest.raises(UsageError) as caught:
        PacketSystem(core, {"k": -1})
    assert str(caught.value) == "parameter k must be 0..4294967295, got -1"

    class Silent(StreamUnit):
        latency = interval = 1

        def __init__(self) -> None:
            params: Any = type("P", (), {"input": EchoParams().input, "output": EchoParams().input})
            super().__init__(params)

    with pytest.raises(UsageError) as caught:
        PacketSystem(Silent(), {})
    assert str(caught.value) == "Silent has no packets: last and status are missing"
