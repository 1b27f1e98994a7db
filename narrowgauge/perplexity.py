"""Perplexity of a language model whose decoder computes in golden arithmetic, scheme by scheme.

Windows of a text are scored one by one, every token but the first of each; perplexity is exp of the
mean loss. A task is one scheme on a few windows; its losses are kept by content, so that a run that
was stopped goes on where it was.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge import output, workers
from narrowgauge.arguments import once
from narrowgauge.cache import Cache
from narrowgauge.console import table
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.llm.scheme import SCHEMES, Scheme, get_scheme
from narrowgauge.golden.policy import Policy
from narrowgauge.language import Calibration, Language, load, passage, sources

__all__ = ["DEFAULT", "FLOAT", "Report", "Request", "evaluate", "read_text"]

Ints = npt.NDArray[np.int64]

FLOAT = "fp32"
"""The name of the reference: all layers in float32."""

DEFAULT = (FLOAT, "bf16", "w4a16", "w4a4_7", "w4a4_7_log2", "mxint4", "mxfp4", "nvfp4")
"""Schemes of the quick setting."""

_CALIBRATION = 16
"""Most windows that weights are quantised for."""

_ARITHMETIC = (
    *(
        f"golden.llm.{name}"
        for name in (
            "attention", "bf16", "decoder", "elementwise", "int_weight", "linear", "nvfp4",
            "opal", "operand", "scheme",
        )
    ),
    "golden.policy",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of `evaluate`.

    Parameters
    ----------
    schemes : names of `SCHEMES`, or `FLOAT`
    text : what is scored; None is the passage that comes with narrowgauge
    calibration : what weights are quantised for; None is the part of `text` behind the windows
    window, windows : tokens a window, and how many from the start of the text
    layers : layers that compute in the scheme, from the first; None is all
    batch : windows a task
    compensate : quantise weights with error compensation (slower)
    policy : replaces that of every scheme with one; None keeps them
    """

    schemes: Sequence[str] = DEFAULT
    text: str | None = None
    calibration: str | None = None
    window: int = 256
    windows: int = 1
    layers: int | None = None
    batch: int = 4
    compensate: bool = True
    policy: Policy | None = None

    def __post_init__(self) -> None:
        if not self.schemes:
            raise UsageError("no scheme was given")
        for name in self.schemes:
            if name != FLOAT:
                get_scheme(name)
        once("scheme", self.schemes)
        if not 2 <= self.window <= 1024:
            raise UsageError(f"window must be 2..1024, got {self.window}")
        for name in ("windows", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.layers is not None and self.layers < 0:
            raise UsageError(f"layers must be at least 0, got {self.layers}")

    def scheme(self, name: str) -> Scheme:
        """A scheme by name, with the policy that is asked for."""
        found = SCHEMES[name]
        if self.policy is None or found.kind in ("bf16", "mxfp4", "nvfp4"):
            return found
        values = {key: getattr(found, key) for key in ("name", "kind", "log2", "renormalise")}
        return Scheme(**values, policy=self.policy)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `evaluate` found: what was asked, and the mean loss of each window by scheme."""

    configuration: dict[str, Any]
    losses: dict[str, list[float]]

    def perplexity(self, name: str) -> float:
        """Perplexity over all windows."""
        return float(np.exp(np.mean(self.losses[name])))

    def to_json(self) -> dict[str, Any]:
        """The same as plain values, with perplexities."""
        schemes = {
            name: {"perplexity": self.perplexity(name), "losses": losses}
            for name, losses in self.losses.items()
        }
        return {"configuration": self.configuration, "schemes": schemes}

    def to_text(self) -> str:
        """A table: perplexity, and how far it is from float32 and from the same weights in A16."""
        rows = []
        for name in self.losses:
            value = self.perplexity(name)
            cells = [name, f"{value:.3f}"]
            for other in (FLOAT, f"{name[:2]}a16"):
                known = other in self.losses and name != other
                cells.append(f"{value - self.perplexity(other):+.3f}" if known else "")
            rows.append(tuple(cells))
        return table(("scheme", "perplexity", "over fp32", "over A16"), rows)


def read_text(path: str) -> str:
    """A text file's content; one that cannot be read is a `UsageError`."""
    try:
        return Path(path).read_text("utf-8")
    except FileNotFoundError:
        raise UsageError(f"no file {path!r}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path!r} as text: {error}") from None


def _check_layers(request: Request, blocks: int) -> None:
    """Refuse layers that the model does not have: what is said of them would not count."""
    if request.layers is not None and request.layers > blocks:
        raise UsageError(f"layers must be 0..{blocks}, got {request.layers}")
    named = () if request.policy is None else request.policy.layers
    for layer in named:
        if layer >= blocks:
            raise UsageError(f"the policy names layer {layer}, the model has 0..{blocks - 1}")


def _cut(language: Language, request: Request) -> tuple[Ints, Ints, dict[str, Any]]:
    """Windows to score, windows to calibrate on, and what to say of them."""
    text = passage() if request.text is None else request.text
    ids = language.tokens(text)
    need = request.window * request.windows
    if len(ids) < need:
        raise UsageError(
            f"the text has {len(ids)} tokens, {request.windows} windows of {request.window} "
            f"need {need}"
        )
    scored, rest = ids[:need].reshape(request.windows, request.window), ids[need:]
    if request.calibration is not None:
        rest = language.tokens(request.calibration)
    # Some windows of a long text; what there is of a short one.
    count = min(_CALIBRATION, max(1, len(rest) // request.window))
    rest = rest[: count * request.window].reshape(count, -1) if len(rest) >= count else rest[:0]
    said = {
        "calibration": "the rest of the text" if request.calibration is None else "its own text",
        "calibration_tokens": int(rest.size),
    }
    return scored, rest, said


def _key(request: Request, scheme: str, ids: Ints, model: str, kept: Any) -> dict[str, Any]:
    return {
        "perplexity": _plain(request, scheme),
        "tokens": hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest(),
        "model": model,
        "layers": request.layers if scheme != FLOAT else 0,
        "weights": kept,
        "sources": sources(*_ARITHMETIC) if scheme != FLOAT else "",
    }


def _plain(request: Request, name: str) -> Any:
    """What tells schemes apart, as plain values."""
    if name == FLOAT:
        return FLOAT
    scheme = request.scheme(name)
    plain = {key: getattr(scheme, key) for key in ("kind", "log2", "renormalise")}
    return plain | {"policy": scheme.policy.to_json()}


def make_weights(
    windows: list[list[int]], compensate: bool, bits: int, layers: list[int], folder: str
) -> None:
    """Task: quantise some layers' weights into `folder`."""
    calibration = Calibration(np.array(windows, np.int64), compensate=compensate)
    load().make(calibration, Path(folder), bits, layers)


def score(
    request: Request, scheme: str, ids: list[list[int]], rest: list[list[int]], folder: str
) -> list[float]:
    """Task: mean loss of each window."""
    from narrowgauge.golden.llm.decoder import Decoder

    language = load()
    windows = np.array(ids, np.int64)
    calibration = Calibration(np.array(rest, np.int64), compensate=request.compensate)
    if scheme == FLOAT:
        decoder = Decoder(language.shape, language.tensor, SCHEMES["bf16"], layers=0)
    else:
        decoder = Decoder(
            language.shape,
            language.tensor,
            request.scheme(scheme),
            language.weights(calibration, Path(folder)),
            layers=request.layers,
        )
    return [float(loss.mean()) for loss in decoder.losses(windows)]


def evaluate(
    request: Request,
    *,
    cache: str = "build/cache",
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> Report:
    """Score a text with every scheme.

    `cache` holds weights and losses, by content; `jobs` processes work at once, None is in this
    one; `progress` is told of each task that ends.
    Raises `MissingToolError` where a package is missing, `UsageError` for a text that is too short.
    """
    folder = output.folder(cache)
    language = load()
    _check_layers(request, language.shape.blocks)
    scored, rest, said = _cut(language, request)
    kept: dict[str, Any] = {}
    bits = sorted({request.scheme(n).policy.low for n in request.schemes
                   if n != FLOAT and request.scheme(n).owq})  # fmt: skip
    if bits and not rest.size:
        raise UsageError("the text leaves nothing to calibrate on: give --calibration FILE")
    calibration = Calibration(rest, compensate=request.compensate)
    used = range(language.shape.blocks if request.layers is None else request.layers)
    tasks = []
    for width in bits:
        kept[str(width)] = calibration.key(language.digest, width)
        missing = [n for n in used if not language.file(calibration, folder, width, n).is_file()]
        parts = jobs or 1
        for part in range(parts):
            share = missing[part * len(missing) // parts : (part + 1) * len(missing) // parts]
            if share:
                arguments = {
                    "windows": rest.tolist(), "compensate": request.compensate, "bits": width,
                    "layers": share, "folder": str(folder),
                }  # fmt: skip
                label = f"{width}-bit weights of {len(share)} layers"
                tasks.append(workers.Task(
                    label=label, function="narrowgauge.perplexity:make_weights",
                    arguments=arguments,
                ))  # fmt: skip
    workers.run(tasks, jobs=jobs, progress=progress)
    return _scored(request, language, scored, rest, said, kept, folder, jobs, progress)


def _scored(
    request: Request,
    language: Language,
    scored: Ints,
    rest: Ints,
    said: dict[str, Any],
    kept: dict[str, Any],
    folder: Path,
    jobs: int | None,
    progress: workers.Progress | None,
) -> Report:
    store = Cache(folder)
    losses: dict[tuple[str, int], float] = {}
    keys = {}
    tasks, places = [], []
    for first in range(0, len(scored), request.batch):
        for name in request.schemes:
            found = None if name == FLOAT else request.scheme(name)
            weights = kept[str(found.policy.low)] if found is not None and found.owq else None
            missing = []
            for index in range(first, min(first + request.batch, len(scored))):
                key = _key(request, name, scored[index], language.digest, weights)
                keys[name, index] = key
                value = store.get(key)
                if value is None:
                    missing.append(index)
                else:
                    losses[name, index] = float(value["loss"])
            if missing:
                places.append((name, missing))
                tasks.append(
                    workers.Task(
                        label=f"{name}, windows {', '.join(str(i + 1) for i in missing)}",
                        function="narrowgauge.perplexity:score",
                        arguments={
                            "request": request,
                            "scheme": name,
                            "ids": scored[missing].tolist(),
                            "rest": rest.tolist(),
                            "folder": str(folder),
                        },
                    )
                )
    for done, ended in enumerate(workers.each(tasks, jobs=jobs), start=1):
        if ended.error is not None:
            raise ended.error
        name, missing = places[ended.index]
        for index, loss in zip(missing, ended.value, strict=True):
            store.put(keys[name, index], {"loss": loss})
            losses[name, index] = loss
        if progress is not None:
            progress(tasks[ended.index], done, len(tasks), ended.seconds)
    configuration = {
        "model": language.name,
        "model_sha256": language.digest,
        "tokens_sha256": hashlib.sha256(scored.astype("<i8").tobytes()).hexdigest(),
        "window": request.window,
        "windows": request.windows,
        "blocks": language.shape.blocks,
        "layers": request.layers,
        "compensate": request.compensate,
        "policy": None if request.policy is None else json.loads(request.policy.to_json()),
        **said,
    }
    return Report(
        configuration=configuration,
        losses={
            name: [losses[name, index] for index in range(len(scored))] for name in request.schemes
        },
    )
