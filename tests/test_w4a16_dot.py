"""`w4a16_dot`: its golden model against fractions and against `bf16_dot`; other parameters."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_units_golden import NAN, Special, bf16, cut, results, times, to_fp32, total

from narrowgauge import api, registry
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units import bf16_dot, w4a16_dot

POINT = "w4a16_dot/l32"


def term(p: Any, b: Batch, i: int) -> np.float32:
    """One beat, weights read as w / 2**(w_bits - 2)."""
    scale = int(b["w_scale"][i])
    activations = [bf16(code) for code in b["a"][i].tolist()]
    unit = Fraction(2) ** (max(exponent for _, exponent in activations) - p.fraction)
    terms: list[Special] = [NAN] if scale == 255 else []
    for (value, _), code in zip(activations, b["w"][i].tolist(), strict=True):
        product = times(value, Fraction(code, 1 << (p.w_bits - 2)))
        exact = isinstance(product, Fraction)
        terms.append(cut(product, unit, towards_zero=True) if exact else product)  # type: ignore
    value = total(terms)
    return to_fp32(value * Fraction(2) ** (scale - 127) if isinstance(value, Fraction) else value)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"lanes": 8, "fraction": 9},
        {"lanes": 5, "w_bits": 2, "fraction": 32},
        {"w_bits": 8, "lanes": 16},
    ],
    ids=str,
)
def test_against_fractions(overrides: dict[str, int]) -> None:
    p = registry.points(POINT, **overrides)[0].params
    batch = w4a16_dot.vectors(p, "smoke", 11)
    got = w4a16_dot.model(p, batch)["result"].astype(np.uint32).view(np.float32)
    want = results(term, p, batch)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    finite = ~np.isnan(want)
    assert finite.sum() > len(want) / 3
    assert np.array_equal(got[finite].view(np.uint32), want[finite].view(np.uint32))


def test_small_weights_are_also_bf16() -> None:
    # A weight of at most 8 bits is a bf16 number too; where nothing is cut off, `bf16_dot` agrees.
    p, q = w4a16_dot.Params(lanes=16, fraction=30), bf16_dot.Params(lanes=16, fraction=32)
    rng = np.random.default_rng(4)
    count = 500
    a = (rng.integers(120, 132, (count, 16)) << 7) | rng.integers(0, 128, (count, 16))
    a |= rng.integers(0, 2, a.shape) << 15
    w = rng.integers(-7, 8, (count, 16))
    scale = rng.integers(110, 140, count)
    last = (rng.random(count) < 0.3).astype(np.int64)
    values = (w / 4 * np.exp2(scale - 127.0)[:, None]).astype(np.float32)
    b = (values.view(np.uint32) >> 16).astype(np.int64)
    mine = w4a16_dot.model(p, {"a": a, "w": w, "w_scale": scale, "last": last})
    assert np.array_equal(
        mine["result"], bf16_dot.model(q, {"a": a, "b": b, "last": last})["result"]
    )


def test_real_vectors_restore_the_weights_that_mx_dot_has() -> None:
    # Same tokens, rows and blocks of weights: energies are of equal work.
    mx = registry.points("mx_dot/w4a4_l128")[0]
    theirs = mx.entry.golden.vectors(mx.params, "real", 5)
    ours = w4a16_dot.vectors(w4a16_dot.Params(), "real", 5)
    for name in ("w", "w_scale", "last"):
        assert np.array_equal(ours[name], theirs[name])
    narrow = w4a16_dot.vectors(w4a16_dot.Params(lanes=48), "real", 5)
    assert len(narrow["w"]) == 3 * len(ours["w"])
    assert np.array_equal(narrow["w"].reshape(-1, 144)[:, :128], ours["w"])
    assert not narrow["a"].reshape(-1, 144)[:, 128:].any()


@pytest.mark.parametrize(
    "overrides",
    [
        {"lanes": 3, "w_bits": 2, "fraction": 7},
        {"lanes": 8, "w_bits": 8, "fraction": 32},
        {"lanes": 4, "w_bits": 5, "fraction": 10},
    ],
    ids=str,
)
def test_agrees_with_its_model(overrides: dict[str, Any], tmp_path: Path) -> None:
    result = api.verify(POINT, overrides=overrides, build_dir=tmp_path)[0]
    assert result.passed, f"{result.failure}\n{result.mismatch}"
    assert result.beats_out > 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"lanes": 1}, r"lanes must be 2\.\.1024, got 1"),
        ({"w_bits": 9}, r"w_bits must be 2\.\.8, got 9"),
        ({"fraction": 8}, r"fraction must be 9\.\.32 with w_bits=4, got 8"),
        ({"w_bits": 8, "fraction": 12}, r"fraction must be 13\.\.32 with w_bits=8, got 12"),
        ({"fraction": 33}, r"fraction must be 9\.\.32 with w_bits=4, got 33"),
    ],
)
def test_impossible_parameters(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        api.points(POINT, overrides=overrides)
