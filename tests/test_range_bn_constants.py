"""Constants between the passes: against fractions, against the layer, blocks and bad codes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge import design, registry
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Overflow, Rounding, get, vector
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units.range_bn import Blocks, Layer, exponent_offset
from narrowgauge.golden.units.range_bn_channels import backward_beats, forward_beats
from narrowgauge.golden.units.range_bn_constants import Params, answered, model, vectors
from narrowgauge.golden.units.range_bn_gradient import gradients, shifts
from narrowgauge.golden.units.range_bn_passes import constants, statistics
from narrowgauge.verify import runner
from tests.range_bn_fractions import reference

RNG = np.random.default_rng(101)
SMALL: dict[str, Any] = {
    **{"group": 2, "window": 10, "gradient_window": 8, "fraction": 8},
    **{"precision": 7, "chunks": 4, "position_bits": 6},
}
SHORT: dict[str, Any] = {
    **{"window": 20, "gradient_window": 8, "fraction": 6, "precision": 6},
    **{"chunks": 16, "position_bits": 4},
}
WIDE: dict[str, Any] = {
    **{"group": 8, "window": 20, "gradient_window": 18, "fraction": 12},
    **{"precision": 14, "chunks": 16, "position_bits": 10},
}


@pytest.mark.parametrize(
    "changed", [{}, {"group": 1}, SMALL, SHORT], ids=["g4", "g1", "g2", "short"]
)
def test_every_bit_in_fractions(changed: dict[str, Any]) -> None:
    params = Params(**changed)
    batch = vectors(params, "smoke", 7)
    made = model(params, batch)
    want = reference(params, batch)
    assert len(want) == len(made["last"]) > 3000
    for name, values in made.items():
        wanted = np.array([row[name] for row in want], np.int64)
        wrong = np.flatnonzero(values != wanted)
        assert not len(wrong), f"{name} of beat {wrong[0]}: {values[wrong[0]]}, {wanted[wrong[0]]}"


def codes(name: str, values: Any) -> Any:
    modes: dict[str, Any] = {"rounding": Rounding.RNE, "overflow": Overflow.SATURATE}
    return vector.encode(get(name), np.asarray(values, np.float64), **modes)


@pytest.mark.parametrize("changed", [{}, {"group": 1}, SMALL, WIDE], ids=["g4", "g1", "g2", "wide"])
@pytest.mark.parametrize("count", [32, 53])
def test_the_layer(changed: dict[str, Any], count: int) -> None:
    """Both directions are what `constants`, `gradients` and `shifts` say of whole tensors."""
    params = Params(**changed)
    p = params.arithmetic
    layer = Layer(count=count, chunks=p.chunks)
    x = RNG.standard_normal((count, 16)) * 2.0 ** RNG.uniform(-3, 3, 16) + RNG.normal(0, 2, 16)
    x[:, 3] = 0.5
    g = RNG.standard_t(4, (count, 16)) / 100
    blocks, gradient = Blocks.of(x, p.forward), Blocks.of(g, p.backward)
    gamma = codes("fp10_e5m4", RNG.uniform(-2, 2, 16))
    beta = codes("fp32", RNG.standard_normal(16) * 3)
    stats = statistics(p, layer, blocks)
    made = constants(p, layer, stats, gamma, beta)
    got = model(params, forward_beats(params, layer, stats, gamma, beta))
    assert np.array_equal(got.pop("exponent"), made.exponent + exponent_offset(p))
    for name in ("mean", "scale", "gain", "offset", "unit", "slope", "slope_unit"):
        assert np.array_equal(got.pop(name), getattr(made, name)), name
    assert not any(values.any() for values in got.values())

    sums = gradients(p, made, blocks, gradient)
    mean, patch = shifts(p, layer, made, sums)
    unit = p.precision + made.slope_unit + sums.base + 1 - p.product
    got = model(params, backward_beats(params, layer, made, sums))
    want = {"dbeta": sums.dbeta, "dgamma": sums.dgamma, "unit": unit}
    want |= {"offset": -mean, "patch": -patch}
    for name, values in want.items():
        assert np.array_equal(got.pop(name), values), name
    assert not any(values.any() for values in got.values())


def channels(params: Params, count: int, **changed: Any) -> Batch:
    """Channels that differ in gamma, of a layer of 64 values."""
    given: dict[str, Any] = {
        **{"total": 1000, "spread": 5000, "gamma": 0xF0 + 8 * np.arange(count), "base": 15},
        **{"c": 32768, "inverse": 32768, "shift": 21, "epsilon": 7, "chunk_bits": 2},
    }
    return params.input.beats(count, **{**given, **changed})


def test_blocks_end_with_last_or_without() -> None:
    """A block is four channels or less; with the units of its own channels alone."""
    params = Params()
    last = np.array([0, 0, 0, 0, 0, 1, 0, 0, 0, 1])
    batch = channels(params, 10, last=last)
    made = model(params, batch)
    assert made["last"].tolist() == last.tolist()
    # The largest gammas have the exponents 1, 2 and 4.
    assert (made["unit"] + 12).tolist() == [2] * 4 + [3] * 2 + [5] * 4
    alone = model(params, {name: values[4:6] for name, values in batch.items()})
    assert all(np.array_equal(made[name][4:6], alone[name]) for name in alone)


def test_a_block_without_an_end_is_not_answered() -> None:
    params = Params()
    batch = channels(params, 7)
    assert len(model(params, batch)["last"]) == 4
    assert answered(params, batch)[1].tolist() == [0, 0, 0, 0, -1, -1, -1]


def test_direction() -> None:
    """Backward beats are answered alone; in a block that has begun they count as forward."""
    params = Params()
    batch = channels(params, 6, backward=[1, 0, 1, 1, 0, 1], moment=12345, scale=300)
    forward, block = answered(params, batch)
    assert forward.tolist() == [False, True, True, True, True, False]
    assert block.tolist() == [0, 1, 1, 1, 1, 2]
    made = model(params, batch)
    assert (made["dgamma"] != 0).tolist() == (~forward).tolist()
    assert (made["gain"] != 0).tolist() == forward.tolist()


@pytest.mark.parametrize(("gamma", "beta"), [(0x1F0, 0), (0x3FF, 0), (0xF0, 0x7F800000)])
def test_what_is_not_finite(gamma: int, beta: int) -> None:
    """It is told, counts as zero and does no harm to the channels beside it."""
    params = Params()
    good = channels(params, 4, beta=0x3F800000)
    bad = {name: values.copy() for name, values in good.items()}
    bad["gamma"][1], bad["beta"][1] = gamma, beta
    zero = {name: values.copy() for name, values in good.items()}
    zero["gamma"][1] = zero["beta"][1] = 0
    made, want = model(params, bad), model(params, zero)
    assert made.pop("bad").tolist() == [0, 1, 0, 0]
    assert not want.pop("bad").any()
    assert all(np.array_equal(made[name], want[name]) for name in want)
    assert not any(made[name][1] for name in ("gain", "offset", "slope"))


@pytest.mark.parametrize("sign", [0, 1])
def test_an_offset_that_is_carried(sign: int) -> None:
    """Where beta gives the unit it rounds to 2^(f + 4) at most."""
    params = Params(group=1)
    batch = channels(params, 1, gamma=0, beta=0x47FFFFFF | sign << 31)
    assert model(params, batch)["offset"][0] == (1 << 16) * (1 - 2 * sign)


@pytest.mark.parametrize("beta", [0x3F800000, 0x3F800400, 0x3F801000])
def test_gain_times_mean_is_rounded_before_beta_is_added(beta: int) -> None:
    """Half-way cases go to the even product, whether beta is even or odd."""
    params = Params(group=1, precision=6)
    total = np.arange(-400, 400, 7)
    x = channels(params, len(total), total=total, gamma=0xF0, beta=beta)
    x |= {"inverse": x["inverse"], "shift": x["shift"] - 6}
    made = model(params, x)
    moved = round(vector.decode(get("fp32"), np.array(beta)) / 2.0 ** made["unit"][0])
    exact = made["gain"] * made["mean"]
    assert (exact & 63 == 32).sum() > 10
    assert np.array_equal(made["offset"], moved - np.rint(exact / 64).astype(np.int64))


def test_one_over_n_has_sixteen_bits() -> None:
    """Of 2^17 + 1 values it rounds to 2^16; half of that and a shift less is the same."""
    layer = Layer(count=(1 << 17) + 1, chunks=8)
    assert layer.inverse == (65536, 33)
    params = Params(position_bits=18)
    stats = statistics(
        params.arithmetic,
        Layer(count=16, chunks=8),
        Blocks.of(RNG.standard_normal((16, 4)), params.formats[0]),
    )
    batch = forward_beats(params, layer, stats, np.full(4, 0xF0), np.zeros(4, np.int64))
    assert (batch["inverse"][0], batch["shift"][0]) == (32768, 32)
    made = constants(params.arithmetic, layer, stats, np.full(4, 0xF0), np.zeros(4, np.int64))
    assert np.array_equal(model(params, batch)["mean"], made.mean)


def test_blocks_of_both_directions_follow_each_other() -> None:
    """No state is left behind: the answers to parts are the parts of the answers."""
    params = Params()
    batch = vectors(params, "smoke", 3)
    ends = np.flatnonzero(batch["last"]) + 1
    cut = int(ends[len(ends) // 2])
    parts = [
        model(params, {name: values[rows] for name, values in batch.items()})
        for rows in (slice(None, cut), slice(cut, None))
    ]
    whole, both = model(params, batch), join(parts)
    assert all(np.array_equal(whole[name], both[name]) for name in whole)


@pytest.mark.parametrize(
    ("group", "backward", "cycles"), [(1, 0, 67), (4, 0, 70), (1, 1, 98), (4, 1, 98)]
)
def test_cycles(group: int, backward: int, cycles: int, tmp_path: Path) -> None:
    """Of a block of one, and of a channel of g: as the page says, whatever the numbers."""
    (point,) = registry.points(f"range_bn_constants/g{group}")
    batch = vectors(point.params, "smoke", 5)
    batch = {name: values[:40] for name, values in batch.items()}
    batch["last"][:], batch["backward"][:] = 1, backward
    result = runner.verify(
        name=point.full_name,
        component=design.component(point),
        golden=point.entry.golden,
        bench=point.entry.bench,
        params=point.params,
        build_dir=tmp_path,
        given=batch,
    )
    assert result.passed, result.failure
    assert result.interval == cycles


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"group": 3}, "group must be a power of two, got 3"),
        ({"position_bits": 21}, "position_bits must be 4..20, got 21"),
        ({"window": 7}, "window must be 8..20, got 7"),
        (
            {"window": 20, "fraction": 16, "position_bits": 20},
            "window, gradient_window, fraction and position_bits must leave at most 63 bits to "
            "a total times a mean, got 65",
        ),
    ],
)
def test_impossible(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Params(**changed)
    assert str(caught.value) == message
