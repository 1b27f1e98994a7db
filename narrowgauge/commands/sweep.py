"""`narrowgauge sweep`: measures of many points and parameters."""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrowgauge import api, measures
from narrowgauge.console import Console, table
from narrowgauge.options import Command, Grid, count, shared, words

if TYPE_CHECKING:
    from narrowgauge.sweep import Progress, Sweep

__all__ = ["COMMANDS", "sweep"]


def sweep(options: argparse.Namespace) -> int:
    """Measures over points and parameters, kept in a store."""
    meter = _Meter(Console(options.verbosity), options.store)
    try:
        made = api.sweep(
            options.names,
            grid=options.grid,
            overrides=options.overrides,
            measure=options.measure,
            liberty=options.liberty,
            store=options.store,
            cache=options.cache,
            scheduler=options.scheduler,
            timeout=options.timeout,
            jobs=options.jobs,
            progress=meter,
        )
    except KeyboardInterrupt:
        meter.interrupted()
        raise
    if options.json:
        print(json.dumps(_plain(made), indent=2))
    else:
        print(_text(made, options.store))
    return 0 if made.passed else 1


class _Meter:
    """Progress of a sweep: done and total, failures so far, time left at the pace until now."""

    def __init__(self, console: Console, store: str) -> None:
        self._console = console
        self._store = store
        self._start = time.monotonic()
        self._last: Progress | None = None

    def __call__(self, now: "Progress") -> None:
        self._last = now
        pace = (time.monotonic() - self._start) / now.done
        line = f"[{now.done}/{now.total}] {now.job.label} ({now.seconds:.1f} s)"
        if now.failed:
            line += f", {now.failed} failed"
        if now.done < now.total:
            line += f", {_duration(pace * (now.total - now.done))} left"
        self._console.line(line, last=now.done == now.total)

    def interrupted(self) -> None:
        """Say what is kept."""
        if self._last is not None:
            done = self._last.done - self._last.failed
            self._console.line(
                f"{done} of {self._last.total} results are in {Path(self._store).as_posix()}; "
                "the same command goes on there"
            )


def _duration(seconds: float) -> str:
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _plain(made: "Sweep") -> dict[str, Any]:
    return {
        "results": [result.to_json() for result in made.results],
        "reused": made.reused,
        "failed": [{"job": each.name, "reason": each.reason} for each in made.failed],
        "refused": [{"name": each.name, "reason": each.reason} for each in made.refused],
    }


def _text(made: "Sweep", store: str) -> str:
    cells: dict[str, Mapping[str, str]] = {}
    for result in made.results:
        shown = measures.find(result.measure).columns(result.value)
        cells[result.name] = {**cells.get(result.name, {}), **shown}
    head = list(dict.fromkeys(heading for each in cells.values() for heading in each))
    # A column that is empty in all rows, GE a MAC where nothing has MACs, is left out.
    head = [heading for heading in head if any(each.get(heading) for each in cells.values())]
    rows = [[name, *(each.get(h, "") for h in head)] for name, each in cells.items()]
    parts = [table(["point", *head], rows)] if rows else []
    parts += _listed("refused", made.refused) + _listed("failed", made.failed)
    new = len(made.results) - made.reused
    counted = f"{new} new results, {made.reused} that were there, in {Path(store).as_posix()}"
    return "\n\n".join([*parts, counted])


def _listed(word: str, listed: Any) -> list[str]:
    lines = [f"  {each.name}: {each.reason}" for each in listed]
    return ["\n".join([f"{len(lines)} {word}:", *lines])] if lines else []


def _sweep_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "set", "liberty", "jobs", "cache", "json")
    sub.add_argument(
        "--grid", action=Grid, default={}, metavar="NAME=V1,V2,...",
        help="values of a parameter, each with each of the others'; A:B:STEP is a range that "
        "holds both ends; may be given again",
    )  # fmt: skip
    sub.add_argument(
        "--measure", type=words, default="area", metavar="M1,M2,...",
        help=f"what to measure: {', '.join(measures.MEASURES)}",
    )  # fmt: skip
    shared(sub, "store")
    sub.add_argument(
        "--scheduler", metavar="ADDRESS", help="work on the cluster of this dask scheduler"
    )
    sub.add_argument(
        "--timeout", type=count, default=10, metavar="SECONDS",
        help="how long to wait for the scheduler, and for a worker where it has none",
    )  # fmt: skip


COMMANDS = (
    Command(
        sweep,
        "measure points over a grid of parameters, and keep the results",
        "narrowgauge sweep mx_dot/w4a4_l32 --grid w_bits=3:5 --grid a_bits=3:7:2",
        _sweep_options,
    ),
)
