"""Captured layers on `flexblock_core`: every pass in every mode, as the mapper lays them out.

The layers are those of `golden.samples.products`, a convolution, a depthwise one and a linear one
in the middle of a training, with as many of their images as suit the size of a core.
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

__all__ = ["Captured", "captured", "images"]

Floats = npt.NDArray[np.float32]

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


def images(params: "Params") -> int:
    """Images that a core of this size is given: all 64 of them from 192 multipliers on."""
    return max(2, min(64, params.pes * params.nibbles // 3))


def captured(params: "Params", names: tuple[str, ...] = products.NAMES) -> Iterator[Captured]:
    """All passes of the layers of these names, in all modes."""
    mapper, count = Mapper(params), images(params)
    for name in names:
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
        for direction in PASSES:
            left, right = (arrays[part] for part in _OPERANDS[direction])
            for mode in range(len(MODES)):
                mapped = mapper.map(shape, direction, mode)
                yield Captured(mapped=mapped, left=left, right=right)
