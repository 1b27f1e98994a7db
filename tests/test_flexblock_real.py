# amaranth: UnusedElaboratable=no
"""Captured layers on `flexblock_core`: cycles of the hardware, bits of the torch module."""

import math
from pathlib import Path

import numpy as np
import pytest

from narrowgauge import registry
from narrowgauge.golden.cores.flexblock_machine import Machine
from narrowgauge.golden.cores.flexblock_real import Captured, captured
from narrowgauge.golden.mapping.compute import compute
from narrowgauge.golden.payload import join
from tests.test_flexblock_core_cycles import P, driver

(LARGE,) = registry.points("flexblock_core/p4_n48")


def title(each: Captured) -> str:
    """Layer, pass and mode."""
    return f"{each.mapped.layer.name} {each.mapped.direction} {each.mapped.choice.mode}"


def test_cycles_are_those_that_the_mapper_tells(tmp_path: Path) -> None:
    """Of each pass in each mode, from its first beat to the end of its last answer."""
    built = driver(P, tmp_path)
    seen = 0
    for each in captured(P, most=1_500):
        beats = join(each.packets(P))
        wanted = Machine(P).run(beats)
        played = built.play(beats)
        assert all(np.array_equal(played.beats[name], wanted[name]) for name in wanted), title(each)
        ends = played.given[wanted["last"] == 1] - played.taken[0] + 1
        assert ends[-1] == each.mapped.cost.cycles, title(each)
        seen += 1
    assert seen >= 12


def test_bits_are_those_of_the_torch_module() -> None:
    """Of what is not cut into pieces, whose sums the module does not know."""
    torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
    from narrowgauge.golden.training.precision import Arithmetic
    from narrowgauge.golden.training.products import Convolution
    from narrowgauge.golden.training.taps import Geometry

    params = LARGE.params
    arithmetic = Arithmetic(ordered=True)
    seen = 0
    for each in captured(params, ("depthwise", "linear"), most=math.inf):
        m = each.mapped
        if any(len(plan.pieces) > 1 for plan in m.choice.plans):
            continue
        layer = m.layer
        module = Convolution(
            geometry=Geometry(stride=layer.stride, padding=layer.padding, groups=layer.groups),
            ordered=True,
        )
        left, right = (torch.from_numpy(np.array(x)) for x in (each.left, each.right))

        def convert(values, axis, mode=m.choice.mode):  # type: ignore[no-untyped-def]
            return arithmetic.convert(mode, values, axis, False)

        if m.direction == "forward":
            wanted = module.forward(convert, left, right)
        elif m.direction == "dx":
            wanted = module.dx(convert, left, right, (layer.batch, layer.channels, *layer.size))
        else:
            shape = (layer.outputs, layer.channels // layer.groups, *layer.kernel)
            wanted = module.dw(convert, left, right, shape)
        found = compute(params, layer, m.direction, m.choice, each.left, each.right)
        # A sum of no groups is +0 on both.
        assert np.array_equal(found.view(np.uint32), wanted.numpy().view(np.uint32)), title(each)
        seen += 1
    assert seen >= 12
