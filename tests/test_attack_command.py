"""The command and its library: what is run, kept and printed; none of it needs torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge import attack, cli, train
from narrowgauge.golden.attack import Plan
from narrowgauge.golden.errors import UsageError
from tests.test_training import idx, images

CLEAN = {"test": 0.875, "distilled": 1.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of MNIST's files."""
    made = tmp_path / "bars"
    made.mkdir()
    for name, array in images().items():
        (made / name).write_bytes(idx(array))
    return made


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs without torch; what was run."""
    ran: list[str] = []

    def victim(data: str, plan: dict[str, Any]) -> dict[str, Any]:
        ran.append(f"train {plan['net']} {plan['epochs']}")
        return {"state": f"state {plan}", "accuracy": 0.875, "parameters": 7}

    def run(
        data: str, net: str, state: str, tests: int, plan: Plan, tell: Any = None
    ) -> dict[str, Any]:
        assert state.startswith("state")
        ran.append(f"{plan.fmt} {plan.method} {'+'.join(plan.fields)} {plan.seed}")
        if plan.method == "bfa":
            raise UsageError("stopped")
        if tell is not None:
            tell("3 flips")
        count = None if plan.fields == ("position",) else plan.seed + 2
        last = {"flips": 3, "test": 0.1 * plan.seed, "distilled": 0.1}
        return {
            "plan": {"fmt": plan.fmt, "method": plan.method}, "clean": CLEAN,
            "to_chance": count, "flips": [last],
        }  # fmt: skip

    monkeypatch.setattr(train, "find_spec", lambda name: object())
    monkeypatch.setattr(attack, "victim", victim)
    monkeypatch.setattr(attack, "attack", run)
    return ran


def test_runs_are_kept(counted: list[str], folder: Path, tmp_path: Path) -> None:
    """What was stopped goes on where it was; the victim is trained once."""
    given: dict[str, Any] = {"data": str(folder), "tests": 40, "seeds": 2}
    cache = str(tmp_path / "cache")
    with pytest.raises(UsageError, match="stopped"):
        attack.evaluate(attack.Request(methods=("zebra", "bfa"), **given), cache=cache)
    assert counted == ["train mobilenet 2", "int8 zebra top+element 1", "int8 bfa top+element 1"]
    counted.clear()
    report = attack.evaluate(attack.Request(methods=("zebra", "random"), **given), cache=cache)
    assert counted == [
        f"int8 {what}"
        for what in ("random top+element 1", "zebra top+element 2", "random top+element 2")
    ]
    assert [run["to_chance"] for run in report.runs] == [3, 3, 4, 4]
    assert report.configuration["accuracy"] == 0.875
    counted.clear()
    again = attack.evaluate(attack.Request(methods=("zebra", "random"), **given), cache=cache)
    assert not counted
    assert again == report
    attack.evaluate(attack.Request(epochs=3, **given), cache=cache)
    assert counted[0] == "train mobilenet 3"
    counted.clear()
    attack.evaluate(attack.Request(budget=7, **given), cache=cache)
    assert counted == ["int8 zebra top+element 1", "int8 zebra top+element 2"]


def test_fields_that_a_format_has() -> None:
    assert attack.fields_of("int4_channel") == ("top", "element")
    assert attack.fields_of("bfp_e8m4_k16") == ("top", "element", "scale")
    assert attack.fields_of("mx_opal4_n0") == ("top", "element", "scale")
    assert attack.fields_of("mx_opal4") == ("top", "element", "scale", "outlier", "position")
    request = attack.Request(
        formats=("int8", "mxint8"), fields=("all", "top+element", "scale+outlier", "position")
    )
    assert [(plan.fmt, word, plan.fields) for word, plan in request.plans()] == [
        ("int8", "all", ("top", "element")),
        ("mxint8", "all", ("top", "element", "scale")),
        ("mxint8", "top+element", ("top", "element")),
        ("mxint8", "scale+outlier", ("scale",)),
    ]


def test_guards_that_a_format_takes() -> None:
    """What guards nothing is left out, and what guards the same as one before."""
    request = attack.Request(
        formats=("int8", "mxint8"),
        guards=("none", "clamp", "secded_scale", "secded_shared", "secded_shared:2", "parity:8"),
    )
    assert [(plan.fmt, plan.guard) for _, plan in request.plans()] == [
        ("int8", "none"),
        ("int8", "parity:8"),
        *(("mxint8", name) for name in ("none", "clamp", "secded_scale", "secded_shared:2")),
        ("mxint8", "parity:8"),
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"net": "alexnet"}, "no net 'alexnet'; nets: resnet, mobilenet, mobilenet_v2"),
        (
            {"net": "mobilenet_v2"},
            "net mobilenet_v2 takes data photographs, and no other net does",
        ),
        ({"data": "photographs"}, "net mobilenet_v2 takes data photographs, and no other net does"),
        ({"formats": ()}, "no format was given"),
        ({"formats": ("int8", "int8")}, "format 'int8' is given twice"),
        ({"formats": ("int8", "fp9")}, "no block format 'fp9'; .*"),
        ({"methods": ("guess",)}, "no method 'guess'; methods: zebra, bfa, random"),
        ({"fields": ("top+sign",)}, "no field 'sign'; fields: top, element, scale, .*"),
        ({"fields": ("scale",)}, "none of int8 has a field of scale"),
        ({"guards": ("crc",)}, "no guard 'crc'; guards: none, clamp, .*"),
        ({"guards": ("parity:0",)}, "blocks of a guarded word must be at least 1, got 'parity:0'"),
        ({"guards": ("parity:x",)}, r"a guard is <kind>\[:<blocks>\]\[:.*\], got 'parity:x'"),
        ({"guards": ("clamp",)}, "none of int8 has anything to guard for clamp"),
        (
            {"formats": ("mxint8",), "fields": ("scale",), "guards": ("clamp",)},
            "with a guard fields must be all, got scale",
        ),
        ({"guards": ("none",), "methods": ("random",)}, "random flips take no guard"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"budget": 0}, "budget must be at least 1, got 0"),
        ({"rate": float("nan")}, "rate must be above 0, got nan"),
        ({"bar": 0.0}, "bar must be above 0 and below 1, got 0.0"),
    ],
)
def test_impossible(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        attack.Request(**changed)


def test_too_many_tests(counted: list[str], folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tests must be 1\.\.40 of bars, got 41"):
        attack.evaluate(attack.Request(data=str(folder), tests=41), cache=str(tmp_path / "cache"))
    assert not counted


@pytest.mark.parametrize("option", ["--record", "--plots"])
def test_places_are_looked_at_first(
    option: str,
    counted: list[str],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not after hours of work; and nothing is made where the request cannot be met."""
    taken = tmp_path / "taken"
    if option == "--record":
        taken.mkdir()
    else:
        pytest.importorskip("altair")
        taken.touch()
    arguments = ["attack", "--data", str(folder), "--tests", "40", "--cache", str(tmp_path / "c")]
    assert cli.main([*arguments, option, str(taken)]) == 2
    why = "it is a folder" if option == "--record" else "File exists"
    assert capsys.readouterr().err.endswith(f"{str(taken)!r}: {why}\n")
    assert not counted
    assert cli.main([*arguments, option, str(tmp_path / "new" / "x"), "--format", "fp9"]) == 2
    assert not (tmp_path / "new").exists()


