"""Photographs that a package carries, as MobileNetV2 takes them; labels are a net's own.

Four of scikit-image's: `astronaut`, `chelsea` (a cat), `coffee`, `motorcycle_left`. Of each ten
squares: the middle, as large as the short side, and four corners of three quarters of it, each as
it is and mirrored; 160 pixels wide, scaled by ImageNet's means and deviations. Only the files are
read, with Pillow; the package is not imported.
"""

import hashlib
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.golden.training.attack.mobilenet_v2 import CLASSES
from narrowgauge.golden.training.attack.runs import Sets

__all__ = ["NAMES", "PACKAGE", "SIZE", "digest", "sets", "squares"]

PACKAGE = "scikit-image"
NAMES = ("astronaut", "chelsea", "coffee", "motorcycle_left")
SIZE = 160
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@cache
def _paths() -> tuple[Path, ...]:
    try:
        files = metadata.distribution(PACKAGE).files or ()
    except metadata.PackageNotFoundError:
        raise MissingToolError(
            f"package {PACKAGE}, which has the photographs, is not installed: "
            f"pip install --no-deps {PACKAGE}"
        ) from None
    made = []
    for name in NAMES:
        found = [f for f in files if f.parts[-2:] == ("data", f"{name}.png")]
        if len(found) != 1:
            raise UsageError(f"{PACKAGE} must hold one {name}.png, got {len(found)}")
        made.append(Path(str(found[0].locate())))
    return tuple(made)


def digest() -> str:
    """SHA-256 of the files."""
    state = hashlib.sha256()
    for path in _paths():
        state.update(path.read_bytes())
    return state.hexdigest()


def _pixels(path: Path) -> npt.NDArray[np.uint8]:
    try:
        image: Any = import_module("PIL.Image")
    except ImportError:
        raise MissingToolError("package pillow is not installed: pip install pillow") from None
    with image.open(path) as opened:
        return np.array(opened.convert("RGB"), np.uint8)


def squares() -> torch.Tensor:
    """(40, 3, SIZE, SIZE)."""
    made = []
    for path in _paths():
        whole = torch.from_numpy(_pixels(path)).permute(2, 0, 1).float() / 255
        height, width = whole.shape[1:]
        short = min(height, width)
        edge = short * 3 // 4
        down, across = height - edge, width - edge
        places = [((height - short) // 2, (width - short) // 2, short)]
        places += [(y, x, edge) for y in (0, down) for x in (0, across)]
        for y, x, size in places:
            part = whole[None, :, y : y + size, x : x + size]
            small = functional.interpolate(
                part, size=(SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
            )
            made += [small, small.flip(3)]
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (_MEAN, _DEVIATION))
    return (torch.cat(made) - mean) / deviation


def sets(net: nn.Module, tests: int) -> Sets:
    """Every other square to search with, the first `tests` to test; labels of the net as it is."""
    images = squares()
    if not 1 <= tests <= len(images):
        raise UsageError(f"tests must be 1..{len(images)} of photographs, got {tests}")
    with torch.no_grad():
        labels = torch.cat([net(part).argmax(1) for part in images.split(10)])
    return Sets(
        train=images[::2],
        train_labels=labels[::2],
        test=images[:tests],
        test_labels=labels[:tests],
        classes=CLASSES,
    )
