"""Two small nets for grey images of 28 x 28 and ten classes, with torch's batch normalisation.

`resnet` has three residual blocks, `mobilenet` three pairs of depthwise and 1 x 1 convolutions.
Weights are drawn from torch's generator: seed it first.
"""

from collections.abc import Callable

import torch
from torch import nn

from narrowgauge.golden.errors import UsageError

__all__ = ["NETS", "make", "middle"]

CLASSES = 10


def _convolution(before: int, after: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        before, after, size, stride=stride, padding=size // 2, groups=groups, bias=False
    )


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: a 1 x 1 convolution where shapes differ."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(before, after, 3, stride),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            _convolution(after, after, 3),
            nn.BatchNorm2d(after),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(
                _convolution(before, after, 1, stride), nn.BatchNorm2d(after)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of (N, before, H, W)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class Separable(nn.Sequential):
    """A depthwise 3 x 3 convolution and a 1 x 1 convolution, each with norm and ReLU."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__(
            _convolution(before, before, 3, stride, groups=before),
            nn.BatchNorm2d(before),
            nn.ReLU(),
            _convolution(before, after, 1),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        )


def _net(stem: int, blocks: list[nn.Module], last: int) -> nn.Module:
    return nn.Sequential(
        _convolution(1, stem, 5, 4),
        nn.BatchNorm2d(stem),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(last, CLASSES),
    )


def resnet() -> nn.Module:
    """Residual blocks of 24 and 48 channels at 7 and 4 pixels; 44 thousand parameters."""
    shapes = [(24, 24, 1), (24, 48, 2)]
    return _net(24, [Residual(*shape) for shape in shapes], 48)


def mobilenet() -> nn.Module:
    """Separable convolutions of 32 to 96 channels at 7 and 4 pixels; 20 thousand parameters."""
    shapes = [(32, 48, 1), (48, 96, 2), (96, 96, 1)]
    return _net(32, [Separable(*shape) for shape in shapes], 96)


NETS: dict[str, Callable[[], nn.Module]] = {"resnet": resnet, "mobilenet": mobilenet}
"""By name."""


def make(name: str) -> nn.Module:
    """A net by name; an unknown one is a `UsageError`."""
    if name not in NETS:
        raise UsageError(f"no net {name!r}; nets: {', '.join(NETS)}")
    return NETS[name]()


def middle(net: nn.Module) -> str:
    """The name of the norm that half of the norms come before."""
    names = [
        name
        for name, module in net.named_modules()
        if module.__class__.__name__.endswith("BatchNorm2d")
    ]
    return names[len(names) // 2]
