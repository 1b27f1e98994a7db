"""The torch module: bit for bit the golden model, in place of torch's, and its gradients."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Overflow, Rounding, get, vector
from narrowgauge.golden.units.range_bn import FP10, Blocks, Layer, RangeBn
from narrowgauge.golden.units.range_bn_gradient import gradients, propagate
from narrowgauge.golden.units.range_bn_layer import FACTORS
from narrowgauge.golden.units.range_bn_passes import constants, normalize, statistics
from narrowgauge.golden.units.window import FP32
from tests.range_bn_formulas import distance, exact

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from narrowgauge.golden.training import passes  # noqa: E402
from narrowgauge.golden.training.norm import (  # noqa: E402
    KINDS,
    RangeBatchNorm2d,
    replace_batch_norm,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
WIDTHS = [(12, 9, 16, 12), (10, 12, 16, 12), (6, 8, 8, 8), (16, 16, 20, 20)]
GOLDEN = [kind for kind, group in KINDS.items() if group is not None]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def encode(name: str, x: Floats) -> Ints:
    return vector.encode(get(name), x, rounding=Rounding.RNE, overflow=Overflow.SATURATE)


def equal(found: Any, wanted: Blocks) -> None:
    """The same values to the sign of zero, NaN in the same places, and the same codes."""
    values, known = found.numpy().T, wanted.values().astype(np.float32)
    assert values.dtype == np.float32
    number = ~np.isnan(known)
    assert np.array_equal(np.isnan(values), ~number)
    assert np.array_equal(values[number].view(np.uint32), known[number].view(np.uint32))
    again = Blocks.of(np.ascontiguousarray(values), wanted.fmt)
    assert np.array_equal(again.codes, wanted.codes)
    assert np.array_equal(again.fields, wanted.fields)


def tensor(rng: np.random.Generator, count: int, channels: int, kind: int) -> tuple[Floats, Floats]:
    """Values and gradients: channels far apart, ties, dead ones, saturation, zeros, NaN."""
    apart = np.exp2(rng.integers(-12, 10, (2, channels)))
    x = rng.normal(size=(count, channels)) * apart[0] + rng.normal(size=channels) * apart[1]
    g = rng.standard_t(4, (count, channels)) * np.exp2(rng.integers(-30, 10))
    g *= np.exp2(rng.integers(-5, 5, channels))
    if kind == 1:
        x = np.round(x / apart[0])
    elif kind == 2:
        x[:, rng.integers(channels)] = rng.normal()
    elif kind == 3:
        x, g = x * 2.0**14, g * 2.0**36
    elif kind == 4:
        x, g = x * 2.0**-14, g * 2.0**-20
    elif kind == 5:
        x[:] = 0
    elif kind == 6:
        g[:] = 0
    elif kind == 7:
        for values, special in ((x, np.nan), (x, np.inf), (g, -np.inf), (g, np.nan)):
            values[rng.integers(count), rng.integers(channels)] = special
    return x.astype(np.float32), g.astype(np.float32)


@pytest.mark.parametrize("group", [1, 4, 8, 16])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_the_passes_are_the_golden_model(group: int, widths: tuple[int, ...]) -> None:
    rng = np.random.default_rng([group, *widths])
    for trial in range(24):
        chunks = int(rng.choice([1, 2, 8, 16]))
        params = RangeBn(
            group=group, chunks=chunks, fraction=widths[0], precision=widths[1],
            window=widths[2], gradient_window=widths[3],
        )  # fmt: skip
        count, channels = int(rng.integers(2 * chunks, 300)), group * int(rng.integers(1, 4))
        x, g = tensor(rng, count, channels, trial % 8)
        size = np.exp2(rng.integers(-8, 4, channels)) * (rng.random(channels) > 0.1)
        gamma = encode("fp10_e5m4", rng.normal(size=channels) * size)
        size = np.exp2(rng.integers(-20, 6, channels)) * (rng.random(channels) > 0.2)
        beta = encode("fp32", rng.normal(size=channels) * size)
        layer = Layer(
            count=count, chunks=chunks, epsilon=(1e-5, 0.0, 0.5)[trial % 3],
            factor=FACTORS[trial // 8 % 2],
        )  # fmt: skip
        blocks, slopes = Blocks.of(x, params.forward), Blocks.of(g, params.backward)
        stats = statistics(params, layer, blocks)
        made = constants(params, layer, stats, gamma, beta)
        sums = gradients(params, made, blocks, slopes)
        y, kept = passes.forward(params, layer, torch.from_numpy(x.T.copy()), gamma, beta)
        for name in ("base", "total", "spread", "largest", "least", "clipped"):
            assert np.array_equal(getattr(kept.stats, name), getattr(stats, name)), name
        equal(y, normalize(params, made, blocks))
        dx, found = passes.backward(kept, torch.from_numpy(g.T.copy()))
        for name in ("base", "total", "product", "dbeta", "dgamma", "clipped"):
            assert np.array_equal(getattr(found, name), getattr(sums, name)), name
        equal(dx, propagate(params, layer, stats, made, sums, slopes))


def images(shape: tuple[int, ...], seed: int = 5, dtype: Any = None) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype or torch.float32)


def rows(x: Any) -> Floats:
    """(N, C, H, W) as (positions, channels) in the golden model's order."""
    flat: Floats = x.detach().permute(0, 2, 3, 1).reshape(-1, x.shape[1]).numpy()
    return np.ascontiguousarray(flat)


