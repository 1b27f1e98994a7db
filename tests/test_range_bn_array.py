"""All passes on one array: what `range_bn` computes, pass by pass; bad calls."""

from typing import Any

import numpy as np
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Overflow, Rounding, get, vector
from narrowgauge.golden.payload import join
from narrowgauge.golden.units.range_bn import FP10, Blocks, Layer
from narrowgauge.golden.units.range_bn_array import Params, model
from narrowgauge.golden.units.range_bn_gradient import gradients, propagate
from narrowgauge.golden.units.range_bn_modes import Mode
from narrowgauge.golden.units.range_bn_passes import constants, normalize, statistics
from narrowgauge.golden.units.range_bn_stimuli import layer_beats
from narrowgauge.golden.units.stimuli import blocks

RNG = np.random.default_rng(97)


@pytest.mark.parametrize(("lanes", "group"), [(4, 4), (8, 2), (6, 1)])
@pytest.mark.parametrize("chunks", [1, 8])
def test_whole_layers(lanes: int, group: int, chunks: int) -> None:
    """Four passes, each with its constants from the ones before, are the layer."""
    params = Params(group=group, lanes=lanes, chunks=chunks)
    count = 61
    x = RNG.standard_normal((count, lanes)) * 2.0 ** RNG.uniform(-3, 3, lanes)
    x[:, 3] = 0.5
    g = RNG.standard_t(4, (count, lanes)) * 2.0**-7
    xs, gs = Blocks.of(x, params.forward), Blocks.of(g, params.backward)
    modes: dict[str, Any] = {"rounding": Rounding.RNE, "overflow": Overflow.SATURATE}
    gamma = vector.encode(FP10, RNG.uniform(-2, 2, lanes), **modes)
    beta = vector.encode(get("fp32"), RNG.standard_normal(lanes) * 3, **modes)
    a, layer = params.arithmetic, Layer(count=count, chunks=chunks)
    stats = statistics(a, layer, xs)
    made = constants(a, layer, stats, gamma, beta)
    sums = gradients(a, made, xs, gs)
    passes = layer_beats(params, layer, xs, gs, gamma, beta)
    gathered, y, summed, dx = (model(params, each) for each in passes)

    want = normalize(a, made, xs)
    assert np.array_equal(y["codes"], want.codes)
    assert np.array_equal(y["scales"], want.fields)
    want = propagate(a, layer, stats, made, sums, gs)
    assert np.array_equal(dx["codes"], want.codes)
    assert np.array_equal(dx["scales"], want.fields)
    for name in ("largest", "least"):
        assert np.array_equal(gathered[name].reshape(chunks, lanes), getattr(stats, name))
    assert np.array_equal(gathered["total"][-lanes:], stats.total)
    assert np.array_equal(gathered["spread"][-lanes:], stats.spread)
    assert np.array_equal(summed["total"] >> (a.window - a.gradient_window), sums.total)
    assert np.array_equal(summed["moment"], sums.moment)
    # In one stream as well, whatever came before.
    whole = model(params, join(passes))
    assert np.array_equal(
        whole["codes"], np.concatenate([p["codes"] for p in (gathered, y, summed, dx)])
    )


def test_a_pass_that_is_left_is_forgotten() -> None:
    params = Params(lanes=4)
    x = Blocks.of(RNG.standard_normal((20, 4)), params.forward)
    data = {"x_codes": x.codes, "x_scales": x.fields, "base": 15, "mode": Mode.STATISTICS}
    left, whole = params.input.beats(20, **data), params.input.beats(20, **data)
    whole["last"][-1] = 1
    load = params.input.beats(1, mode=Mode.LOAD)
    made = model(params, join([left, load, whole]))
    alone = model(params, whole)
    assert all(np.array_equal(made[name], alone[name]) for name in made)


def test_what_needs_constants() -> None:
    params = Params(lanes=4)
    batch = params.input.beats(5)
    batch["lane"][:] = [0, 1, 3, 2, 2]
    batch["mode"][3:] = Mode.NORMALIZE
    with pytest.raises(UsageError, match="beat 3: NORMALIZE before LOAD of lane 2"):
        model(params, batch)
    # Gathering takes their place.
    batch = params.input.beats(6)
    batch["lane"][:4] = np.arange(4)
    batch["mode"][4:] = [Mode.STATISTICS, Mode.PROPAGATE]
    with pytest.raises(UsageError, match="beat 5: PROPAGATE before LOAD of lane 0"):
        model(params, batch)
    params = Params(lanes=12)
    batch = params.input.beats(1, lane=13)
    with pytest.raises(UsageError, match=r"beat 0: lane must be 0\.\.11, got 13"):
        model(params, batch)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"group": 32, "lanes": 32}, "group must be 1..16, got 32"),
        ({"lanes": 6}, "lanes must be a multiple of group=4 up to 64, got 6"),
        ({"gradient_window": 17}, "gradient_window must be 8..16, got 17"),
        ({"position_bits": 3}, "position_bits must be 4..20, got 3"),
        ({"precision": 15}, "precision must be at most fraction + 2 = 14, got 15"),
    ],
)
def test_impossible(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Params(**changed)
    assert str(caught.value) == message


def test_level() -> None:
    with pytest.raises(UsageError, match="level must be smoke, full or real, got 'some'"):
        blocks("some", smoke=1)
