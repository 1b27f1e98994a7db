"""Constants of batch normalisation in FP32: operations, sequences, and all passes with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge import api
from narrowgauge.golden.arith.ieee import corners, pairs
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import join
from narrowgauge.golden.units import fp32_bn
from narrowgauge.golden.units.fp32_bn_constants import Params, divide, model, negative, root
from narrowgauge.golden.units.fp32_lanes import FP32, NAN, ONE, SIGN, code_of, value_of

F32 = np.float32
RNG = np.random.default_rng(111)


def test_quotients_and_roots_are_those_of_the_host() -> None:
    left, right = pairs(corners(FP32), corners(FP32))
    a, b = RNG.integers(0, 1 << 32, (2, 300_000))
    # Quotients near 1, subnormal ones, and short significands.
    near = (RNG.integers(120, 134, (2, 100_000)) << 23) | RNG.integers(0, 1 << 23, (2, 100_000))
    low = RNG.integers(0, 1 << 25, 100_000)
    short = RNG.integers(0, 1 << 13, (2, 100_000)) << 19
    a = np.concatenate([left, a, near[0], low, short[0]])
    b = np.concatenate([right, b, near[1], near[0], short[1]])
    with np.errstate(all="ignore"):
        assert np.array_equal(divide(a, b), code_of(value_of(a) / value_of(b)))
        assert np.array_equal(root(a), code_of(np.sqrt(value_of(a))))
        # Squares of half the bits, and their neighbours.
        exact = (value_of(near[0] & ~0xFFF) ** 2).view(np.uint32).astype(np.int64)
        for step in (-1, 0, 1):
            code = exact + step
            assert np.array_equal(root(code), code_of(np.sqrt(value_of(code))))


def test_sequences_are_the_formulas() -> None:
    params = Params(epsilon=1e-3)
    x, y, a, s = RNG.normal(0, 40, (4, 500)).astype(F32)
    n = RNG.integers(1, 5000, 500).astype(F32)
    x = np.abs(x)
    codes = {name: code_of(each) for name, each in zip("xyasn", (x, y, a, s, n), strict=True)}

    def run(mode: int) -> tuple[Any, Any]:
        made = model(params, codes | {"mode": np.full(500, mode)})
        return value_of(made["first"]), value_of(made["second"])

    scale = 1 / np.sqrt(x / n + F32(1e-3))
    for mode, want in (
        (0, (-(x / n), -(x / n))),
        (1, (scale, a * scale)),
        (2, (-(a * (y / n)), -(a * (s * (s * (x / n)))))),
    ):
        assert np.array_equal(run(mode), want)
    assert np.array_equal(run(3), run(2))


def test_no_nan_has_a_sign() -> None:
    assert negative(np.array([NAN, 0, SIGN, ONE])).tolist() == [NAN, SIGN, 0, ONE | SIGN]
    params = Params()
    batch = params.input.beats(
        4, x=[0, NAN, SIGN | ONE, ONE], n=[0, ONE, ONE, ONE], mode=[0, 0, 1, 2]
    )
    made = model(params, batch | {"s": np.full(4, 0x7F800000)})
    assert made["second"].tolist() == [NAN, NAN, NAN, NAN]


def test_all_passes_with_these_constants() -> None:
    """Sums, constants and passes together are batch normalisation and its gradient."""
    count, lanes = 41, 5
    shift_, size = RNG.uniform(-4, 4, lanes), 2.0 ** RNG.uniform(-3, 3, lanes)
    x = code_of((RNG.standard_normal((count, lanes)) + shift_) * size)
    g, gamma = code_of(RNG.standard_normal((count, lanes))), code_of(RNG.uniform(0.5, 2, lanes))
    params, constants = fp32_bn.Params(lanes=lanes), Params()
    none, n = np.zeros((1, lanes), np.int64), code_of(np.full(lanes, count))

    def sums(u: Any, v: Any, mode: int, **words: Any) -> Any:
        return fp32_bn.model(params, join(fp32_bn.passes(params, u, v, mode, **words)))

    def made(mode: int, **words: Any) -> tuple[Any, Any]:
        found = model(constants, constants.input.beats(lanes, n=n, mode=mode, **words))
        return found["first"], found["second"]

    shift, _ = made(0, x=sums(none, x, 3)["total"][0])
    s, a = made(1, x=sums(x, none, 3, shift=shift)["y"][0], a=gamma)
    y = sums(x, none, 0, shift=shift, gain=a, slope=SIGN)["y"]
    found = sums(x, g, 2, shift=shift)
    e, b = made(2, x=found["y"][0], y=found["total"][0], a=a, s=s)
    dx = sums(x, g, 0, shift=shift, gain=b, offset=e, slope=a)["y"]

    wide, grad, scale = (value_of(each).astype(np.float64) for each in (x, g, gamma))
    apart = wide - wide.mean(axis=0)
    inverse = 1 / np.sqrt((apart**2).mean(axis=0) + 1e-5)
    hat = apart * inverse
    want = scale * inverse * (grad - grad.mean(axis=0) - hat * (grad * hat).mean(axis=0))
    assert np.allclose(value_of(y), scale * hat, atol=1e-5)
    assert np.allclose(value_of(dx), want, atol=1e-4 * np.abs(want).max())


def test_roots_of_subnormals(tmp_path: Path) -> None:
    """With the usual epsilon no root is of one."""
    (result,) = api.verify("fp32_bn_constants", overrides={"epsilon": 1e-42}, build_dir=tmp_path)
    assert result.passed, f"{result.failure}\n{result.mismatch}"
    assert result.beats_out > 0


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 2.0, float("nan")])
def test_impossible(epsilon: float) -> None:
    with pytest.raises(UsageError) as caught:
        Params(epsilon=epsilon)
    assert str(caught.value) == f"epsilon must be 2**-149..1, got {epsilon}"
