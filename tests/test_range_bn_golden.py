"""Range batch normalisation in fixed point: against floating point, and what must hold exactly."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Overflow, Rounding, get, vector
from narrowgauge.golden.units.range_bn import (
    FP10,
    Blocks,
    Layer,
    RangeBn,
    chunk_of,
    place,
    rounded_shift,
)
from narrowgauge.golden.units.range_bn_gradient import (
    Gradients,
    gradients,
    propagate,
    totals,
)
from narrowgauge.golden.units.range_bn_passes import (
    Constants,
    Statistics,
    constants,
    normalize,
    statistics,
)
from tests.range_bn_formulas import distance, exact

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
RNG = np.random.default_rng(71)


def encode(name: str, x: Floats) -> Ints:
    return vector.encode(get(name), x, rounding=Rounding.RNE, overflow=Overflow.SATURATE)


def fp32(codes: Ints) -> Floats:
    return vector.decode(get("fp32"), codes)


class Run:
    """One layer in fixed point, forward and backward, and the same in float64 on its inputs."""

    def __init__(
        self, params: RangeBn, x: Floats, g: Floats, gamma: Floats, beta: Floats, **layer: Any
    ) -> None:
        self.params = params
        self.layer = Layer(count=len(x), chunks=params.chunks, **layer)
        self.x, self.g = Blocks.of(x, params.forward), Blocks.of(g, params.backward)
        self.gamma, self.beta = encode("fp10_e5m4", gamma), encode("fp32", beta)
        self.stats: Statistics = statistics(params, self.layer, self.x)
        self.made: Constants = constants(params, self.layer, self.stats, self.gamma, self.beta)
        self.y = normalize(params, self.made, self.x)
        self.sums: Gradients = gradients(params, self.made, self.x, self.g)
        self.dx = propagate(params, self.layer, self.stats, self.made, self.sums, self.g)

    def exact(self) -> dict[str, Floats]:
        """The formulas of the paper, unrounded."""
        gamma, beta = vector.decode(FP10, self.gamma), fp32(self.beta)
        return exact(self.layer, self.x.values(), self.g.values(), gamma, beta)


def normal(params: RangeBn, count: int = 1000, channels: int = 16, **layer: Any) -> Run:
    scale = 2.0 ** RNG.uniform(-3, 3, channels)
    x = RNG.standard_normal((count, channels)) * scale + RNG.standard_normal(channels)
    g = RNG.standard_t(4, (count, channels)) * 2.0 ** RNG.uniform(-8, -4, channels)
    gamma, beta = RNG.uniform(0.3, 2, channels), RNG.standard_normal(channels)
    gamma[0], beta[1], gamma[2], beta[3] = -1.5, 0.0, 2.0**-6, 9.0
    return Run(params, x, g, gamma, beta, **layer)


@pytest.mark.parametrize("group", [1, 4, 16])
@pytest.mark.parametrize("chunks", [1, 8])
def test_near_the_formulas(group: int, chunks: int) -> None:
    """Errors are those of rounding the exact result to the format, within a percent."""
    run = normal(RangeBn(group=group, chunks=chunks))
    exact = run.exact()
    for name, made, fmt in (("y", run.y, run.params.forward), ("dx", run.dx, run.params.backward)):
        least = distance(Blocks.of(exact[name], fmt).values(), exact[name])
        assert distance(made.values(), exact[name]) < 1.01 * least + 1e-4
    assert distance(fp32(run.sums.dbeta), exact["dbeta"]) < 0.01
    assert distance(fp32(run.sums.dgamma), exact["dgamma"]) < 0.01


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"precision": 6}, "dx"),
        ({"fraction": 6, "precision": 8}, "y"),
        ({"gradient_window": 8}, "dx"),
    ],
)
def test_narrower_is_worse(changed: dict[str, int], name: str) -> None:
    """The bits that the parameters speak of are there."""
    state = RNG.bit_generator.state
    wide = normal(RangeBn())
    RNG.bit_generator.state = state
    narrow = normal(RangeBn(**changed))
    exact = wide.exact()[name]
    assert distance(getattr(narrow, name).values(), exact) > 1.02 * distance(
        getattr(wide, name).values(), exact
    )


def test_invariants() -> None:
    """Before the last rounding sum(dx) = 0 and sum(dx (x - mu)) = gamma dgamma eps s, nearly 0."""
    run = normal(RangeBn(group=1, gradient_window=16, fraction=16), count=4000)
    total = totals(run.params, run.layer, run.stats, run.made, run.sums, run.g).astype(float)
    live = run.made.slope != 0
    assert live.all()
    # Each is cut off, and the mean is rounded, in the sum's unit or before its product.
    p = run.params
    unit = np.maximum(np.abs(run.made.slope) * 2.0 ** (p.product - p.precision - 18), 1)
    mean = np.abs(run.sums.total / 4000) * unit * 4 * 2.0**-16
    assert (np.abs(total.sum(axis=0)) <= 4000 * (1 + unit / 2 + mean)).all()
    x = run.x.values()
    d = x - x.mean(axis=0)
    norms = np.sqrt((total**2).sum(axis=0) * (d**2).sum(axis=0))
    assert (np.abs((total * d).sum(axis=0)) < 2e-3 * norms).all()


def test_order_and_lanes_do_not_matter() -> None:
    """Positions permuted within their chunks, and blocks of channels: not a bit changes."""
    run = normal(RangeBn(), count=403, channels=16)
    p = run.params
    order = np.arange(403)
    for k in range(p.chunks):
        here = np.flatnonzero(chunk_of(run.layer, np.arange(403)) == k)
        order[here] = RNG.permutation(here)
    x = Blocks(fmt=p.forward, codes=run.x.codes[order], fields=run.x.fields[order])
    g = Blocks(fmt=p.backward, codes=run.g.codes[order], fields=run.g.fields[order])
    stats = statistics(p, run.layer, x)
    assert np.array_equal(stats.total, run.stats.total)
    assert np.array_equal(stats.spread, run.stats.spread)
    made = constants(p, run.layer, stats, run.gamma, run.beta)
    assert np.array_equal(normalize(p, made, x).codes, run.y.codes[order])
    sums = gradients(p, made, x, g)
    assert np.array_equal(sums.dgamma, run.sums.dgamma)
    assert np.array_equal(sums.dbeta, run.sums.dbeta)

    groups = RNG.permutation(4)
    channels = (groups[:, None] * 4 + np.arange(4)).ravel()
    x = Blocks(fmt=p.forward, codes=run.x.codes[:, channels], fields=run.x.fields[:, groups])
    stats = statistics(p, run.layer, x)
    made = constants(p, run.layer, stats, run.gamma[channels], run.beta[channels])
    y = normalize(p, made, x)
    assert np.array_equal(y.codes, run.y.codes[:, channels])
    assert np.array_equal(y.fields, run.y.fields[:, groups])


def test_tiles_add_up() -> None:
    """Sums over tiles of any size are the sums over the whole."""
    run = normal(RangeBn(), count=640)
    whole, _ = place(run.x, 16, run.x.base)
    cuts = [0, 17, 200, 201, 640]
    parts = [whole[a:b].sum(axis=0) for a, b in pairwise(cuts)]
    assert np.array_equal(sum(parts), run.stats.total)


def test_dead_channel() -> None:
    """A constant channel: y = beta, dx = 0, dgamma = 0, and no harm to its neighbours."""
    x = RNG.standard_normal((200, 4))
    x[:, 1] = 0.71
    x[:, 2] = 0.0
    g = RNG.standard_normal((200, 4))
    run = Run(RangeBn(group=1), x, g, np.full(4, 1.5), np.array([0.0, 0.25, -3.0, 0.0]))
    assert (run.y.values()[:, 1] == 0.25).all()
    assert (run.y.values()[:, 2] == -3.0).all()
    assert not run.dx.codes[:, 1:3].any()
    assert not run.sums.dgamma[1:3].any()
    assert fp32(run.sums.dbeta)[1] == pytest.approx(run.g.values()[:, 1].sum(), rel=1e-2)
    assert run.dx.codes[:, [0, 3]].any()


def test_a_dead_channel_takes_nothing_from_its_block() -> None:
    """Its neighbours' dx have all bits of gamma s, whatever their deviations."""
    x, g = RNG.standard_normal((500, 4)) * 64, RNG.standard_normal((500, 4))
    x[:, 1] = 0
    run = Run(RangeBn(), x, g, np.ones(4), np.zeros(4))
    assert (run.made.slope[[0, 2, 3]] >= 1 << (run.params.precision - 3)).all()
    assert not run.dx.codes[:, 1].any()
    assert (run.y.values()[:, 1] == 0).all()


