"""The judgement of a run: counts, cocotb's own verdict, beats, timing and coverage."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import MismatchError
from narrowgauge.golden.payload import Batch
from narrowgauge.verify.beats import Beats, Raw, from_hex
from narrowgauge.verify.harness import ERRORS
from narrowgauge.verify.scoreboard import compare

__all__ = ["Run", "cocotb_verdict", "coverage", "score"]

_NO_LATENCY = 0xFFFFFFFF
"""What the harness reports where no latency was measured."""


@dataclass
class Run:
    """What is known so far; becomes a `Result` wherever the run ends."""

    failures: list[str] = field(default_factory=list)
    mismatch: str | None = None
    transactions: int = 0
    beats_in: int = 0
    beats_out: int = 0
    cycles: int = 0
    patterns: list[str] = field(default_factory=list)
    latency: int | None = None
    interval: float | None = None
    bins: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def cocotb_verdict(path: Path) -> str:
    """Why the results file is not one test that ran and passed; empty where it is."""
    if not path.exists():
        return "cocotb left no results file"
    try:
        cases = list(ET.parse(path).getroot().iter("testcase"))
    except ET.ParseError as error:
        return f"cocotb's results file cannot be read: {error}"
    if len(cases) != 1:
        return f"cocotb ran {len(cases)} tests, expected 1"
    for tag in ("failure", "error", "skipped"):
        found = cases[0].find(tag)
        if found is not None:
            text = found.get("message") or (found.text or "").strip() or tag
            return f"cocotb: {text.splitlines()[0]}"
    return ""


def _check_run(status: dict[str, Any], limit: int) -> str:
    """Why one pattern failed by the harness's own account, or ""."""
    if not status["error"]:
        cut = status["abort_after"]
        wanted = cut or status["beats_in"]
        if status["accepted"] < wanted or (not cut and status["received"] != status["beats_out"]):
            return (
                f"pattern {status['name']}: {status['accepted']} of {wanted} input beats and "
                f"{status['received']} of {status['beats_out']} output beats moved"
            )
        return ""
    text = ERRORS[status["error"]].format(limit=limit)
    if status["name"] == "patient" and status["error"] == 7:
        text += "; ready waits for valid here, so valid must not wait for ready"
    where = f"cycle {status['error_cycle']}, output beat {status['error_beat']}"
    return f"pattern {status['name']}, {where}: {text}"


def _timing(
    run: Run, status: dict[str, Any], component: Any, outputs: Beats, ends: npt.NDArray[np.int64]
) -> None:
    """Latency from the isolated pattern, interval from the one at full speed.

    `ends` counts the batch's transactions at the end of each group that makes an output.
    """
    if status["name"] == "isolated":
        if component.latency is None:
            # It depends on the transaction, whose answer may begin before its end.
            return
        low, high = status["latency_min"], status["latency_max"]
        if low == _NO_LATENCY:
            run.failures.append("latency could not be measured: no output after a transaction")
            return
        run.latency = high
        if (low, high) != (component.latency, component.latency):
            measured = str(low) if low == high else f"{low} to {high}"
            run.failures.append(
                f"latency is declared as {component.latency} and measured as {measured}"
            )
    elif status["name"] == "throughput" and len(outputs.ends) > 1:
        span = status["last_out"] - status["first_out"]
        steps = int(ends[-1] - ends[0])
        # Output beats of the last transaction come after its first, one a cycle.
        span -= (outputs.uniform or 1) - 1
        run.interval = span / steps
        declared = component.interval
        if declared is None or outputs.uniform is None:
            return
        slack = 0 if outputs.uniform == 1 else max(declared, outputs.uniform)
        if abs(span - steps * declared) > slack:
            run.failures.append(
                f"interval is declared as {declared} cycles a transaction and measured as "
                f"{run.interval:.4g} over {steps} transactions"
            )


def coverage(run: Run, bench: ModuleType, params: Any, batch: Batch, want: Batch) -> None:
    for name, hits in bench.coverage(params, batch, want).items():
        array = np.asarray(hits)
        if array.shape != (run.transactions,) or array.dtype != np.bool_:
            raise MismatchError(
                f"coverage bin {name}: expected {run.transactions} bools, "
                f"got {array.dtype} of shape {array.shape}"
            )
        run.bins[name] = int(array.sum())
    if not run.bins:
        raise MismatchError("the bench has no coverage bins")
    run.missing = [name for name, count in run.bins.items() if not count]


def score(
    run: Run,
    statuses: list[dict[str, Any]],
    limits: dict[str, int],
    component: Any,
    inputs: Beats,
    outputs: Beats,
    ends: npt.NDArray[np.int64],
    recorded: str,
) -> None:
    """Everything that the simulation left, judged."""
    want: Raw = outputs.raw()
    got = from_hex(recorded, want.shape[1])
    moved = sum(status["received"] for status in statuses)
    if len(got) != moved:
        raise MismatchError(f"{moved} output beats were counted, {len(got)} were recorded")
    start = 0
    for status in statuses:
        rows = got[start : start + status["received"]]
        start += status["received"]
        run.beats_in += status["accepted"]
        run.beats_out += len(rows)
        run.cycles += status["cycle"]
        difference = compare(status, inputs, outputs, want[: status["beats_out"]], rows)
        if difference is not None:
            if run.mismatch is None:
                run.mismatch = difference
            run.failures.append(difference.splitlines()[0])
        problem = _check_run(status, limits["stuck"])
        if problem:
            run.failures.append(problem)
            continue
        if status["name"] not in run.patterns and not status["abort_after"]:
            run.patterns.append(status["name"])
        _timing(run, status, component, outputs, ends)
