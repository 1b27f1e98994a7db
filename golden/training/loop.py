"""Training of one net with one norm and one precision of products, the same for all but these.

SGD with momentum 0.9, weight decay and a learning rate that rises over the first fifth of the steps
and falls to zero, batches of one size (the rest of an epoch is left out), images shifted and scaled
by two constants, no augmentation. All randomness is of the seed: a run gives the same figures again
on the same machine with the same number of threads.
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Rounding
from narrowgauge.golden.training.data import Images
from narrowgauge.golden.training.layers import KEPT, replace_products
from narrowgauge.golden.training.nets import make
from narrowgauge.golden.training.norm import KINDS, replace_batch_norm
from narrowgauge.golden.training.precision import SETTINGS, Arithmetic, Precision
from narrowgauge.golden.units.range_bn_layer import FACTORS

__all__ = ["NORMS", "PRECISIONS", "Plan", "build", "prepare", "train"]

NORMS = ("bn", *KINDS)
"""`torch.nn.BatchNorm2d`, and the kinds of range batch normalisation."""
PRECISIONS = ("fp32", *SETTINGS)
"""torch's convolutions and linear layers, and the settings of those in groups."""

_TESTED = 1000
"""Images of a batch in evaluation."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained, and how.

    Parameters
    ----------
    net, norm, precision : names
    seed : of weights and of the order of images
    epochs : passes over the images
    images : of the training set, from its start; None is all
    batch : images a step
    rate : largest learning rate
    factor : of the norm, as of `RangeBatchNorm2d`
    kept : what is FP32 in every precision, as of `replace_products`
    rounding, ordered : as of `Arithmetic`, the words of stochastic rounding are of the seed
    interval, lower, upper : as of `Precision`
    """

    net: str
    norm: str
    seed: int
    epochs: int
    images: int | None = None
    batch: int = 64
    rate: float = 0.2
    factor: str = "bound"
    precision: str = "fp32"
    kept: str = "ends"
    rounding: str = "rtz"
    ordered: bool = False
    interval: int = 20
    lower: float = 0.1
    upper: float = 0.2

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise UsageError(f"no norm {self.norm!r}; norms: {', '.join(NORMS)}")
        if self.factor not in FACTORS:
            raise UsageError(f"factor must be one of {', '.join(FACTORS)}, got {self.factor!r}")
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"no precision {self.precision!r}; precisions: {', '.join(PRECISIONS)}"
            )
        if self.kept not in KEPT:
            raise UsageError(f"kept must be one of {', '.join(KEPT)}, got {self.kept!r}")
        for name in ("epochs", "images", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.images is not None and self.images < self.batch:
            raise UsageError(f"images must be at least a batch of {self.batch}, got {self.images}")


def build(plan: Plan) -> torch.nn.Module:
    """The net of a plan, its weights as the seed has them whatever the norm."""
    return prepare(plan)[0]


def prepare(plan: Plan) -> tuple[torch.nn.Module, Precision | None]:
    """The net of a plan and the precision of its products, None where they are torch's."""
    torch.manual_seed(plan.seed)
    net = make(plan.net)
    if plan.norm != "bn":
        net = replace_batch_norm(net, kind=plan.norm, factor=plan.factor)
    if plan.precision == "fp32":
        return net, None
    arithmetic = Arithmetic(rounding=Rounding(plan.rounding), seed=plan.seed, ordered=plan.ordered)
    return net, replace_products(
        net,
        plan.precision,
        kept=plan.kept,
        arithmetic=arithmetic,
        interval=plan.interval,
        lower=plan.lower,
        upper=plan.upper,
    )


def _prepared(images: Any) -> torch.Tensor:
    return (torch.from_numpy(images.astype(np.float32))[:, None] / 255 - 0.3) / 0.35


def train(
    plan: Plan,
    data: Images,
    watch: Callable[[int, torch.nn.Module], None] | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Train and evaluate.

    Parameters
    ----------
    watch : called before each step with its number and the net
    threads : of torch; sums in convolutions depend on it

    Returns
    -------
    `losses` (mean over each twentieth of an epoch), `accuracy` on the test images after each epoch
    (a share), `parameters`, `steps`; `precision`, as of `Precision.to_json`, unless it is FP32
    """
    torch.set_num_threads(threads)
    _keep_memory()
    net, precision = prepare(plan)
    count = len(data.train) if plan.images is None else plan.images
    if not plan.batch <= count <= len(data.train):
        raise UsageError(
            f"images must be {plan.batch}..{len(data.train)} of {data.name}, got {count}"
        )
    x = _prepared(data.train[:count])
    labels = torch.from_numpy(data.train_labels[:count].astype(np.int64))
    steps = count // plan.batch
    weights = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    optimizer = torch.optim.SGD(
        [{"params": weights, "weight_decay": 1e-4}, {"params": others}],
        lr=plan.rate, momentum=0.9, nesterov=True,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate(steps * plan.epochs))
    order = torch.Generator().manual_seed(plan.seed)
    losses: list[float] = []
    accuracy: list[float] = []
    for _ in range(plan.epochs):
        net.train()
        seen = []
        rows = torch.randperm(count, generator=order)
        for step in range(steps):
            if watch is not None:
                watch(len(accuracy) * steps + step, net)
            if precision is not None:
                precision.begin()
            chosen = rows[step * plan.batch : (step + 1) * plan.batch]
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(x[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
            schedule.step()
            if precision is not None:
                precision.end()
            seen.append(float(loss.detach()))
        losses += [float(np.mean(part)) for part in np.array_split(seen, min(20, steps))]
        accuracy.append(_accuracy(net, data))
    parameters = sum(p.numel() for p in net.parameters())
    return {
        "losses": losses, "accuracy": accuracy, "parameters": parameters,
        "steps": steps * plan.epochs,
        **({} if precision is None else {"precision": precision.to_json()}),
    }  # fmt: skip


def _keep_memory() -> None:
    """Let glibc keep what tensors free: fresh pages cost more than most operations."""
    with suppress(AttributeError, OSError, TypeError):
        options = {-3: 1 << 30, -1: (1 << 31) - 1}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
        for option, value in options.items():
            ctypes.CDLL(None).mallopt(option, value)


def _rate(steps: int) -> Callable[[int], float]:
    """Share of the largest rate: up for a fifth of the steps, then down."""
    rise = max(1, steps // 5)
    return lambda step: min((step + 1) / rise, (steps - step) / max(1, steps - rise))


def _accuracy(net: torch.nn.Module, data: Images) -> float:
    net.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(data.test), _TESTED):
            part = slice(start, start + _TESTED)
            found = net(_prepared(data.test[part])).argmax(1).numpy()
            right += int((found == data.test_labels[part]).sum())
    return right / len(data.test)
