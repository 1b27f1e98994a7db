"""Layers in the middle of a training: x, w and dY of a convolution, a depthwise one and a linear.

Values are float32 of which the 16 leading significant bits are kept and the others are 0: FB12,
FB16 and FB24 that truncate make the same of them as of the whole numbers. A linear layer is a
convolution of one tap on one pixel. `golden.training.capture_products` makes the file anew,
README.md has its facts.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.samples import DAMAGE, write

__all__ = ["ARRAYS", "NAMES", "ProductLayer", "Products", "cut", "digest", "load", "read", "save"]

NAMES = ("conv", "depthwise", "linear")
ARRAYS = ("x", "w", "dy")
_SPARE = 0xFF
"""Bits of a float32 beyond 16 significant ones."""

Floats = npt.NDArray[np.float32]


def cut(values: npt.ArrayLike) -> Floats:
    """Values with 16 significant bits, truncated."""
    whole = np.ascontiguousarray(values, np.float32)
    return (whole.view(np.uint32) & ~np.uint32(_SPARE)).view(np.float32)


@dataclass(frozen=True, kw_only=True)
class ProductLayer:
    """Operands of the three products of one layer in one step; arrays are read-only.

    Parameters
    ----------
    x : (images, inputs, height, width)
    w : (outputs, inputs / groups, kernel, kernel)
    dy : (images, outputs, height of the outputs, their width)
    stride, padding, groups : of the convolution
    """

    x: Floats
    w: Floats
    dy: Floats
    stride: int
    padding: int
    groups: int

    def __post_init__(self) -> None:
        for name in ARRAYS:
            array = getattr(self, name)
            if array.dtype != np.float32 or array.ndim != 4:
                raise UsageError(
                    f"{name} must be float32 with 4 axes, got {array.dtype} of shape {array.shape}"
                )
            if (array.view(np.uint32) & _SPARE).any():
                raise UsageError(f"{name} must have 16 significant bits at most")
            array.setflags(write=False)
        images, inputs, *size = self.x.shape
        outputs, each, *kernel = self.w.shape
        made = [
            (n + 2 * self.padding - k) // self.stride + 1 for n, k in zip(size, kernel, strict=True)
        ]
        if each * self.groups != inputs or outputs % self.groups:
            raise UsageError(f"w must suit x of shape {self.x.shape}, got {self.w.shape}")
        if self.dy.shape != (images, outputs, *made):
            raise UsageError(f"dy must be of shape {(images, outputs, *made)}, got {self.dy.shape}")


@dataclass(frozen=True, kw_only=True)
class Products:
    """The layers of `NAMES`, and where they are from: nets, data, step, versions, digest."""

    layers: Mapping[str, ProductLayer]
    provenance: Mapping[str, Any]


def digest(layers: Mapping[str, ProductLayer]) -> str:
    """SHA-256 over names, shapes and little-endian values: what the file holds, however zipped."""
    state = hashlib.sha256()
    for name in NAMES:
        layer = layers[name]
        state.update(f"{name} {layer.stride} {layer.padding} {layer.groups}\n".encode())
        for part in ARRAYS:
            array = getattr(layer, part)
            state.update(f"{part} {array.shape}\n".encode())
            state.update(np.ascontiguousarray(array, "<f4").tobytes())
    return state.hexdigest()


def read(path: Traversable) -> Products:
    """The layers in a file; one that is missing, damaged or without them is a `UsageError`."""
    layers = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            provenance = json.loads(archive["provenance"].item())
            for name in NAMES:
                stride, padding, groups = archive[f"{name}.geometry"].tolist()
                arrays = {part: _joined(archive, f"{name}.{part}") for part in ARRAYS}
                layers[name] = ProductLayer(**arrays, stride=stride, padding=padding, groups=groups)
        expected = provenance["digest"]
    except DAMAGE as error:
        raise UsageError(f"cannot read the sample {path.name}: {error}") from error
    if (found := digest(layers)) != expected:
        raise UsageError(
            f"cannot read the sample {path.name}: its arrays have digest {found}, "
            f"expected {expected}"
        )
    return Products(layers=MappingProxyType(layers), provenance=MappingProxyType(provenance))


def _joined(archive: Any, name: str) -> Floats:
    """Sign, exponent and 7 bits in one array, the next 8 in another, which zip better apart."""
    high, low = archive[f"{name}.high"], archive[f"{name}.low"]
    made: Floats = (high.astype(np.uint32) << 16 | low.astype(np.uint32) << 8).view(np.float32)
    return made


def save(products: Products, path: Path) -> None:
    """Write layers, whole or not at all; equal ones give equal bytes with one zlib."""
    arrays: dict[str, Any] = {}
    for name in NAMES:
        layer = products.layers[name]
        arrays[f"{name}.geometry"] = np.array([layer.stride, layer.padding, layer.groups])
        for part in ARRAYS:
            codes = getattr(layer, part).view(np.uint32)
            arrays[f"{name}.{part}.high"] = (codes >> 16).astype(np.uint16)
            arrays[f"{name}.{part}.low"] = (codes >> 8 & 0xFF).astype(np.uint8)
    write(path, products.provenance, arrays)


@cache
def load() -> Products:
    """The layers that come with the package; read once."""
    return read(resources.files(__package__) / "products.npz")
