"""What a sweep is going to do: points, a grid of their parameters, and measures, made into jobs."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from narrowgauge import measures, registry
from narrowgauge.golden.errors import UsageError
from narrowgauge.jobs import Job, stamp
from narrowgauge.registry import Point

__all__ = ["Plan", "Refusal", "plan"]

_MOST = 100_000
"""Combinations of one sweep; more are taken for a slip of the keyboard."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Something asked for that was not done, and why: a combination, or a job that failed."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep is going to measure, and the combinations that the units refuse."""

    jobs: tuple[Job, ...]
    refused: tuple[Refusal, ...]


def plan(
    names: Sequence[str],
    *,
    grid: Mapping[str, Sequence[Any]],
    overrides: Mapping[str, Any],
    measure: Sequence[str],
    liberty: str,
) -> Plan:
    """The jobs of a sweep: every combination of the grid on every point named, once each.

    A combination that has the parameters of a named point goes by that point's name. Jobs are
    ordered by measure, so that two measures of one point seldom run at the same time.

    Raises
    ------
    UsageError : a name, parameter or measure that is not there, or no combination is possible
    """
    for name in measure:
        measures.find(name)
    if not measure:
        raise UsageError(f"no measure named; measures: {', '.join(measures.MEASURES)}")
    for name in {*grid} & {*overrides}:
        raise UsageError(f"parameter {name} has one value and a grid")
    chosen, refused = _points(registry.points(*names), grid, overrides)
    jobs = []
    for name in dict.fromkeys(measure):
        made = stamp(name, liberty)
        for point in chosen:
            if measures.MEASURES[name].applies(point):
                jobs.append(Job(measure=name, point=point, liberty=liberty, stamp=made))
            else:
                refused.append(Refusal(name=point.full_name, reason=f"has no measure {name}"))
    if not jobs:
        first = f"{refused[0].name}: {refused[0].reason}" if refused else "no point"
        raise UsageError(f"nothing to sweep; of {len(refused)} refused, the first is {first}")
    return Plan(jobs=tuple(jobs), refused=tuple(refused))


def _points(
    named: Sequence[Point], grid: Mapping[str, Sequence[Any]], overrides: Mapping[str, Any]
) -> tuple[list[Point], list[Refusal]]:
    found: dict[str, Point] = {}
    refused: dict[str, Refusal] = {}
    for point in named:
        for parameter in (*grid, *overrides):
            if parameter not in point.parameters:
                point.entry.params(point.name, **{parameter: None})
    combinations = [dict(zip(grid, each, strict=True)) for each in _product(grid, len(named))]
    for point, combination in itertools.product(named, combinations):
        values = {**overrides, **combination}
        wanted = {**point.entry.points[point.name], **values}
        same = f"{point.entry.name} {sorted(wanted.items())}"
        try:
            made = _named(point, values)
        except UsageError as error:
            name = " ".join([_full(point), *(f"{k}={v}" for k, v in values.items())])
            refused.setdefault(same, Refusal(name=name, reason=str(error)))
        else:
            found.setdefault(f"{made.entry.name} {made.params}", made)
    return list(found.values()), list(refused.values())


def _product(grid: Mapping[str, Sequence[Any]], points: int) -> Iterator[tuple[Any, ...]]:
    count = points
    for name, values in grid.items():
        if not values:
            raise UsageError(f"the grid of {name} is empty")
        count *= len(values)
    if count > _MOST:
        raise UsageError(f"the grid has {count} combinations, more than {_MOST}")
    return itertools.product(*grid.values())


def _full(point: Point) -> str:
    return f"{point.entry.name}/{point.name}"


def _named(point: Point, values: Mapping[str, Any]) -> Point:
    """The point with these values, by the name of a point that has them, else by its overrides."""
    entry = point.entry
    params = entry.params(point.name, **values)
    for name in (point.name, *entry.points):
        if entry.params(name) == params:
            return Point(entry=entry, name=name, params=entry.params(name))
    # In the order of declaration, so that it does not matter in which order they were given.
    given = [k for k in point.parameters if k in values and values[k] != getattr(point.params, k)]
    changed = {k: values[k] for k in given}
    return Point(entry=entry, name=point.name, params=params, overrides=changed)
