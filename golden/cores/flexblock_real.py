"""Captured layers on `flexblock_core`: every pass in every mode, as the mapper lays them out.

The layers are those of `golden.samples.products`, a convolution, a depthwise one and a linear one
in the middle of a training, with as many of their images as take a bounded time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.mapping.choose import MODES, Mapped, Mapper
from narrowgauge.golden.mapping.compute import programs
from narrowgauge.golden.mapping.layers import PASSES, Convolution
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.samples import products

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["MOST", "Captured", "captured"]

Floats = npt.NDArray[np.float32]

MOST = 20_000
"""Cycles of a pass in the vectors of level real."""
_IMAGES = (64, 32, 16, 8, 4, 2)
_OPERANDS = {"forward": ("x", "w"), "dx": ("dy", "w"), "dw": ("x", "dy")}


@dataclass(frozen=True, kw_only=True, eq=False)
class Captured:
    """One pass of a captured layer in one mode.

    Parameters
    ----------
    mapped : the layer, the pass, how it is mapped, and the cycles that it takes
    left, right : its operands, as `mapping.passes.Part` names them
    """

    mapped: Mapped
    left: Floats
    right: Floats

    def packets(self, params: "Params") -> list[Batch]:
        """Its commands with their data, which wait for what went before."""
        m = self.mapped
        made = programs(params, m.layer, m.direction, m.choice, self.left, self.right, wait=True)
        return [packet for *_, packets in made for packet in packets]


def captured(
    params: "Params", names: tuple[str, ...] = products.NAMES, most: float = MOST
) -> Iterator[Captured]:
    """All passes of the layers of these names, in all modes.

    Parameters
    ----------
    most : cycles of a pass; it has as many images as can be halved to fit, and is left out where
        two are too many
    """
    mapper = Mapper(params)
    for name in names:
        for direction in PASSES:
            for mode in range(len(MODES)):
                for count in _IMAGES:
                    shape, arrays = _cut(name, count)
                    mapped = mapper.map(shape, direction, mode)
                    if mapped.cost.cycles <= most:
                        left, right = (arrays[part] for part in _OPERANDS[direction])
                        yield Captured(mapped=mapped, left=left, right=right)
                        break


def _cut(name: str, count: int) -> tuple[Convolution, dict[str, Floats]]:
    """A layer and its tensors, of its first images."""
    layer = products.load().layers[name]
    arrays = {"x": layer.x[:count], "w": layer.w, "dy": layer.dy[:count]}
    batch, channels, height, width = arrays["x"].shape
    shape = Convolution(
        name=name,
        batch=batch,
        channels=channels,
        outputs=len(layer.w),
        size=(height, width),
        kernel=(layer.w.shape[2], layer.w.shape[3]),
        stride=(layer.stride, layer.stride),
        padding=(layer.padding, layer.padding),
        groups=layer.groups,
    )
    return shape, arrays
