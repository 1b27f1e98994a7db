"""The captured products: their content, their file, and FB12, FB16 and FB24 made of them."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from narrowgauge.golden import samples
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BFP, Rounding
from narrowgauge.golden.formats.bfp import encode_values
from narrowgauge.golden.samples import products
from narrowgauge.golden.training import data
from tests.test_training import images

FOLDER = resources.files(samples)
FILE = Path(str(FOLDER / "products.npz"))


def test_content() -> None:
    kept = products.load().layers
    assert tuple(kept) == products.NAMES
    text = (FOLDER / "README.md").read_text("utf-8").partition("# The captured products")[2]
    for name, layer in kept.items():
        for part in products.ARRAYS:
            array = getattr(layer, part)
            assert np.isfinite(array).all()
            assert array.any()
            row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
            assert " x ".join(map(str, array.shape)) in row
    assert kept["depthwise"].groups == 8
    zeros = [f"{(kept[name].x == 0).mean():.0%}".replace("%", " %") for name in kept]
    assert f"{zeros[0]} and {zeros[1]} of their x are 0" in text
    tops = [f"{np.abs(kept[name].dy).max():.2g}" for name in kept]
    said = " ".join(text.split())
    assert f"dY reaches {tops[0]}, {tops[1]} and {tops[2]}" in said


def test_provenance() -> None:
    known = products.load().provenance
    text = (FOLDER / "README.md").read_text("utf-8")
    assert known["digest"] == products.digest(products.load().layers)
    for name in ("digest", "data_sha256", "torch"):
        assert known[name] in text
    for net in ("resnet", "mobilenet"):
        assert known[net]["step"] == 30
        assert known[net]["plan"]["precision"] == "dynamic"
    for name in products.NAMES:
        crop = known[name]["layer"]
        assert f"{crop['net']} {crop['layer']}" in text


def test_other_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    with np.load(FILE) as archive:
        arrays = {key: archive[key] for key in archive.files}

    def refuse(changed: dict[str, np.ndarray], message: str) -> None:
        np.savez(path, **changed)
        with pytest.raises(UsageError, match=message):
            products.read(path)

    refuse({**arrays, "conv.x.low": arrays["conv.x.low"] ^ np.uint8(1)}, "have digest")
    refuse({k: v for k, v in arrays.items() if k != "linear.w.high"}, "cannot read the sample")
    cut = {key: arrays[key][:5] for key in ("conv.dy.high", "conv.dy.low")}
    refuse({**arrays, **cut}, r"dy must be of shape \(64, 16, 4, 4\), got \(5, 16, 4, 4\)")
    cut = {key: arrays[key][:, :5] for key in ("conv.w.high", "conv.w.low")}
    refuse({**arrays, **cut}, r"w must suit x of shape \(64, 24, 4, 4\), got \(16, 5, 3, 3\)")
    layer = products.load().layers["linear"]
    with pytest.raises(UsageError, match="x must have 16 significant bits at most"):
        products.ProductLayer(
            x=layer.x + np.float32(1 / 3), w=layer.w, dy=layer.dy, stride=1, padding=0, groups=1
        )
    with pytest.raises(UsageError, match="x must be float32 with 4 axes, got float64"):
        products.ProductLayer(
            x=layer.x.astype(float), w=layer.w, dy=layer.dy, stride=1, padding=0, groups=1
        )


@pytest.mark.parametrize(("bits", "k"), [(4, 216), (8, 108), (16, 54)])
def test_codes_are_those_of_the_whole_numbers(bits: int, k: int) -> None:
    values = np.random.default_rng(bits).standard_t(3, (300, k)).astype(np.float32)
    fmt = BFP(exponent_bits=8, mantissa_bits=bits, k=k, rounding=Rounding.RTZ)
    for one, two in zip(
        encode_values(fmt, values), encode_values(fmt, products.cut(values)), strict=True
    ):
        assert np.array_equal(one, two)


def test_layers_are_captured(tmp_path: Path) -> None:
    """Twice the same; the linear layer's product is what torch makes of x and w."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from narrowgauge.golden.training import capture_products
    from narrowgauge.golden.training.loop import Plan

    made = images()
    bars = data.Images(
        name="bars",
        train=made["train-images-idx3-ubyte"].astype(np.uint8),
        train_labels=made["train-labels-idx1-ubyte"].astype(np.uint8),
        test=made["t10k-images-idx3-ubyte"].astype(np.uint8),
        test_labels=made["t10k-labels-idx1-ubyte"].astype(np.uint8),
    )
    plans = {
        net: Plan(net=net, norm="bn", precision="fb12", seed=2, epochs=1, batch=32)
        for net in ("resnet", "mobilenet")
    }
    found = capture_products.capture(plans, bars, images=20)
    assert found.provenance["digest"] == products.digest(found.layers)
    assert found.provenance["resnet"]["step"] == 2
    assert found.layers["conv"].x.shape == (20, 24, 4, 4)
    assert found.layers["linear"].dy.shape == (20, 10, 1, 1)
    # Gradients of a cross-entropy add up to nothing over the classes.
    assert np.abs(found.layers["linear"].dy.sum(axis=1)).max() < 1e-4
    products.save(found, tmp_path / "made.npz")
    again = products.read(tmp_path / "made.npz")
    other = capture_products.capture(plans, bars, images=20)
    assert products.digest(again.layers) == products.digest(other.layers)
    assert capture_products.main(["--output", str(tmp_path / "none" / "x.npz")]) == 2
