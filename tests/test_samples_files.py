"""The files of the captured layers: small, read once, the same when written again, else refused."""

from importlib import resources
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from narrowgauge.golden import samples
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.samples import norm, products

FILES = [(norm, "range_bn.npz", 300_000), (products, "products.npz", 200_000)]
KEPT = pytest.mark.parametrize(("kept", "name", "most"), FILES)


def arrays(kept: ModuleType) -> list[np.ndarray]:
    """Those of a sample."""
    made = kept.load()
    layers = made.layers.values() if kept is products else [made]
    return [getattr(layer, name) for layer in layers for name in kept.ARRAYS]


@KEPT
def test_file_is_small_read_once_and_read_only(kept: ModuleType, name: str, most: int) -> None:
    assert Path(str(resources.files(samples) / name)).stat().st_size < most
    assert kept.load() is kept.load()
    for array in arrays(kept):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


@KEPT
def test_saved_again_it_is_the_same(kept: ModuleType, name: str, most: int, tmp_path: Path) -> None:
    for file in ("a.npz", "b.npz"):
        kept.save(kept.load(), tmp_path / file)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = kept.read(tmp_path / "a.npz")
    assert dict(again.provenance) == dict(kept.load().provenance)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]


@KEPT
def test_what_is_no_sample_is_refused(
    kept: ModuleType, name: str, most: int, tmp_path: Path
) -> None:
    whole = Path(str(resources.files(samples) / name)).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:5000])
    for file in ("cut.npz", "none"):
        with pytest.raises(UsageError, match=f"cannot read the sample {file}"):
            kept.read(tmp_path / file)
