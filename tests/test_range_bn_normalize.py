"""The second pass as a stream: what `range_bn` computes, whatever the lanes; bad calls."""

from typing import Any

import numpy as np
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Overflow, Rounding, get, vector
from narrowgauge.golden.payload import join
from narrowgauge.golden.units.range_bn import FP10, Blocks, Layer
from narrowgauge.golden.units.range_bn_normalize import Params, loaded, model
from narrowgauge.golden.units.range_bn_passes import constants, normalize, statistics

RNG = np.random.default_rng(91)


@pytest.mark.parametrize(("lanes", "group"), [(4, 4), (8, 2), (16, 1)])
@pytest.mark.parametrize(("fraction", "precision"), [(12, 9), (10, 12), (8, 6)])
def test_whole_tensors(lanes: int, group: int, fraction: int, precision: int) -> None:
    """Statistics, constants and stream together are the layer."""
    params = Params(group=group, lanes=lanes, channels=16, fraction=fraction, precision=precision)
    count = 60
    x = RNG.standard_normal((count, 16)) * 2.0 ** RNG.uniform(-3, 3, 16)
    x[:, 3] = 0.5
    blocks = Blocks.of(x, params.format)
    modes: dict[str, Any] = {"rounding": Rounding.RNE, "overflow": Overflow.SATURATE}
    gamma = vector.encode(FP10, RNG.uniform(-2, 2, 16), **modes)
    beta = vector.encode(get("fp32"), RNG.standard_normal(16) * 3, **modes)
    p = params.arithmetic
    layer = Layer(count=count, chunks=p.chunks)
    made = constants(p, layer, statistics(p, layer, blocks), gamma, beta)
    want = normalize(p, made, blocks)

    depth = params.depth
    loads = params.input.beats(depth, load=1, **loaded(params, made))
    loads["channel_last"][-1] = 1
    data = params.input.beats(count * depth, **params.laid_out(blocks))
    data["last"][-1] = 1
    got = model(params, join([loads, data]))
    assert np.array_equal(got["codes"].reshape(count, -1), want.codes)
    assert np.array_equal(got["scales"].reshape(count, -1), want.fields)
    assert got["last"].sum() == got["last"][-1] == 1


def test_values_need_constants() -> None:
    params = Params(lanes=4, channels=8)
    batch = params.input.beats(3)
    batch["load"][0] = 1
    with pytest.raises(UsageError, match="values come before the constants of their channels"):
        model(params, batch)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"group": 32, "lanes": 32}, "group must be 1..16, got 32"),
        ({"lanes": 6}, "lanes must be a multiple of group=4 up to 256, got 6"),
        ({"fraction": 5}, "fraction must be 6..16, got 5"),
        ({"fraction": 7, "precision": 10}, "precision must be at most fraction + 2 = 9, got 10"),
        ({"precision": 17}, "precision must be 6..16, got 17"),
    ],
)
def test_impossible(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Params(**changed)
    assert str(caught.value) == message
