"""Training in FB12, FB16 and FB24: the command, what is kept, its plot, and runs with torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge import cli, train
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Rounding
from narrowgauge.golden.training import data
from tests.test_training import images


@pytest.fixture
def bars() -> data.Images:
    """Bars, one place a class, with noise."""
    made = images()
    return data.Images(
        name="bars",
        train=made["train-images-idx3-ubyte"].astype(np.uint8),
        train_labels=made["train-labels-idx1-ubyte"].astype(np.uint8),
        test=made["t10k-images-idx3-ubyte"].astype(np.uint8),
        test_labels=made["t10k-labels-idx1-ubyte"].astype(np.uint8),
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, bars: data.Images) -> list[dict[str, Any]]:
    """Runs without training; the plans that were run."""
    ran: list[dict[str, Any]] = []

    def run(data: str, held: int, plan: dict[str, Any]) -> dict[str, Any]:
        ran.append(plan)
        made: dict[str, Any] = {"accuracy": [0.5], "parameters": 7, "steps": 4}
        if "precision" in plan:
            history = [{"modes": [2, 1, 0], "shares": [0.1, 0.2, 0.3]}] * 2
            made["precision"] = {
                "layers": ["3.body.0"], "passes": ["forward", "dx", "dw"],
                "modes": ["fb12", "fb16", "fb24"], "interval": 2, "history": history,
            }  # fmt: skip
        return {**made, "losses": [2.0, 1.0]}

    monkeypatch.setattr(train, "find_spec", lambda name: object())
    monkeypatch.setattr(train, "_images", lambda name, held: bars)
    monkeypatch.setattr(train, "train", run)
    return ran


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"precisions": ("fb8",)}, "no precision 'fb8'; precisions: fp32, fb24, fb16, fb12, mixed, "
         "mixed_dw, dynamic"),
        ({"precisions": ()}, "no precision was given"),
        ({"kept": "all"}, "kept must be one of ends, authors, none, got 'all'"),
        ({"rounding": "rna"}, "rounding must be one of rtz, rne, stochastic, got 'rna'"),
        ({"interval": 0}, "interval must be at least 1, got 0"),
        ({"lower": 0.3}, "thresholds must be 0 <= lower <= upper <= 1, got 0.3 and 0.2"),
        ({"upper": float("nan")}, "thresholds must be 0 <= lower <= upper <= 1, got 0.1 and nan"),
    ],
)  # fmt: skip
def test_impossible(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        train.Request(**changed)
    assert str(caught.value) == message


def test_runs_serve_what_does_not_change_them(
    counted: list[dict[str, Any]], tmp_path: Path
) -> None:
    def run(**given: Any) -> list[str]:
        counted.clear()
        train.evaluate(train.Request(nets=("resnet",), **given), cache=str(tmp_path / "cache"))
        return [f"{plan['norm']} {plan.get('precision', '')}".strip() for plan in counted]

    three = ("fp32", "fb12", "dynamic")
    assert run(norms=("bn",), precisions=three) == ["bn", "bn fb12", "bn dynamic"]
    assert counted[0].keys() == {"net", "norm", "seed", "epochs", "images", "batch", "rate"}
    assert "lower" not in counted[1]
    assert (counted[2]["lower"], counted[2]["upper"], counted[2]["kept"]) == (0.1, 0.2, "ends")
    assert run(norms=("bn",), precisions=three, upper=0.5) == ["bn dynamic"]
    assert run(norms=("bn",), precisions=three, kept="none") == ["bn fb12", "bn dynamic"]
    assert run(norms=("bn",), precisions=three, ordered=True) == ["bn fb12", "bn dynamic"]
    assert run(norms=("bn", "bfp4"), precisions=("fp32", "fb12")) == ["bfp4", "bfp4 fb12"]


def test_the_command_and_its_plots(
    counted: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("vl_convert")
    arguments = [
        "train", "--net", "resnet", "--norm", "bn,bfp4", "--precision", "fp32,mixed,dynamic",
        "--kept", "authors", "--rounding", "rne", "--ordered", "--interval", "2",
        "--lower", "0.05", "--upper", "0.5", "--jobs", "1", "--cache", str(tmp_path / "cache"),
        "--record", str(tmp_path / "record.json"), "--plots", str(tmp_path / "plots"),
    ]  # fmt: skip
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out.splitlines()
    assert text[0].split() == ["net", "run", "accuracy", "%", "seeds", "over", "bn"]
    assert text[-1].split() == ["resnet", "bfp4+dynamic", "50.00", "50.00..50.00", "+0.00"]
    known = json.loads((tmp_path / "record.json").read_text())
    assert list(known["runs"]["resnet"]) == [
        train.named(norm, precision)
        for norm in ("bn", "bfp4")
        for precision in ("fp32", "mixed", "dynamic")
    ]
    asked = {
        "kept": "authors", "rounding": "rne", "ordered": True, "interval": 2, "lower": 0.05,
        "upper": 0.5,
    }  # fmt: skip
    assert asked.items() <= known["configuration"].items()
    assert asked.items() <= counted[-1].items()
    curves = (tmp_path / "plots" / "training.svg").read_text()
    for words in ("batch norm, FP32; FB12, dX in FB24", "G = 4; dynamic precision"):
        assert words in curves
    steps = (tmp_path / "plots" / "precision.svg").read_text()
    for words in ("3.body.0 dX", "FB24", "resnet, range, FP10 + BFP, G = 4", "Steps"):
        assert words in steps
    assert (tmp_path / "plots" / "precision.png").read_bytes()[:4] == b"\x89PNG"


def test_without_precision_nothing_is_new(
    counted: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("vl_convert")
    arguments = ["train", "--norm", "bn", "--jobs", "1", "--cache", str(tmp_path / "cache")]
    assert cli.main([*arguments, "--plots", str(tmp_path / "plots")]) == 0
    assert capsys.readouterr().out.split()[:2] == ["net", "norm"]
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == [
        "training.png",
        "training.svg",
    ]
    made = train.evaluate(train.Request(norms=("bn",)), cache=str(tmp_path / "cache"))
    assert "kept" not in made.configuration


def test_training_with_torch(bars: data.Images) -> None:
    """Every precision learns bars a little; the same seed gives the same figures again."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from narrowgauge.golden.training import layers, loop

    assert loop.PRECISIONS == train.PRECISIONS
    assert layers.KEPT == train.KEPT
    given = {"seed": 1, "epochs": 3, "batch": 16, "rate": 0.1, "interval": 8}
    for net in train.NETS:
        for precision in train.PRECISIONS:
            plan = loop.Plan(net=net, norm="bn", precision=precision, **given)  # type: ignore[arg-type]
            made = loop.train(plan, bars)
            assert np.mean(made["losses"][-5:]) < 0.8 * np.mean(made["losses"][:5]), (
                net,
                precision,
            )
            if precision == "fp32":
                assert "precision" not in made
                continue
            known = made["precision"]
            assert len(known["history"]) == 30 // 8
            assert len(known["history"][0]["modes"]) == 3 * len(known["layers"])
            assert np.max(known["history"][-1]["shares"]) > 0
            if precision == "dynamic":
                assert known["history"][0]["modes"] != known["history"][-1]["modes"]
                assert made == loop.train(plan, bars)
    for words in ({"precision": "fb8"}, {"kept": "some"}):
        with pytest.raises(UsageError, match=r"no precision 'fb8'|kept must be one of"):
            loop.Plan(net="resnet", norm="bn", **given, **words)  # type: ignore[arg-type]


def test_options_of_a_run(bars: data.Images) -> None:
    """Sums in order, rounding and what is kept change the figures, and nothing else does."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from narrowgauge.golden.training import loop

    def run(**options: Any) -> dict[str, Any]:
        given = {"net": "mobilenet", "norm": "bn", "epochs": 1, "batch": 32, "seed": 2}
        return loop.train(loop.Plan(**given | {"precision": "fb16"} | options), bars)

    plain = run()
    assert run() == plain
    exact, fast = run(precision="fb24", ordered=True), run(precision="fb24")
    assert exact["losses"] != fast["losses"]
    assert np.allclose(exact["losses"], fast["losses"], rtol=0.01)
    for options in (
        {"rounding": Rounding.RNE},
        {"rounding": Rounding.STOCHASTIC},
        {"kept": "none"},
        {"precision": "mixed"},
    ):
        other = run(**options)
        assert other["losses"] != plain["losses"]
        # Two roundings of 8 bits are near each other for five steps, FB12 is not as near.
        near = 0.3 if options.get("precision") else 0.05
        assert np.abs(np.subtract(other["losses"], plain["losses"])).max() < near
