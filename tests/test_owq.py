"""Weights with few bits: against direct solutions, the hardware's dot product, and corners."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge.golden import samples
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import MXOpal, bf16_codes, bf16_values
from narrowgauge.golden.formats import dequantize as block_values
from narrowgauge.golden.formats import quantize as block_quantize
from narrowgauge.golden.owq import OwqWeights, dequantize, second_moment
from narrowgauge.golden.owq_quantize import quantize
from narrowgauge.golden.units import opal_dot

Matrix = npt.NDArray[np.float64]


def case(rows: int = 24, columns: int = 200, seed: int = 0) -> tuple[Matrix, Matrix]:
    """Weights, and second moments of correlated activations with channels of unequal size."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((rows, columns)) * np.exp(rng.standard_normal((rows, 1)))
    mixed = rng.standard_normal((400, columns // 4)) @ rng.standard_normal((columns // 4, columns))
    x = (mixed + rng.standard_normal(mixed.shape)) * np.exp(0.7 * rng.standard_normal(columns))
    return weights, second_moment(x)


def loss(weights: Matrix, hessian: Matrix, made: OwqWeights) -> float:
    """Squared error of the outputs."""
    error = dequantize(made).astype(np.float64) - weights
    return float(np.einsum("rc,cd,rd->", error, hessian, error, optimize=True))


def steps(made: OwqWeights) -> Matrix:
    """What a code counts, by row and column."""
    exponent = made.scales.astype(np.int64) - 127 + 2 - made.bits
    step = np.ldexp(bf16_values(made.row_scale).astype(np.float64)[:, None], exponent)
    return np.repeat(step, made.k, axis=1)[:, : made.columns]


def kept_columns(made: OwqWeights) -> list[int]:
    """Columns in bf16, which are those of every row."""
    used = made.outliers[0] != 0
    block, slot = np.nonzero(used)
    return sorted((block * made.k + made.positions[0, block, slot]).tolist())


@pytest.mark.parametrize("bits", [3, 4, 5, 7])
def test_compensation_beats_rounding_and_rounding_one_scale_a_row(bits: int) -> None:
    weights, hessian = case()
    limit = 2 ** (bits - 1) - 1
    scale = np.abs(weights).max(axis=1, keepdims=True) / limit
    error = np.rint(weights / scale) * scale - weights
    plain = float(np.einsum("rc,cd,rd->", error, hessian, error, optimize=True))
    rounded = loss(weights, hessian, quantize(weights, hessian, bits=bits, compensate=False))
    spread = loss(weights, hessian, quantize(weights, hessian, bits=bits))
    assert spread < rounded / 2
    assert rounded < 0.75 * plain


def test_more_bits_and_more_columns_in_bf16_are_better() -> None:
    weights, hessian = case()
    errors = [loss(weights, hessian, quantize(weights, hessian, bits=b)) for b in range(2, 9)]
    assert errors == sorted(errors, reverse=True)
    errors = [loss(weights, hessian, quantize(weights, hessian, bits=4, n=n)) for n in (0, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)


def test_each_column_is_rounded_from_the_best_of_what_is_left() -> None:
    weights, hessian = case(rows=5, columns=24)
    made = quantize(weights, hessian, bits=4, k=8, n=1, damping=0.05)
    step = steps(made)
    values = dequantize(made).astype(np.float64)
    damped = hessian + 0.05 * np.mean(np.diagonal(hessian)) * np.eye(24)
    kept = kept_columns(made)
    order = sorted(range(24), key=lambda j: (j in kept, -hessian[j, j]))
    for i, column in enumerate(order):
        done, left = order[:i], order[i:]
        # Given the errors made so far, the weights left that minimise d H d, solved directly.
        error = weights[:, done] - values[:, done]
        change = np.linalg.solve(damped[np.ix_(left, left)], damped[np.ix_(left, done)] @ error.T)
        wanted = (weights[:, left].T + change)[0]
        if column in kept:
            row = bf16_values(made.row_scale)
            assert np.array_equal(bf16_values(bf16_codes(wanted / row)) * row, values[:, column])
        else:
            code = np.clip(np.rint(wanted / step[:, column]), -7, 7)
            assert np.array_equal(code * step[:, column], values[:, column])


def test_scales_are_near_the_best_of_all() -> None:
    weights, hessian = case(rows=6, columns=32)
    h = np.diagonal(hessian)
    made = quantize(weights, hessian, bits=3, k=16, n=0, compensate=False)
    error = ((dequantize(made) - weights) ** 2 * h).reshape(6, 2, 16).sum(axis=2)
    least = np.full(6, np.inf)
    for mantissa in np.arange(128, 256) / 128:
        tried = np.full((6, 2), np.inf)
        for exponent in range(-8, 8):
            step = mantissa * 2.0**exponent
            codes = np.clip(np.rint(weights / step), -3, 3)
            square = ((codes * step - weights) ** 2 * h).reshape(6, 2, 16).sum(axis=2)
            tried = np.minimum(tried, square)
        least = np.minimum(least, tried.sum(axis=1))
    assert np.all(error.sum(axis=1) <= 1.05 * least)


def test_columns_that_activations_make_important_stay_in_bf16() -> None:
    weights, _ = case(columns=256)
    h = np.ones(256)
    h[[3, 77, 130, 255]] = 1e4
    made = quantize(weights, np.diag(h), bits=3)
    assert set(kept_columns(made)) >= {3, 77, 130, 255}
    values = dequantize(made)
    assert np.allclose(values[:, [3, 77, 130, 255]], weights[:, [3, 77, 130, 255]], rtol=2**-8)
    # Columns without activations are no candidates, and their slots stay empty.
    h[:] = 0
    h[[5, 9]] = 1
    assert kept_columns(quantize(weights, np.diag(h), bits=3)) == [5, 9]


def test_few_columns_of_the_whole_matrix() -> None:
    weights, _ = case(columns=256)
    h = np.ones(256)
    h[[3, 77]], h[130] = 1e4, 1e5
    every = kept_columns(quantize(weights, np.diag(h), bits=3, n=1))
    assert len(every) == 2
    assert every[1] == 130
    assert kept_columns(quantize(weights, np.diag(h), bits=3, n=1, most=1)) == [130]
    # The slots are the same, whether they are in use or not.
    made = quantize(weights, np.diag(h), bits=3, most=0)
    assert made.n == 4
    assert not made.outliers.any()
    assert kept_columns(quantize(weights, np.diag(h), bits=3, most=3)) == [3, 77, 130]


@pytest.mark.parametrize(("bits", "low"), [(3, 3), (5, 3), (4, 4), (7, 4)])
def test_is_the_w_side_of_the_dot_product(bits: int, low: int) -> None:
    weights, hessian = case(rows=7, columns=200)
    made = quantize(weights, hessian, bits=bits)
    rng = np.random.default_rng(1)
    x = block_quantize(rng.standard_normal((1, 200)), MXOpal(b=2 * low - 1), axis=1)
    batch = made.side(high=bits > low)
    for name, part in (
        ("a", x.codes),
        ("a_scale", x.scales),
        ("a_outliers", x.outliers),
        ("a_positions", x.positions),
    ):
        part = part.reshape(2, -1) if part.ndim == 3 else part.reshape(2, *part.shape[2:])
        batch[name] = np.tile(part.astype(np.int64), (7,) + (1,) * (part.ndim - 1)).reshape(
            14, *part.shape[1:]
        )
    batch["a_high"] = np.ones(14, np.int64)
    params = opal_dot.Params(low=low)
    got = opal_dot.model(params, batch)["result"].astype(np.uint32).view(np.float32)
    got = got * bf16_values(made.row_scale)
    values, a = dequantize(made).astype(np.float64), block_values(x)[0].astype(np.float64)
    assert np.all(np.abs(got - values @ a) <= np.abs(values) @ np.abs(a) * 2.0**-19)


def test_short_last_block_and_storage() -> None:
    weights, hessian = case(columns=200)
    made = quantize(weights, hessian, bits=4)
    assert made.sizes.tolist() == [128, 72]
    assert (made.rows, made.k, made.n) == (24, 128, 4)
    assert not made.codes[:, 1, 72:].any()
    assert dequantize(made).shape == weights.shape
    assert made.bits_per_weight == pytest.approx((2 * (512 + 8 + 4 * 23) + 16) / 200)


def test_same_result_twice_and_from_another_power_of_two() -> None:
    weights, hessian = case()
    first, again = (quantize(weights, hessian, bits=4) for _ in range(2))
    moved = quantize(weights * 2.0**-60, hessian * 2.0**30, bits=4)
    for name in ("codes", "scales", "outliers", "positions", "row_scale"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    assert np.array_equal(first.codes, moved.codes)
    assert np.array_equal(dequantize(first) * np.float32(2.0**-60), dequantize(moved))


def test_zeros_and_extremes() -> None:
    weights = np.zeros((4, 64))
    weights[1, 3], weights[2, :], weights[3, 40] = 1.0, 3e38, 1e-30
    made = quantize(weights, bits=4, k=32, n=0)
    values = dequantize(made)
    assert not values[0].any()
    assert values[1, 3] == pytest.approx(1, rel=0.01)
    assert np.allclose(values[2], 3e38, rtol=0.01)
    assert values[3, 40] == pytest.approx(1e-30, rel=0.01)
    assert bf16_values(made.row_scale)[0] == 1
    assert not dequantize(quantize(np.zeros((2, 8)), np.zeros((8, 8)), bits=3, k=8)).any()


def test_real_weights_on_real_activations() -> None:
    sample = samples.load()
    for name in ("layer01.qkv", "layer11.ffn_down"):
        x = bf16_values(sample.activations[name]).astype(np.float64)
        weights = bf16_values(sample.weights[name])
        made = quantize(weights, second_moment(x), bits=4)
        wanted = x @ weights.T
        error = x @ dequantize(made).T - wanted
        assert np.sum(error**2) < 1e-3 * np.sum(wanted**2)


GOOD = np.zeros((2, 8), np.float32)
BAD: list[tuple[Any, dict[str, Any], str]] = [
    (
        np.zeros(8),
        {},
        "weights must be float32 or float64 of shape (rows, columns), got float64 of shape (8,)",
    ),
    (
        GOOD.astype(np.int64),
        {},
        "weights must be float32 or float64 of shape (rows, columns), got int64 of shape (2, 8)",
    ),
    (GOOD + np.inf, {}, "weights must be finite and within 3.38953e+38"),
    (GOOD, {"bits": 1}, "bits must be 2..8, got 1"),
    (GOOD, {"k": 12}, "k must be a power of two in 2..1024, got 12"),
    (GOOD, {"n": 128}, "n must be 0..k-1 with k=128, got 128"),
    (GOOD, {"most": -1}, "most must be at least 0, got -1"),
    (GOOD, {"damping": 0.0}, "damping must be above 0, got 0.0"),
    (
        GOOD,
        {"hessian": np.eye(7)},
        "hessian must be float64 of shape (8, 8), got float64 of shape (7, 7)",
    ),
    (
        GOOD,
        {"hessian": -np.eye(8)},
        "hessian must be finite with a diagonal of at least 0",
    ),
]


@pytest.mark.parametrize(("weights", "given", "message"), BAD)
def test_wrong_input_is_refused(weights: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        quantize(weights, **{"bits": 4, **given})
    assert str(caught.value) == message


WRONG: list[tuple[str, Any, str]] = [
    ("bits", 9, "bits must be 2..8, got 9"),
    ("bits", 3, "codes of 3 bits lie within 3, got"),
    ("columns", 300, "300 columns have not 2 blocks of 128"),
    ("codes", np.zeros((2, 2, 128)), "codes must be int8 of shape (rows, blocks, k), got float64"),
    ("scales", np.full((24, 2), 255, np.uint8), "scales must be 0..254, got 255"),
    (
        "scales",
        np.zeros((24, 3), np.uint8),
        "scales must be uint8 of shape (24, 2), got uint8 of shape (24, 3)",
    ),
    (
        "positions",
        np.full((24, 2, 4), 127, np.uint16),
        "positions must be below k=128 and inside 200 columns, got 127",
    ),
    ("row_scale", np.zeros(24, np.uint16), "row_scale must be finite and above 0"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_wrong_parts_are_refused(name: str, value: Any, message: str) -> None:
    weights, hessian = case()
    made = quantize(weights, hessian, bits=4, compensate=False)
    parts = {part: getattr(made, part) for part in made.__dataclass_fields__}
    with pytest.raises(UsageError) as caught:
        OwqWeights(**{**parts, name: value})
    assert str(caught.value).startswith(message)


def test_activations_are_checked() -> None:
    with pytest.raises(UsageError, match="x must be finite"):
        second_moment(np.full((2, 3), np.nan))
    with pytest.raises(UsageError, match="x must be float32 or float64"):
        second_moment(np.zeros(3))
