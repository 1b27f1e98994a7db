"""Activity with delays: against a slow simulation, against Icarus, and what must hold of it."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slow_energy import Slow

from narrowgauge import gates as netlists
from narrowgauge import registry
from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.synth import glitch, library, sta, stream
from narrowgauge.synth.energy import Model
from narrowgauge.synth.gates import Gates, build
from narrowgauge.synth.netlist import SynthesisError
from narrowgauge.synth.power import power
from narrowgauge.synth.simulation import Words, columns, rows

Cycles = list[tuple[Words, Words, Words]]


@pytest.fixture(scope="module")
def multiplier(tmp_path_factory: pytest.TempPathFactory) -> Gates:
    """The mapped netlist of fp_mul/fp8_e5m2."""
    (point,) = registry.points("fp_mul/fp8_e5m2")
    made = netlists.netlists(point, "nangate45", tmp_path_factory.mktemp("cache"))
    return build(made.speed or {}, point.identifier, library.load("nangate45"))


@pytest.fixture(scope="module")
def cycles(multiplier: Gates) -> Cycles:
    """Settled values before and after some edges, and the streams that count."""
    found: Cycles = []

    def keep(before: Words, after: Words, active: Words) -> None:
        found.append((before.copy(), after.copy(), active))

    codes = np.random.default_rng(5).integers(0, 256, (64 * 8, 2), np.uint8)
    beats = stream.Beats(data=codes, last=None, ends=np.arange(1, len(codes) + 1))
    stream.play(multiplier, beats, warm_up=2, observer=keep)
    return [each for each in found if each[2].any()]


def _glitches(gates: Gates, **settings: Any) -> glitch.Glitches:
    # Whole pulses, unless a test is about parts of them.
    given = {"period_ps": 1000.0, "share": 1.0, "swings": False, **settings}
    return glitch.Glitches(gates, power(gates.library), sta.analyze(gates), **given)


def _run(gates: Gates, cycles: Cycles, **settings: Any) -> glitch.Glitches:
    made = _glitches(gates, **settings)
    for each in cycles:
        made(*each)
    return made


def test_no_fewer_changes_and_the_same_parity(multiplier: Gates, cycles: Cycles) -> None:
    """Every net ends where it ends without delays, so it changes as often or two times more."""
    made = _run(multiplier, cycles)
    more = made.activity.toggles - made.settled.toggles
    assert more.min() >= 0
    assert more.max() >= 2
    assert not (more % 2).any()
    assert np.array_equal(made.activity.rises * 2 - made.activity.toggles, _net_change(made))
    assert made.latest_ps <= sta.analyze(multiplier).period_ps
    model = Model(multiplier, power(multiplier.library), sta.analyze(multiplier))
    late, plain = (model.evaluate(a, 1000.0) for a in (made.activity, made.settled))
    assert late.cycles == plain.cycles > 0
    assert 1.1 < late.total / plain.total < 3
    assert late.parts["leakage"] == plain.parts["leakage"]


def _net_change(made: glitch.Glitches) -> np.ndarray:
    return made.settled.rises * 2 - made.settled.toggles


def test_short_pulses_count_in_part(multiplier: Gates, cycles: Cycles) -> None:
    """Between no glitch and whole ones; what every net covers in the end is the same."""
    whole, part = _run(multiplier, cycles), _run(multiplier, cycles, swings=True)
    most, some, least = whole.activity, part.activity, part.settled
    assert (some.toggles <= most.toggles + 1e-9).all()
    assert (some.toggles >= least.toggles - 1e-9).all()
    assert least.toggles.sum() < some.toggles.sum() < most.toggles.sum()
    assert np.allclose(some.rises * 2 - some.toggles, _net_change(part))
    model = Model(multiplier, power(multiplier.library), sta.analyze(multiplier))
    totals = [model.evaluate(each, 1000.0).total for each in (least, some, most)]
    assert totals == sorted(totals)


def test_a_pulse_by_hand() -> None:
    """A NAND of a signal and its inverse, three inverters late, dips for as long as they take."""
    ports = {
        "clk": {"direction": "input", "bits": [2]},
        "a": {"direction": "input", "bits": [3]},
        "y": {"direction": "output", "bits": [7]},
    }
    cells: dict[str, Any] = {
        f"i{i}": {"type": "INV_X1", "connections": {"A": [3 + i], "ZN": [4 + i]}} for i in range(3)
    }
    cells["g"] = {"type": "NAND2_X1", "connections": {"A1": [3], "A2": [6], "ZN": [7]}}
    module = {"ports": ports, "cells": cells, "netnames": {}}
    gates = build({"modules": {"top": module}}, "top", library.load("nangate45"))
    (a,), (y,) = gates.inputs["a"], gates.outputs["y"]
    before = np.zeros((gates.nets, 1), np.uint64)
    before[1] = before[y] = 1
    chain = [next(c for c in gates.logic if c.name == f"i{i}").pins["ZN"] for i in range(3)]
    before[chain[0]] = before[chain[2]] = 1
    after = before.copy()
    after[a] = after[chain[1]] = 1
    after[chain[0]] = after[chain[2]] = 0
    made = _glitches(gates)
    delays = _delays(made, gates)
    index = {cell.name: i for i, cell in enumerate(gates.logic)}
    late = sum(delays[index[f"i{i}"], "A", i % 2] for i in range(3))
    width = late + delays[index["g"], "A2", 1] - delays[index["g"], "A1", 0]
    for times, covered in ((0.5, 2.0), (1.0, 2.0), (2.0, 1.0), (8.0, 0.25)):
        made = _glitches(gates)
        made.layout.arrays["swing"][y] = round(times * width)
        made.run(before, after, [0])
        assert made._toggles[y] == pytest.approx(covered, rel=1e-3)
        assert made._rises[y] == pytest.approx(covered / 2, rel=1e-3)
        assert made._toggles[chain[2]] == 1
    # NanGate45's slews run from 30 % to 70 %.
    slow = _glitches(gates, swings=True).layout.arrays["swing"][y]
    assert slow.tolist() == np.rint(2500 * sta.analyze(gates).slew[y]).tolist()


def test_share_takes_a_part(multiplier: Gates, cycles: Cycles) -> None:
    """A share of the cycles, chosen by the seed alone."""
    every = _run(multiplier, cycles).activity
    half = _run(multiplier, cycles, share=0.5, seed=7).activity
    again = _run(multiplier, cycles, share=0.5, seed=7).activity
    assert 0.3 * every.cycles < half.cycles < 0.7 * every.cycles
    assert np.array_equal(half.toggles, again.toggles)
    with pytest.raises(UsageError, match="must be in"):
        _glitches(multiplier, share=0.0)


def test_a_value_that_is_not_reached_is_an_error(multiplier: Gates, cycles: Cycles) -> None:
    """A netlist whose settled values are others than the simulator's is no sample."""
    before, after, _ = cycles[0]
    output = multiplier.logic[-1]
    net = output.pins[multiplier.library.cells[output.kind].outputs[0][0]]
    wrong = after.copy()
    wrong[net] ^= np.uint64(1)
    made = _glitches(multiplier)
    made.run(before, after, [0])
    made.run(before, wrong, [1])
    with pytest.raises(SynthesisError, match="does not settle at the value"):
        made.run(before, wrong, [0])


