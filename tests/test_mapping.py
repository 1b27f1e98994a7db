"""The mapper: passes on the golden core against their definitions, predictions against commands."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge.golden.cores import flexblock_cycles
from narrowgauge.golden.cores.flexblock_core import Params
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.mapping.choose import Mapper
from narrowgauge.golden.mapping.compute import Choice, compute
from narrowgauge.golden.mapping.layers import PASSES, Convolution, Layer, Product, linear
from narrowgauge.golden.mapping.passes import parts
from narrowgauge.golden.mapping.plan import Plan, group_beats, plans
from narrowgauge.golden.mapping.predict import Timer, predict
from narrowgauge.golden.mapping.schedule import steps
from tests.mapping_reference import Grouped, evaluate

SMALL = Params(
    pes=4, nibbles=16, group12=24, group16=12, group24=6, a_depth=64, b_depth=128, sums=64
)


def conv(channels: int, outputs: int, size: tuple[int, int], **other: object) -> Convolution:
    """A convolution with a kernel of 3 x 3 and a batch of 2, unless said otherwise."""
    whole = {"name": "l", "batch": 2, "kernel": (3, 3), "padding": (1, 1)} | other
    return Convolution(channels=channels, outputs=outputs, size=size, **whole)  # type: ignore[arg-type]


LAYERS: dict[str, Layer] = {
    "plain": conv(9, 3, (3, 3)),
    "strided": conv(8, 3, (5, 4), batch=1, stride=(2, 2)),
    "first": conv(3, 2, (6, 5), kernel=(5, 5), padding=(2, 2), stride=(2, 2)),
    "dilated": conv(16, 2, (4, 4), batch=1, padding=(2, 2), dilation=(2, 2), groups=2),
    "depthwise": conv(3, 3, (4, 4), kernel=(5, 5), padding=(2, 2), groups=3),
    "depthwise_strided": conv(5, 5, (5, 5), stride=(2, 2), groups=5),
    "depthwise_images": conv(2, 2, (3, 4), batch=9, groups=2),
    "few": conv(8, 4, (3, 3), groups=2),
    "pointwise": conv(30, 7, (3, 2), kernel=(1, 1), padding=(0, 0)),
    "pointwise_strided": conv(8, 7, (4, 4), kernel=(1, 1), padding=(0, 0), stride=(2, 2)),
    "images": conv(8, 9, (2, 2), batch=30, kernel=(1, 1), padding=(0, 0)),
    "fc": linear("l", 5, 70, 9),
    "attention": Product(name="l", instances=3, rows=4, inner=5, columns=6),
}

MODES = ((0, 0), (0, 1), (1, 1), (2, 2))
"""Modes of codes and of elements."""


def tensors(layer: Layer, direction: str, seed: int) -> list[npt.NDArray[np.float32]]:
    """Operands of a pass."""
    if isinstance(layer, Product):
        i, m, k, n = layer.instances, layer.rows, layer.inner, layer.columns
        sizes = {"x": (i, m, k), "w": (i, k, n), "y": (i, m, n)}
    else:
        sizes = {
            "x": (layer.batch, layer.channels, *layer.size),
            "w": (layer.outputs, layer.channels // layer.groups, *layer.kernel),
            "y": (layer.batch, layer.outputs, *layer.made),
        }
    rng = np.random.default_rng(seed)
    names = {"forward": "xw", "dx": "yw", "dw": "xy"}[direction]
    return [rng.normal(size=sizes[name]).astype(np.float32) for name in names]


def cuts(layer: Layer, choice: Choice, direction: str) -> dict[tuple[int, int], list[int]]:
    """Groups of each piece of a dot product, by the remainders of (y, x) by the stride."""
    found = []
    for plan in choice.plans:
        groups = [p.t1s * p.t2s * math.ceil(p.cs / plan.group) for p in plan.pieces]
        if choice.shift:
            # The pixel that only the row that is moved has is not one of the definition's.
            across = plan.problem.taps[1].count
            assert all(p.t2s == across for p in plan.pieces)
            groups = [count // across * (across - 1) for count in groups]
        found.append(groups)
    if direction != "dx" or isinstance(layer, Product):
        return {(0, 0): found[0]}
    reached = [
        [r for r in range(min(s, n)) if any((r + p - k * d) % s == 0 for k in range(kernel))]
        for s, n, p, d, kernel in zip(
            layer.stride, layer.size, layer.padding, layer.dilation, layer.kernel, strict=True
        )
    ]
    keys = [(y, x) for y in reached[0] for x in reached[1]]
    return dict(zip(keys, found, strict=True))


def some_plans(layer: Layer, direction: str, mode: int, run: int, seed: int) -> Choice | None:
    """Plans drawn from all that fit, None where a part has none."""
    rng = np.random.default_rng(seed)
    shift = (
        direction == "dw" and layer.kind == "depthwise" and isinstance(layer, Convolution)
    ) and bool(rng.integers(2))
    drawn: list[Plan] = []
    for part in parts(layer, direction, shift=shift):
        listed = list(plans(SMALL, part.problem, mode, run))
        if shift:
            across = part.problem.taps[1].count
            listed = [p for p in listed if p.pieces[0].t2s == across]
        if not listed:
            return None
        drawn.append(listed[rng.integers(len(listed))])
    return Choice(mode=mode, shift=shift, plans=tuple(drawn))


@pytest.mark.parametrize("direction", PASSES)
@pytest.mark.parametrize("name", LAYERS)
def test_pass_is_its_definition(name: str, direction: str) -> None:
    layer = LAYERS[name]
    seed = 10 * list(LAYERS).index(name) + PASSES.index(direction)
    done = 0
    for mode, run in MODES:
        choice = some_plans(layer, direction, mode, run, seed + mode)
        if choice is None:
            continue
        left, right = tensors(layer, direction, seed)
        found = compute(SMALL, layer, direction, choice, left, right)
        table = cuts(layer, choice, direction)
        wanted = evaluate(
            layer,
            direction,
            Grouped(mode, SMALL.pe.depth(mode) * group_beats(SMALL, mode)),
            left.astype(np.float64),
            right.astype(np.float64),
            lambda y, x, table=table: table[y, x],
        )
        np.testing.assert_array_equal(found, wanted)
        done += 1
    assert done >= 3


@pytest.mark.parametrize("name", LAYERS)
def test_prediction_is_that_of_the_commands(name: str) -> None:
    layer = LAYERS[name]
    timer = Timer(SMALL)
    for number, direction in enumerate(PASSES):
        for mode, run in MODES:
            choice = some_plans(layer, direction, mode, run, 7 * number + mode)
            if choice is None:
                continue
            commands = [
                command
                for index, plan in enumerate(choice.plans)
                for step in steps(SMALL, plan, wait=index > 0)
                for command in (*step.loads, step.run)
            ]
            cost = predict(timer, choice.plans)
            assert cost.cycles == flexblock_cycles.cycles(SMALL, commands)
            loads = [c.words for c in commands if not hasattr(c, "taps")]
            assert cost.a_words + cost.b_words == sum(loads)
            assert cost.runs == len(commands) - len(loads)


def test_prediction_of_many_tiles() -> None:
    params = Params(pes=8, nibbles=32, a_depth=128, b_depth=256, sums=256, load=8, results=8)
    mapper = Mapper(params)
    for layer in (
        conv(32, 48, (14, 14), batch=6),
        conv(16, 16, (28, 28), batch=4, groups=16),
        conv(24, 40, (15, 15), batch=16, stride=(2, 2)),
    ):
        for direction in PASSES:
            for mode in range(3):
                made = mapper.map(layer, direction, mode)
                commands = [
                    command
                    for index, plan in enumerate(made.choice.plans)
                    for step in steps(params, plan, wait=index > 0)
                    for command in (*step.loads, step.run)
                ]
                assert made.cost.cycles == flexblock_cycles.cycles(params, commands)


def test_large_layer() -> None:
    params = Params(pes=16, nibbles=32, a_depth=1024, b_depth=2048, sums=1024, load=16, results=16)
    layer = conv(64, 64, (56, 56), batch=64)
    made = Mapper(params).map(layer, "forward", 2)
    assert made.utilisation > 0.99
    assert made.cost.results >= layer.batch * layer.outputs * 56 * 56


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"channels": 0}, "l: channels must be at least 1, got 0"),
        ({"kernel": (3, 0)}, "l: kernel must be at least 1, got 0"),
        ({"padding": (-1, 0)}, "l: padding must be at least 0, got -1"),
        ({"stride": (1, 1, 1)}, "l: stride must be of two axes, got (1, 1, 1)"),
        ({"groups": 3}, "l: channels must be a multiple of groups=3, got 8"),
        ({"kernel": (9, 9)}, "l: a kernel of (9, 9) does not fit into (5, 5)"),
        ({"batch": 1.5}, "l: batch must be at least 1, got 1.5"),
    ],
)
def test_layer_that_is_none(layer: dict[str, object], message: str) -> None:
    whole = {"name": "l", "batch": 1, "channels": 8, "outputs": 9, "size": (5, 5)} | layer
    with pytest.raises(UsageError) as caught:
        Convolution(**whole)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_layer_that_does_not_fit() -> None:
    params = Params(pes=4, nibbles=16, a_depth=2, b_depth=2, sums=4)
    with pytest.raises(UsageError, match=r"^l: forward in fb12 does not fit into banks of 2 and 2"):
        Mapper(params).map(linear("l", 5, 300, 9), "forward", 0)
    with pytest.raises(UsageError, match="no pass 'dx' of a first layer"):
        Mapper(params).map(conv(8, 8, (4, 4), first=True), "dx", 0)


@pytest.mark.parametrize("direction", PASSES)
@pytest.mark.parametrize("name", ["plain", "depthwise", "attention"])
def test_what_is_chosen_is_right(name: str, direction: str) -> None:
    params = Params(pes=8, nibbles=48, load=8, results=8)
    layer, mapper = LAYERS[name], Mapper(params)
    left, right = tensors(layer, direction, 5)
    for mode in range(3):
        choice = mapper.map(layer, direction, mode).choice
        table = cuts(layer, choice, direction)
        wanted = evaluate(
            layer,
            direction,
            Grouped(mode, params.pe.depth(mode) * group_beats(params, mode)),
            left.astype(np.float64),
            right.astype(np.float64),
            lambda y, x, table=table: table[y, x],
        )
        found = compute(params, layer, direction, choice, left, right)
        np.testing.assert_array_equal(found, wanted)
