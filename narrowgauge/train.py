"""Small nets trained with each batch normalisation and precision of products, seed by seed.

A task is one net with one norm, one precision and one seed; its result is kept by content, so that
a run that was stopped goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from narrowgauge import output, workers
from narrowgauge.arguments import once
from narrowgauge.cache import Cache, computed, version
from narrowgauge.console import table
from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.golden.units.range_bn_layer import FACTORS
from narrowgauge.language import sources

if TYPE_CHECKING:
    from narrowgauge.golden.training.data import Images

__all__ = [
    "KEPT",
    "NETS",
    "NORMS",
    "PRECISIONS",
    "ROUNDINGS",
    "Report",
    "Request",
    "evaluate",
    "named",
    "need_torch",
]

NETS = ("resnet", "mobilenet")
NORMS = ("bn", "fp32", "fp10", "bfp4", "bfp8", "bfp16")
PRECISIONS = ("fp32", "fb24", "fb16", "fb12", "mixed", "mixed_dw", "dynamic")
KEPT = ("ends", "authors", "none")
ROUNDINGS = ("rtz", "rne", "stochastic")
"""As `golden.training` has them, which takes torch to import."""

_ARITHMETIC = (
    *(f"golden.training.{name}" for name in ("blocks", "data", "loop", "nets", "norm", "passes")),
    *(f"golden.training.{name}" for name in ("groups", "layers", "precision", "products", "taps")),
    "golden.precision",
    *(f"golden.units.{name}" for name in ("range_bn", "range_bn_layer", "range_bn_steps")),
    *(f"golden.units.{name}" for name in ("range_bn_gradient", "range_bn_passes", "window")),
    *("golden.formats.bfp", "golden.formats.vector"),
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of `evaluate`.

    Parameters
    ----------
    nets, norms, precisions : names of `NETS`, `NORMS` and `PRECISIONS`; each with each
    data : `digits`, `fashion`, or a folder of MNIST's files
    seeds : how many, from 1
    epochs, images, batch, rate, factor, kept, rounding, ordered, interval, lower, upper : as of
        `golden.training.loop.Plan`
    held : images from the end of the training set that are tested on in place of the test images,
        and not trained on; 0 is none
    """

    nets: Sequence[str] = NETS
    norms: Sequence[str] = NORMS
    precisions: Sequence[str] = ("fp32",)
    data: str = "digits"
    seeds: int = 1
    epochs: int = 4
    images: int | None = None
    batch: int = 64
    rate: float = 0.2
    factor: str = "bound"
    held: int = 0
    kept: str = "ends"
    rounding: str = "rtz"
    ordered: bool = False
    interval: int = 20
    lower: float = 0.1
    upper: float = 0.2

    def __post_init__(self) -> None:
        for what, known in (("nets", NETS), ("norms", NORMS), ("precisions", PRECISIONS)):
            given = getattr(self, what)
            if not given:
                raise UsageError(f"no {what[:-1]} was given")
            for name in given:
                if name not in known:
                    raise UsageError(f"no {what[:-1]} {name!r}; {what}: {', '.join(known)}")
            once(what[:-1], given)
        for what in ("seeds", "epochs", "images", "batch", "interval"):
            value = getattr(self, what)
            if value is not None and value < 1:
                raise UsageError(f"{what} must be at least 1, got {value}")
        if self.held < 0:
            raise UsageError(f"held must be at least 0, got {self.held}")
        for what, names in (("factor", FACTORS), ("kept", KEPT), ("rounding", ROUNDINGS)):
            value = getattr(self, what)
            if value not in names:
                raise UsageError(f"{what} must be one of {', '.join(names)}, got {value!r}")
        if not 0 <= self.lower <= self.upper <= 1:
            raise UsageError(
                f"thresholds must be 0 <= lower <= upper <= 1, got {self.lower} and {self.upper}"
            )
        if not 0 < self.rate < float("inf"):
            raise UsageError(f"rate must be above 0, got {self.rate}")

    def plan(self, net: str, norm: str, precision: str, seed: int) -> dict[str, Any]:
        """The arguments of one `Plan`: a run serves all options that do not change it."""
        given = ["epochs", "images", "batch", "rate"]
        if norm != "bn":
            given.append("factor")
        if precision != "fp32":
            given += self.of_precision(precision)
        kept = {name: getattr(self, name) for name in given}
        named = {} if precision == "fp32" else {"precision": precision}
        return {"net": net, "norm": norm, "seed": seed, **named, **kept}

    @staticmethod
    def of_precision(precision: str) -> list[str]:
        """The options that a precision other than FP32 has."""
        thresholds = ["lower", "upper"] if precision == "dynamic" else []
        return ["kept", "rounding", "ordered", "interval", *thresholds]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Norms and precisions that are trained."""
        return [(norm, precision) for norm in self.norms for precision in self.precisions]


def named(norm: str, precision: str) -> str:
    """What a report calls the runs of a norm with a precision: `bn`, `bn+fb12`."""
    return norm if precision == "fp32" else f"{norm}+{precision}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `evaluate` found: what was asked, and each run as `golden.training.loop.train` has it.

    `runs` is by net, by norm and precision as `named` has them, and a list over the seeds.
    """

    configuration: dict[str, Any]
    runs: dict[str, dict[str, list[dict[str, Any]]]]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)

    def to_text(self) -> str:
        """A table: accuracy on the test images after the last epoch, and how far from `bn`."""
        rows = []
        plus = any("+" in name for norms in self.runs.values() for name in norms)
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
        return table(("net", "run" if plus else "norm", "accuracy %", "seeds", "over bn"), rows)


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
    """Train every net with every norm and precision.

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
    wanted = {}
    # Seeds last: a run that is stopped has whole tables of those before.
    for seed in range(1, request.seeds + 1):
        for net in request.nets:
            for norm, precision in request.pairs:
                plan = request.plan(net, norm, precision, seed)
                name = named(norm, precision)
                task = workers.Task(
                    label=f"{net} with {name}, seed {seed}",
                    function="narrowgauge.train:train",
                    arguments={"data": request.data, "held": request.held, "plan": plan},
                )
                wanted[net, name, seed] = ({"training": plan, **shared}, task)
    made = computed(store, list(wanted.values()), jobs=jobs, progress=progress)
    found = dict(zip(wanted, made, strict=True))
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
    for precision in request.precisions:
        if precision != "fp32":
            configuration |= {k: getattr(request, k) for k in request.of_precision(precision)}
    return Report(
        configuration=configuration,
        runs={
            net: {
                name: [found[net, name, seed] for seed in range(1, request.seeds + 1)]
                for name in (named(*pair) for pair in request.pairs)
            }
            for net in request.nets
        },
    )