def _delays(made: glitch.Glitches, gates: Gates) -> dict[tuple[int, str, int], int]:
    """Delays as the simulator has them: (cell, pin, rise) and (-1, net, rise)."""
    layout = made.layout
    found = {}
    for index, cell in enumerate(gates.logic):
        start = layout.arrays["first"][index]
        for offset, pin in enumerate(gates.library.cells[cell.kind].inputs):
            for rise in (0, 1):
                found[index, pin, rise] = int(layout.arrays["delay"][start + offset, 1 - rise])
    sources, times = layout.arrays["source"], layout.arrays["source_time"]
    for net, (rise, fall) in zip(sources.tolist(), times.tolist(), strict=True):
        found[-1, str(net), 1], found[-1, str(net), 0] = rise, fall
    return found


def test_delays_are_those_of_timing(multiplier: Gates) -> None:
    """In femtoseconds, arc by arc, rise and fall apart."""
    timing = sta.analyze(multiplier)
    delays = _delays(_glitches(multiplier), multiplier)
    for index, cell in enumerate(multiplier.logic[:40]):
        known = multiplier.library.cells[cell.kind]
        for pin in known.inputs:
            for edge in (0, 1):
                exact = timing.delay(index, pin, known.outputs[0][0], edge)
                assert delays[index, pin, 1 - edge] == round(1000 * exact)


