"""Figures beside a baseline: a larger one is red, and what cannot be compared is said."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Run

from narrowgauge import api, compare
from narrowgauge.golden.errors import UsageError
from narrowgauge.synth.record import Record
from tests.reference import BASELINE, SMALL

NAMES = ("lzc/w8", "fp_mul/fp8_e5m2")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Two real records."""
    return api.synthesize(NAMES, liberty="generic", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def base(records: list[Record]) -> dict[str, Any]:
    """Their baseline."""
    return compare.baseline(api.points(NAMES), records)


def with_ge(base: dict[str, Any], factor: float, figure: str = "ge") -> dict[str, Any]:
    """A baseline whose second point had a figure that was larger by a factor."""
    changed = copy.deepcopy(base)
    changed["points"][NAMES[1]]["figures"][figure] *= factor
    return changed


def test_a_baseline_compares_with_itself(base: dict[str, Any], records: list[Record]) -> None:
    read = json.loads(compare.dump(base))
    assert read == base
    found = compare.compare(read, records, 0.0)
    assert found.passed
    assert [delta.verdict for delta in found.deltas] == ["equal", "equal"]
    assert found.to_text().endswith("\nno point is worse")


@pytest.mark.parametrize(
    ("factor", "slack", "verdict"),
    [
        (1 / 1.005, 1.0, "within slack"),
        (1 / 1.02, 1.0, "worse: GE"),
        (1 / 1.02, 3.0, "within slack"),
        (1.02, 1.0, "better: GE"),
        (1.005, 1.0, "within slack"),
    ],
)
def test_the_slack_decides(
    factor: float, slack: float, verdict: str, base: dict[str, Any], records: list[Record]
) -> None:
    found = compare.compare(with_ge(base, factor), records, slack)
    assert [delta.verdict for delta in found.deltas] == ["equal", verdict]
    assert found.passed == (not verdict.startswith("worse"))
    assert f"({(1 / factor - 1) * 100:+.1f} %)" in found.to_text()


@pytest.mark.parametrize("figure", ["ge", "depth", "delay_ps"])
def test_every_figure_counts(figure: str, base: dict[str, Any], records: list[Record]) -> None:
    found = compare.compare(with_ge(base, 0.9, figure), records)
    assert found.deltas[1].worse == (figure,)
    assert found.deltas[1].verdict == f"worse: {compare.FIGURES[figure]}"


@pytest.mark.parametrize("figure", ["flip_flops", "memory_bits"])
def test_what_was_nothing(figure: str, base: dict[str, Any], records: list[Record]) -> None:
    now = copy.deepcopy(base)
    now["points"][NAMES[1]]["figures"][figure] = 3
    assert compare.compare(now, records).deltas[1].better == (figure,)
    delta = compare.compare(base, records).deltas[1]
    grown = replace(delta, now={**delta.now, figure: 3}, worse=(figure,))
    assert "3 (was 0)" in compare.Comparison(slack=1, deltas=(grown,)).to_text()


def test_what_is_not_in_the_baseline_fails(base: dict[str, Any], records: list[Record]) -> None:
    less = copy.deepcopy(base)
    del less["points"][NAMES[0]]
    less["points"][NAMES[1]]["parameters"]["man_bits"] = 3
    found = compare.compare(less, records)
    assert not found.passed
    assert [delta.verdict for delta in found.deltas] == [
        "not in the baseline",
        "other parameters in the baseline",
    ]
    assert found.to_text().endswith("\n2 of 2 points fail")


def test_another_flow_does_not_compare(base: dict[str, Any], records: list[Record]) -> None:
    other = [replace(record, flow_digest="f" * 64) for record in records]
    with pytest.raises(UsageError, match=r"^the baseline is of another flow or library \(generic"):
        compare.compare(base, other)


@pytest.mark.parametrize("slack", [-0.1, float("nan"), float("inf")])
def test_a_slack_that_is_none(slack: float, base: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^slack must be at least 0 percent"):
        compare.compare(base, (), slack)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"flow_digest": "x", "points": {}}', "\x00\xff",
     '{"flow_digest": "x", "points": {"a": {}}}'],
)  # fmt: skip
def test_a_file_that_is_no_baseline(content: str, tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"is no baseline of narrowgauge synth --record$"):
        compare.load(path)


def test_the_command(narrowgauge: Run, tmp_path: Path) -> None:
    """Recorded, compared without a name, found worse, and refused with another library."""
    common = ("--liberty", "generic", "-q")
    done = narrowgauge("synth", "lzc/w8", "--set", "width=9", *common, "--record", "b/base.json")
    assert done.returncode == 0, done.stderr
    done = narrowgauge("synth", "--compare", "b/base.json", *common)
    assert done.returncode == 0, done.stderr
    assert "lzc/w8 --set width=9 " in done.stdout
    path = tmp_path / "b" / "base.json"
    data = json.loads(path.read_text())
    (point,) = data["points"].values()
    point["figures"]["ge"] /= 1.5
    path.write_text(json.dumps(data))
    done = narrowgauge("synth", "--compare", "b/base.json", *common)
    assert done.returncode == 1
    assert "(+50.0 %)" in done.stdout
    assert "worse: GE" in done.stdout
    done = narrowgauge("synth", "--compare", "b/base.json", *common, "--slack", "51", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["deltas"][0]["worse"] == []
    done = narrowgauge("synth", "lzc/w8", "--compare", "b/base.json", *common)
    assert done.returncode == 1
    assert "not in the baseline" in done.stdout
    done = narrowgauge("synth", "--compare", "b/base.json", "--liberty", "nangate45")
    assert done.returncode == 2
    assert "of another flow or library (generic, flow " in done.stderr
    assert "narrowgauge synth NAMES --record FILE" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--compare", "none.json"], "no baseline 'none.json'; to make it: narrowgauge synth"),
        (["--compare", "."], "cannot read baseline '.': "),
        (["--record", "/dev/null/base.json"], "cannot write to folder '/dev/null': "),
        (["--record", "a", "--compare", "b"], "argument --compare: not allowed with"),
    ],
)
def test_one_line(arguments: list[str], said: str, narrowgauge: Run, tmp_path: Path) -> None:
    done = narrowgauge("synth", "lzc/w8", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_no_small_unit_is_worse_than_the_baseline(narrowgauge: Run) -> None:
    """What `narrowgauge synth --compare` says of the tracked figures."""
    assert set(compare.load(BASELINE)["points"]) == {p.full_name for p in api.points(SMALL)}
    cache = ("--cache", str(ROOT / "build" / "cache"))
    done = narrowgauge("synth", "--compare", str(BASELINE), *cache, "-q")
    assert done.returncode == 0, done.stdout + done.stderr
