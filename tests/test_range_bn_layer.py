"""A layer of a training: its generated Verilog, the golden model and torch give the same bits."""

from pathlib import Path

import numpy as np
import pytest

from narrowgauge import api, registry
from narrowgauge.golden.formats import bf16_values
from narrowgauge.golden.samples import norm
from narrowgauge.golden.units.range_bn import Blocks, Layer
from narrowgauge.golden.units.range_bn_array import model
from narrowgauge.golden.units.range_bn_modes import Mode

(POINT,) = registry.points("range_bn_array/g4_l8")


def test_verilog_is_the_golden_model(tmp_path: Path) -> None:
    """All positions and channels, forward and backward; the array's constants are the layer's."""
    (result,) = api.verify(POINT.full_name, level="real", build_dir=tmp_path, jobs=1)
    assert result.passed
    layer = norm.load()
    beats = 2 * layer.x.size // POINT.params.lanes
    assert result.beats_out >= beats


def test_the_core_is_the_golden_model(tmp_path: Path) -> None:
    """The same through packets, all channels of the layer in every pass, in tiles."""
    (result,) = api.verify("lightnorm/g4_l8", level="real", build_dir=tmp_path, jobs=1)
    assert result.passed
    assert result.beats_out >= 2 * norm.load().x.size // POINT.params.lanes


def test_torch_is_the_golden_model() -> None:
    torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
    from narrowgauge.golden.training import passes

    p = POINT.params
    batch = POINT.entry.golden.vectors(p, "real", 1)
    made = model(p, batch)
    blocks = norm.load().blocks(p.lanes)
    mode = batch["mode"]
    answered = np.repeat(mode, np.where((mode & 3) == 3, 1, 0))
    codes = made["codes"][made["scales"].any(axis=1)]
    fields = made["scales"][made["scales"].any(axis=1)]
    for number, block in enumerate(blocks):
        layer = Layer(count=len(block.x), chunks=p.chunks)
        x, g = (
            torch.from_numpy(bf16_values(each).T.astype(np.float32).copy())
            for each in (block.x, block.g)
        )
        gamma, beta = block.gamma.astype(np.int64), block.beta.astype(np.int64)
        y, kept = passes.forward(p.arithmetic, layer, x, gamma, beta)
        dx, _ = passes.backward(kept, g)
        for kind, values, fmt in (
            (Mode.NORMALIZE, y, p.forward),
            (Mode.PROPAGATE, dx, p.backward),
        ):
            rows = np.flatnonzero(answered == kind)
            part = rows[number * layer.count : (number + 1) * layer.count]
            wanted = Blocks(fmt=fmt, codes=codes[part], fields=fields[part])
            assert np.array_equal(values.numpy().T, wanted.values().astype(np.float32))
