"""`narrowgauge map`, and the page of its results."""

import json
import sys
from pathlib import Path

import pytest

from narrowgauge import cli
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.mapping.layers import linear
from narrowgauge.mapping import Request, evaluate
from tests.reference import mapping as reference


def test_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = tmp_path / "map.json"
    words = ["map", "--net", "transformer", "--batch", "1", "--mode", "fb12", "--passes", "forward"]
    assert cli.main([*words, "--record", str(record)]) == 0
    shown, told = capsys.readouterr()
    assert "[8/8] feed2" in told
    lines = shown.splitlines()
    assert lines[2].split()[:4] == ["query", "fc", "forward", "fb12"]
    report = json.loads(record.read_text())
    assert report["configuration"]["core"]["pes"] == 16
    assert len(report["rows"]) == 8
    assert cli.main([*words, "--summary", "--json", "-q", "--set", "pes=8"]) == 0
    smaller = json.loads(capsys.readouterr().out)
    assert smaller["configuration"]["core"]["pes"] == 8
    assert smaller["rows"][0]["cycles"] > report["rows"][0]["cycles"]
    assert smaller["rows"][0]["utilisation"] > 0.9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mode", "fb8"], "no mode 'fb8', but fb12, fb16, fb24"),
        (["--mode", "fb12,fb12"], "mode 'fb12' is given twice"),
        (["--passes", "back"], "no pass 'back', but forward, dx, dw"),
        (["--set", "colour=3"], "flexblock_core has no parameter 'colour'"),
        (["--set", "pes=many"], "parameter pes must be an integer, got 'many'"),
        (["--set", "nibbles=20"], "nibbles must be a multiple of 16, got 20"),
        (["--torch", "a:b"], "--torch and --input belong together"),
        (["--torch", "a:b", "--input", "1xx2"], "--input is sizes such as 64x3x224x224"),
    ],
)
def test_bad_input(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record = tmp_path / "map.json"
    assert cli.main(["map", "--record", str(record), *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not record.exists()


def test_traced_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "small_model.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Conv2d(8, 16, 3, padding=1)\n"
        "number = 3\ndef fails():\n    raise ValueError('one\\ntwo')\n"
    )
    # An installed program does not have the user's folder on its path.
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(tmp_path)
    words = ["map", "-q", "--json", "--input", "4x8x6x6", "--torch"]
    assert cli.main([*words, "small_model:make"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["configuration"]["batch"] == 4
    assert {row["macs"] for row in report["rows"]} == {4 * 16 * 36 * 8 * 9}
    assert cli.main([*words, "small_model:none"]) == 2
    assert "no model 'small_model:none'" in capsys.readouterr().err
    for name, said in (
        ("number", "TypeError: 'int' object is not callable"),
        ("fails", "ValueError: one"),
    ):
        assert cli.main([*words, f"small_model:{name}"]) == 2
        told = f"narrowgauge: error: small_model:{name} fails on an input of 4x8x6x6: {said}\n"
        assert capsys.readouterr().err == told
    assert cli.main(["map", "-q", "--input", "4x3x6x6", "--torch", "small_model:make"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("narrowgauge: error: small_model:make fails on an input of 4x3x6x6: ")
    assert told.count("\n") == 1
    assert str(tmp_path) not in sys.path


def test_shared_alone() -> None:
    layers = [linear("l", 64, 96, 80)]
    for shared in (False, True):
        report = evaluate(Request(net="own", layers=layers, modes=["fb16"], shared=shared))
        assert [row["shared"] for row in report.rows] == [True] * 3
    with pytest.raises(UsageError, match="own has no layers"):
        Request(net="own", layers=[])


def test_page_is_of_the_record() -> None:
    page = reference.PAGE.read_text(encoding="utf-8")
    assert page == reference.render(reference.load(), page)


def test_record_is_of_the_mapper() -> None:
    nibbles = int(reference.CHOSEN)
    report = evaluate(Request(net="transformer", core={"nibbles": nibbles}))
    assert reference.reduce(report) == reference.load()["nibbles"][str(nibbles)]["transformer"]
