"""The tracked trainings: the page shows them; what narrow batch normalisation should cost."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge.train import NETS, NORMS
from tests.reference import training

REPORTS = training.load()


def report(
    norms: tuple[str, ...] = NORMS, epochs: int = 1, factor: str = "bound", held: int = 0
) -> dict[str, Any]:
    """A made-up record: `bn` has 86, 87 and 88 percent, the n-th other norm n / 10 less."""

    def runs(index: int) -> list[dict[str, Any]]:
        return [
            {
                "losses": [2.0, 0.123456789],
                "accuracy": [0.1] * (epochs - 1) + [0.86 + seed / 100 - index / 1000],
                "parameters": 123,
                "steps": 234,
            }
            for seed in range(3)
        ]

    return {
        "configuration": {
            "data": "fashion", "data_sha256": "0" * 64, "images": 60_000, "test_images": 10_000,
            "seeds": 3, "epochs": epochs, "batch": 256, "rate": 0.3, "torch": "2", "numpy": "2",
            "factor": factor, "held": held,
        },
        "runs": {net: {n: runs(i) for i, n in enumerate(norms)} for net in NETS[: epochs + 1]},
    }  # fmt: skip


def test_a_record_becomes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, data = tmp_path / "page.md", tmp_path / "training.json"
    page.write_text(f"before\n{training.BEGIN}\nold\n{training.END}\nafter\n", "utf-8")
    monkeypatch.setattr(training, "PAGE", page)
    monkeypatch.setattr(training, "DATA", data)
    paths = []
    for index, made in enumerate((report(), report(("bn", "bfp8"), 3))):
        paths.append(str(tmp_path / f"{index}.json"))
        Path(paths[-1]).write_text(json.dumps(made), "utf-8")
    training.main(paths)
    text = page.read_text("utf-8")
    assert text == training.render(training.load(), text)
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    rows = [line for line in text.splitlines() if line.startswith("| resnet")]
    assert rows[0] == "| resnet | `bn` | 87.00 | 1.00 | 86.00 to 88.00 |  | 0.123 |"
    assert rows[2] == "| resnet | `fp10` | 86.80 | 1.00 | 85.80 to 87.80 | -0.20 ± 0.00 | 0.123 |"
    assert len(rows) == 8
    commands = [line.strip() for line in text.splitlines() if "narrowgauge train" in line]
    assert commands[0].startswith("narrowgauge train --data fashion --seeds 3 --epochs 1 --batch")
    assert "--data fashion --norm bn,bfp8 --seeds 3 --epochs 3" in commands[1]
    assert training.load()[0]["runs"]["resnet"]["bn"][0]["losses"][1] == 0.12346


def test_two_factors_share_a_table() -> None:
    held = [report(("bn", "bfp8"), factor=factor, held=5) for factor in ("bound", "normal")]
    part = report(factor="normal")
    del part["runs"]["resnet"]
    tables = training.render([report(), *held, part], "").split("| net |")[1:]
    assert len(tables) == 3
    assert "Factor `bound`" in tables[0]
    assert (
        "| resnet | `bfp8` | 86.90 | 86.90 | -0.10 ± 0.00 | -0.10 ± 0.00 | 2.000 | 2.000 |"
        in (tables[1])
    )
    assert "accuracy on the last 5 images of the training set, which were held out" in tables[1]
    commands = [line for line in tables[1].splitlines() if "narrowgauge train" in line]
    assert ["--factor normal" in line for line in commands] == [False, True]
    assert all("--held 5" in line for line in commands)
    assert tables[2].startswith(" norm | % `bound` | % `normal` | over `bn` `bound` |")
    assert "accuracy on all 10000 test images" in tables[2]
    assert "resnet" not in tables[2].partition("fashion:")[0]


def test_the_range_exceeds_the_deviation() -> None:
    """The factor that docs/training.md has of normal values."""
    x = np.random.default_rng(4).normal(size=(1000, 1568))
    factor = np.mean(np.ptp(x, axis=1)) / np.sqrt(2 * np.log(1568))
    text = " ".join(training.PAGE.read_text(encoding="utf-8").split())
    assert f"exceeds it by a factor of {factor:.1f} for normal" in text
    assert f"a gamma of {1 / factor:.1f}" in text


def test_the_page_shows_them() -> None:
    page = training.PAGE.read_text(encoding="utf-8")
    assert page == training.render(REPORTS, page), "python -m tests.reference.training FILE.json"


def test_what_was_measured() -> None:
    assert tuple(REPORTS[0]["runs"]) == NETS
    assert all(tuple(norms) == NORMS for norms in REPORTS[0]["runs"].values())
    for found in REPORTS:
        known = found["configuration"]
        assert known["data"] == "fashion"
        assert (known["images"] + known["held"], known["test_images"]) == (60_000, 10_000)
        assert known["held"] in (0, 10_000)
        assert re.fullmatch(r"[0-9a-f]{64}", known["data_sha256"])
        for norms in found["runs"].values():
            assert set(norms) <= set(NORMS)
            for runs in norms.values():
                assert len(runs) == known["seeds"] == 3
                assert all(len(run["accuracy"]) == known["epochs"] for run in runs)


def test_what_the_page_says_of_the_factor() -> None:
    """The depthwise net with the mean range of normal values: all but blocks of 16."""
    found = [each for each in REPORTS if each["configuration"]["factor"] == "normal"]
    tested = next(each for each in found if not each["configuration"]["held"])
    assert tested["configuration"]["epochs"] == 1
    gains = [
        training.mean(tested, "mobilenet", norm) - training.mean(REPORTS[0], "mobilenet", norm)
        for norm in NORMS[1:]
    ]
    assert 0.05 < min(gains) < max(gains) < 0.45
    gaps = {norm: training.gap(tested, "mobilenet", norm)[0] for norm in NORMS[1:]}
    assert min(gaps[norm] for norm in ("fp32", "fp10", "bfp4", "bfp8")) > -0.5
    assert gaps["bfp16"] == pytest.approx(-0.65, abs=0.005)
    longer = next(each for each in found if each["configuration"]["epochs"] == 3)
    assert training.gap(longer, "mobilenet", "bfp16")[0] == pytest.approx(gaps["bfp16"], abs=0.05)
    for norm in ("bn", "bfp16"):
        gain = training.mean(longer, "mobilenet", norm) - training.mean(tested, "mobilenet", norm)
        assert gain == pytest.approx(2.4, abs=0.05)


@pytest.mark.parametrize("net", NETS)
def test_golden_arithmetic_costs_little_over_the_unrounded_range(net: str) -> None:
    """Rounding to FP10 and BFP, apart from what the range does in place of the deviation."""
    for norm in ("fp10", "bfp4", "bfp8", "bfp16"):
        assert training.mean(REPORTS[0], net, norm) > training.mean(REPORTS[0], net, "fp32") - 0.5
