"""Nets as tables of layers: ResNet-18, MobileNetV2, a Transformer's encoder block.

Shapes of He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; Sandler et al.,
"MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018; Vaswani et al., "Attention Is
All You Need", NeurIPS 2017 (the base model).
"""

from collections.abc import Callable

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.mapping.layers import Convolution, Layer, Product, linear

__all__ = ["NETS", "make", "mobilenet_v2", "resnet18", "transformer"]

_BOTTLENECKS = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
"""Expansion, outputs, blocks, stride of the first."""


class _Table:
    """Layers of a net of images, one after the other."""

    def __init__(self, batch: int, size: int) -> None:
        self.batch, self.size, self.channels = batch, (size, size), 3
        self.layers: list[Layer] = []

    def add(self, name: str, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        """A convolution of what the last one made, as large as its stride leaves it."""
        made = Convolution(
            name=name,
            batch=self.batch,
            channels=self.channels,
            outputs=outputs,
            size=self.size,
            kernel=(kernel, kernel),
            stride=(stride, stride),
            padding=(kernel // 2, kernel // 2),
            groups=groups,
            first=not self.layers,
        )
        self.layers.append(made)
        self.channels, self.size = outputs, made.made


def resnet18(batch: int = 64, size: int = 224) -> list[Layer]:
    """Of images of that height and width; 1.8 G products each."""
    net = _Table(batch, size)
    net.add("conv1", 64, 7, 2)
    net.size = (-(-net.size[0] // 2), -(-net.size[1] // 2))
    for stage, outputs in enumerate((64, 128, 256, 512)):
        for block in range(2):
            name = f"layer{stage + 1}.{block}"
            stride = 2 if stage and not block else 1
            before = net.channels, net.size
            net.add(f"{name}.conv1", outputs, 3, stride)
            net.add(f"{name}.conv2", outputs, 3)
            if stride > 1:
                net.channels, net.size = before
                net.add(f"{name}.downsample", outputs, 1, stride)
    net.layers.append(linear("fc", batch, 512, 1000))
    return net.layers


def mobilenet_v2(batch: int = 64, size: int = 224) -> list[Layer]:
    """Of images of that height and width; 0.3 G products each."""
    net = _Table(batch, size)
    net.add("features.0", 32, 3, 2)
    number = 1
    for expansion, outputs, blocks, first in _BOTTLENECKS:
        for block in range(blocks):
            name = f"features.{number}"
            inner = net.channels * expansion
            if expansion > 1:
                net.add(f"{name}.expand", inner, 1)
            net.add(f"{name}.depthwise", inner, 3, 1 if block else first, inner)
            net.add(f"{name}.project", outputs, 1)
            number += 1
    net.add(f"features.{number}", 1280, 1)
    net.layers.append(linear("classifier", batch, 1280, 1000))
    return net.layers


def transformer(
    batch: int = 64, length: int = 128, width: int = 512, heads: int = 8, inner: int = 2048
) -> list[Layer]:
    """A block of an encoder: attention of all heads, and two layers for each position."""
    if width % heads:
        raise UsageError(f"width must be a multiple of heads={heads}, got {width}")
    vectors, head = batch * length, width // heads
    return [
        *(linear(name, vectors, width, width) for name in ("query", "key", "value")),
        Product(name="scores", instances=batch * heads, rows=length, inner=head, columns=length),
        Product(name="context", instances=batch * heads, rows=length, inner=length, columns=head),
        linear("out", vectors, width, width),
        linear("feed1", vectors, width, inner),
        linear("feed2", vectors, inner, width),
    ]


NETS: dict[str, Callable[..., list[Layer]]] = {
    "resnet18": resnet18,
    "mobilenet_v2": mobilenet_v2,
    "transformer": transformer,
}
"""By name."""


def make(name: str, batch: int) -> list[Layer]:
    """A net by name."""
    if name not in NETS:
        raise UsageError(f"no net {name!r}; nets: {', '.join(NETS)}")
    return NETS[name](batch)
