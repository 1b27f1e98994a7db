"""The first pass as a stream: the statistics of whole tensors, and what broken flags do."""

from typing import Any

import numpy as np
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.range_bn import Blocks, Layer, RangeBn, chunk_of
from narrowgauge.golden.units.range_bn_passes import statistics
from narrowgauge.golden.units.range_bn_statistics import Params, model

RNG = np.random.default_rng(81)


def tensor(params: Params, count: int, chunks: int) -> tuple[Blocks, Batch]:
    """Random values of all channels, and as beats."""
    x = RNG.standard_normal((count, params.channels)) * 2.0 ** RNG.uniform(-3, 3, params.channels)
    blocks = Blocks.of(x, params.format)
    chunk = chunk_of(Layer(count=count, chunks=chunks), np.arange(count + 1))
    batch = params.input.beats(
        count * params.depth,
        **params.laid_out(blocks),
        base=blocks.base + params.format.bias,
        chunk_last=np.repeat(np.diff(chunk) > 0, params.depth),
    )
    batch["last"][-1] = 1
    return blocks, batch


@pytest.mark.parametrize(("lanes", "group"), [(4, 4), (8, 2), (16, 1)])
@pytest.mark.parametrize(("count", "chunks"), [(16, 8), (53, 8), (40, 1), (7, 2)])
def test_whole_tensors(lanes: int, group: int, count: int, chunks: int) -> None:
    """The last answers of each address are what `range_bn` gathers, whatever the lanes."""
    params = Params(group=group, lanes=lanes, channels=16, chunks=8)
    blocks, batch = tensor(params, count, chunks)
    layer = Layer(count=count, chunks=chunks)
    want = statistics(RangeBn(group=group, chunks=chunks), layer, blocks)
    got = model(params, batch)
    # Answers come chunk by chunk, and in each in the order of the channels.
    shape = (chunks, params.channels)
    assert np.array_equal(got["largest"].reshape(shape), want.largest)
    assert np.array_equal(got["least"].reshape(shape), want.least)
    assert np.array_equal(got["total"].reshape(shape)[-1], want.total)
    assert np.array_equal(got["spread"].reshape(shape)[-1], want.spread)
    assert not got["ragged"].any()
    assert got["last"].sum() == got["last"][-1] == 1


def test_a_tensor_cut_short_leaves_nothing_behind() -> None:
    params = Params(lanes=4, channels=8)
    _, first = tensor(params, 20, 4)
    _, second = tensor(params, 16, 8)
    alone = model(params, second)
    cut = {name: codes[:13].copy() for name, codes in first.items()}
    cut["last"][-1] = 1
    both = model(params, {name: np.concatenate([cut[name], second[name]]) for name in first})
    after = np.flatnonzero(both["last"])[0] + 1
    assert all(np.array_equal(both[name][after:], alone[name]) for name in alone)
    assert both["ragged"][after - 1] == 1


def test_positions_of_other_lengths_are_told() -> None:
    params = Params(lanes=4, channels=8)
    _, batch = tensor(params, 16, 1)
    assert not model(params, batch)["ragged"].any()
    for beat, flag in ((5, 0), (4, 1)):
        broken = {name: codes.copy() for name, codes in batch.items()}
        broken["channel_last"][beat] = flag
        assert model(params, broken)["ragged"].all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lanes": 6}, "lanes must be a multiple of group=4 up to 256, got 6"),
        ({"channels": 24}, "channels must be lanes=8 times a power of two, got 24"),
        ({"position_bits": 21}, "position_bits must be 4..20, got 21"),
        ({"window": 21}, "window must be 8..20, got 21"),
    ],
)
def test_impossible(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Params(**changed)
    assert str(caught.value) == message
