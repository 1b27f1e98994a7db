"""Units off their registered points: few and many lanes, other blocks, widths and roundings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge import api, registry
from narrowgauge.golden.errors import UsageError

CASES: list[tuple[str, dict[str, Any]]] = [
    # One lane, and more ranks than lanes: the sorted list fills over several beats.
    ("mx_quantize/opal4_l8", {"k": 16, "n": 5, "lanes": 1}),
    ("mx_quantize/opal4_l8", {"k": 8, "n": 7, "b": 2, "lanes": 4, "rounding": "rna"}),
    ("mx_quantize/opal4_l8", {"k": 32, "n": 1, "b": 8, "lanes": 16, "rounding": "rtz"}),
    ("mx_quantize/mxfp4_l8", {"lanes": 2, "rounding": "rna"}),
    ("mx_dot/w4a4_l32", {"k": 16, "n": 1, "lanes": 1, "a_bits": 2, "w_bits": 2}),
    ("mx_dot/w4a4_l32", {"k": 16, "n": 15, "lanes": 4, "a_bits": 8, "w_bits": 8}),
    ("mx_dot/w4a4_l32", {"k": 32, "n": 3, "lanes": 32, "a_bits": 5, "w_bits": 3, "fraction": 12}),
    ("mx_dot/w4a4_l32", {"k": 32, "n": 2, "lanes": 16, "a_bits": 3, "fraction": 32}),
    ("mx_dot/w4a4_l32", {"k": 32, "n": 0, "lanes": 8, "a_bits": 8, "w_bits": 8}),
    ("bf16_dot/l32", {"lanes": 3, "fraction": 14}),
    ("bf16_dot/l32", {"lanes": 8, "fraction": 32}),
    # No bit of the sum below those of a logarithm.
    ("log2_softmax/c3_t64", {"guard": 3}),
]


@pytest.mark.parametrize(("name", "overrides"), CASES, ids=str)
def test_agrees_with_its_model(name: str, overrides: dict[str, Any], tmp_path: Path) -> None:
    result = api.verify(name, overrides=overrides, build_dir=tmp_path)[0]
    assert result.passed, f"{result.failure}\n{result.mismatch}"
    assert result.beats_out > 0


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32, 64])
def test_lanes_never_change_a_dot_product(lanes: int) -> None:
    point = registry.points("mx_dot/w4a7_l128")[0]
    batch = point.entry.golden.vectors(point.params, "smoke", 3)
    other = registry.points("mx_dot/w4a7_l128", lanes=lanes)[0]
    want = point.entry.golden.model(point.params, batch)["result"]
    assert np.array_equal(want, other.entry.golden.model(other.params, batch)["result"])


BAD = [
    ("mx_dot/w4a4_l32", {"n": 128}, "n must be 0..k-1 with k=128, got 128"),
    ("mx_dot/w4a4_l32", {"a_bits": 1}, "a_bits must be 2..8, got 1"),
    ("mx_dot/w4a4_l32", {"w_bits": 9}, "w_bits must be 2..8, got 9"),
    ("mx_dot/w4a4_l32", {"lanes": 48}, "lanes must divide k=128, got 48"),
    ("mx_dot/w4a4_l32", {"k": 96}, "k must be a power of two in 2..1024, got 96"),
    ("mx_dot/w4a4_l32", {"fraction": 8}, "fraction must hold a product whole, got 8"),
    ("mx_quantize/opal4_l8", {"n": 200}, "n must be 0..k-1 with k=128, got 200"),
    ("mx_quantize/opal4_l8", {"b": 1}, "b must be 2..8, got 1"),
    ("mx_quantize/opal4_l8", {"lanes": 128}, "lanes must divide k=128 and be less, got 128"),
    ("mx_quantize/opal4_l8", {"rounding": "up"}, "rounding must be rne, rna or rtz, got 'up'"),
    ("mx_quantize/mxfp4_l8", {"n": 1}, "element fp4_e2m1 is MXFP4: k=32, n=0, b=4, got k=32, n=1"),
    ("bf16_dot/l32", {"lanes": 1}, "lanes must be 2..1024, got 1"),
    ("bf16_dot/l32", {"fraction": 13}, "fraction must be 14..32, got 13"),
]


@pytest.mark.parametrize(("name", "overrides", "message"), BAD)
def test_impossible_parameters(name: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        api.points(name, overrides=overrides)


def test_wrong_arrays_are_refused() -> None:
    params = registry.points("mx_quantize/opal4_l8")[0].params
    model = registry.find("mx_quantize").golden.model
    with pytest.raises(UsageError, match=r"shape \(blocks, 128\), got \(2, 64\)"):
        model(params, {"x": np.zeros((2, 64), np.int64)})
    with pytest.raises(UsageError, match=r"x must be bf16 codes, 0\.\.65535, got 0\.\.65536"):
        model(params, {"x": np.full((1, 128), 65536) * (np.arange(128) == 5)})
    with pytest.raises(UsageError, match="integers"):
        model(params, {"x": np.zeros((1, 128))})
    dot = registry.points("mx_dot/w4a4_l32")[0].params
    batch = registry.find("mx_dot").golden.vectors(dot, "smoke", 0)
    with pytest.raises(UsageError, match="field a: dtype must be integer, got float64"):
        registry.find("mx_dot").golden.model(dot, batch | {"a": batch["a"] * 1.0})
    with pytest.raises(UsageError, match=r"field w: shape must be \(beats, 128\)"):
        registry.find("mx_dot").golden.model(dot, batch | {"w": batch["w"][:, :64]})
