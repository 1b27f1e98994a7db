"""`mx_quantize` with two widths: against exact fractions, plain blocks, what is refused."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from narrowgauge import api, registry
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_values
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.mx_quantize import Params

NAME = "mx_quantize/opal4_7_l8"
GOLDEN = registry.find("mx_quantize").golden
PARAMS: Params = registry.points(NAME)[0].params


def by_fractions(x: list[int], b: int, n: int) -> tuple[list[int], int, list[int]]:
    """Codes, scale and positions of one finite block, written apart from the formats."""
    order = sorted(range(len(x)), key=lambda i: (-(x[i] & 0x7FFF), i))
    taken = order[:n]
    scale = (x[order[n]] & 0x7FFF) >> 7
    codes = []
    for i, code in enumerate(x):
        if i in taken:
            codes.append(0)
            continue
        value = Fraction(float(bf16_values(np.array([code], np.uint16))[0]))
        steps = value / Fraction(2) ** (scale - 127 - (b - 2))
        most = (1 << (b - 1)) - 1
        codes.append(max(-most, min(most, round(steps))))  # round: ties to even
    return codes, scale, taken


def test_every_kind_of_block_by_fractions() -> None:
    batch = GOLDEN.vectors(PARAMS, "smoke", 7)
    finite = np.flatnonzero(((batch["x"] & 0x7FFF) < 0x7F80).all(axis=1))[:80]
    batch = {name: values[finite] for name, values in batch.items()}
    made = GOLDEN.model(PARAMS, batch)
    kinds = set()
    for row in range(len(finite)):
        low, plain = bool(batch["low"][row]), bool(batch["plain"][row])
        kinds.add((low, plain))
        x = batch["x"][row].tolist()
        codes, scale, taken = by_fractions(x, 4 if low else 7, 0 if plain else 4)
        assert made["codes"][row].tolist() == codes
        assert made["scale"][row] == scale
        assert made["positions"][row].tolist() == (taken or [0, 1, 2, 3])
        assert made["outliers"][row].tolist() == [x[i] for i in taken] or plain
    assert len(kinds) == 4
    assert not made["outliers"][batch["plain"] == 1].any()


@pytest.mark.parametrize(("low", "plain"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_equals_the_quantiser_of_that_width(low: int, plain: int) -> None:
    x = GOLDEN.vectors(PARAMS, "smoke", 2)["x"]
    flags = np.ones(len(x), np.int64)
    made = GOLDEN.model(PARAMS, {"x": x, "low": low * flags, "plain": plain * flags})
    alone = Params(b=4 if low else 7, n=0 if plain else 4)
    for name, values in GOLDEN.model(alone, {"x": x}).items():
        assert np.array_equal(made[name], values), name


def test_only_the_first_beat_chooses() -> None:
    batch = GOLDEN.vectors(PARAMS, "smoke", 1)
    beats = GOLDEN.input_beats(PARAMS, batch)
    for name in ("low", "plain"):
        shown = beats[name].reshape(-1, PARAMS.beats)
        assert np.array_equal(shown[:, 0], batch[name])
        assert (shown[:, 1:] != batch[name][:, None]).any()


CASES = [
    {"b": 8, "b_low": 2, "k": 16, "n": 2, "lanes": 4, "rounding": "rna"},
    {"b": 5, "b_low": 4, "k": 8, "n": 0, "lanes": 4, "rounding": "rtz"},
    {"b": 5, "b_low": 3, "k": 16, "n": 4, "lanes": 2},
]


@pytest.mark.parametrize("overrides", CASES, ids=str)
def test_agrees_with_its_model(overrides: dict[str, int], tmp_path: Path) -> None:
    result = api.verify(NAME, overrides=overrides, build_dir=tmp_path)[0]
    assert result.passed, f"{result.failure}\n{result.mismatch}"


BAD = [
    ({"b_low": 7}, "b_low must be 0 or 2..b-1 with b=7, got 7"),
    ({"b_low": 1}, "b_low must be 0 or 2..b-1 with b=7, got 1"),
    ({"b_low": -1}, "b_low must be 0 or 2..b-1 with b=7, got -1"),
    (
        {"element": "fp4_e2m1", "k": 32, "n": 0, "b": 4, "b_low": 3},
        "b_low must be 0 with element fp4_e2m1, got 3",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), BAD)
def test_impossible_parameters(overrides: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        api.points(NAME, overrides=overrides)
    assert str(caught.value) == message


def test_wrong_arrays_are_refused() -> None:
    good: Batch = GOLDEN.vectors(PARAMS, "smoke", 0)
    with pytest.raises(UsageError) as caught:
        GOLDEN.model(PARAMS, {"x": good["x"]})
    assert str(caught.value) == "batch has fields ['x'], expected ['low', 'plain', 'x']"
    with pytest.raises(UsageError) as caught:
        GOLDEN.model(PARAMS, good | {"low": good["low"] + 1})
    assert str(caught.value) == "low must be 0 or 1, got 1..2"
    with pytest.raises(UsageError) as caught:
        GOLDEN.model(PARAMS, good | {"plain": good["plain"][:3]})
    assert str(caught.value) == "plain must be integers of shape (600,), got (3,)"
