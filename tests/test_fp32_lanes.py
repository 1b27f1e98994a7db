"""The FP32 baselines of batch normalisation: arithmetic, and whole layers against plain NumPy."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge import registry
from narrowgauge.golden.arith.ieee import corners
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import join
from narrowgauge.golden.units import fp32_bn, fp32_range_bn
from narrowgauge.golden.units.fp32_lanes import (
    FP32,
    ONE,
    SIGN,
    accumulate,
    add,
    code_of,
    multiply,
    value_of,
    values,
)
from narrowgauge.golden.units.range_bn import Layer
from tests.range_bn_formulas import distance, exact

F32 = np.float32
RNG = np.random.default_rng(101)
COUNT, LANES = 53, 6


def sequential(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The sum of rows, one after the other, in float32."""
    total = np.zeros(rows.shape[1], F32)
    for row in rows:
        total = total + row
    return total


@pytest.fixture(name="layer")
def _layer() -> dict[str, npt.NDArray[Any]]:
    """Values of channels that differ in mean and size, one of them constant."""
    size = 2.0 ** RNG.uniform(-6, 6, LANES)
    x = ((RNG.standard_normal((COUNT, LANES)) + RNG.uniform(-9, 9, LANES)) * size).astype(F32)
    x[:, 2] = 0.75
    return {
        "x": x,
        "g": RNG.standard_normal((COUNT, LANES)).astype(F32),
        "gamma": RNG.uniform(-2, 2, LANES).astype(F32),
        "beta": RNG.standard_normal(LANES).astype(F32),
    }


def test_sums_are_those_of_the_adder() -> None:
    edge = corners(FP32)
    for round_ in range(40):
        terms = values(RNG, (30, 5)) if round_ else RNG.choice(edge, (400, 5))
        start = RNG.choice(edge, 5)
        want, total = [], start
        for row in terms:
            total = add(total, row)
            want.append(total)
        assert np.array_equal(accumulate(start, terms), np.array(want))


def test_codes_and_numbers() -> None:
    edge = corners(FP32)
    back = code_of(value_of(edge))
    number = (edge & FP32.magnitude_mask) <= FP32.exponent_mask
    assert np.array_equal(back[number], edge[number])
    assert set(back[~number]) == {0x7FC00000}


def test_conventional_passes(layer: dict[str, npt.NDArray[Any]]) -> None:
    """Each pass is the same in plain float32, operation by operation."""
    x, g, gamma, beta = (layer[name] for name in ("x", "g", "gamma", "beta"))
    params = fp32_bn.Params(lanes=LANES)
    none = np.zeros((1, LANES), np.int64)

    def run(u: Any, v: Any, mode: int, **word: Any) -> dict[str, npt.NDArray[Any]]:
        got = fp32_bn.model(params, join(fp32_bn.passes(params, u, v, mode, **word)))
        assert got["last"].sum() == got["last"][-1] == 1
        return {name: value_of(got[name]) for name in ("y", "total")}

    total = run(none, code_of(x), 3)["total"]
    assert np.array_equal(total[0], sequential(x))
    mean = total[0] / F32(COUNT)
    shift = code_of(-mean)
    squares = run(code_of(x), none, 3, shift=shift)["y"]
    assert np.array_equal(squares[0], sequential((x - mean) * (x - mean)))
    s = 1 / np.sqrt(squares[0] / F32(COUNT) + F32(1e-5))
    a = gamma * s
    y = run(code_of(x), none, 0, shift=shift, gain=code_of(a), offset=code_of(beta), slope=SIGN)
    assert np.array_equal(y["y"], (x - mean) * a + beta)
    sums = run(code_of(x), code_of(g), 2, shift=shift)
    assert np.array_equal(sums["total"][0], sequential(g))
    assert np.array_equal(sums["y"][0], sequential((x - mean) * g))
    b, e = -a * s * s * sums["y"][0] / F32(COUNT), -a * sums["total"][0] / F32(COUNT)
    words = {"gain": code_of(b), "offset": code_of(e), "slope": code_of(a)}
    dx = run(code_of(x), code_of(g), 0, shift=shift, **words)["y"]
    assert np.array_equal(dx, (x - mean) * b + (g * a + e))

    # And both are batch normalisation: in float64, with a gradient by finite differences.
    wide = {name: each.astype(np.float64) for name, each in layer.items()}

    def forward(values_: npt.NDArray[Any]) -> npt.NDArray[Any]:
        apart = values_ - values_.mean(axis=0)
        scaled = apart / np.sqrt((apart**2).mean(axis=0) + 1e-5)
        return wide["gamma"] * scaled + wide["beta"]

    assert distance(y["y"], forward(wide["x"])) < 1e-5
    for position in (0, 20):
        step = np.zeros_like(wide["x"])
        step[position] = wide["x"].std(axis=0) * 1e-5 + 1e-9
        change = forward(wide["x"] + step) - forward(wide["x"] - step)
        slope = (wide["g"] * change).sum(axis=0) / (2 * step[position])
        assert np.allclose(dx[position], slope, rtol=1e-3, atol=1e-3 * np.abs(slope).max())


