# amaranth: UnusedElaboratable=no
"""`flexblock_core`: cycles of the hardware are those of the model; a reset within a RUN."""

from pathlib import Path

import numpy as np
import pytest

from narrowgauge import registry
from narrowgauge.golden.cores import flexblock_core, flexblock_cycles
from narrowgauge.golden.cores import flexblock_packets as host
from narrowgauge.golden.cores.flexblock_machine import Machine
from narrowgauge.golden.cores.flexblock_packets import Load, Run, Side
from narrowgauge.golden.cores.flexblock_random import Program
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import join
from narrowgauge.hdl import emit
from narrowgauge.hdl.cores.flexblock_core import FlexblockCore
from narrowgauge.hdl.systems import registers
from narrowgauge.hdl.systems.packet_system import PacketSystem
from narrowgauge.verify.driver import Driver, Expect, Send, Wait, Write
from narrowgauge.verify.runner import cache_folder

(POINT,) = registry.points("flexblock_core/p2_n16")
P: flexblock_core.Params = POINT.params


def driver(params: flexblock_core.Params, folder: Path) -> Driver:
    """The system of a core, built."""
    text = emit.verilog(PacketSystem(FlexblockCore(params), {}), "flexblock_system")
    return Driver(
        "flexblock_system",
        text,
        params.input,
        params.output,
        folder=folder,
        cache=cache_folder(),
        thorough=False,
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    return driver(P, tmp_path_factory.mktemp("flexblock"))


def commands(program: Program, short: bool) -> list[Load | Run]:
    """Commands that end well or beyond a memory, sent: LOADs beside RUNs of all kinds."""
    p, rng = program.p, program.rng
    made: list[Load | Run] = []
    for side, depth in ((Side.A, p.a_depth), (Side.B, p.b_depth)):
        made.append(Load(side=side, address=0, words=depth * p.pes, after=True))
        program.send(program.words(made[-1]))
    while len(made) < 120:
        if rng.random() < 0.35:
            side = Side(int(rng.integers(2)))
            start = int(rng.integers(0, 4)) * p.load
            count = int(rng.integers(1, 3 if short else 8))
            after = program.machine.overtakes(side, start, count)
            made.append(Load(side=side, address=start, words=count, after=after))
            program.send(program.words(made[-1]))
            continue
        command = program.any_run()
        if short:
            columns, beats = (int(rng.integers(1, 3)) for _ in range(2))
            more = {name: getattr(command, name) for name in ("mode", "keep", "add", "hold")}
            command = Run(a=0, b=0, beats=beats, group=1, columns=(1, columns), **more)
        try:
            program.send(host.packet(p, command))
        except UsageError:
            # It would add to what is not there.
            continue
        made.append(command)
    return made


def cycles_agree(built: Driver, params: flexblock_core.Params, seeds: int) -> None:
    """Every answer comes in the cycle that the model tells, and is what it should be."""
    for seed in range(seeds):
        program = Program(params, np.random.default_rng(seed))
        made = commands(program, short=seed % 2 == 1)
        beats = join(program.parts)
        wanted = Machine(params).run(beats)
        played = built.play(beats)
        assert all(np.array_equal(played.beats[name], wanted[name]) for name in wanted)
        ends = played.given[wanted["last"] == 1] - played.taken[0] + 1
        told = [flexblock_cycles.cycles(params, made[: count + 1]) for count in range(len(made))]
        assert ends.tolist() == told


def test_cycles_are_those_of_the_hardware(small: Driver) -> None:
    cycles_agree(small, P, 4)


def test_cycles_where_all_results_go_at_once(tmp_path: Path) -> None:
    params = flexblock_core.Params(**POINT.parameters | {"load": 2, "results": 2})
    cycles_agree(driver(params, tmp_path), params, 2)


def test_long_runs_repeat() -> None:
    # What is left out of a RUN of many columns is what a RUN of few of them leads to.
    shape = {"mode": 0, "a": 0, "b": 0, "beats": 5, "group": 2, "taps": (2, 2)}
    spent = [
        flexblock_cycles.cycles(P, [Run(columns=(1, columns), **shape)])
        for columns in (50, 51, 1000)
    ]
    assert spent[2] - spent[0] == 950 * (spent[1] - spent[0])
    # Twelve groups of four totals; the results of the last one take two cycles each.
    assert spent[1] - spent[0] == 11 * 4 + 4 * P.steps


# As the page has them: mode, beats, beats of a group, cycles a column.
PACE = [
    (2, 18, 18, (18, 18, 18)),
    (1, 7, 3, (7, 7, 9)),
    (2, 2, 2, (2, 3, 5)),
    (0, 18, 18, (18, 18, 18)),
    (0, 8, 4, (8, 12, 20)),
    (0, 6, 2, (12, 16, 24)),
]


@pytest.mark.parametrize(("mode", "beats", "group", "cycles"), PACE)
def test_pace(mode: int, beats: int, group: int, cycles: tuple[int, int, int]) -> None:
    for results, each in zip((4, 2, 1), cycles, strict=True):
        p = flexblock_core.Params(results=results)
        shape = {"mode": mode, "a": 0, "b": 0, "beats": beats, "group": group}
        spent = [
            flexblock_cycles.cycles(p, [Run(columns=(1, columns), **shape)])
            for columns in (100, 200)
        ]
        assert spent[1] - spent[0] == 100 * each


def test_words_are_loaded_beside_a_run() -> None:
    # Two halves of the banks: what is loaded while a RUN goes on costs nothing but its header.
    p = flexblock_core.Params(pes=2, nibbles=16, a_depth=32, b_depth=64, load=1, results=2)
    long = {"mode": 2, "beats": 8, "group": 3, "columns": (1, 12)}
    halves = [Run(a=0, b=0, **long), Run(a=16, b=64, **long)]
    loads = [Load(side=Side.B, address=b, words=40) for b in (0, 64)]
    alone = [flexblock_cycles.cycles(p, [run]) for run in halves]
    both = flexblock_cycles.cycles(p, [halves[0], loads[1], halves[1], loads[0], halves[0]])
    assert both < 3 * alone[0] + 6


def test_reset_within_a_run(small: Driver) -> None:
    # In the middle of its results: what comes after is as after a reset.
    program = Program(P, np.random.default_rng(1))
    program.fill()
    program.send(host.packet(P, Run(mode=1, a=0, b=0, beats=2, group=2, columns=(1, 30))))
    wanted = Machine(P).run(join(program.parts))
    early = join(program.parts)
    control = registers.address("CONTROL")
    steps = [
        Send(beats=early),
        Wait(cycles=20),
        Write(address=control, data=registers.ENABLE | registers.RESET),
        Send(beats=early),
        Expect(packets=2 * len(program.parts)),
    ]
    played = small.run(steps)
    assert played.beats["status"].max() == 15
    got = {name: values[-len(wanted["last"]) :] for name, values in played.beats.items()}
    assert all(np.array_equal(got[name], wanted[name]) for name in wanted)
