"""The same timing by OpenSTA, to the digits that it computes with."""

from dataclasses import replace
from pathlib import Path

import pytest
from timing_designs import mac

from narrowgauge import gates as netlists
from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.registry import points
from narrowgauge.synth import opensta
from narrowgauge.synth.gates import Gates, MemoryInstance, build
from narrowgauge.synth.library import load
from narrowgauge.synth.sta import GROUPS, Timing, analyze

LIBERTY = Path(__file__).resolve().parents[2] / "shared" / "liberty"
pytestmark = pytest.mark.skipif(opensta.available() is None, reason="OpenSTA is not installed")


def cells(timing: Timing, group: str) -> tuple[int, ...]:
    """The numbers of the cells on the worst path of a group."""
    (path,) = timing.paths(1, group)
    nets = {f"({net})": net for net in range(timing.gates.nets)}
    nets |= {name: net for net, name in timing.gates.names.items()}
    driver = {
        cell.pins[timing.gates.library.cells[cell.kind].outputs[0][0]]: index
        for index, cell in enumerate(timing.gates.logic)
    }
    return tuple(driver[nets[p.point]] for p in path.points[:-1] if nets[p.point] in driver)


def compare(gates: Gates) -> None:
    timing, reported = analyze(gates), opensta.analyze(gates)
    assert set(timing.groups) == set(reported)
    for group, period in timing.groups.items():
        assert period == pytest.approx(reported[group].period_ps, rel=2e-6), group
        assert cells(timing, group) == reported[group].cells


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("netlists")


@pytest.mark.parametrize("goal", ["area", "speed"])
def test_nangate45(goal: str, kept: Path) -> None:
    gates = mac("nangate45", goal, kept)
    assert set(analyze(gates).groups) == set(GROUPS)
    compare(gates)


def test_a_unit(kept: Path) -> None:
    (point,) = points("fp_add/fp8_e5m2")
    made = netlists.netlists(point, "nangate45", kept)
    compare(build(made.mapped("speed"), point.identifier, load("nangate45")))


@pytest.mark.parametrize("name", ["sg13g2_stdcell_typ_1p20V_25C.lib", "sky130hd_tt.lib", "asap7"])
def test_other_libraries(name: str, kept: Path) -> None:
    """Setup tables by clock first, capacitances by edge, inverted flip-flops, other units."""
    if not (LIBERTY / name).exists():
        pytest.skip(f"../shared/liberty/{name} is absent")
    compare(mac(str(LIBERTY / name), "speed", kept))


def test_a_wrong_load_shows(kept: Path) -> None:
    """One more flip-flop at one output is found."""
    gates = mac("nangate45", "speed", kept)
    wrong = replace(gates, outputs={**gates.outputs, "more": gates.outputs["busy"]})
    period = opensta.analyze(gates)["in2out"].period_ps
    assert analyze(gates).groups["in2out"] == pytest.approx(period, rel=2e-6)
    assert analyze(wrong).groups["in2out"] != pytest.approx(period, rel=1e-4)


def test_what_opensta_cannot_have(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = mac("nangate45", "speed", kept)
    memory = MemoryInstance("buffer", 64, 8, (), ())
    with pytest.raises(UsageError, match="OpenSTA has no cell for memory buffer"):
        opensta.analyze(replace(gates, memories=(memory,)))
    monkeypatch.setenv("PATH", str(kept))
    with pytest.raises(MissingToolError, match="no OpenSTA on PATH"):
        opensta.analyze(gates)
