"""The factor from a mean range to a deviation."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Overflow, Rounding, get, vector
from narrowgauge.golden.units.range_bn import FP10, Blocks, Layer, RangeBn
from narrowgauge.golden.units.range_bn_gradient import gradients, propagate
from narrowgauge.golden.units.range_bn_layer import FACTORS, expected_range
from narrowgauge.golden.units.range_bn_passes import constants, normalize, statistics
from tests.range_bn_formulas import distance, exact

PAGE = Path(__file__).resolve().parent.parent / "docs" / "range_bn.md"
TIPPETT = {2: 1.12838, 3: 1.69257, 4: 2.05875, 5: 2.32593, 10: 3.07751, 100: 5.01519}
"""Mean range of so many values, as tables of control charts have it."""


def encode(name: str, x: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return vector.encode(get(name), x, rounding=Rounding.RNE, overflow=Overflow.SATURATE)


@pytest.mark.parametrize(("count", "wanted"), TIPPETT.items())
def test_known_ranges(count: int, wanted: float) -> None:
    assert expected_range(count) == pytest.approx(wanted, abs=5e-6)


def test_the_closed_forms() -> None:
    assert expected_range(2) == pytest.approx(2 / math.sqrt(math.pi), rel=1e-14)
    assert expected_range(3) == pytest.approx(3 / math.sqrt(math.pi), rel=1e-14)


@pytest.mark.parametrize("count", [7, 512, 4096])
def test_ranges_of_samples(count: int) -> None:
    x = np.random.default_rng(count).normal(size=(1 << 22) // count * count).reshape(-1, count)
    found = np.ptp(x, axis=1)
    assert abs(found.mean() - expected_range(count)) < 4 * found.std() / math.sqrt(len(found))


@pytest.mark.parametrize("factor", FACTORS)
def test_the_factor_fits_sixteen_bits(factor: str) -> None:
    """It falls with N; the shortest chunks have two values."""
    c = [
        Layer(count=count, chunks=8, factor=factor).c
        for count in (*range(16, 400), 12_544, 1 << 20)
    ]
    assert c == sorted(c, reverse=True)
    assert 0 < c[-1] < c[0] < 1 << 16


def test_the_bound_is_the_papers() -> None:
    for count in (16, 1000, 12_544, 1 << 20):
        layer = Layer(count=count, chunks=8)
        assert layer == Layer(count=count, chunks=8, factor="bound")
        assert layer.c == round(65536 / math.sqrt(2 * math.log(count / 8)))


def test_normal_values_keep_their_deviation() -> None:
    """With gamma 1 and beta 0, y has deviation 1, where the bound leaves 0.6."""
    x = np.random.default_rng(6).normal(3, 5, (12_544, 16))
    params, one = RangeBn(group=4), encode("fp10_e5m4", np.ones(16))
    blocks = Blocks.of(x, params.forward)
    for factor, wanted in (("bound", 0.57), ("normal", 1.0)):
        layer = Layer(count=len(x), chunks=8, factor=factor)
        made = constants(params, layer, statistics(params, layer, blocks), one, np.zeros(16, int))
        y = normalize(params, made, blocks).values()
        assert np.abs(y.std(axis=0) / wanted - 1).max() < 0.12
        assert abs(y.std(axis=0).mean() / wanted - 1) < 0.03


@pytest.mark.parametrize("group", [1, 8])
@pytest.mark.parametrize("count", [16, 60, 1003])
def test_the_passes_follow_it(count: int, group: int) -> None:
    """Fixed point against the formulas with the same factor."""
    rng = np.random.default_rng(count)
    params, layer = RangeBn(group=group), Layer(count=count, chunks=8, factor="normal")
    x = Blocks.of(rng.normal(1, 2, (count, 8)), params.forward)
    g = Blocks.of(rng.standard_t(4, (count, 8)) / 64, params.backward)
    gamma, beta = encode("fp10_e5m4", rng.uniform(0.5, 2, 8)), encode("fp32", rng.normal(size=8))
    stats = statistics(params, layer, x)
    made = constants(params, layer, stats, gamma, beta)
    sums = gradients(params, made, x, g)
    wanted = exact(
        layer, x.values(), g.values(), vector.decode(FP10, gamma), vector.decode(get("fp32"), beta)
    )
    assert distance(normalize(params, made, x).values(), wanted["y"]) < 0.06
    dx = propagate(params, layer, stats, made, sums, g)
    assert distance(dx.values(), wanted["dx"]) < 0.1
    assert distance(vector.decode(get("fp32"), sums.dgamma), wanted["dgamma"]) < 0.02


def test_another_factor() -> None:
    with pytest.raises(UsageError, match="factor must be one of bound, normal, got 'banner'"):
        Layer(count=64, chunks=8, factor="banner")


def test_what_the_page_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    found = [expected_range(n) / math.sqrt(2 * math.log(n)) for n in (10, 100, 1568)]
    assert f"| {', '.join(f'{each:.2f}' for each in found)} deviations |" in page
    assert f"{1 / found[2]:.2f} to\n0.7" in page
    assert round(1 / found[0], 1) == 0.7
    n = 10**5
    assert 1 / expected_range(n) == pytest.approx(0.5402 / math.sqrt(2 * math.log(n)), rel=0.02)
