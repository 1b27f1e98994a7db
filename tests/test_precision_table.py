"""The tracked trainings in FB12, FB16 and FB24: the page shows them; what precision should cost."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge.golden.precision import decide
from narrowgauge.train import NETS, NORMS, PRECISIONS
from tests.reference import drift, pages, precision

REPORTS = precision.load()


def report(names: tuple[str, ...], seeds: int = 2, **changed: Any) -> dict[str, Any]:
    """A made-up record: `bn` has 86 and 87 percent, the n-th other run n / 10 less."""

    def run(index: int, seed: int, dynamic: bool) -> dict[str, Any]:
        history = [
            {"modes": [0, 2, 2 - place if dynamic else 2], "shares": [0.125, 0.25, 0.5]}
            for place in range(2)
        ]
        known = {"layers": ["3.body.0"], "passes": ["forward", "dx", "dw"], "history": history}
        more = {"precision": known} if index else {}
        accuracy = [0.86 + seed / 100 - index / 1000]
        return {"losses": [2.0, 0.123456789], "accuracy": accuracy, "steps": 234, **more}

    runs = {
        name: [run(index, seed, name.endswith("dynamic")) for seed in range(seeds)]
        for index, name in enumerate(names)
    }
    return {
        "configuration": {
            "data": "fashion", "data_sha256": "0" * 64, "images": 60_000, "test_images": 10_000,
            "seeds": seeds, "epochs": 1, "batch": 256, "rate": 0.3, "torch": "2", "numpy": "2",
            "factor": "bound", "held": 0, "kept": "ends", "rounding": "rtz", "ordered": False,
            "interval": 20, **changed,
        },
        "runs": {"resnet": runs},
    }  # fmt: skip


def test_a_record_becomes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, data = tmp_path / "page.md", tmp_path / "precision.json"
    page.write_text(f"before\n{precision.BEGIN}\nold\n{precision.END}\nafter\n", "utf-8")
    monkeypatch.setattr(precision, "PAGE", page)
    monkeypatch.setattr(precision, "DATA", data)
    paths = []
    for index, made in enumerate(
        (
            report(("bn", "bn+fb12", "bn+fb16")),
            report(("bn", "bn+dynamic"), lower=0.1, upper=0.2),
            report(("bn", "bn+fb12"), seeds=1, rounding="rne", kept="none"),
        )
    ):
        paths.append(str(tmp_path / f"{index}.json"))
        Path(paths[-1]).write_text(json.dumps(made), "utf-8")
    precision.main(paths)
    text = page.read_text("utf-8")
    assert text == precision.render(precision.load(), text)
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "\nold\n" not in text
    rows = [line for line in text.splitlines() if line.startswith("| resnet")]
    assert rows[:4] == [
        "| resnet | `bn` | `fp32` | 86.50 |  | 0.123 | 2 |  |  |  |",
        "| resnet | `bn` | `fb16` | 86.30 | -0.20 ± 0.00 | 0.123 | 2 | 100 / 0 / 0 | 0 / 0 / 100 "
        "| 0 / 0 / 100 |",
        "| resnet | `bn` | `fb12` | 86.40 | -0.10 ± 0.00 | 0.123 | 2 | 100 / 0 / 0 | 0 / 0 / 100 "
        "| 0 / 0 / 100 |",
        "| resnet | `bn` | `dynamic` | 86.40 | -0.10 ± 0.00 | 0.123 | 2 | 100 / 0 / 0 "
        "| 0 / 0 / 100 | 0 / 50 / 50 |",
    ]
    assert "| resnet | 3.body.0 | 12.5 | 25.0 | 50.0 | 12.5 | 25.0 | 50.0 |" in rows
    assert "| resnet | 3.body.0 | dW | 16 8 |" in rows
    assert rows[-1].startswith("| resnet | `bn` | `fb12` | 85.90 | -0.10 | 0.123 | 1 |")
    commands = [line.strip() for line in text.splitlines() if "narrowgauge train" in line]
    assert commands[0].startswith(
        "narrowgauge train --data fashion --net resnet --norm bn --precision fp32,fb12,fb16 "
        "--seeds 2 --epochs 1 --batch 256 --rate 0.3 --jobs 1"
    )
    assert "--kept none --rounding rne --jobs 1" in commands[2]
    assert "thresholds 0.1 and 0.2" in text
    assert "Every layer is in groups." in text
    assert "[0, 2, 1]" in data.read_text("utf-8")


def test_the_page_shows_them() -> None:
    page = precision.PAGE.read_text(encoding="utf-8")
    wanted = precision.render(REPORTS, page)
    assert page == wanted, "python -m tests.reference.precision FILE.json"


def test_what_was_measured() -> None:
    for found in REPORTS:
        known = found["configuration"]
        assert known["data"] == "fashion"
        assert (known["images"] + known["held"], known["test_images"]) == (60_000, 10_000)
        for runs in found["runs"].values():
            for name, seeds in runs.items():
                norm, _, kind = name.partition("+")
                assert norm in NORMS
                assert (kind or "fp32") in PRECISIONS
                assert len(seeds) == known["seeds"]
                assert all(len(run["accuracy"]) == known["epochs"] for run in seeds)


def test_modes_followed_the_shares() -> None:
    """Every step of the dynamic runs is that of the controller, but for shares at a threshold."""
    for found in REPORTS:
        known = found["configuration"]
        for runs in found["runs"].values():
            for name, seeds in runs.items():
                for run in seeds if name.endswith("+dynamic") else ():
                    rows = run["precision"]["history"]
                    for one, two in pairwise(rows):
                        share = np.array(one["shares"])
                        at = np.abs(share[:, None] - [known["lower"], known["upper"]]).min(1)
                        wanted = decide(
                            one["modes"], np.rint(share * 1e5), 100_000, fraction_bits=16,
                            lower=round(known["lower"] * 65536),
                            upper=round(known["upper"] * 65536),
                        )  # fmt: skip
                        assert ((wanted == two["modes"]) | (at < 1e-4)).all()


@pytest.mark.parametrize("net", NETS)
def test_precision_costs_little_where_dw_has_more_bits(net: str) -> None:
    usual, *_ = precision.grouped(REPORTS)
    assert usual[0]["configuration"]["rounding"] == "rtz"
    runs = precision.merged(usual)[net]
    for name in ("bn+fb24", "bn+fb16", "bn+dynamic"):
        assert precision.gap(runs[name], runs["bn"])[0] > -1


def test_the_page_shows_the_drift() -> None:
    page = precision.PAGE.read_text(encoding="utf-8")
    assert page == pages.write(page, drift.SHOWN[precision.PAGE]), "python -m tests.reference.drift"


def test_truncated_dw_costs_averages_more_than_the_loss() -> None:
    runs = {(run["precision"], run["rounding"]): run for run in drift.load()["runs"]}
    wide, cut, near = (
        runs[name] for name in (("mixed_dw", "rtz"), ("mixed", "rtz"), ("mixed", "rne"))
    )
    assert cut["lag"] > 2 * max(wide["lag"], near["lag"])
    assert cut["anew"] - cut["accuracy"] > 10 * max(
        run["anew"] - run["accuracy"] for run in (wide, near)
    )
    assert abs(cut["loss"] - wide["loss"]) < 0.01
