"""The area-delay curve of a small unit, and the command that shows it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Run

from narrowgauge import gates as netlists
from narrowgauge.golden.errors import UsageError
from narrowgauge.registry import Point, points
from narrowgauge.synth import equivalence, mapping
from narrowgauge.synth.curve import Curve, explore
from narrowgauge.synth.gates import HIGH, LOW, build
from narrowgauge.synth.job import Netlists
from narrowgauge.synth.library import Library, load
from narrowgauge.synth.netlist import SynthesisError
from narrowgauge.synth.sta import analyze

TARGETS = (1.0, 600.0, 700.0, 5000.0)


@pytest.fixture(scope="module")
def library() -> Library:
    return load("nangate45")


@pytest.fixture(scope="module")
def point() -> Point:
    (found,) = points("fp_mul/fp8_e5m2")
    return found


@pytest.fixture(scope="module")
def made(point: Point, tmp_path_factory: pytest.TempPathFactory) -> Netlists:
    return netlists.netlists(point, "nangate45", tmp_path_factory.mktemp("netlists"))


@pytest.fixture(scope="module")
def curve(point: Point, made: Netlists, library: Library) -> Curve:
    return explore(made, point.identifier, library, targets=TARGETS, tries=2)


def test_each_period_is_kept_with_less_area_than_a_shorter_one(
    curve: Curve, point: Point, library: Library
) -> None:
    assert [step.target_ps for step in curve.steps] == list(TARGETS)
    assert [step.met for step in curve.steps] == [False, True, True, True]
    areas = [step.mapping.ge for step in curve.steps]
    assert areas == sorted(areas, reverse=True)
    assert areas[1] > areas[2] > areas[3]
    for step in curve.steps:
        gates = build(step.document, point.identifier, library)
        assert analyze(gates).period_ps == step.mapping.period_ps
        area = sum(library.cells[cell.kind].area for cell in gates.cells)
        assert area / library.nand2_area == pytest.approx(step.mapping.ge)
        assert step.met == (step.mapping.period_ps <= step.target_ps)


def test_the_ends_are_at_least_as_good_as_the_flow(curve: Curve, made: Netlists) -> None:
    assert curve.steps[-1].mapping.ge <= made.record.ge * (1 + 1e-9)
    assert made.record.speed_ge is not None
    fastest = min(mapping.period_ps for mapping in curve.front)
    assert curve.steps[0].mapping.period_ps == fastest
    periods = [mapping.period_ps for mapping in curve.front]
    areas = [mapping.ge for mapping in curve.front]
    assert periods == sorted(periods)
    assert areas == sorted(areas, reverse=True)
    assert curve.tried > len(curve.front) > 5


def test_the_netlists_are_the_same_function(
    curve: Curve, made: Netlists, point: Point, library: Library
) -> None:
    reference = equivalence.simple(made.rtl, point.identifier, library)
    for step in (curve.steps[0], curve.steps[2]):
        gates = build(step.document, point.identifier, library)
        assert equivalence.prove(reference, gates).status == "proved"


def test_tied_and_joined_outputs_come_back(tmp_path: Path, library: Library) -> None:
    """ABC ties two outputs; networks may also name one net twice, or hold what is no cell."""
    cells = {
        "a": ("$_AND_", {"A": [2], "B": [3], "Y": [10]}),
        "b": ("$_AND_", {"A": [3], "B": [2], "Y": [11]}),
        "n": ("$_NOT_", {"A": [2], "Y": [12]}),
        "zero": ("$_AND_", {"A": [2], "B": [12], "Y": [13]}),
        "mux": ("$_MUX_", {"A": [2], "B": [2], "S": [3], "Y": [14]}),
        "one": ("$_OR_", {"A": [12], "B": ["1"], "Y": [15]}),
    }
    module = {
        "ports": {
            "i": {"direction": "input", "bits": [2, 3]},
            "o": {"direction": "output", "bits": [10, 11, 13, 14, 15]},
        },
        "cells": {n: {"type": kind, "connections": pins} for n, (kind, pins) in cells.items()},
        "netnames": {"named": {"bits": [11]}},
    }
    document = {"modules": {"top": module}}
    mapper = mapping.Mapper(tmp_path, document, "top", library)
    delays = mapper.run(["read_blif design.blif", "strash", "map", "stime", "write_blif m.blif"])
    assert len(delays) == 1
    gates = mapper.gates("m.blif")
    assert (gates.outputs["o"][2], gates.outputs["o"][4]) == (LOW, HIGH)
    joined = (tmp_path / "m.blif").read_text().split("ZN=n11")[0].rpartition("\n")[0]
    (tmp_path / "joined.blif").write_text(f"{joined}\n.names n10 n11\n1 1\n.end\n")
    both = mapper.gates("joined.blif")
    assert both.outputs["o"][0] == both.outputs["o"][1] != gates.outputs["o"][1]
    assert both.names[both.outputs["o"][0]] == "named"
    (tmp_path / "left.blif").write_text(".names n2 n3 n10\n11 1\n.end\n")
    with pytest.raises(SynthesisError, match=r"ABC left a gate without a cell: \.names n2 n3 n10"):
        mapper.gates("left.blif")
    reference = equivalence.simple(document, "top", library)
    for netlist in (gates, both):
        assert equivalence.prove(reference, netlist).status == "proved"
    with pytest.raises(SynthesisError, match="top: ABC: "):
        mapper.run(["read_blif nothing.blif"])


def test_wrong_requests(made: Netlists, point: Point, library: Library) -> None:
    with pytest.raises(UsageError, match="a period must be more than 0 ps, got 0"):
        explore(made, point.identifier, library, targets=[0.0])
    with pytest.raises(UsageError, match="2 points and 1 try, got 1 and 3"):
        explore(made, point.identifier, library, points=1)


def test_the_drive_of_the_inputs_is_the_smallest_buffer(library: Library) -> None:
    assert mapping.buffer(library) == "BUF_X1"
    assert mapping.buffer(replace(library, cells={})) is None


def test_the_command(narrowgauge: Run) -> None:
    """A period out of reach is one line and exit code 1, with the results all the same."""
    plain = narrowgauge("timing", "lzc/w8", "--liberty", "generic", "--json", "-q")
    assert (plain.returncode, plain.stderr) == (0, "")
    result = json.loads(plain.stdout)["lzc/w8"]
    assert result["goal"] == "speed"
    assert result["period_ps"] == result["groups"]["in2out"]
    assert result["path"][-1]["arrival_ps"] == pytest.approx(result["period_ps"], abs=1e-3)
    assert result["netlists"]["area"]["ge"] < result["netlists"]["speed"]["ge"]
    assert result["path"][0]["cell"] == "DFF_1 CK -> Q"
    swept = narrowgauge(
        *("timing", "lzc/w8", "--liberty", "generic", "--sweep", "100:500:2", "-o", "kept", "-q")
    )
    assert swept.returncode == 1
    best = swept.stderr.split("the best is ")[1].split()[0]
    assert swept.stderr == (
        "narrowgauge: error: lzc/w8: a period of 100 ps cannot be met in generic; "
        f"the best is {best} ps with {swept.stderr.split()[-2]} GE\n"
    )
    assert "not met" in swept.stdout
    assert "500.0" in swept.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--period", "-1"), "a period must be more than 0 ps, got -1"),
        (("--curve", "1"), "a curve has 2 to 100 points, got 1"),
        (("--sweep", "5:1:2"), "expected LO:HI:STEPS, 0 < LO < HI, 2 to 100 steps, got '5:1:2'"),
        (("--liberty", "bare.lib"), "library bare: cell IV has no timing tables for its output Y"),
    ],
)
def test_bad_requests_of_the_command(
    narrowgauge: Run, tmp_path: Path, arguments: tuple[str, ...], line: str
) -> None:
    cells = (
        f"cell ({name}) {{ area : 1; {pins} pin (Y) {{ direction : output; function : {f}; }} }}"
        for name, pins, f in (
            ("ND", "pin (A) { direction : input; } pin (B) { direction : input; }", '"!(A B)"'),
            ("IV", "pin (A) { direction : input; }", '"!A"'),
        )
    )
    (tmp_path / "bare.lib").write_text(f"library (bare) {{ {' '.join(cells)} }}")
    done = narrowgauge("timing", "lzc/w8", *arguments)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
