"""One batch normalisation in the middle of a training: what it is given, forward and backward.

x and g are kept as bf16, from which blocks of any group are made: 8 significant bits against the 5
and 4 of the formats. `golden.training.capture` makes the file anew, README.md has its facts.
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

__all__ = ["ARRAYS", "NormLayer", "digest", "load", "read", "save"]

ARRAYS = {"x": (np.uint16, 2), "g": (np.uint16, 2), "gamma": (np.uint16, 1), "beta": (np.uint32, 1)}
"""Type and axes of each array."""


@dataclass(frozen=True, kw_only=True)
class NormLayer:
    """Codes of one layer in one step; arrays are read-only.

    Parameters
    ----------
    x : (positions, channels), bf16 codes of the input, positions in the order (N, H, W)
    g : (positions, channels), bf16 codes of the gradient of the output
    gamma : (channels,), FP10 codes
    beta : (channels,), FP32 codes
    provenance : net, data, step, layer, versions, digest
    """

    x: npt.NDArray[np.uint16]
    g: npt.NDArray[np.uint16]
    gamma: npt.NDArray[np.uint16]
    beta: npt.NDArray[np.uint32]
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, (dtype, axes) in ARRAYS.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != axes:
                raise UsageError(
                    f"{name} must be {np.dtype(dtype)} with {axes} axes, got {array.dtype} of "
                    f"shape {array.shape}"
                )
            wanted = self.x.shape if axes == 2 else self.x.shape[1:]
            if array.shape != wanted:
                raise UsageError(f"{name} must be of shape {wanted}, got {array.shape}")
            array.setflags(write=False)

    def blocks(self, lanes: int, most: int | None = None) -> list["NormLayer"]:
        """The layer `lanes` channels at a time, and its first `most` positions.

        More lanes than there are channels repeat them; channels that fill no block are left out.
        """
        channels = self.x.shape[1]
        count = max(channels // lanes, 1) * lanes
        return [
            NormLayer(
                x=self.x[:most, part],
                g=self.g[:most, part],
                gamma=self.gamma[part],
                beta=self.beta[part],
                provenance=self.provenance,
            )
            for part in (np.arange(count) % channels).reshape(-1, lanes)
        ]


def digest(layer: NormLayer) -> str:
    """SHA-256 over names, shapes and little-endian codes: what the file holds, however zipped."""
    state = hashlib.sha256()
    for name in ARRAYS:
        array = getattr(layer, name)
        state.update(f"{name} {array.shape}\n".encode())
        state.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return state.hexdigest()


def read(path: Traversable) -> NormLayer:
    """The layer in a file; one that is missing, damaged or not a layer is a `UsageError`."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            provenance = json.loads(archive["provenance"].item())
            arrays = {name: archive[name] for name in ARRAYS}
        expected = provenance["digest"]
        layer = NormLayer(**arrays, provenance=MappingProxyType(provenance))
    except DAMAGE as error:
        raise UsageError(f"cannot read the sample {path.name}: {error}") from error
    if (found := digest(layer)) != expected:
        raise UsageError(
            f"cannot read the sample {path.name}: its arrays have digest {found}, "
            f"expected {expected}"
        )
    return layer


def save(layer: NormLayer, path: Path) -> None:
    """Write a layer, whole or not at all; equal layers give equal bytes with one zlib."""
    write(path, layer.provenance, {name: getattr(layer, name) for name in ARRAYS})


@cache
def load() -> NormLayer:
    """The layer that comes with the package; read once."""
    return read(resources.files(__package__) / "range_bn.npz")
