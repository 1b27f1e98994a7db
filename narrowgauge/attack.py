"""Bit flips in the weights of trained nets: how many take a net to chance, by format and by field.

A task is one format with one method, in some fields, with one seed; its result is kept by content,
and so is the trained net: what was stopped goes on where it was. The tool is for measuring one's
own designs (docs/attack.md).
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from narrowgauge import output, workers
from narrowgauge.cache import Cache, version
from narrowgauge.console import table
from narrowgauge.golden.attack import FIELDS, METHODS, GuardPlan, IntSteps, Plan, get_weights
from narrowgauge.golden.errors import UsageError
from narrowgauge.language import sources
from narrowgauge.train import NETS, need_torch

__all__ = ["ALL", "Report", "Request", "evaluate", "fields_of"]

ALL = "all"
"""Every field of a format."""

_TRAINING = tuple(f"golden.training.{name}" for name in ("data", "loop", "nets"))
_ATTACK = (
    *("golden.attack", "golden.training.attack", "golden.formats", "golden.payload"),
    *("golden.guard", "golden.guard_words"),
    "golden.training.nets",
)


def fields_of(name: str) -> tuple[str, ...]:
    """The fields that a format of weights has."""
    fmt = get_weights(name)
    if isinstance(fmt, IntSteps):
        return FIELDS[:2]
    return FIELDS[:5] if fmt.n else FIELDS[:3]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of `evaluate`.

    Parameters
    ----------
    formats : names that `golden.attack.get_weights` takes
    methods : of `golden.attack.METHODS`
    fields : where flips may lie: `all`, a field of `golden.attack.FIELDS`, or some joined by `+`;
        formats that have none of them are left out
    guards : names of `golden.attack.GuardPlan`, which the attacker knows; none is the search by
        bits. Formats in which one has nothing to guard are left out
    net : the victim, of `narrowgauge.train.NETS`
    data : `digits`, `fashion`, or a folder of MNIST's files
    epochs, rate, train_batch, train_seed : of the victim's training
    seeds : how many attacks of each kind, from 1
    tests : test images, from the first
    budget, trials, batch, bound, validation, bar, judge, tried, word_bits, reading : as of
        `golden.attack.Plan`
    """

    formats: Sequence[str] = ("int8",)
    methods: Sequence[str] = ("zebra",)
    fields: Sequence[str] = (ALL,)
    guards: Sequence[str] = ()
    net: str = "mobilenet"
    data: str = "digits"
    epochs: int = 2
    rate: float = 0.3
    train_batch: int = 64
    train_seed: int = 1
    seeds: int = 1
    tests: int = 1000
    budget: int = 40
    trials: int = 1
    batch: int = 64
    bound: float = 2.0
    validation: int = 200
    bar: float = 0.11
    judge: str = "test"
    tried: int = 4
    word_bits: int = 64
    reading: str = "replace"

    def __post_init__(self) -> None:
        for what in ("formats", "methods", "fields"):
            if not getattr(self, what):
                raise UsageError(f"no {what[:-1]} was given")
        if self.net not in NETS:
            raise UsageError(f"no net {self.net!r}; nets: {', '.join(NETS)}")
        for name in ("epochs", "train_batch", "seeds", "tests"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.rate < float("inf"):
            raise UsageError(f"rate must be above 0, got {self.rate}")
        for word in self.fields:
            if word != ALL:
                Plan(fmt=self.formats[0], method=METHODS[0], fields=tuple(word.split("+")))
        if self.guards and tuple(self.fields) != (ALL,):
            raise UsageError(f"with a guard fields must be {ALL}, got {', '.join(self.fields)}")
        if not self.plans():
            what = f"a field of {', '.join(self.fields)}"
            if self.guards:
                what = f"anything to guard for {', '.join(self.guards)}"
            raise UsageError(f"none of {', '.join(self.formats)} has {what}")

    def plans(self) -> list[tuple[str, Plan]]:
        """What is run, seed by seed, each with the word for its fields.

        Of words that mean the same fields of a format the first counts.
        """
        kept = {field.name for field in dataclasses.fields(Plan)} & set(self.__dict__) - {"fields"}
        shared = {name: getattr(self, name) for name in kept}
        made = []
        for seed in range(1, self.seeds + 1):
            for fmt in self.formats:
                known = fields_of(fmt)
                done: list[tuple[str, ...]] = [()]
                for word in self.fields:
                    fields = tuple(f for f in known if word == ALL or f in word.split("+"))
                    if fields in done:
                        continue
                    done.append(fields)
                    made += [
                        (word, Plan(fmt=fmt, method=m, fields=fields, seed=seed, guard=g, **shared))
                        for m in self.methods
                        for g in self._guards(fmt)
                    ]
        return made

    def _guards(self, fmt: str) -> list[str | None]:
        """Guards that have something to guard in a format; of those that are the same the first."""
        if not self.guards:
            return [None]
        weights, done = get_weights(fmt), []
        made: list[str | None] = []
        for name in self.guards:
            plan = GuardPlan.of(name)
            if not plan.fits(weights):
                continue
            guard = plan.guard(weights)
            recovery = plan.recovery if guard.check_bits else ""
            same = (guard.word_bits, guard.covered, guard.rule.code, guard.rule.clamp, recovery)
            if same not in done:
                done.append(same)
                made.append(name)
        return made

    def training(self) -> dict[str, Any]:
        """The arguments of the `Plan` of the victim's training."""
        return {
            "net": self.net, "norm": "bn", "seed": self.train_seed, "epochs": self.epochs,
            "batch": self.train_batch, "rate": self.rate,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `evaluate` found: what was asked, and each run as `runs.run` has it.

    A run has `fields`, the word that was asked for, beside.
    """

    configuration: dict[str, Any]
    runs: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)

    def to_text(self) -> str:
        """A table: flips to chance over the seeds, and the accuracies at the end."""
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for run in self.runs:
            key: tuple[str, ...] = (run["plan"]["fmt"], run["plan"]["method"], run["fields"])
            if self.configuration["guards"]:
                key = (*key, run["plan"]["guard"])
            groups.setdefault(key, []).append(run)
        rows = []
        for key, runs in groups.items():
            found = [run["to_chance"] for run in runs]
            good = [count for count in found if count is not None]
            clean = np.mean([100 * run["clean"]["test"] for run in runs])
            last = [100 * run["flips"][-1]["test"] if run["flips"] else None for run in runs]
            known = [value for value in last if value is not None]
            rows.append((
                *key, f"{clean:.1f}",
                f"{np.mean(good):.1f}" if len(good) == len(found) else "",
                f"{min(good)}..{max(good)}" if good else "none",
                f"{len(good)} of {len(found)}",
                f"{np.mean(known):.1f}" if known else "",
            ))  # fmt: skip
        guard = ("guard",) if self.configuration["guards"] else ()
        head = (
            "format",
            "method",
            "fields",
            *guard,
            "clean %",
            "flips",
            "seeds",
            "at chance",
            "last %",
        )
        return table(head, rows)


@functools.lru_cache(maxsize=2)
def _images(data: str) -> Any:
    from narrowgauge.golden.training.data import load

    return load(data)


def victim(data: str, plan: dict[str, Any]) -> dict[str, Any]:
    """Task: train a victim."""
    from narrowgauge.golden.training.attack import victims
    from narrowgauge.golden.training.loop import Plan

    return victims.trained(Plan(**plan), _images(data))


def attack(
    data: str,
    net: str,
    state: str,
    tests: int,
    plan: Plan,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Task: one run."""
    from narrowgauge.golden.training.attack import runs, victims

    made = runs.run(
        victims.restored(net, state),
        victims.sets(_images(data), tests),
        plan,
        tell,
    )
    plain: dict[str, Any] = json.loads(json.dumps(made))
    return plain


def evaluate(
    request: Request,
    *,
    cache: str = "build/cache",
    jobs: int | None = None,
    progress: workers.Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Report:
    """Train the victim, where `cache` has none, and attack it in every way asked for.

    `cache` holds the victim and results by content; `jobs` processes work at once, None is in this
    one; `progress` is told of each task that ends, `tell` of each step where all is in this one.
    Raises `MissingToolError` where torch or the data is missing, `UsageError` for bad data.
    """
    need_torch()
    store = Cache(output.folder(cache))
    images = _images(request.data)
    if not request.tests <= len(images.test):
        raise UsageError(
            f"tests must be 1..{len(images.test)} of {images.name}, got {request.tests}"
        )
    versions = {"torch": version("torch"), "numpy": version("numpy")}
    training = {"training": request.training(), "data": images.digest}
    key = {"victim": training, "sources": sources(*_TRAINING), **versions}
    kept = store.get(key)
    if kept is None:
        task = workers.Task(
            label=f"{request.net} trained",
            function="narrowgauge.attack:victim",
            arguments={"data": request.data, "plan": request.training()},
        )
        kept = workers.run([task], jobs=jobs, progress=progress)[0]
        store.put(key, kept)
    shared = {
        "victim": hashlib.sha256(kept["state"].encode()).hexdigest(),
        "net": request.net,
        "data": images.digest,
        "tests": request.tests,
        "sources": sources(*_ATTACK),
        **versions,
    }
    plans = request.plans()
    found: dict[int, dict[str, Any]] = {}
    missing, tasks = [], []
    for index, (word, plan) in enumerate(plans):
        value = store.get({"attack": asdict(plan), **shared})
        if value is not None:
            found[index] = value
            continue
        missing.append(index)
        arguments = {
            "data": request.data, "net": request.net, "state": kept["state"],
            "tests": request.tests, "plan": plan,
        }  # fmt: skip
        if jobs is None and tell is not None:
            arguments["tell"] = tell
        behind = "" if plan.guard is None else f" behind {plan.guard}"
        label = f"{plan.method} on {plan.fmt}{behind}, {word}, seed {plan.seed}"
        tasks.append(
            workers.Task(label=label, function="narrowgauge.attack:attack", arguments=arguments)
        )
    for done, ended in enumerate(workers.each(tasks, jobs=jobs), start=1):
        if ended.error is not None:
            raise ended.error
        index = missing[ended.index]
        store.put({"attack": asdict(plans[index][1]), **shared}, ended.value)
        found[index] = ended.value
        if progress is not None:
            progress(tasks[ended.index], done, len(tasks), ended.seconds)
    configuration = {
        **asdict(request),
        "data": images.name,
        "data_sha256": images.digest,
        "accuracy": kept["accuracy"],
        "parameters": kept["parameters"],
        **versions,
    }
    for name in ("formats", "methods", "fields", "guards"):
        configuration[name] = list(configuration[name])
    return Report(
        configuration=configuration,
        runs=[{"fields": plans[index][0], **found[index]} for index in range(len(plans))],
    )
