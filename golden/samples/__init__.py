"""Real activations and weights, for stimuli that look like what a network computes.

The sample here is SmolLM2-135M-Instruct on a short passage: the inputs of the QKV, FFN-up and
FFN-down projections of three layers, and some rows of those projections' weights, all as bf16
codes. README.md here has the choice of layers and tokens and the statistics; `capture.py` makes
the file anew.
"""

import hashlib
import io
import json
import os
import zipfile
import zlib
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

__all__ = ["DAMAGE", "Codes", "Sample", "digest", "load", "read", "write"]

Codes = npt.NDArray[np.uint16]

# NumPy, zipfile, zlib and json each have their own words for a damaged file.
DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Tensors of one model as bf16 codes; arrays are read-only.

    Parameters
    ----------
    activations : `layer01.qkv` and the like -> codes, shape (tokens, width)
    weights : the same names -> codes, shape (rows, width): output rows of the projection that the
        activations enter, so that activations @ weights.T is part of its result
    provenance : model, package, licence, digest of the source, tensors, tokens, rounding
    """

    activations: Mapping[str, Codes]
    weights: Mapping[str, Codes]
    provenance: Mapping[str, Any]


def digest(activations: Mapping[str, Codes], weights: Mapping[str, Codes]) -> str:
    """SHA-256 over names, shapes and little-endian codes: what the file holds, however zipped."""
    state = hashlib.sha256()
    for kind, arrays in (("activations", activations), ("weights", weights)):
        for name in sorted(arrays):
            state.update(f"{kind}/{name} {arrays[name].shape}\n".encode())
            state.update(np.ascontiguousarray(arrays[name], dtype="<u2").tobytes())
    return state.hexdigest()


def read(path: Traversable) -> Sample:
    """The sample in a file; one that is missing, damaged or not a sample is a `UsageError`."""
    groups: dict[str, dict[str, Codes]] = {"activations": {}, "weights": {}}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            provenance = json.loads(archive["provenance"].item())
            for key in archive.files:
                kind, _, name = key.partition("/")
                if kind in groups:
                    groups[kind][name] = archive[key]
        expected = provenance["digest"]
    except DAMAGE as error:
        raise UsageError(f"cannot read the sample {path.name}: {error}") from error
    activations, weights = groups["activations"], groups["weights"]
    for array in (*activations.values(), *weights.values()):
        if array.dtype != np.uint16 or array.ndim != 2:
            raise UsageError(
                f"cannot read the sample {path.name}: an array is {array.dtype} of shape "
                f"{array.shape}, expected two axes of uint16"
            )
        array.setflags(write=False)
    found = digest(activations, weights)
    if found != expected:
        raise UsageError(
            f"cannot read the sample {path.name}: its arrays have digest {found}, "
            f"expected {expected}"
        )
    return Sample(
        activations=MappingProxyType(activations),
        weights=MappingProxyType(weights),
        provenance=MappingProxyType(provenance),
    )


def write(
    path: Path, provenance: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Write arrays and facts, whole or not at all; equal ones give equal bytes with one zlib."""
    text = json.dumps(dict(provenance), indent=1, sort_keys=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, provenance=np.array(text), **arrays)
    aside = path.with_name(path.name + ".part")
    aside.write_bytes(buffer.getvalue())
    os.replace(aside, path)


@cache
def load() -> Sample:
    """The sample that comes with the package; read once."""
    return read(resources.files(__name__) / "smollm2.npz")
