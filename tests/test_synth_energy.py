"""Energy against a slow estimate of its own, and what must hold of it whatever the figures are."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run
from slow_energy import Slow

from narrowgauge import energy as measured
from narrowgauge.golden.errors import UsageError
from narrowgauge.synth import library, sta
from narrowgauge.synth.activity import Counter
from narrowgauge.synth.energy import PARTS, Model
from narrowgauge.synth.gates import Gates, build
from narrowgauge.synth.power import power
from narrowgauge.synth.simulation import Simulator, Words, rows

ALL = np.full(1, ~np.uint64(0))


def _netlist(cells: dict[str, tuple[str, dict[str, int]]], **ports: list[int]) -> dict[str, Any]:
    """A JSON netlist; ports named o... are outputs."""
    return {
        "modules": {
            "top": {
                "ports": {
                    name: {"direction": "output" if name[0] == "o" else "input", "bits": bits}
                    for name, bits in ports.items()
                },
                "cells": {
                    name: {"type": kind, "connections": {p: [b] for p, b in pins.items()}}
                    for name, (kind, pins) in cells.items()
                },
                "netnames": {},
            }
        }
    }


SEQUENTIAL = _netlist(
    {
        "x": ("XOR2_X1", {"A": 10, "B": 20, "Z": 30}),
        "n": ("NAND2_X1", {"A1": 30, "A2": 11, "ZN": 31}),
        "a": ("AOI21_X1", {"A": 31, "B1": 21, "B2": 12, "ZN": 32}),
        "m": ("MUX2_X1", {"A": 30, "B": 32, "S": 13, "Z": 33}),
        "i": ("INV_X1", {"A": 33, "ZN": 34}),
        "p": ("DFF_X1", {"D": 33, "CK": 2, "Q": 20, "QN": 21}),
        "q": ("DFF_X1", {"D": 34, "CK": 2, "QN": 22}),
        "r": ("DFF_X1", {"D": 20, "CK": 2, "Q": 23}),
    },
    clk=[2],
    i=[10, 11, 12, 13],
    o=[22, 23],
)


@cache
def _gates() -> Gates:
    return build(SEQUENTIAL, "top", library.load("nangate45"))


def _cycles(gates: Gates, chances: tuple[float, ...], seed: int = 3) -> list[tuple[Words, Words]]:
    """Settled values before and after each edge; input bits change with these chances."""
    rng = np.random.default_rng(seed)
    simulator = Simulator(gates, 64, seed)
    inputs = [net for name, nets in gates.inputs.items() if name != "clk" for net in nets]
    simulator.values[inputs] = rng.integers(0, ALL[0], (len(inputs), 1), np.uint64)
    simulator.evaluate()
    found = []
    for chance in chances:
        before = simulator.values.copy()
        simulator.tick()
        flips = np.packbits(rng.random((len(inputs), 64)) < chance, axis=1).view("<u8")
        simulator.values[inputs] ^= flips
        simulator.evaluate()
        found.append((before, simulator.values.copy()))
    return found


def _single(cycles: list[tuple[Words, Words]]) -> list[tuple[list[int], list[int]]]:
    """The same, stream by stream."""
    return [
        (rows(before, 64)[stream].tolist(), rows(after, 64)[stream].tolist())
        for before, after in cycles
        for stream in range(64)
    ]


@pytest.fixture(scope="module")
def lzc(tmp_path_factory: pytest.TempPathFactory) -> Gates:
    """The mapped netlist of lzc/w8."""
    from narrowgauge import gates, registry

    (point,) = registry.points("lzc/w8")
    made = gates.netlists(point, "nangate45", tmp_path_factory.mktemp("cache"))
    return build(made.speed or {}, point.identifier, library.load("nangate45"))


def _counted(gates: Gates, cycles: list[tuple[Words, Words]]) -> Counter:
    counter = Counter(gates, power(gates.library))
    for before, after in cycles:
        counter(before, after, ALL)
    return counter


@pytest.mark.parametrize("name", ["sequential", "lzc"])
def test_slow_estimate_agrees(name: str, lzc: Gates) -> None:
    """Every part, to rounding; a count that is off by one in a thousand does not agree."""
    gates = _gates() if name == "sequential" else lzc
    timing = sta.analyze(gates)
    cycles = _cycles(gates, (0.5, 0.1, 0.9))
    activity = _counted(gates, cycles).activity
    model = Model(gates, power(gates.library), timing)
    expected = Slow(gates, timing).energy(_single(cycles), 1.1, 700.0)
    assert model.evaluate(activity, 700.0).parts == pytest.approx(expected, rel=1e-9)
    assert expected["switching"] > 0
    assert expected["internal"] > 0
    assert (expected["clock"] > 0) == (name == "sequential")
    kind = max(activity.events, key=lambda k: activity.events[k].sum())
    activity.events[kind] *= 1.001
    if name == "lzc":
        # Only ratios of causes count in logic, so a net's own changes are what to falsify.
        activity.toggles *= 1.001
    assert model.evaluate(activity, 700.0).parts != pytest.approx(expected, rel=1e-6)


def test_no_activity_is_clock_and_leakage() -> None:
    """Nothing moves: the clock pins and the states are what is left."""
    gates = _gates()
    cycles = _cycles(gates, (0.0,) * 12)[-1:]
    still = [(after, after) for _, after in cycles]
    model = Model(gates, power(gates.library), sta.analyze(gates))
    parts = model.evaluate(_counted(gates, still).activity, 700.0).parts
    assert parts["switching"] == 0.0
    assert parts["internal"] == 0.0
    assert parts["clock"] > 0.0
    assert parts["leakage"] > 0.0


def test_voltage_and_period() -> None:
    """Switching goes with the square of the voltage, leakage with the period, nothing else does."""
    gates = _gates()
    timing = sta.analyze(gates)
    activity = _counted(gates, _cycles(gates, (0.5,) * 4)).activity
    drawn = power(gates.library)
    plain = Model(gates, drawn, timing).evaluate(activity, 500.0).parts
    slow = Model(gates, drawn, timing).evaluate(activity, 1500.0).parts
    assert slow == pytest.approx(plain | {"leakage": 3 * plain["leakage"]})
    double = Model(gates, replace(drawn, voltage=2 * drawn.voltage), timing)
    high = double.evaluate(activity, 500.0).parts
    assert high["switching"] == pytest.approx(4 * plain["switching"])
    assert high["internal"] == pytest.approx(plain["internal"])
    assert high["leakage"] == pytest.approx(plain["leakage"])


def test_parts_and_split_sum_to_the_total() -> None:
    """Cells and ports together, however they are grouped."""
    gates = _gates()
    model = Model(gates, power(gates.library), sta.analyze(gates))
    spent = model.evaluate(_counted(gates, _cycles(gates, (0.5,) * 4)).activity, 500.0)
    paths = [cell.name if index % 3 else "" for index, cell in enumerate(gates.cells)]
    split = spent.split(paths)
    assert set(split) == set(paths)
    assert sum(split.values()) == pytest.approx(spent.total)
    assert spent.ports > 0
    assert sum(spent.parts[part] for part in PARTS) == spent.total
    assert sum(spent.split([""] * len(paths)).values()) == pytest.approx(spent.total)


def test_only_what_is_active_counts() -> None:
    """Streams outside the mask leave no trace: half of them have half of the cycles."""
    gates = _gates()
    cycles = _cycles(gates, (0.5,) * 2)
    low, high = np.array([0xFFFF_FFFF], np.uint64), np.array([0xFFFF_FFFF << 32], np.uint64)
    halves = []
    for mask in (low, high, ALL):
        counter = Counter(gates, power(gates.library))
        for before, after in cycles:
            counter(before, after, mask)
        halves.append(counter.activity)
    first, second, whole = halves
    assert first.cycles == 64
    assert np.array_equal(first.toggles + second.toggles, whole.toggles)
    for kind, events in whole.events.items():
        assert np.allclose(first.events[kind] + second.events[kind], events)
        assert np.allclose(whole.states[kind].sum(axis=0), whole.cycles)


def test_sparse_data_takes_less(tmp_path: Path) -> None:
    """The more operands of a multiplier are zero, the less it draws."""
    from narrowgauge import gates as netlists
    from narrowgauge import registry
    from narrowgauge.synth import stream

    (point,) = registry.points("fp_mul/fp8_e5m2")
    made = netlists.netlists(point, "nangate45", tmp_path)
    gates = build(made.speed or {}, point.identifier, library.load("nangate45"))
    model = Model(gates, power(gates.library), sta.analyze(gates))
    rng = np.random.default_rng(1)
    totals = []
    for zeros in (0.0, 0.3, 0.6, 0.9):
        codes = rng.integers(0, 256, (64 * 12, 2), np.uint8)
        codes[rng.random(codes.shape) < zeros] = 0
        counter = Counter(gates, power(gates.library))
        beats = stream.Beats(data=codes, last=None, ends=np.arange(1, len(codes) + 1))
        stream.play(gates, beats, warm_up=2, observer=counter)
        spent = model.evaluate(counter.activity, 1000.0)
        totals.append((spent.total - spent.parts["leakage"]) / spent.cycles)
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] < 0.5 * totals[0]


def test_memories_are_counted_apart(tmp_path: Path) -> None:
    """A buffer's words are written and read once each, and no flip-flop stands for it."""
    result = measured.measure(
        name="mx_quantize/mxfp4_l8",
        overrides={},
        liberty="nangate45",
        cache=tmp_path,
        vectors=("random",),
        glitch=False,
        operations=64,
    )
    each = result["vectors"]["random"]
    (buffer,) = each["memory"]["memories"]
    assert (buffer["words"], buffer["width"]) == (4, 128)
    assert buffer["writes_per_op"] == pytest.approx(each["cycles_per_operation"])
    cost = (buffer["reads_per_op"] + buffer["writes_per_op"]) * buffer["pj_per_access"]
    assert each["memory"]["pj_per_op"] == pytest.approx(cost)
    parts = each["zero_delay"]
    assert parts["pj_per_op"] == pytest.approx(sum(parts[part] for part in PARTS))
    assert sum(row["pj_per_op"] for row in each["split"]) == pytest.approx(parts["pj_per_op"])
    assert each["operations"] >= 64
    assert each["glitch"] is None