def test_the_command(
    counted: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "out" / "record.json"
    arguments = [
        "attack", "--data", str(folder), "--format", "int8,mx_opal4", "--fields", "all,position",
        "--seeds", "2", "--tests", "40", "--jobs", "1",
        "--cache", str(tmp_path / "cache"), "--record", str(record),
    ]  # fmt: skip
    assert cli.main([*arguments, "-v"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].split() == [
        *("format", "method", "fields", "clean", "%", "flips", "seeds", "at", "chance", "last", "%")
    ]
    assert lines[2].split() == [
        "int8",
        "zebra",
        "all",
        "87.5",
        "3.5",
        "3..4",
        "2",
        "of",
        "2",
        "15.0",
    ]
    assert lines[4].split() == [
        "mx_opal4",
        "zebra",
        "position",
        "87.5",
        "none",
        "0",
        "of",
        "2",
        "15.0",
    ]
    assert "3 flips" in said.err
    assert said.err.splitlines()[-1].startswith("[6/6] zebra on mx_opal4, position, seed 2 (")
    kept = json.loads(record.read_text())
    assert len(kept["runs"]) == 6
    assert kept["configuration"]["formats"] == ["int8", "mx_opal4"]
    assert cli.main([*arguments, "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out) == kept


def test_its_plot(counted: list[str], folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    arguments = [
        "attack", "--data", str(folder), "--format", "int8,mx_opal4", "--fields", "all,position",
        "--tests", "40", "--jobs", "1", "--cache", str(tmp_path / "cache"), "-q",
        "--plots", str(tmp_path / "plots"),
    ]  # fmt: skip
    assert cli.main(arguments) == 0
    svg = (tmp_path / "plots" / "attack.svg").read_text()
    for words in ("int8", "mx_opal4", "position", "Accuracy (%)", "Flips"):
        assert words in svg
    assert (tmp_path / "plots" / "attack.png").read_bytes()[:4] == b"\x89PNG"


def test_without_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(train, "find_spec", lambda name: None)
    assert cli.main(["attack", "--cache", str(tmp_path / "cache")]) == 3
    assert "package torch is not installed: pip install 'narrowgauge[train]'" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "cache").exists()


def test_with_torch(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One whole run: a victim of few steps, one flip of a shared exponent."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    arguments = [
        "attack", "--data", str(folder), "--format", "bfp_e8m4_k16", "--fields", "scale",
        "--tests", "40", "--train-batch", "16", "--epochs", "2", "--rate", "0.1", "--budget", "2",
        "--validation", "10", "--bound", "8", "--batch", "16", "--jobs", "1",
        "--cache", str(tmp_path / "cache"), "--json",
    ]  # fmt: skip
    assert cli.main(arguments) == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    flip = run["flips"][0]
    assert (flip["field"], flip["place"]) == ("scale", 7)
    assert flip["after"] - flip["before"] == 128
    assert np.isfinite(flip["loss"])
    assert run["plan"]["fields"] == ["scale"]
