"""One measure of one point: everything that decides its result, and the call that makes it.

`compute` carries a job out, in a worker process or on another machine.
"""

import functools
import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narrowgauge import design, tasks
from narrowgauge.cache import Cache
from narrowgauge.golden.errors import MismatchError
from narrowgauge.measures import find
from narrowgauge.registry import Point

__all__ = ["ChangedError", "Job", "compute", "stamp"]


class ChangedError(MismatchError):
    """A worker has other sources, tools or libraries than those that the job was made with."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One measure of one point; `liberty` is the library for those that take one.

    `stamp` is what makes the result, from the function `stamp`.
    """

    measure: str
    point: Point
    liberty: str
    stamp: dict[str, Any]

    @property
    def label(self) -> str:
        """What progress calls it."""
        return f"{self.measure} {self.point.full_name}"

    @property
    def name(self) -> str:
        """`unit/point`."""
        return f"{self.point.entry.name}/{self.point.name}"

    @property
    def key(self) -> dict[str, Any]:
        """Everything that decides the result."""
        return {
            "measure": self.measure,
            "name": self.point.full_name,
            "parameters": self.point.parameters,
            "stamp": self.stamp,
        }

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of `key`."""
        return hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()


def stamp(name: str, liberty: str) -> dict[str, Any]:
    """What makes the results of a measure here, beside the point: no host, no path.

    Its arguments, digests of the sources, versions of the tools, and the library, name and digest,
    where it takes one; a library that cannot be loaded is a `UsageError`.
    """
    measure = find(name)
    library: dict[str, Any] = {}
    if "liberty" in measure.takes:
        known, digest = _library(liberty)
        library = {"library": known, "library_digest": digest}
    return {
        "arguments": json.loads(json.dumps(measure.arguments)),
        "sources": measure.source(),
        "tools": design.tools(*measure.tools),
        **library,
    }


@functools.cache
def _library(liberty: str) -> tuple[str, str]:
    """Name and digest of a library."""
    from narrowgauge.synth import library

    loaded = library.load(liberty)
    return loaded.name, loaded.digest


def compute(
    *,
    measure: str,
    name: str,
    overrides: Mapping[str, Any],
    liberty: str,
    cache: Path,
    wanted: Mapping[str, Any],
) -> Any:
    """The result of one job, from the cache where it has been made before.

    Raises
    ------
    ChangedError : sources, tools or library are not those of `wanted`, the stamp of who asks
    MismatchError : the result is a failure (`Measure.failure`); it is kept nowhere
    """
    chosen = find(measure)
    point = tasks.find(name, overrides)
    job = Job(measure=measure, point=point, liberty=liberty, stamp=stamp(measure, liberty))
    _check(job, wanted)
    kept = Cache(cache / "measures")
    value = kept.get(job.key)
    if value is None:
        folders = {"liberty": liberty, "cache": cache, "build_dir": cache / "simulation"}
        given = {each: folders[each] for each in chosen.takes}
        module, _, function = chosen.function.partition(":")
        call = getattr(importlib.import_module(module), function)
        value = call(name=name, overrides=overrides, **given, **chosen.arguments)
        value = json.loads(json.dumps(value, default=lambda each: each.to_json()))
        if (reason := chosen.failure(value)) is not None:
            raise MismatchError(f"{job.label}: {reason}")
        kept.put(job.key, value)
    return value


def _check(job: Job, wanted: Mapping[str, Any]) -> None:
    """Name the parts of the stamp that are not those of who asks."""
    here = job.stamp
    other = sorted(part for part in {*here, *wanted} if here.get(part) != wanted.get(part))
    if other:
        parts = "; ".join(f"{p} {_short(here, p)}, not {_short(wanted, p)}" for p in other)
        raise ChangedError(
            f"{job.label}: a worker would make another result than the one asked for: {parts}"
        )


def _short(made: Mapping[str, Any], part: str) -> str:
    value = made.get(part)
    if isinstance(value, Mapping):
        return " ".join(f"{key} {each}" for key, each in value.items()) or "none"
    return str(value)[:12]