def test_work_is_cut_alike_for_all_streams(tmp_path: Path) -> None:
    """Every stream warms up and plays as much; recorded transactions follow each other in it."""
    from narrowgauge import design, registry

    for name, kind in (("lzc/w8", "random"), ("mx_quantize/mxfp4_l8", "real")):
        (point,) = registry.points(name)
        emitted = design.emitted(point, tmp_path)
        task = measured.work(point, emitted, kind, 100, 1)
        assert emitted.latency is not None
        assert task.warm_up > emitted.latency
        transactions = len(task.beats.ends)
        assert transactions % 64 == 0
        counted = transactions // 64 - task.warm_up // (emitted.interval or 1)
        assert counted == 2  # 64 streams, at least 100 in all
        assert len(task.beats.data) == transactions * task.every
    # The first stream begins with the first recorded block.
    batch = point.entry.golden.vectors(point.params, "real", 1)
    two = design.beats(point, {field: values[:2] for field, values in batch.items()})
    packed = point.params.input.data.pack(two)
    assert np.array_equal(task.beats.data[: len(packed), : packed.shape[1]], packed)


def test_api_takes_a_point_and_keeps_its_result(tmp_path: Path) -> None:
    """The second call is the first one's file; a period that cannot be met is one line."""
    arguments: dict[str, Any] = {"operations": 64, "cache": tmp_path / "cache"}
    first = measured.energy("lzc/w8", output=tmp_path / "out", **arguments)["lzc/w8"]
    (kept,) = (tmp_path / "cache" / "energy").iterdir()
    stored = json.loads(kept.read_text())
    assert stored["value"] == first
    assert json.loads((tmp_path / "out" / "lzc_w8.energy.json").read_text()) == first
    assert list(first["vectors"]) == ["random"]
    late = first["vectors"]["random"]
    assert late["glitch"]["pj_per_op"] >= late["zero_delay"]["pj_per_op"] * 0.9
    assert late["settled_ps"] <= first["period_ps"]
    assert late["glitch_operations"] == late["operations"] >= 64
    before = kept.stat().st_mtime_ns
    assert measured.energy("lzc/w8", **arguments)["lzc/w8"] == first
    assert kept.stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"a period of 10 ps cannot be met: lzc/w8 needs \d+"):
        measured.energy("lzc/w8", period_ps=10.0, **arguments)
    for wrong, message in (
        ({"goal": "best"}, "goal must be one of area, speed, got 'best'"),
        ({"vectors": ("dream",)}, "vectors must be one of random, real, got 'dream'"),
        ({"vectors": ()}, "vectors must be one of random, real, got ''"),
        ({"operations": 0}, "operations must be at least 1, got 0"),
        ({"liberty": "generic"}, "library generic has no internal_power"),
    ):
        with pytest.raises(UsageError, match=message):
            measured.energy("lzc/w8", **{**arguments, **wrong})


def test_modules_that_differ_in_number_share_a_row() -> None:
    """128 lanes are one line, with their sum."""
    from narrowgauge.commands.energy import _split

    def row(path: str, value: float) -> dict[str, Any]:
        return {"path": path, "pj_per_op": value, "glitch_pj_per_op": None, "ge": 10.0}

    found = _split({"split": [row("lane7", 1.0), row("", 2.5), row("lane12", 2.0)]})
    assert found == [("lane* (2)", "3.000", "", "20"), ("(own logic)", "2.500", "", "10")]


def test_command(narrowgauge: Run) -> None:
    """A table with the split of the one point, or JSON; errors are one line."""
    done = narrowgauge("energy", "lzc/w8", "--operations", "64", "--no-glitch")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split()[:3] == ["point", "vectors", "ops"]
    assert "(own logic)" in done.stdout
    done = narrowgauge("energy", "lzc/w8", "--operations", "64", "--no-glitch", "--json")
    assert json.loads(done.stdout)["lzc/w8"]["netlist"] == "speed"
    done = narrowgauge("energy", "lzc/w8", "--liberty", "generic")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
