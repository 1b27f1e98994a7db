"""Bit flips in the weights of trained nets: how many take a net to chance, by format and by field.

A task is one format with one method, in some fields, with one seed; its result is kept by content,
and so is the trained net: what was stopped goes on where it was. The tool is for measuring one's
own designs (docs/attack.md).
"""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from narrowgauge import output, workers
from narrowgauge.attack_request import ALL, PACKAGED, PHOTOGRAPHS, Request, fields_of
from narrowgauge.cache import Cache, computed, version
from narrowgauge.console import table
from narrowgauge.golden.attack import Plan
from narrowgauge.golden.errors import UsageError
from narrowgauge.language import sources
from narrowgauge.train import need_torch

__all__ = ["ALL", "Report", "Request", "evaluate", "fields_of"]

_TRAINING = tuple(f"golden.training.{name}" for name in ("data", "loop", "nets"))
_ATTACK = (
    *("golden.attack", "golden.training.attack", "golden.formats", "golden.payload"),
    *("golden.guard", "golden.guard_words"),
    "golden.training.nets",
)


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
    if data == PHOTOGRAPHS:
        from narrowgauge.golden.training.attack import photographs

        count = len(photographs.squares())
        return SimpleNamespace(name=data, digest=photographs.digest(), test=range(count))
    from narrowgauge.golden.training.data import load

    return load(data)


def victim(data: str, plan: dict[str, Any]) -> dict[str, Any]:
    """Task: train a victim."""
    from narrowgauge.golden.training.attack import victims
    from narrowgauge.golden.training.loop import Plan

    return victims.trained(Plan(**plan), _images(data))


def _victim(
    request: Request,
    store: Cache,
    digest: str,
    versions: dict[str, Any],
    jobs: int | None,
    progress: workers.Progress | None,
) -> dict[str, Any]:
    """The victim: trained where it is not kept, or what its package is known by."""
    if request.net == PACKAGED:
        from narrowgauge.golden.training.attack import mobilenet_v2

        # Its labels are its own.
        return {"state": mobilenet_v2.digest(), "accuracy": 1.0, "parameters": 3_504_872}
    training = {"training": request.training(), "data": digest}
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
    return dict(kept)


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

    if net == PACKAGED:
        from narrowgauge.golden.training.attack import mobilenet_v2, photographs

        whole = mobilenet_v2.load()
        made = runs.run(whole, photographs.sets(whole, tests), plan, tell)
    else:
        kept = victims.restored(net, state)
        made = runs.run(kept, victims.sets(_images(data), tests), plan, tell)
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
    Raises `MissingToolError` where torch, a packaged net or the data is missing, `UsageError` for
    bad data.
    """
    need_torch()
    store = Cache(output.folder(cache))
    images = _images(request.data)
    if not request.tests <= len(images.test):
        raise UsageError(
            f"tests must be 1..{len(images.test)} of {images.name}, got {request.tests}"
        )
    versions = {"torch": version("torch"), "numpy": version("numpy")}
    kept = _victim(request, store, images.digest, versions, jobs, progress)
    shared = {
        "victim": hashlib.sha256(kept["state"].encode()).hexdigest(),
        "net": request.net,
        "data": images.digest,
        "tests": request.tests,
        "sources": sources(*_ATTACK),
        **versions,
    }
    plans = request.plans()
    wanted = []
    for word, plan in plans:
        arguments = {
            "data": request.data, "net": request.net, "state": kept["state"],
            "tests": request.tests, "plan": plan,
        }  # fmt: skip
        if jobs is None and tell is not None:
            arguments["tell"] = tell
        behind = "" if plan.guard is None else f" behind {plan.guard}"
        label = f"{plan.method} on {plan.fmt}{behind}, {word}, seed {plan.seed}"
        task = workers.Task(label=label, function="narrowgauge.attack:attack", arguments=arguments)
        wanted.append(({"attack": asdict(plan), **shared}, task))
    found = computed(store, wanted, jobs=jobs, progress=progress)
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
        runs=[{"fields": word, **run} for (word, _), run in zip(plans, found, strict=True)],
    )