def test_slow_simulation_agrees(multiplier: Gates, cycles: Cycles) -> None:
    """The same changes of every net, by the same causes, one event after the other in Python."""
    made = _glitches(multiplier)
    slow = Slow(multiplier, sta.analyze(multiplier))
    delays = _delays(made, multiplier)
    toggles = np.zeros(multiplier.nets)
    causes: dict[tuple[int, str], int] = {}
    for before, after, _ in cycles[:3]:
        made.run(before, after, range(12))
        for bits in range(12):
            old, new = (rows(values, 64)[bits].tolist() for values in (before, after))
            changes, caused = slow.glitches(old, new, delays)
            for net, count in changes.items():
                toggles[net] += count
            for key, count in caused.items():
                causes[key] = causes.get(key, 0) + count
    activity = made.activity
    assert np.array_equal(activity.toggles, toggles)
    assert toggles.sum() > 1000
    for kind, cells in made.layout.cells.items():
        for pin, name in enumerate(cells.power.cell.inputs):
            chosen = [i for i, e in enumerate(cells.power.events) if (e.pin, e.output) == (pin, 0)]
            counted = activity.events[kind][chosen].sum(axis=0)
            assert counted.tolist() == [causes.get((m, name), 0) for m in cells.members.tolist()]


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus is not installed")
def test_icarus_agrees(multiplier: Gates, cycles: Cycles, tmp_path: Path) -> None:
    """Icarus has one rise and one fall a gate, inertial: with such delays all counts are equal."""
    made = _glitches(multiplier)
    layout = made.layout
    for index, cell in enumerate(multiplier.logic):
        start = layout.arrays["first"][index]
        own = layout.arrays["delay"][start : start + len(cell.pins) - 1]
        own[:] = own.max(axis=0)
    samples = [(before, after, bit) for before, after, _ in cycles[:2] for bit in range(10)]
    for before, after, bit in samples:
        made.run(before, after, [bit])
    (tmp_path / "top.v").write_text(_verilog(made, multiplier, samples))
    build_it = ["iverilog", "-g2012", "-o", "top.vvp", "top.v"]
    subprocess.run(build_it, cwd=tmp_path, check=True, timeout=120)
    done = subprocess.run(
        ["vvp", "-N", "top.vvp"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    counted = dict(
        map(int, line.split()) for line in done.stdout.splitlines() if line[:1].isdigit()
    )
    assert len(counted) == len(multiplier.logic)
    expected = made.activity.toggles
    assert {net: expected[net] for net in counted} == counted
    assert sum(counted.values()) > made.settled.toggles.sum()


def _verilog(made: glitch.Glitches, gates: Gates, samples: list[tuple[Words, Words, int]]) -> str:
    """Gates with delays, a counter a net, and the sources of each sample at their times."""
    delays = _delays(made, gates)
    lines = ["`timescale 1fs/1fs", "module top;", "reg [31:0] counting = 0;"]
    sources = [net for net in made.layout.arrays["source"].tolist()[1:] if net < gates.nets]
    lines += [f"reg n{net} = 0;" for net in [*sources, 0]]
    lines += ["reg n1 = 1;"]
    report = []
    for index, cell in enumerate(gates.logic):
        known = gates.library.cells[cell.kind]
        output, function = known.outputs[0]
        net = cell.pins[output]
        rise, fall = (delays[index, known.inputs[0], edge] for edge in (1, 0))
        function = re.sub(r"[A-Za-z]\w*", lambda m, c=cell: f"n{c.pins[m.group()]}", function)
        lines += [
            f"wire n{net};",
            f"assign #({rise}, {fall}) n{net} = {function.replace('!', '~')};",
        ]
        lines += [f"integer c{net} = 0;", f"always @(n{net}) if (counting) c{net} = c{net} + 1;"]
        report.append(f'$display("%0d %0d", {net}, c{net});')
    for net in sources:
        lines += [f"reg t{net};", f"integer r{net} = {delays[-1, str(net), 1]};"]
        lines += [f"integer f{net} = {delays[-1, str(net), 0]};"]
    lines += ["initial begin"]
    for before, after, bit in samples:
        old, new = (rows(values, 64)[bit] for values in (before, after))
        lines += ["counting = 0;", *(f"n{net} = {old[net]};" for net in sources), "#100000000;"]
        lines += ["counting = 1;"]
        for net in sources:
            if old[net] != new[net]:
                lines += [f"n{net} <= #({delays[-1, str(net), int(new[net])]}) {new[net]};"]
        lines += ["#100000000;"]
    return "\n".join([*lines, *report, "$finish;", "end", "endmodule", ""])


HAZARD = {
    "modules": {
        "top": {
            "ports": {
                "i": {"direction": "input", "bits": [2]},
                "o": {"direction": "output", "bits": [4]},
            },
            "cells": {
                "i": {"type": "INV_X1", "connections": {"A": [2], "ZN": [3]}},
                "a": {"type": "AND2_X1", "connections": {"A1": [2], "A2": [3], "ZN": [4]}},
            },
            "netnames": {},
        }
    }
}


@pytest.mark.parametrize(("slow", "changes"), [(True, 2), (False, 0)])
def test_a_pulse_shorter_than_the_delay_is_dropped(slow: bool, changes: int) -> None:
    """`a & !a` pulses when the inverter is slower than the gate, and not when it is faster."""
    gates = build(HAZARD, "top", library.load("nangate45"))
    made = _glitches(gates)
    inverter = [cell.kind for cell in gates.logic].index("INV_X1")
    first = made.layout.arrays["first"]
    made.layout.arrays["delay"][first[inverter] : first[inverter + 1]] = 900 if slow else 100
    gate = 1 - inverter
    made.layout.arrays["delay"][first[gate] : first[gate + 1]] = 500
    (net,), (out,) = gates.inputs["i"], gates.outputs["o"]
    middle = gates.logic[inverter].pins["ZN"]
    bits = np.zeros((64, gates.nets), np.uint8)
    bits[:, 1] = bits[:, middle] = 1
    before = columns(bits)
    bits[:, [net, middle]] ^= 1
    made.run(before, columns(bits), [0])
    assert made.activity.toggles[[net, middle, out]].tolist() == [1, 1, changes]


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line that says what is missing, or what the compiler said; a build is kept by content."""
    monkeypatch.setenv("NARROWGAUGE_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingToolError, match="no-such-compiler is not there"):
        glitch.library()
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho it is broken >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(MissingToolError, match="cannot compile the glitch simulator: it is broken"):
        glitch.library()
    assert list((tmp_path / "glitch").iterdir()) == []
