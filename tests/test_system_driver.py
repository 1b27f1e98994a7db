# amaranth: UnusedElaboratable=no
"""The driver on a small system: counters against the beats, soft reset, what is wrong turns red."""

from pathlib import Path

import numpy as np
import pytest

from narrowgauge.golden.errors import MismatchError, UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.hdl import emit
from narrowgauge.hdl.systems import registers
from narrowgauge.hdl.systems.packet_system import PacketSystem
from narrowgauge.verify.driver import Driver, Expect, Idle, Read, Send, Wait, Write
from narrowgauge.verify.runner import cache_folder
from tests.system_designs import Echo, EchoParams, answers, packets

PARAMS = EchoParams()
BATCH = packets([(1, 0, 5), (0, 0, 3), (2, 3, 20), (1, 0, 0), (0, 0, 0), (5, 4, 9)] * 10)
CONTROL = registers.address("CONTROL")


def built(folder: Path, text: str, limit: int = 2000) -> Driver:
    """A driver of an echo's Verilog."""
    return Driver(
        "echo_system",
        text,
        PARAMS.input,
        PARAMS.output,
        folder=folder,
        cache=cache_folder(),
        thorough=False,
        limit=limit,
    )


@pytest.fixture(scope="module")
def text() -> str:
    return emit.verilog(PacketSystem(Echo(PARAMS), {"width": 40}), "echo_system")


@pytest.fixture(scope="module")
def driver(text: str, tmp_path_factory: pytest.TempPathFactory) -> Driver:
    return built(tmp_path_factory.mktemp("driver"), text)


def same(got: Batch, want: Batch) -> None:
    """Every beat alike."""
    assert set(got) == set(want)
    for name, values in want.items():
        assert np.array_equal(got[name], values), name


@pytest.mark.parametrize(("source", "sink"), [(1.0, 1.0), (0.3, 1.0), (1.0, 0.3), (0.5, 0.5)])
def test_every_bit_and_every_counter(driver: Driver, source: float, sink: float) -> None:
    played = driver.play(BATCH, source=source, sink=sink)
    want = answers(BATCH)
    same(played.beats, want)
    counters = played.counters
    assert counters["BEATS_IN"] == len(BATCH["last"]) == len(played.taken)
    assert counters["BEATS_OUT"] == len(want["last"]) == len(played.given)
    assert counters["PACKETS_IN"] == 60
    assert counters["PACKETS_OUT"] == 40
    assert (counters["CUT"], counters["OVERRUN"], counters["ORDER"]) == (10, 10, 0)
    assert (played.status >> 4, played.status & 15) == (3, registers.STATUS_ERROR)
    assert np.all(np.diff(played.taken) > 0)
    assert (counters["STALL_OUT"] > 0) == (sink < 1)
    if source == sink == 1:
        assert played.cycles == len(BATCH["last"]) + 1
        assert counters["STALL_IN"] == 0
    else:
        assert played.cycles > len(BATCH["last"]) + 10


def test_soft_reset_in_the_middle_of_a_packet(driver: Driver) -> None:
    whole = packets([(1, 0, 9)])
    first = {name: values[:4] for name, values in whole.items()}
    rest = {name: values[4:] for name, values in whole.items()}
    after = packets([(1, 0, 3)], seed=5)
    steps = [
        Send(beats=first),
        Write(address=CONTROL, data=registers.ENABLE | registers.RESET),
        Idle(),
        Send(beats=rest),
        Send(beats=after),
        Expect(packets=2),
        Idle(),
        Read(address=CONTROL),
    ]
    with pytest.raises(MismatchError, match="no transfer for too long"):
        # Busy until the packet that was cut has ended.
        driver.run(steps)
    del steps[2]
    log = driver.run(steps)
    lasts = np.flatnonzero(log.beats["last"])
    assert log.beats["status"][lasts].tolist() == [15, 0]
    cut, want = int(lasts[0]), answers(after)
    same({name: values[:cut] for name, values in log.beats.items()}, _first(answers(whole), cut))
    same({name: values[cut + 1 :] for name, values in log.beats.items()}, want)
    assert log.answers[-1] == (registers.ENABLE, 0)


def _first(batch: Batch, count: int) -> Batch:
    return {name: values[:count] for name, values in batch.items()}


def test_the_bus_works_while_packets_flow(driver: Driver) -> None:
    steps = [
        Read(address=registers.address("ID")),
        Read(address=registers.PARAMETERS),
        Read(address=0x7F0),
        Write(address=0, data=1),
        Wait(cycles=10),
        Send(beats=packets([(1, 0, 4)])),
        Expect(packets=1),
    ]
    log = driver.run(steps, sink=0.2, seed=3)
    assert log.answers[:4] == [(registers.IDENTITY, 0), (40, 0), (0, 2), (0, 2)]
    assert log.ends == sorted(log.ends)
    assert log.ends[4] == log.ends[3] + 10


def test_a_design_that_breaks_a_rule_turns_red(text: str, tmp_path: Path) -> None:
    start = text.index("module echo_system(")
    name = "assign m_axis_tdata = "
    at = text.index(name, start) + len(name)
    red = built(tmp_path, f"{text[:at]}{{48{{s_axis_tvalid}}}} ^ {text[at:]}")
    with pytest.raises(MismatchError, match="m_axis_tdata changed while it waited"):
        red.play(BATCH, source=0.3, sink=0.3)
    # What cannot be built does not run as what was built before it in the same place.
    with pytest.raises(MismatchError, match="cannot be built"):
        built(tmp_path, text.replace("endmodule", "endmodul"))


def test_too_few_or_too_many_responses_turn_red(driver: Driver) -> None:
    with pytest.raises(MismatchError, match="no transfer for too long"):
        driver.play(BATCH, expect=41)
    with pytest.raises(MismatchError, match="40 responses, expected 39"):
        driver.play(BATCH, expect=39)


def test_wrong_requests_are_refused(driver: Driver, text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"sink must be 1/256\.\.1, got 0"):
        driver.play(BATCH, sink=0.0)
    with pytest.raises(UsageError, match="folder with a space"):
        built(tmp_path / "a b", text)
