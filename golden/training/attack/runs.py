"""One attack on one victim, as its plan says (`golden.attack.plan`), and what is kept of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from narrowgauge.golden.attack import GuardPlan, Plan, get_weights
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.training.attack.adaptive import GuardedVictim, adaptive
from narrowgauge.golden.training.attack.distill import ATTACK, VALIDATION, distill
from narrowgauge.golden.training.attack.search import Record, Search, progressive, random_flips
from narrowgauge.golden.training.attack.victim import Victim, accuracy

__all__ = ["Sets", "run"]


@dataclass(frozen=True, kw_only=True)
class Sets:
    """Images as the net takes them, and their classes.

    Parameters
    ----------
    train, test : (images, channels, height, width) float32
    train_labels, test_labels : (images,) int64
    classes : how many there are
    """

    train: torch.Tensor
    train_labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor
    classes: int = 10

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image."""
        _, channels, height, width = self.test.shape
        return channels, height, width


class _Judge:
    """Accuracies after each step, and whether they are low enough."""

    def __init__(self, plan: Plan, victim: Victim | GuardedVictim, sets: Sets) -> None:
        self._plan, self._victim, self._sets = plan, victim, sets
        self.images, self.labels, self.made = distill(
            victim.net, sets.shape, sets.classes, plan.validation,
            replace(VALIDATION, steps=plan.validation_steps), 1_000_003 * plan.seed,
        )  # fmt: skip

    def accuracies(self) -> dict[str, Any]:
        net = self._victim.net
        return {
            "distilled": accuracy(net, self.images, self.labels),
            "test": accuracy(net, self._sets.test, self._sets.test_labels),
        }

    def __call__(self, flips: int) -> tuple[dict[str, Any], bool]:
        found = self.accuracies()
        return found, found[self._plan.judge] <= self._plan.bar


def _batch(
    plan: Plan, victim: Victim | GuardedVictim, sets: Sets, trial: int
) -> tuple[Any, Any, Record]:
    """Images, labels, and what is to be recorded of them."""
    if plan.method == "bfa":
        count = len(sets.train)
        if plan.batch > count:
            raise UsageError(f"batch must be at most {count}, got {plan.batch}")
        rows = torch.from_numpy(np.random.default_rng(plan.seed).permutation(count)[: plan.batch])
        return sets.train[rows], sets.train_labels[rows], {}
    settings = replace(ATTACK, bound=plan.bound)
    images, labels, made = distill(
        victim.net, sets.shape, sets.classes, plan.batch, settings, 1000 * plan.seed + trial
    )
    return images, labels, {"distillation": made}


def _first(flips: list[Record], name: str, bar: float) -> int | None:
    """The number of flips after which an accuracy was at the bar for the first time."""
    for flip in flips:
        if flip.get(name, 1.0) <= bar:
            return int(flip["flips"])
    return None


def _counts(most: int) -> list[int]:
    """1, 2, 3, ... and then a quarter more at a time."""
    made = [1]
    while made[-1] < most:
        made.append(min(most, max(made[-1] + 1, made[-1] * 5 // 4)))
    return made


def run(
    net: nn.Module,
    sets: Sets,
    plan: Plan,
    progress: Callable[[str], None] | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Attack a net, which is changed.

    Parameters
    ----------
    progress : told of each step in a line
    threads : of torch; sums depend on it

    Returns
    -------
    `clean`, accuracies before; `flips`, records of the best trial; `end`, why it ended;
    `to_chance`, flips until the judge's accuracy was at the bar, or None; `seen`, the same of the
    distilled images; `trials`, the flips of each; `validation`, how the distilled images came
    about; `bits` of the memories by field

    Raises `UsageError` for a net without batch normalisation (`zebra` and the distilled images), or
    without a gradient, and for fields that the format has not.
    """
    torch.set_num_threads(threads)
    fmt = get_weights(plan.fmt)
    victim: Victim | GuardedVictim
    if plan.guard is None:
        victim = Victim(net, fmt, word_bits=plan.word_bits, reading=plan.reading)  # type: ignore[arg-type]
    else:
        victim = GuardedVictim(net, fmt, GuardPlan.of(plan.guard), plan.reading)  # type: ignore[arg-type]
    search = Search(tried=plan.tried, fields=plan.fields)
    judge = _Judge(plan, victim, sets)
    clean = judge.accuracies()

    def watch(flips: int) -> tuple[dict[str, Any], bool]:
        found, enough = judge(flips)
        if progress is not None:
            progress(f"{flips} flips: test {found['test']:.3f}, distilled {found['distilled']:.3f}")
        return {"flips": flips, **found}, enough

    best: list[Record] = []
    end, trials = "budget", []
    if plan.method == "random":
        assert isinstance(victim, Victim)
        most = min(
            1000 * plan.budget, sum(int(m.sum()) for m in victim.masks(plan.fields).values())
        )
        best = random_flips(
            victim, seed=plan.seed, fields=plan.fields, counts=_counts(max(1, most)), watch=watch
        )
        if best[-1][plan.judge] <= plan.bar:
            end = "reached"
    else:
        count = plan.trials if plan.method == "zebra" else 1
        budget = plan.budget
        for trial in range(count):
            victim.restore()
            images, labels, more = _batch(plan, victim, sets, trial)
            options: dict[str, Any] = {"search": search, "budget": budget, "watch": watch}
            if isinstance(victim, Victim):
                flips, why = progressive(victim, images, labels, **options)
            else:
                flips, why = adaptive(victim, images, labels, **options)
            if why == "no gradient" and not flips:
                raise UsageError(
                    f"the loss of {plan.method}'s images has no gradient in the clean net"
                )
            count_of = flips[-1]["flips"] if flips else 0
            trials.append({"flips": count_of, "end": why, **more})
            if why == "reached" or not best:
                best, end = flips, why
            if why == "reached":
                budget = count_of - 1
            if budget < plan.enough:
                break
    return {
        "plan": {**asdict(plan), "fields": list(plan.fields)},
        "clean": clean,
        "end": end,
        "to_chance": _first(best, plan.judge, plan.bar),
        "seen": _first(best, "distilled", plan.bar),
        "flips": best,
        "trials": trials,
        "validation": judge.made,
        "bits": victim.bits,
    }