@pytest.mark.parametrize("kind", GOLDEN)
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("channels", [16, 6])
def test_the_module_is_the_golden_model(kind: str, factor: str, channels: int) -> None:
    """Order of positions, channels that fill no group, gamma and beta, running averages."""
    norm = RangeBatchNorm2d(channels, kind=kind, factor=factor)
    with torch.no_grad():
        norm.weight.copy_(1 + images((channels,), 1) / 3)
        norm.bias.copy_(images((channels,), 2))
    x, g = images((5, channels, 4, 3), 3).requires_grad_(), images((5, channels, 4, 3), 4)
    y = norm(x)
    y.backward(g)
    params, layer = norm.params, Layer(count=60, chunks=8, factor=factor)
    filled = [(0, 0), (0, -channels % params.group)]
    blocks = Blocks.of(np.pad(rows(x), filled), params.forward)
    slopes = Blocks.of(np.pad(rows(g), filled), params.backward)
    gamma = np.pad(encode("fp10_e5m4", norm.weight.detach().numpy()), filled[1])
    beta = np.pad(encode("fp32", norm.bias.detach().numpy()), filled[1])
    stats = statistics(params, layer, blocks)
    made = constants(params, layer, stats, gamma, beta)
    sums = gradients(params, made, blocks, slopes)
    wanted = normalize(params, made, blocks).values()[:, :channels]
    assert np.array_equal(rows(y), wanted)
    wanted = propagate(params, layer, stats, made, sums, slopes).values()[:, :channels]
    assert np.array_equal(rows(x.grad), wanted)
    for found, codes in ((norm.weight.grad, sums.dgamma), (norm.bias.grad, sums.dbeta)):
        assert np.array_equal(found.numpy(), vector.decode(FP32, codes)[:channels])
    unit = 2.0 ** (stats.base + 1 - params.window)
    assert norm.running_mean.numpy() == pytest.approx(
        0.1 * (stats.total * unit / 60)[:channels], rel=1e-5, abs=1e-7
    )
    first = {"bound": np.sqrt(2 * np.log(2)), "normal": 2 / np.sqrt(np.pi)}[factor]
    assert norm.running_range.numpy() == pytest.approx(
        0.9 * first + 0.1 * (stats.spread * unit / 8)[:channels], rel=1e-5
    )
    assert int(norm.running_count) == 60


@pytest.mark.parametrize("factor", FACTORS)
def test_gradients_of_the_unrounded_formulas(factor: str) -> None:
    """Against finite differences in float64; no two values tie."""
    norm = RangeBatchNorm2d(3, kind="fp32", factor=factor, chunks=2, dtype=torch.float64)
    x = images((3, 3, 2, 3), 7, torch.float64).requires_grad_()
    norm.track_running_stats = False
    gamma, beta = (v.detach().clone().requires_grad_() for v in (norm.weight, norm.bias))

    def of(x: Any, gamma: Any, beta: Any) -> Any:
        return torch.func.functional_call(norm, {"weight": gamma, "bias": beta}, (x,))

    assert torch.autograd.gradcheck(of, (x, gamma + 0.3, beta + 0.1))
    norm.track_running_stats = True
    norm.eval()
    assert torch.autograd.gradcheck(of, (x, gamma + 0.3, beta + 0.1))


