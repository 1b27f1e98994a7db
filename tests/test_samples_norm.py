"""The captured batch normalisation: its content, its file, and golden arithmetic on it."""

import importlib.util
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from narrowgauge.golden import samples
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_values, vector
from narrowgauge.golden.samples import norm
from narrowgauge.golden.units.range_bn import FP10, Blocks, Layer, RangeBn
from narrowgauge.golden.units.range_bn_gradient import gradients, propagate
from narrowgauge.golden.units.range_bn_passes import constants, normalize, statistics
from narrowgauge.golden.units.window import FP32
from tests.range_bn_formulas import distance, exact

FOLDER = resources.files(samples)
FILE = Path(str(FOLDER / "range_bn.npz"))


def test_content() -> None:
    layer = norm.load()
    assert layer.x.shape == layer.g.shape == (2048, 16)
    assert layer.gamma.shape == layer.beta.shape == (16,)
    for codes in (layer.x, layer.g):
        values = bf16_values(codes)
        assert np.isfinite(values).all()
        assert (values.std(axis=0) > 0).all()
    assert np.isfinite(vector.decode(FP10, layer.gamma)).all()
    assert np.isfinite(vector.decode(FP32, layer.beta)).all()


def test_provenance() -> None:
    known = norm.load().provenance
    images, channels, height, width = known["kept_shape"]
    assert (images * height * width, channels) == norm.load().x.shape
    assert known["digest"] == norm.digest(norm.load())
    assert importlib.util.find_spec("narrowgauge.golden.training") is not None
    text = (FOLDER / "README.md").read_text("utf-8")
    for name in ("digest", "data_sha256", "torch", "layer"):
        assert str(known[name]) in text
    for name in ("net", "norm", "step", "batch"):
        assert f"{name} {known[name]}" in text


def test_the_figures_of_the_readme() -> None:
    text = " ".join((FOLDER / "README.md").read_text("utf-8").split())
    x, g = bf16_values(norm.load().x), bf16_values(norm.load().g)
    assert f"Of the gradients, {(g == 0).mean():.0%}".replace("%", " %") in text
    assert f"Of x, {(x == 0).mean():.0%}".replace("%", " %") in text
    low, high = x.std(axis=0).min(), x.std(axis=0).max()
    assert f"x lie from {low:.2f} to {high:.2f}" in text
    low, high = g.std(axis=0).min(), g.std(axis=0).max()
    assert f"g from {low:.5f} to {high:.5f}, and g reaches {np.abs(g).max():.4f}" in text


def test_other_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    with np.load(FILE) as archive:
        arrays = {key: archive[key] for key in archive.files}

    def refuse(changed: dict[str, np.ndarray], message: str) -> None:
        np.savez(path, **changed)
        with pytest.raises(UsageError, match=message):
            norm.read(path)

    refuse({**arrays, "x": arrays["x"] ^ np.uint16(1)}, "have digest")
    refuse({**arrays, "g": arrays["g"][:5]}, r"g must be of shape \(2048, 16\), got \(5, 16\)")
    refuse({**arrays, "beta": arrays["beta"].astype(int)}, "beta must be uint32 with 1 axes")
    refuse({k: v for k, v in arrays.items() if k != "gamma"}, "cannot read the sample")


@pytest.mark.parametrize("group", [1, 4, 8, 16])
def test_golden_arithmetic_on_it(group: int) -> None:
    """Real values, in fixed point and unrounded."""
    kept, params = norm.load(), RangeBn(group=group)
    layer = Layer(count=len(kept.x), chunks=params.chunks)
    x = Blocks.of(bf16_values(kept.x), params.forward)
    g = Blocks.of(bf16_values(kept.g), params.backward)
    stats = statistics(params, layer, x)
    made = constants(params, layer, stats, kept.gamma, kept.beta)
    sums = gradients(params, made, x, g)
    wanted = exact(
        layer, x.values(), g.values(), vector.decode(FP10, kept.gamma),
        vector.decode(FP32, kept.beta),
    )  # fmt: skip
    assert distance(normalize(params, made, x).values(), wanted["y"]) < 0.1
    dx = propagate(params, layer, stats, made, sums, g).values()
    assert distance(dx, wanted["dx"]) < 0.15
    assert distance(vector.decode(FP32, sums.dgamma), wanted["dgamma"]) < 0.02
