"""Products in groups on torch tensors: the codes of the formats, the bits of the element."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge.golden.arith.fused_mul import BITS
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BFP, Rounding
from narrowgauge.golden.formats.flexblock import (
    BoxBFP,
    dequantize_boxes,
    quantize_boxes,
    zero_setting,
)
from narrowgauge.golden.units import bfp_convert, bfp_pe
from tests.block_products import (
    LAYERS,
    Layer,
    forward,
    in_order,
    input_gradient,
    weight_gradient,
)

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from narrowgauge.golden.training.groups import RANDOM_BITS, group  # noqa: E402
from narrowgauge.golden.training.layers import (  # noqa: E402
    BlockConv2d,
    BlockLinear,
    chosen,
    replace_products,
)
from narrowgauge.golden.training.nets import make  # noqa: E402
from narrowgauge.golden.training.precision import Arithmetic, Entry, Precision  # noqa: E402
from narrowgauge.golden.training.products import PASSES  # noqa: E402

Floats = npt.NDArray[np.float32]
ROUNDINGS = (Rounding.RTZ, Rounding.RNE, Rounding.RNA, Rounding.STOCHASTIC)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def values(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Floats:
    """Numbers far apart: everywhere, near the least normal one, with NaN and Inf, ties."""
    x = rng.standard_normal(shape) * np.exp2(rng.integers(-12, 1, shape))
    if kind == "tiny":
        x *= np.exp2(rng.integers(-149, -118, (shape[0], *(1,) * (len(shape) - 1))))
    elif kind == "ties":
        x = rng.integers(-9, 10, shape) / 2.0
    else:
        x *= np.exp2(rng.integers(-110, 120, (shape[0], *(1,) * (len(shape) - 1))))
    x[rng.random(shape) < 0.2] = 0
    x[rng.random(shape) < 0.1] = -0.0
    with np.errstate(over="ignore"):
        made = x.astype(np.float32)
    if kind == "special":
        made[rng.random(shape) < 0.01] = np.nan
        made[rng.random(shape) < 0.01] = -np.inf
    return made


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("kind", ["plain", "tiny", "ties", "special"])
def test_codes_are_those_of_the_formats(bits: int, rounding: Rounding, kind: str) -> None:
    rng = np.random.default_rng(bits)
    for k, shape in ((7, (40, 3, 20)), (24, (30, 20, 5)), (1, (50, 4, 3))):
        fmt = BFP(exponent_bits=8, mantissa_bits=bits, k=k, rounding=rounding)
        box = BoxBFP(bits=bits, group=(k, 1), rounding=rounding)
        x = values(rng, shape, kind)
        words = rng.integers(0, 1 << RANDOM_BITS, shape)
        given = rounding is Rounding.STOCHASTIC
        made = group(
            fmt, torch.from_numpy(x), 1,
            words=torch.from_numpy(words) if given else None, count=True,
        )  # fmt: skip
        wanted = quantize_boxes(
            x, box, random=words if given else None, random_bits=RANDOM_BITS if given else None
        )
        assert np.array_equal(made.fields.numpy(), wanted.scales)
        codes = box.join(wanted.rows.codes, shape)
        assert np.array_equal(made.codes.numpy(), codes)
        assert not np.signbit(made.codes.numpy()[codes == 0]).any()
        found, known = made.values().numpy(), dequantize_boxes(wanted)
        number = ~np.isnan(known)
        assert np.array_equal(np.isnan(found), ~number)
        assert np.array_equal(found[number], known[number])
        assert made.zeroed == zero_setting(x, box).sum()
    assert RANDOM_BITS == bfp_convert.RANDOM_BITS


def test_groups_along_any_axis() -> None:
    rng = np.random.default_rng(5)
    x = torch.from_numpy(values(rng, (13, 10, 9), "plain"))
    fmt = BFP(exponent_bits=8, mantissa_bits=4, k=4, rounding=Rounding.RTZ)
    wanted = group(fmt, x, 1)
    for axis in (0, 2):
        turned = group(fmt, x.transpose(axis, 1), axis)
        assert torch.equal(turned.codes.transpose(axis, 1), wanted.codes)
        assert torch.equal(turned.fields.transpose(axis, 1), wanted.fields)
        assert torch.equal(turned.values().transpose(axis, 1), wanted.values())
        assert turned.zeroed is None


def test_words_go_with_stochastic_rounding() -> None:
    x = torch.ones(4)
    for rounding, words in ((Rounding.STOCHASTIC, None), (Rounding.RTZ, torch.zeros(4))):
        fmt = BFP(exponent_bits=8, mantissa_bits=4, k=4, rounding=rounding)
        with pytest.raises(UsageError, match=f"rounding {rounding} takes (no|random) words"):
            group(fmt, x, 0, words=words)
    with pytest.raises(UsageError, match="groups must have 8 bits of exponent, got 5"):
        group(BFP(exponent_bits=5, mantissa_bits=4, k=4), x, 0)


def built(layer: Layer, mode: int, w: Floats, *, ordered: bool, **options: Any) -> Any:
    """The layer with weights, its passes in a mode."""
    arithmetic = Arithmetic(ordered=ordered, **options)
    passes = tuple(Entry(arithmetic=arithmetic, mode=mode) for _ in PASSES)
    made = BlockConv2d(
        layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding,
        layer.dilation, layer.groups, bias=False, passes=passes,
    )  # fmt: skip
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(w))
    return made


def passed(layer: Any, x: Floats, dy: Floats) -> list[Any]:
    """y, dx and dw."""
    given = torch.from_numpy(x).requires_grad_()
    y = layer(given)
    return [y.detach(), *torch.autograd.grad(y, [given, layer.weight], torch.from_numpy(dy))]


def drawn(layer: Layer, seed: int, scale: float = 1.0) -> tuple[Floats, Floats, Floats]:
    """x, w and dy, some of them zero."""
    rng = np.random.default_rng(seed)
    made = []
    for shape in (layer.x, layer.w, layer.y):
        value = rng.standard_normal(shape) * np.exp2(rng.integers(-6, 1, shape))
        value[rng.random(shape) < 0.3] = 0
        made.append((value * scale).astype(np.float32))
    return made[0], made[1], made[2]


def all_sums(layer: Layer, x: Floats, w: Floats, dy: Floats, k: int) -> list[Any]:
    """The sums of y, dx and dw, with groups of up to k."""
    made = (
        forward(layer, x, w, k),
        input_gradient(layer, dy, w, k),
        weight_gradient(layer, x, dy, k),
    )
    return [list(sums) for sums in made]


@pytest.mark.parametrize("groups", [(216, 108, 54), (8, 6, 4)], ids=["whole", "cut"])
@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_passes_have_the_bits_of_the_element(
    name: str, mode: int, groups: tuple[int, int, int]
) -> None:
    layer = LAYERS[name]
    one, two, three = groups
    params = bfp_pe.Params(nibbles=48, group12=one, group16=two, group24=three)
    # Products about the least normal number are rounded once as well.
    for seed, scale in ((1, 1.0), (2, 2.0**-66)):
        x, w, dy = drawn(layer, seed, scale)
        found = passed(built(layer, mode, w, ordered=True, groups=groups), x, dy)
        k = groups[mode]
        wanted = all_sums(layer, x, w, dy, k)
        for tensor, sums in zip(found, wanted, strict=True):
            codes = in_order(params, mode, sums)
            assert np.array_equal(tensor.numpy().view(np.uint32).ravel(), codes)
            assert codes.any()


def test_what_is_no_number() -> None:
    """A NaN or Inf makes its group NaN, and every sum that the group is in."""
    layer = LAYERS["strided"]
    x, w, dy = drawn(layer, 3)
    x[1, 4, 2, 2], dy[0, 3, 1, 1] = np.nan, np.inf
    params = bfp_pe.Params()
    for ordered in (True, False):
        found = passed(built(layer, 0, w, ordered=ordered), x, dy)
        k = params.group12
        wanted = all_sums(layer, x, w, dy, k)
        for tensor, sums in zip(found, wanted, strict=True):
            codes = in_order(params, 0, sums).astype(np.uint32).view(np.float32)
            bad = np.isnan(codes)
            assert bad.any()
            assert not bad.all()
            # torch multiplies the zeros around a window's NaN as well.
            assert np.isnan(tensor.numpy().ravel()[bad]).all()


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_sums_in_the_order_of_torch(name: str, mode: int) -> None:
    """Equal where one group is summed exactly, else apart by the rounding of FP32 sums."""
    layer = LAYERS[name]
    x, w, dy = drawn(layer, 4)
    fast, exact = (passed(built(layer, mode, w, ordered=o), x, dy) for o in (False, True))
    sizes = passed(built(layer, mode, abs(w), ordered=False), abs(x), abs(dy))
    terms = layer.kernel**2 * max(layer.inputs, layer.outputs), layer.made**2 * layer.images
    for number, one, two, size in zip((terms[0], *terms), fast, exact, sizes, strict=True):
        assert (one - two).abs().le(size * number * 2.0**-24 + 1e-38).all()
    few = layer.inputs // layer.groups < 8
    if mode < 2 and (few or layer.kernel == 1):
        assert torch.equal(fast[0], exact[0])


@pytest.mark.parametrize("bits", BITS)
def test_a_layer_is_near_that_of_torch(bits: int) -> None:
    torch.manual_seed(3)
    for plain, shape in (
        (torch.nn.Conv2d(12, 16, 3, 2, 1), (5, 12, 9, 9)),
        (torch.nn.Conv2d(12, 12, 3, padding=1, groups=12), (5, 12, 7, 7)),
        (torch.nn.Linear(30, 12), (6, 5, 30)),
        (torch.nn.Linear(30, 12, bias=False), (6, 30)),
    ):
        model = torch.nn.Sequential(plain)
        precision = replace_products(model, f"fb{bits + 8}", kept="none")
        x = torch.randn(shape, requires_grad=True)
        g = torch.randn_like(plain(x))
        given = [x, *plain.parameters()]
        wanted = [plain(x), *torch.autograd.grad(plain(x), given, g)]
        found = [model(x), *torch.autograd.grad(model(x), given, g)]
        assert isinstance(model[0], (BlockConv2d, BlockLinear))
        assert model[0].weight is plain.weight
        assert list(model.state_dict()) == [f"0.{name}" for name in plain.state_dict()]
        for one, two in zip(found, wanted, strict=True):
            assert one.shape == two.shape
            apart = (one - two).norm() / two.norm()
            assert apart < 2.0 ** (1 - bits) * 2
        assert precision.layers == ("0",)


def test_rounding_by_chance_is_of_the_seed() -> None:
    layer = LAYERS["dense"]
    x, w, dy = drawn(layer, 5)

    def run(seed: int) -> Any:
        given = {"rounding": Rounding.STOCHASTIC, "seed": seed}
        return passed(built(layer, 0, w, ordered=False, **given), x, dy)

    one, again, other = run(1), run(1), run(2)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])
    # Unbiased: the mean of many is nearer than what is cut off.
    plain = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding=1)
    mean = sum(run(seed)[0] for seed in range(40)) / 40
    cut = passed(built(layer, 0, w, ordered=False), x, dy)[0]
    assert (mean - plain).norm() < 0.5 * (cut - plain).norm()


def test_what_stays_in_fp32() -> None:
    resnet = make("resnet")
    assert chosen(resnet, "none")[0] == "0"
    assert chosen(resnet, "ends") == (
        "3.body.0",
        "3.body.3",
        "4.body.0",
        "4.body.3",
        "4.shortcut.0",
    )
    assert chosen(resnet, "authors") == ("3.body.0", "3.body.3", "4.body.0", "4.body.3")
    assert len(chosen(make("mobilenet"))) == 6
    with pytest.raises(UsageError, match="kept must be one of ends, authors, none, got 'all'"):
        chosen(resnet, "all")
    with pytest.raises(UsageError, match="there is no layer whose precision could be set"):
        replace_products(torch.nn.Sequential(torch.nn.ReLU()), "fb12")
    with pytest.raises(UsageError, match="no precision 'fb8'; precisions: fb24, fb16, fb12"):
        replace_products(resnet, "fb8")


def test_modes_are_those_of_the_setting() -> None:
    for setting, modes in (
        ("fb24", [2, 2, 2]),
        ("fb16", [1, 1, 1]),
        ("fb12", [0, 0, 0]),
        ("mixed", [0, 2, 0]),
        ("mixed_dw", [0, 0, 2]),
    ):
        made = replace_products(make("resnet"), setting)
        assert [entry.mode for entry in made.flat] == modes * 5


def test_precision_follows_what_is_lost() -> None:
    """Shares of an interval, counted in some of its steps, against the thresholds."""
    precision = Precision(
        layers=("a", "b"), setting="dynamic", arithmetic=Arithmetic(), interval=4, every=2,
        lower=0.1, upper=0.2,
    )  # fmt: skip
    fixed = Precision(layers=("a", "b"), setting="fb16", arithmetic=Arithmetic(), interval=4)
    shares = [0.0, 0.09, 0.15, 0.25, 0.15, 0.05]
    for one in (precision, fixed):
        for _ in range(3):
            counted = []
            for _ in range(4):
                one.begin()
                counted.append(one.flat[0].counting)
                for entry, share in zip(one.flat, shares, strict=True):
                    if entry.counting:
                        entry.zeroed, entry.elements = int(1000 * share), 1000
                one.end()
                assert not one.flat[0].counting
            assert counted == ([True, False] * 2 if one is precision else [True] + [False] * 3)
    assert [row["modes"] for row in precision.history] == [
        [2, 2, 2, 2, 2, 2],
        [1, 1, 2, 2, 2, 1],
        [0, 0, 2, 2, 2, 0],
    ]
    assert [entry.mode for entry in precision.flat] == [0, 0, 2, 2, 2, 0]
    assert np.allclose(precision.history[0]["shares"], shares, atol=1e-4)
    assert {tuple(row["modes"]) for row in fixed.history} == {(1,) * 6}
    made = precision.to_json()
    assert made["layers"] == ["a", "b"]
    assert made["passes"] == list(PASSES)
    assert len(made["history"]) == 3


def test_losses_are_counted_in_both_operands() -> None:
    layer = LAYERS["dense"]
    x, w, dy = drawn(layer, 6)
    made = built(layer, 0, w, ordered=False)
    for entry in made.passes:
        entry.counting = True
    passed(made, x, dy)
    sizes = [x.size + w.size, dy.size + w.size, x.size + dy.size]
    assert [entry.elements for entry in made.passes] == sizes
    one = zero_setting(x.transpose(0, 2, 3, 1).copy(), BoxBFP(bits=4, group=(216,))).sum()
    two = zero_setting(w.transpose(0, 2, 3, 1).copy(), BoxBFP(bits=4, group=(216,))).sum()
    assert made.passes[0].zeroed == one + two
    assert one + two > 0


def test_bad_layers() -> None:
    for options in ({"padding": "same"}, {"padding_mode": "circular"}):
        with pytest.raises(UsageError, match="padding must be numbers of zeros, got"):
            BlockConv2d(8, 8, 3, **options)
    layer = BlockConv2d(8, 8, 3)
    with pytest.raises(
        UsageError, match=r"x must be \(batch, 8, height, width\), got \(1, 7, 5, 5"
    ):
        layer(torch.zeros(1, 7, 5, 5))
    with pytest.raises(UsageError, match="x must be float32, got float64"):
        layer(torch.zeros(1, 8, 5, 5, dtype=torch.float64))
    with pytest.raises(UsageError, match=r"x must be \(\.\.\., 4\), got \(2, 3\)"):
        BlockLinear(4, 4)(torch.zeros(2, 3))
    with pytest.raises(UsageError, match="rounding must be one of rtz, rne, stochastic, got 'rna'"):
        Arithmetic(rounding=Rounding.RNA)
    with pytest.raises(UsageError, match=r"groups must be three sizes, got \(4, 4\)"):
        Arithmetic(groups=(4, 4))  # type: ignore[arg-type]