@pytest.mark.parametrize("factor", FACTORS)
def test_the_unrounded_kind_is_the_formulas(factor: str) -> None:
    norm = RangeBatchNorm2d(4, kind="fp32", factor=factor, dtype=torch.float64)
    x = images((7, 4, 3, 3), 8, torch.float64).mul(4).round().requires_grad_()
    g = images((7, 4, 3, 3), 9, torch.float64)
    with torch.no_grad():
        norm.weight.copy_(images((4,), 10))
    y = norm(x)
    y.backward(g)
    layer = Layer(count=63, chunks=8, factor=factor)
    wanted = exact(layer, rows(x), rows(g), norm.weight.detach().numpy(), np.zeros(4))
    for found, name in ((rows(y), "y"), (rows(x.grad), "dx"), (norm.weight.grad.numpy(), "dgamma")):
        assert distance(found, wanted[name]) < 1e-12
    # Invariants of the paper: dx sums to 0, and its product with x - mu to gamma dgamma eps s.
    dx, centred = rows(x.grad), rows(x) - rows(x).mean(axis=0)
    assert np.abs(dx.sum(axis=0)).max() < 1e-12
    assert np.abs((dx * centred).sum(axis=0)).max() < 1e-3


BOUNDS = {
    "fp10": (0.025, 0.045),
    "bfp4": (0.06, 0.08),
    "bfp8": (0.075, 0.11),
    "bfp16": (0.09, 0.14),
}


@pytest.mark.parametrize(("kind", "bounds"), BOUNDS.items(), ids=BOUNDS)
def test_rounding_stays_within_its_bound(kind: str, bounds: tuple[float, float]) -> None:
    """Distance of y and dx to the unrounded formulas on the rounded inputs, relative RMS."""
    params = RangeBn(group=KINDS[kind] or 1)
    x, g = images((32, 16, 8, 8), 11), images((32, 16, 8, 8), 12) * 1e-3
    made = {}
    values = {
        "x": Blocks.of(rows(x), params.forward).values(),
        "g": Blocks.of(rows(g), params.backward).values(),
    }
    for name in ("fp32", kind):
        norm = RangeBatchNorm2d(16, kind=name)
        with torch.no_grad():
            norm.weight.fill_(1.25)
        given = {
            key: torch.from_numpy(value.astype(np.float32)).view(32, 8, 8, 16).permute(0, 3, 1, 2)
            for key, value in values.items()
        }
        given["x"] = given["x"].contiguous().requires_grad_()
        y = norm(given["x"])
        y.backward(given["g"])
        made[name] = rows(y), rows(given["x"].grad)
    for found, wanted, bound in zip(made[kind], made["fp32"], bounds, strict=True):
        assert bound / 10 < distance(found, wanted) < bound


def test_nan_inf_and_dead_channels() -> None:
    norm = RangeBatchNorm2d(8, kind="bfp4")
    x = images((4, 8, 5, 5), 13)
    x[:, 6] = 0.0
    x[1, 2, 3, 4], x[2, 7, 0, 0] = float("nan"), float("inf")
    with torch.no_grad():
        norm.bias.fill_(0.5)
    y = norm(x.requires_grad_())
    y.nan_to_num().sum().backward()
    bad = torch.isnan(y).nonzero().tolist()
    assert bad == [[1, c, 3, 4] for c in range(4)] + [[2, c, 0, 0] for c in range(4, 8)]
    assert (y[0, 6] == 0.5).all()
    assert (x.grad[0, 6] == 0).all()
    assert torch.isfinite(norm.running_range).all()


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation(kind: str) -> None:
    """Of the same batch it is about what training gives, and mean and range are constants."""
    norm = RangeBatchNorm2d(8, momentum=None, kind=kind)
    x = (images((16, 8, 6, 6), 14) * 3 + 1).requires_grad_()
    trained = norm(x).detach()
    norm.eval()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    y = norm(x)
    assert distance(rows(y), rows(trained)) < 0.02
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name]), name
    # A single image is enough, which training refuses.
    assert torch.equal(norm(x[:1])[0, 0], y[0, 0])
    y.sum().backward()
    scale = x.grad[0, :, 0, 0]
    assert torch.equal(x.grad, scale[None, :, None, None].expand_as(x))
    wanted = 1 / (norm.running_range / np.sqrt(2 * np.log(576 / 8)) + 1e-5)
    assert (scale / wanted - 1).abs().max() < 0.15