@pytest.mark.parametrize("chunks", [1, 4])
def test_range_passes(layer: dict[str, npt.NDArray[Any]], chunks: int) -> None:
    """All passes together are the formulas, and each is the same in plain float32."""
    x, g, gamma, beta = (layer[name] for name in ("x", "g", "gamma", "beta"))
    params = fp32_range_bn.Params(lanes=LANES)
    shape = Layer(count=COUNT, chunks=chunks)
    starts = [*shape.starts().tolist(), COUNT]
    c = F32(1 / np.sqrt(2 * np.log(COUNT / chunks)))

    def run(mode: int, **given: Any) -> dict[str, npt.NDArray[Any]]:
        got = fp32_range_bn.model(params, join(fp32_range_bn.passes(params, shape, mode, **given)))
        assert got["last"].sum() == got["last"][-1] == 1
        return got | {name: value_of(got[name]) for name in ("y", "total")}

    found = run(3, v=code_of(x))
    parts = [x[i:j] for i, j in pairwise(starts)]
    ranges = np.array([part.max(axis=0) - part.min(axis=0) for part in parts])
    assert np.array_equal(found["y"], np.add.accumulate(ranges, axis=0))
    assert np.array_equal(found["total"][-1], sequential(x))
    high = np.array([i + part.argmax(axis=0) for i, part in zip(starts, parts, strict=False)])
    low = np.array([i + part.argmin(axis=0) for i, part in zip(starts, parts, strict=False)])
    assert np.array_equal(found["largest"], high)
    assert np.array_equal(found["least"], low)

    mean = found["total"][-1] / F32(COUNT)
    s = 1 / (c * found["y"][-1] / F32(chunks) + F32(1e-5))
    a, shift = gamma * s, code_of(-mean)
    y = run(0, u=code_of(x), shift=shift, gain=code_of(a), offset=code_of(beta))["y"]
    assert np.array_equal(y, (x - mean) * a + beta)
    sums = run(2, u=code_of(x), v=code_of(g), shift=shift)
    assert np.array_equal(sums["total"][0], sequential(g))
    assert np.array_equal(sums["y"][0], sequential((x - mean) * g))
    level, patch = sums["total"][0] / F32(COUNT), -a * (c / F32(chunks)) * s * sums["y"][0]
    words = {"shift": code_of(-level), "gain": code_of(a), "offset": code_of(patch)}
    dx = run(1, u=code_of(g), largest=high, least=low, **words)["y"]
    want = (g - level) * a
    for k in range(chunks):
        for lane in np.flatnonzero(high[k] != low[k]):
            want[high[k, lane], lane] += patch[lane]
            want[low[k, lane], lane] -= patch[lane]
    assert np.array_equal(dx, want)

    wide = [layer[name].astype(np.float64) for name in ("x", "g", "gamma", "beta")]
    truth = exact(shape, *wide)
    assert distance(y, truth["y"]) < 1e-5
    varies = np.arange(LANES) != 2
    assert distance(dx[:, varies], truth["dx"][:, varies]) < 1e-5


def test_extremes_with_signs_of_zero_and_nan() -> None:
    params = fp32_range_bn.Params(lanes=4)
    rows = np.array([[SIGN, 0, ONE, ONE], [0, SIGN, 0x7F800001, 0xFFC00000], [0, SIGN, 0, 0]])
    shape = Layer(count=3, chunks=1)
    got = fp32_range_bn.model(params, join(fp32_range_bn.passes(params, shape, 3, v=rows)))
    assert got["largest"].tolist() == [[1, 0, 1, 0]]
    assert got["least"].tolist() == [[0, 1, 2, 1]]
    assert got["y"].tolist() == [[0, 0, 0x7FC00000, 0x7FC00000]]


def test_sums_go_on_without_a_load() -> None:
    """What follows `last` adds to what was answered; a load begins anew."""
    params = fp32_bn.Params(lanes=2)
    x = values(np.random.default_rng(3), (20, 2))
    once = fp32_bn.model(params, join(fp32_bn.passes(params, x, x, 2)))
    parts = fp32_bn.passes(params, x, x, 2)
    parts[1]["last"][[4, 11]] = 1
    several = fp32_bn.model(params, join(parts))
    assert len(several["y"]) == 3
    assert np.array_equal(several["y"][-1:], once["y"])
    assert np.array_equal(several["total"][-1:], once["total"])


@pytest.mark.parametrize("unit", ["fp32_bn", "fp32_range_bn"])
@pytest.mark.parametrize("level", ["smoke", "real"])
def test_vectors_are_whole_groups(unit: str, level: str) -> None:
    """Each group loads all words before its first values, so that it needs no other."""
    (point,) = registry.points(f"{unit}/l2")
    batch = point.entry.golden.vectors(point.params, level, 5)
    starts = np.concatenate([[0], np.flatnonzero(batch["last"])[:-1] + 1])
    everything = (1 << point.params.pairs) - 1 if level == "smoke" else 3
    for start in starts:
        loaded = 0
        while batch["load"][start]:
            loaded |= int(batch["load"][start])
            start += 1
        assert loaded & everything == everything


@pytest.mark.parametrize(
    ("unit", "changed", "message"),
    [
        ("fp32_bn/l8", {"lanes": 0}, "lanes must be 1..256, got 0"),
        ("fp32_range_bn/l8", {"lanes": 257}, "lanes must be 1..256, got 257"),
        ("fp32_range_bn/l8", {"position_bits": 3}, "position_bits must be 4..20, got 3"),
    ],
)
def test_impossible(unit: str, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.points(unit, **changed)
    assert str(caught.value) == message


def test_products_of_codes() -> None:
    a, b = values(RNG, (50, 4)), values(RNG, (50, 4))
    with np.errstate(all="ignore"):
        assert np.array_equal(multiply(a, b), code_of(value_of(a) * value_of(b)))
        assert np.array_equal(add(a, b), code_of(value_of(a) + value_of(b)))
