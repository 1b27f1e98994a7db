"""Small nets trained with each batch normalisation, seed by seed.

A task is one net with one norm and one seed; its result is kept by content, so that a run that was
stopped goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from narrowgauge import output, workers
from narrowgauge.cache import Cache, version
from narrowgauge.console import table
from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.golden.units.range_bn_layer import FACTORS
from narrowgauge.language import sources

if TYPE_CHECKING:
    from narrowgauge.golden.training.data import Images

__all__ = ["NETS", "NORMS", "Report", "Request", "evaluate", "need_torch"]

NETS = ("resnet", "mobilenet")
NORMS = ("bn", "fp32", "fp10", "bfp4", "bfp8", "bfp16")
"""As `golden.training` has them, which takes torch to import."""

_ARITHMETIC = (
    *(f"golden.training.{name}" for name in ("blocks", "data", "loop", "nets", "norm", "passes")),
    *(f"golden.units.{name}" for name in ("range_bn", "range_bn_layer", "range_bn_steps")),
    *(f"golden.units.{name}" for name in ("range_bn_gradient", "range_bn_passes", "window")),
    *("golden.formats.bfp", "golden.formats.vector"),
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of `evaluate`.

    Parameters
    ----------
    nets, norms : names of `NETS` and `NORMS`
    data : `digits`, `fashion`, or a folder of MNIST's files
    seeds : how many, from 1
    epochs, images, batch, rate, factor : as of `golden.training.loop.Plan`
    held : images from the end of the training set that are tested on in place of the test images,
        and not trained on; 0 is none
    """

    nets: Sequence[str] = NETS
    norms: Sequence[str] = NORMS
    data: str = "digits"
    seeds: int = 1
    epochs: int = 4
    images: int | None = None
    batch: int = 64
    rate: float = 0.2
    factor: str = "bound"
    held: int = 0

    def __post_init__(self) -> None:
        for what, known in (("nets", NETS), ("norms", NORMS)):
            given = getattr(self, what)
            if not given:
                raise UsageError(f"no {what[:-1]} was given")
            for name in given:
                if name not in known:
                    raise UsageError(f"no {what[:-1]} {name!r}; {what}: {', '.join(known)}")
        for what in ("seeds", "epochs", "images", "batch"):
            value = getattr(self, what)
            if value is not None and value < 1:
                raise UsageError(f"{what} must be at least 1, got {value}")
        if self.held < 0:
            raise UsageError(f"held must be at least 0, got {self.held}")
        if self.factor not in FACTORS:
            raise UsageError(f"factor must be one of {', '.join(FACTORS)}, got {self.factor!r}")
        if not 0 < self.rate < float("inf"):
            raise UsageError(f"rate must be above 0, got {self.rate}")

    def plan(self, net: str, norm: str, seed: int) -> dict[str, Any]:
        """The arguments of one `Plan`."""
        kept = {name: getattr(self, name) for name in ("epochs", "images", "batch", "rate")}
        # A run of `bn` serves all factors.
        factor = {} if norm == "bn" else {"factor": self.factor}
        return {"net": net, "norm": norm, "seed": seed, **kept, **factor}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `evaluate` found: what was asked, and each run as `golden.training.loop.train` has it.

    `runs` is by net, by norm, and a list over the seeds.
    """

    configuration: dict[str, Any]
    runs: dict[str, dict[str, list[dict[str, Any]]]]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)

    def to_text(self) -> str:
        """A table: accuracy on the test images after the last epoch, and how far from `bn`."""
        rows = []
        for net, norms in self.runs.items():
            for norm, runs in norms.items():
                found = [100 * run["accuracy"][-1] for run in runs]
                cells = [net, norm, f"{np.mean(found):.2f}", f"{min(found):.2f}..{max(found):.2f}"]
                if norm != "bn" and "bn" in norms:
                    base = np.mean([100 * run["accuracy"][-1] for run in norms["bn"]])
                    cells.append(f"{np.mean(found) - base:+.2f}")
                else:
                    cells.append("")
                rows.append(tuple(cells))
        return table(("net", "norm", "accuracy %", "seeds", "over bn"), rows)


def train(data: str, held: int, plan: dict[str, Any]) -> dict[str, Any]:
    """Task: one run."""
    from narrowgauge.golden.training import loop

    return loop.train(loop.Plan(**plan), _images(data, held))


def _images(data: str, held: int) -> "Images":
    from narrowgauge.golden.training.data import load

    found = load(data)
    return found.held(held) if held else found


def need_torch() -> None:
    """Raise `MissingToolError` where torch is not installed."""
    if find_spec("torch") is None:
        raise MissingToolError(
            "package torch is not installed: pip install 'narrowgauge[train]' (the extra `train`)"
        )


def evaluate(
    request: Request,
    *,
    cache: str = "build/cache",
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> Report:
    """Train every net with every norm.

    `cache` holds results by content; `jobs` processes work at once, None is in this one;
    `progress` is told of each run that ends. Each run has one thread.
    Raises `MissingToolError` where torch or the data is missing, `UsageError` for bad data.
    """
    need_torch()
    store = Cache(output.folder(cache))
    images = _images(request.data, request.held)
    if request.images is not None and not request.batch <= request.images <= len(images.train):
        raise UsageError(
            f"images must be {request.batch}..{len(images.train)} of {images.name}, "
            f"got {request.images}"
        )
    shared = {
        "data": images.digest,
        "sources": sources(*_ARITHMETIC),
        "torch": version("torch"),
        "numpy": version("numpy"),
    }
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    missing, tasks = [], []
    # Seeds last: a run that is stopped has whole tables of those before.
    for seed in range(1, request.seeds + 1):
        for net in request.nets:
            for norm in request.norms:
                plan = request.plan(net, norm, seed)
                value = store.get({"training": plan, **shared})
                if value is not None:
                    found[net, norm, seed] = value
                    continue
                missing.append((net, norm, seed))
                tasks.append(
                    workers.Task(
                        label=f"{net} with {norm}, seed {seed}",
                        function="narrowgauge.train:train",
                        arguments={"data": request.data, "held": request.held, "plan": plan},
                    )
                )
    for done, ended in enumerate(workers.each(tasks, jobs=jobs), start=1):
        if ended.error is not None:
            raise ended.error
        key = missing[ended.index]
        store.put({"training": request.plan(*key), **shared}, ended.value)
        found[key] = ended.value
        if progress is not None:
            progress(tasks[ended.index], done, len(tasks), ended.seconds)
    configuration = {
        "data": images.name,
        "data_sha256": images.digest,
        "images": len(images.train) if request.images is None else request.images,
        "test_images": len(images.test),
        "held": request.held,
        "seeds": request.seeds,
        "epochs": request.epochs,
        "batch": request.batch,
        "rate": request.rate,
        "factor": request.factor,
        "torch": shared["torch"],
        "numpy": shared["numpy"],
    }
    return Report(
        configuration=configuration,
        runs={
            net: {
                norm: [found[net, norm, seed] for seed in range(1, request.seeds + 1)]
                for norm in request.norms
            }
            for net in request.nets
        },
    )
