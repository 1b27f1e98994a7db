"""`opal_dot`: its golden model against fractions, its cycles in the simulator, bad blocks."""

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge import design, registry
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units import opal_dot
from narrowgauge.golden.units.opal_dot import Params
from narrowgauge.verify import runner
from tests.test_units_golden import NAN, Special, bf16, cut, times, to_fp32, total

SMALL = Params(k=16, n=2, lanes=8, fp_units=2)


def block_term(p: Params, b: Batch, i: int) -> np.float32:
    """One block, product by product."""
    size = int(b["size"][i])
    scales = {side: int(b[f"{side}_scale"][i]) for side in "aw"}
    codes, slots, top = {}, {}, {}
    for side in "aw":
        bits = p.high if b[f"{side}_high"][i] else p.low
        codes[side] = [Fraction(int(c), 1 << (bits - 2)) for c in b[side][i][:size]]
        kept = zip(b[f"{side}_positions"][i], b[f"{side}_outliers"][i], strict=True)
        slots[side] = [(int(at), *bf16(int(code))) for at, code in kept if code & 0x7FFF]
        top[side] = max([scales[side] - 127] + [exponent for _, _, exponent in slots[side]])
    powers = {side: Fraction(2) ** (scales[side] - 127) for side in "aw"}
    unit = Fraction(2) ** (top["a"] + top["w"] - p.fraction)
    whole = sum((a * w for a, w in zip(codes["a"], codes["w"], strict=True)), Fraction(0))
    parts: list[Special] = [cut(whole * powers["a"] * powers["w"], unit, towards_zero=False)]

    def product(x: Special, y: Special) -> None:
        value = times(x, y)
        parts.append(cut(value, unit, towards_zero=True) if isinstance(value, Fraction) else value)

    for at, value, _ in slots["a"]:
        others = [other for there, other, _ in slots["w"] if there == at]
        product(value, others[0] if others else codes["w"][at] * powers["w"])
    for at, value, _ in slots["w"]:
        if all(there != at for there, _, _ in slots["a"]):
            product(value, codes["a"][at] * powers["a"])
    if 255 in scales.values():
        parts.append(NAN)
    return to_fp32(total(parts))


@pytest.mark.parametrize(
    "params",
    [SMALL, replace(SMALL, low=3, n=3, fraction=14), replace(SMALL, low=2, n=1, fraction=30)],
    ids=str,
)
def test_model_is_the_sum_by_fractions(params: Params) -> None:
    batch = opal_dot.vectors(params, "smoke", 3)
    got = opal_dot.model(params, batch)["result"].astype(np.uint32).view(np.float32)
    want, sum_of = [], np.float32(0)
    with np.errstate(all="ignore"):
        for i, last in enumerate(batch["last"]):
            sum_of = np.float32(sum_of + block_term(params, batch, i))
            if last:
                want.append(sum_of)
                sum_of = np.float32(0)
    np.testing.assert_array_equal(got, np.array(want, np.float32))
    assert np.isnan(got).any()
    assert np.isinf(got).any()
    assert (np.abs(got) > 0).any()


def test_how_it_is_built_changes_no_bit() -> None:
    params = Params(k=64, lanes=64)
    batch = opal_dot.vectors(params, "smoke", 5)
    want = opal_dot.model(params, batch)["result"]
    for lanes, units in ((4, 1), (32, 8)):
        other = replace(params, lanes=lanes, fp_units=units)
        np.testing.assert_array_equal(opal_dot.model(other, batch)["result"], want)


def test_beats_hold_every_code_and_end_where_the_block_ends() -> None:
    batch = opal_dot.vectors(SMALL, "smoke", 7)
    beats = opal_dot.input_beats(SMALL, batch)
    lengths = opal_dot.lengths(SMALL, batch)
    ends = np.flatnonzero(beats["end"])
    np.testing.assert_array_equal(np.diff(ends, prepend=-1), lengths)
    np.testing.assert_array_equal(beats["last"][ends], batch["last"])
    assert beats["last"].sum() == batch["last"].sum()
    # What the cells make of the beats is the plain sum of products.
    from narrowgauge.golden.arith import multimode_mul

    flat = {name: np.repeat(beats[f"{name}_high"], SMALL.cells) for name in "aw"}
    cells = multimode_mul.model(
        SMALL.cell,
        {
            "a": beats["a"].ravel(),
            "w": beats["w"].ravel(),
            "a_high": flat["a"],
            "w_high": flat["w"],
        },
    )["o"].reshape(-1, SMALL.cells)
    block = np.repeat(np.arange(len(lengths)), lengths)
    sums = np.bincount(block, weights=cells.sum(axis=1)).astype(np.int64)
    sent = np.arange(SMALL.k) < batch["size"][:, None]
    np.testing.assert_array_equal(sums, (batch["a"] * batch["w"] * sent).sum(axis=1))