def test_ties_take_the_first() -> None:
    """Many equal extremes, as with few mantissa bits: the first in scan order."""
    x = RNG.integers(-3, 4, (64, 4)).astype(float)
    run = Run(RangeBn(group=1, chunks=4), x, x, np.ones(4), np.zeros(4))
    for k in range(4):
        part = x[16 * k : 16 * (k + 1)]
        for channel in range(4):
            extremes = part[:, channel].max(), part[:, channel].min()
            first = [int(np.flatnonzero(part[:, channel] == v)[0]) for v in extremes]
            assert run.stats.largest[k, channel] == 16 * k + first[0]
            assert run.stats.least[k, channel] == 16 * k + first[1]


@pytest.mark.parametrize("count", [16, 17, 23, 403])
def test_unequal_chunks(count: int) -> None:
    layer = Layer(count=count, chunks=8)
    lengths = np.bincount(chunk_of(layer, np.arange(count)), minlength=8)
    assert lengths.sum() == count
    assert set(lengths) <= {count // 8, count // 8 + 1}
    assert np.array_equal(layer.starts(), np.cumsum(lengths) - lengths)


def test_saturation_is_told() -> None:
    """A window that begins too low clips, and says so, channel by channel."""
    x = RNG.standard_normal((64, 8)) * np.array([1, 1, 1, 1, 64, 64, 64, 64])
    b = Blocks.of(x, RangeBn().forward)
    layer = Layer(count=64, chunks=8)
    assert not statistics(RangeBn(), layer, b).clipped.any()
    assert statistics(RangeBn(), layer, b, base=3).clipped.tolist() == [False] * 4 + [True] * 4
    assert np.abs(place(b, 16, 3)[0]).max() == 2**16 - 1


def test_drift_between_chunks_is_clipped() -> None:
    """Ranges that are nothing beside the drift of the chunks: clipped, not wrapped."""
    x = np.repeat(np.arange(8.0) * 2**11 - 7 * 2**10, 8)[:, None] + RNG.choice([0, 32.0], (64, 1))
    run = Run(RangeBn(group=1), x, x, np.ones(1), np.zeros(1))
    y = run.y.values()[:, 0]
    assert (y[:8] <= -100).all()
    assert (y[-8:] >= 100).all()
    assert np.abs(y).max() <= 256
    assert np.abs(run.exact()["y"]).max() > 300


def test_nan_blocks() -> None:
    """They count as zeros in the sums, and stay NaN."""
    run = normal(RangeBn())
    fields = run.x.fields.copy()
    fields[5, 1] = 31
    x = Blocks(fmt=run.x.fmt, codes=run.x.codes, fields=fields)
    zeroed = run.x.codes.copy()
    zeroed[5, 4:8] = 0
    plain = Blocks(fmt=run.x.fmt, codes=zeroed, fields=run.x.fields)
    stats = statistics(run.params, run.layer, x)
    assert np.array_equal(stats.total, statistics(run.params, run.layer, plain).total)
    y = normalize(run.params, run.made, x)
    assert np.argwhere(y.fields == 31).tolist() == [[5, 1]]
    fields = run.g.fields.copy()
    fields[7, 2] = 63
    g = Blocks(fmt=run.g.fmt, codes=run.g.codes, fields=fields)
    sums = gradients(run.params, run.made, run.x, g)
    dx = propagate(run.params, run.layer, run.stats, run.made, sums, g)
    assert np.argwhere(dx.fields == 63).tolist() == [[7, 2]]


def test_rounded_shift() -> None:
    values_ = np.array([5, 6, 7, -5, -6, -7, 2, -2, 10, 0])
    assert rounded_shift(values_, 2).tolist() == [1, 2, 2, -1, -2, -2, 0, 0, 2, 0]
    assert rounded_shift(values_, -1).tolist() == (2 * values_).tolist()
    assert rounded_shift(np.array([1 << 61]), 70).tolist() == [0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RangeBn(group=3), "group must be a power of two, got 3"),
        (lambda: RangeBn(chunks=32), "chunks must be 1..16, got 32"),
        (lambda: RangeBn(precision=5), "precision must be 6..16, got 5"),
        (
            lambda: Layer(count=15, chunks=8),
            "a channel must have 16..1048576 values in 8 chunks of two or more, got 15",
        ),
        (lambda: Layer(count=64, chunks=8, epsilon=-1.0), "epsilon must be from 0 to below 1"),
        (
            lambda: Blocks(fmt=RangeBn().forward, codes=np.zeros((2, 6), int), fields=np.zeros(1)),
            r"codes must be (positions, multiple of 4), got (2, 6)",
        ),
    ],
)
def test_impossible(call: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert message in str(caught.value)


def test_gamma_and_beta_must_be_finite() -> None:
    run = normal(RangeBn())
    for gamma, beta, name in (
        (FP10.inf_code, 0, "gamma must be finite, got code 0x1f0 of fp10_e5m4"),
        (0, 0xFF800000, "beta must be finite, got code 0xff800000 of fp32"),
    ):
        with pytest.raises(UsageError) as caught:
            constants(run.params, run.layer, run.stats, np.full(16, gamma), np.full(16, beta))
        assert str(caught.value) == name
