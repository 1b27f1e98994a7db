# amaranth: UnusedElaboratable=no
"""The halves of the banks of `flexblock_core`: what FB24 reads, and what it does not."""

import importlib
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.memory import Memory
from amaranth.sim import Simulator

from narrowgauge import registry
from narrowgauge.golden.arith import fused_mul
from narrowgauge.golden.cores.flexblock_core import Params
from narrowgauge.golden.cores.flexblock_machine import Machine
from narrowgauge.golden.cores.flexblock_packets import Load, Run, Side, packet
from narrowgauge.golden.payload import Batch, join
from narrowgauge.hdl.cores.flexblock_banks import Halves
from narrowgauge.hdl.stream import StreamUnit

P: Params = registry.points("flexblock_core/p2_n16")[0].params
HALVED = Params(pes=2, nibbles=16, group12=24, group16=12, group24=6, a_depth=16, b_depth=16,
                sums=4, load=2, results=2)  # fmt: skip
LARGE: Params = registry.points("flexblock_core/p4_n48")[0].params


@pytest.mark.parametrize("side", [0, 1])
def test_what_repeats_is_what_pack_makes_twice(side: int) -> None:
    rng = np.random.default_rng(side)
    codes = rng.integers(-(1 << 16) + 1, 1 << 16, (2, 50, 3))
    words = fused_mul.pack(2, *codes)[side]
    other = rng.integers(-15, 16, words.shape)
    d = np.arange(words.shape[1]) >> 1 & 3
    read = d & ((1, 2)[side]) == 0
    assert read.sum() == len(d) // 2
    assert np.array_equal(fused_mul.repeated(np.where(read, words, other), side), words)
    # The first memory holds the same slots, and the first field.
    first, second = Halves(LARGE, side).parts.values()
    width = LARGE.word.width
    assert [low // 5 for low, _ in first[:-1]] == list(np.flatnonzero(read))
    assert sorted(first + second)[-2:] == [(width - 16, width - 8), (width - 8, width)]
    assert sum(high - low for low, high in first) == width // 2


def test_small_and_guarded_banks_are_one_memory() -> None:
    assert [list(Halves(P, side).parts) for side in range(2)] == [[""], ["_first", "_second"]]
    guarded = registry.points("flexblock_core/p4_n48", guard="secded_scale")[0].params
    assert Halves(guarded, 0).parts == {"": [(0, guarded.stored.guard.stored_bits)]}


def program(mode: int, *, other: int = 0) -> Batch:
    """Two columns of three beats; what FB24 does not read is moved by `other`."""
    rng = np.random.default_rng(1)
    packets = []
    for side in Side:
        slots = rng.integers(-7, 8, (12, 8))
        skipped = np.arange(8) >> 1 & (1, 2)[side] != 0
        words = {"slots": slots + other * skipped, "scales": np.full((12, 2), 127)}
        packets.append(packet(HALVED, Load(side=side, address=0, words=12), words))
    run = Run(mode=mode, a=0, b=0, beats=3, group=3, columns=(1, 2), column_steps=(0, 3))
    return join([*packets, packet(HALVED, run)])


class Silent(StreamUnit):
    """An element that takes every beat and never answers."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(1)
        return m


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_fb24_reads_one_half(monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    made: list[Any] = []

    class Seen(Memory):  # type: ignore[misc]
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            made.append(self)

    module = importlib.import_module("narrowgauge.hdl.cores.flexblock_core")
    monkeypatch.setattr(module, "Memory", Seen)
    monkeypatch.setattr(module, "BfpPe", Silent)
    core = module.FlexblockCore(HALVED)
    simulator = Simulator(core)
    simulator.add_clock(1e-6)
    beats = program(mode)
    rows = HALVED.input.pack(beats)
    reads = np.zeros(8, np.int64)

    async def bench(context: Any) -> None:
        sent = 0
        for _ in range(40):
            context.set(core.i.valid, int(sent < len(rows)))
            if sent < len(rows):
                payload = int.from_bytes(rows[sent].tobytes(), "little")
                context.set(core.i.payload, core.i.payload.shape().from_bits(payload))
                sent += context.get(core.i.ready)
            reads[:] += [context.get(memory.read_ports[0].en) for memory in made]
            await context.tick()
        assert sent == len(rows)

    simulator.add_testbench(bench)
    simulator.run()
    # Two elements with two memories a bank: six beats of A each, of B three words of each bank.
    second = int(mode < 2)
    assert reads.tolist() == [6, 6 * second] * 2 + [3, 3 * second] * 2


def test_fb24_answers_whatever_the_other_half_holds() -> None:
    answers = [[Machine(HALVED).run(program(m, other=k)) for k in (0, 3)] for m in (0, 1, 2, 3)]
    same = [bool((one["data"] == two["data"]).all()) for one, two in answers]
    assert same == [False, False, True, True]