def stalls(a: int, w: int, units: int) -> int:
    """Cycles of one beat with `a` and `w` products due, by dealing them out."""
    queues = [0] * units
    for i in range(a):
        queues[i % units] += 1
    for i in range(w):
        queues[units - 1 - i % math.ceil(units / 2)] += 1
    return max(1, *queues)


@pytest.mark.parametrize("units", [1, 2, 3, 4, 8])
def test_cycles_are_those_of_the_longest_queue(units: int) -> None:
    params = Params(k=16, n=4, lanes=16, fp_units=units)
    for a in range(5):
        for w in range(5):
            batch = _plain(params)
            batch["a_outliers"][0, :a] = 0x3F80
            batch["w_outliers"][0, :w] = 0x3F80
            batch["a_positions"][0] = [0, 1, 2, 3]
            batch["w_positions"][0] = [4, 5, 6, 7]
            assert opal_dot.cycles(params, batch)[0] == stalls(a, w, units)


@pytest.mark.parametrize(
    "overrides",
    [{}, {"n": 3, "low": 3, "fp_units": 1}, {"n": 3, "fp_units": 4, "lanes": 16}],
    ids=str,
)
def test_at_full_speed_the_unit_takes_the_cycles_predicted(
    overrides: dict[str, Any], tmp_path: Path
) -> None:
    entry = registry.find("opal_dot")
    params = replace(SMALL, **overrides)
    point = registry.Point(entry=entry, name="small", params=params)
    result = runner.verify(
        name="opal_dot/small",
        component=design.component(point),
        golden=entry.golden,
        bench=entry.bench,
        params=params,
        seed=2,
        build_dir=tmp_path,
        timeout=600,
    )
    assert result.passed, result.failure
    batch = opal_dot.vectors(params, "smoke", 2)
    cycles = opal_dot.cycles(params, batch)
    first = int(np.flatnonzero(batch["last"])[0]) + 1
    assert (cycles > opal_dot.lengths(params, batch)).any()
    assert result.interval == pytest.approx(cycles[first:].sum() / len(cycles[first:]), rel=1e-12)


def _plain(params: Params) -> Batch:
    """One block of zeros."""
    shapes = {field.name: field.count for field in params.block.fields}
    batch = {
        name: np.zeros((1,) if count is None else (1, count), np.int64)
        for name, count in shapes.items()
    }
    batch["size"][:] = params.k
    batch["last"][:] = 1
    return batch


@pytest.mark.parametrize(
    ("name", "index", "value", "text"),
    [
        ("size", 0, 0, "size must be 1..16, got 0"),
        ("size", 0, 17, "size must be 1..16, got 17"),
        ("a", (0, 3), 8, "block 0: a code of a is beyond 7, got 8"),
        ("w", (0, 3), -9, "block 0: a code of w is beyond 7, got 9"),
    ],
)
def test_a_block_that_cannot_be_is_told(name: str, index: Any, value: int, text: str) -> None:
    batch = _plain(SMALL)
    batch[name][index] = value
    with pytest.raises(UsageError) as error:
        opal_dot.model(SMALL, batch)
    assert str(error.value) == text


def test_an_outlier_beyond_the_end_is_told() -> None:
    batch = _plain(SMALL)
    batch["size"][:] = 5
    batch["w_positions"][0, 1] = 5
    assert opal_dot.model(SMALL, batch)["result"][0] == 0
    batch["w_outliers"][0, 1] = 1
    with pytest.raises(UsageError) as error:
        opal_dot.model(SMALL, batch)
    assert str(error.value) == "block 0: an outlier of w lies at position 5 of 5"


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"k": 24}, "k must be a power of two in 2..1024, got 24"),
        ({"n": 16}, "n must be 0..k-1 with k=16, got 16"),
        ({"low": 5}, "low must be 2..4, got 5"),
        ({"fraction": 13}, "fraction must be 14..32, got 13"),
        ({"lanes": 2}, "lanes must be a multiple of 4 that divides k=16, got 2"),
        ({"lanes": 32}, "lanes must be a multiple of 4 that divides k=16, got 32"),
        ({"fp_units": 0}, "fp_units must be 1..4, got 0"),
        ({"fp_units": 5}, "fp_units must be 1..4, got 5"),
    ],
)
def test_bad_parameters_are_told(overrides: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as error:
        replace(SMALL, **overrides)
    assert str(error.value) == text