@pytest.mark.parametrize("kind", ["fp32", "bfp4"])
def test_options_and_state(kind: str) -> None:
    x = images((4, 6, 4, 4), 15)
    plain = RangeBatchNorm2d(6, affine=False, track_running_stats=False, kind=kind)
    assert not list(plain.parameters())
    assert not plain.state_dict()
    assert torch.equal(plain(x), plain.eval()(x))
    norm = RangeBatchNorm2d(6, momentum=0.5, kind=kind)
    for seed in (1, 2):
        norm(images((4, 6, 4, 4), seed))
    assert int(norm.num_batches_tracked) == 2
    other = RangeBatchNorm2d(6, kind=kind)
    other.load_state_dict(norm.state_dict())
    assert torch.equal(other.eval()(x), norm.eval()(x))
    assert (
        f"6, eps=1e-05, momentum=0.5, affine=True, track_running_stats=True, kind='{kind}', "
        in (repr(norm))
    )
    assert ", factor='bound', chunks=8)" in repr(norm)
    assert set(norm.state_dict()) == {
        "weight", "bias", "running_mean", "running_range", "running_count",
        "num_batches_tracked",
    }  # fmt: skip


def test_replacing() -> None:
    """In evaluation a net is about what it was; names and parameters stay."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3), torch.nn.BatchNorm2d(6, eps=1e-3, momentum=0.2),
        torch.nn.Sequential(torch.nn.ReLU(), torch.nn.BatchNorm2d(6, affine=False)),
    )  # fmt: skip
    x = images((8, 1, 9, 9), 16)
    net(x)
    net.eval()
    before = net(x).detach()
    assert replace_batch_norm(net, kind="fp32") is net
    assert isinstance(net[1], RangeBatchNorm2d)
    assert (net[1].eps, net[1].momentum, net[1].training) == (1e-3, 0.2, False)
    assert isinstance(net[2][1], RangeBatchNorm2d)
    assert not net[2][1].affine
    assert distance(rows(net(x)), rows(before)) < 0.01
    assert isinstance(replace_batch_norm(torch.nn.BatchNorm2d(3)), RangeBatchNorm2d)


def test_it_learns() -> None:
    """A net of one norm in golden arithmetic follows a target by gradient descent."""
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), RangeBatchNorm2d(4), torch.nn.ReLU())
    x = images((8, 1, 10, 10), 17)
    target = torch.relu(images((4, 1, 1), 18)).expand(8, 4, 8, 8)
    losses = []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    for _ in range(40):
        optimizer.zero_grad()
        loss = ((net(x) - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RangeBatchNorm2d(4, kind="bfp3"), "kind must be one of fp32, fp10, bfp4, "),
        (lambda: RangeBatchNorm2d(4, factor="x"), "factor must be one of bound, normal, got 'x'"),
        (lambda: RangeBatchNorm2d(0), "num_features must be at least 1, got 0"),
        (lambda: RangeBatchNorm2d(4, chunks=3), "chunks must be a power of two, got 3"),
        (lambda: RangeBatchNorm2d(4, eps=1.0), "epsilon must be from 0 to below 1, got 1.0"),
        (
            lambda: RangeBatchNorm2d(4)(torch.zeros(1, 4, 3, 5)),
            "a channel must have 16..1048576 values in 8 chunks of two or more, got 15",
        ),
        (
            lambda: RangeBatchNorm2d(4, kind="fp32")(torch.zeros(1, 4, 3, 5)),
            "a channel must have 16..1048576 values in 8 chunks of two or more, got 15",
        ),
        (
            lambda: RangeBatchNorm2d(4)(torch.zeros(1, 5, 3, 5)),
            "x must be (batch, 4, height, width), got (1, 5, 3, 5)",
        ),
    ],
)
def test_impossible(call: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert message in str(caught.value)


def test_gamma_that_is_not_finite() -> None:
    norm = RangeBatchNorm2d(4)
    with torch.no_grad():
        norm.weight[1] = float("nan")
    with pytest.raises(UsageError, match=f"gamma must be finite, got code .* of {FP10.name}"):
        norm(images((2, 4, 4, 4)))
