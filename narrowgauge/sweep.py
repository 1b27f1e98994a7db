"""Sweeps: measures of many points and parameters, on all cores or a cluster, kept in a store.

A result is stored as soon as it is there, so that a sweep which was ended, by whatever, goes on
where it was: what the store has is not computed again.
"""

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from narrowgauge import measures, output, workers
from narrowgauge.doctor import Need, require
from narrowgauge.golden.errors import UsageError
from narrowgauge.jobs import ChangedError, Job
from narrowgauge.plan import Refusal, plan
from narrowgauge.store import DEFAULT, Result, Store

__all__ = ["Progress", "Sweep", "sweep"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a sweep stands as a job ends: what it was, how many have ended, how many failed."""

    job: Job
    done: int
    total: int
    failed: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What came out.

    Attributes
    ----------
    results : in the order of the plan, those that failed left out
    reused : how many of them were in the store before
    failed : jobs without a result
    refused : combinations that the unit does not have, and points without a measure
    """

    results: tuple[Result, ...]
    reused: int
    failed: tuple[Refusal, ...]
    refused: tuple[Refusal, ...]

    @property
    def passed(self) -> bool:
        """Whether every job has a result."""
        return not self.failed


def sweep(
    names: str | Sequence[str] = (),
    *,
    grid: Mapping[str, Sequence[Any]] | None = None,
    overrides: Mapping[str, Any] | None = None,
    measure: Sequence[str] = ("area",),
    liberty: str = "nangate45",
    store: str | os.PathLike[str] = DEFAULT,
    cache: str | os.PathLike[str] = "build/cache",
    scheduler: str | None = None,
    timeout: float = 10.0,
    jobs: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Sweep:
    """Measure points over a grid of parameters and keep the results.

    Parameters
    ----------
    names : `unit` or `unit/point`; none is every point
    grid : parameter -> values; every combination is measured
    overrides : parameter -> the one value that it has in all points
    measure : names of measures (`narrowgauge.measures`)
    liberty : library of the measures that take one
    store : the SQLite file that gets each result as soon as it is there
    cache : folder of results by content; on a cluster each worker has it in its own place
    scheduler : address of a dask scheduler; None works here
    timeout : seconds to wait for the scheduler and its first worker
    jobs : worker processes at once, without a scheduler; None works in the calling process
    progress : told about each job that ends

    A job that fails is in `failed` and stops no other.

    Raises
    ------
    UsageError : input that cannot be used; a store that cannot be written, also in the middle:
        what was finished is then in the store, and the rest of it in the cache
    ChangedError : sources or tools changed in the middle, or are others on a worker
    MissingToolError : an extra is not installed
    """
    listed = (names,) if isinstance(names, str) else tuple(names)
    planned = plan(
        listed, grid=grid or {}, overrides=overrides or {}, measure=measure, liberty=liberty
    )
    needs: list[Need] = [n for name in measure for n in measures.find(name).needs]
    require(*needs)
    digests = [job.digest for job in planned.jobs]
    kept = Store(Path(store))
    found = kept.recall(digests)
    missing = [job for job in planned.jobs if job.digest not in found]
    run = _Run(jobs=missing, store=kept, cache=Path(cache), progress=progress or (lambda _: None))
    if missing and scheduler is None:
        _buildable(output.folder(cache), measure)
        kept.check()
        run.take(workers.each(run.tasks, jobs=jobs))
    elif missing and scheduler is not None:
        from narrowgauge import cluster

        with cluster.connected(scheduler, timeout) as client:
            kept.check()
            keys = [job.digest for job in missing]
            run.take(cluster.each(client, run.tasks, keys, timeout=timeout))
    found |= run.found
    return Sweep(
        results=tuple(found[digest] for digest in digests if digest in found),
        reused=len(planned.jobs) - len(missing),
        failed=tuple(run.failed),
        refused=planned.refused,
    )


def _buildable(cache: Path, measure: Sequence[str]) -> None:
    """Refuse a folder that a simulator cannot be built in, where one is going to be."""
    if any("build_dir" in measures.find(name).takes for name in measure):
        output.buildable(cache)


@dataclass(kw_only=True)
class _Run:
    """The jobs of a sweep that are computed now, and what became of them."""

    jobs: Sequence[Job]
    store: Store
    cache: Path
    progress: Callable[[Progress], None]
    found: dict[str, Result] = field(default_factory=dict)
    failed: list[Refusal] = field(default_factory=list)

    @property
    def tasks(self) -> list[workers.Task]:
        """The jobs as tasks."""
        return [
            workers.Task(
                label=job.label,
                function="narrowgauge.jobs:compute",
                arguments={
                    "measure": job.measure,
                    "name": job.name,
                    "overrides": dict(job.point.overrides),
                    "liberty": job.liberty,
                    "cache": self.cache,
                    "wanted": job.stamp,
                },
            )
            for job in self.jobs
        ]

    def take(self, ending: Generator[workers.Ended, None, None]) -> None:
        """Store each result as it comes, note each failure."""
        with closing(ending):
            for done, ended in enumerate(ending, 1):
                job = self.jobs[ended.index]
                if isinstance(ended.error, ChangedError):
                    raise ended.error
                if ended.error is not None:
                    self.failed.append(Refusal(name=job.label, reason=_line(ended.error)))
                else:
                    self._keep(job, ended)
                self.progress(
                    Progress(
                        job=job,
                        done=done,
                        total=len(self.jobs),
                        failed=len(self.failed),
                        seconds=ended.seconds,
                    )
                )

    def _keep(self, job: Job, ended: workers.Ended) -> None:
        result = Result(
            digest=job.digest,
            measure=job.measure,
            point=job.name,
            name=job.point.full_name,
            parameters=job.point.parameters,
            value=ended.value,
            stamp=job.stamp,
            seconds=round(ended.seconds, 3),
        )
        try:
            self.store.add(result)
        except UsageError as error:
            raise UsageError(
                f"{error}; {len(self.found)} results of this sweep are in it, what else was "
                f"finished is in the cache {str(self.cache)!r}: the same command goes on there"
            ) from None
        self.found[result.digest] = result


def _line(error: Exception) -> str:
    """An error in one line; of a worker's traceback the last."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1].strip()}"
