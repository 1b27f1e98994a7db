"""One design against its golden model, from vectors to verdict.

Vectors and expected beats are made in NumPy, the simulation runs by itself (`harness`, `bench`),
and what it recorded is compared in NumPy. A run that did not really happen (no vectors, no results
file, a beat too few, a cocotb test that did not pass) is a failure, never a success.
"""

import json
import os
import re
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import MismatchError, UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.hdl import emit
from narrowgauge.verify import simulator as simulators
from narrowgauge.verify.beats import Beats, Raw, from_hex, groups, stream_beats, to_hex
from narrowgauge.verify.harness import ERRORS, Ports, harness
from narrowgauge.verify.mutate import break_design
from narrowgauge.verify.patterns import PREFIX, plan
from narrowgauge.verify.result import Result
from narrowgauge.verify.scoreboard import compare

__all__ = ["LEVELS", "cache_folder", "verify"]

LEVELS = tuple(PREFIX)
"""`smoke` (seconds), `full` (every bin must be hit) and `real` (recorded tensors)."""

_NO_LATENCY = 0xFFFFFFFF

_REASONS = 6
"""Reasons that a failing result lists."""


@dataclass
class _Run:
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


def cache_folder() -> Path:
    """Where compiled objects are kept: $NARROWGAUGE_CACHE, or the user's cache folder."""
    own = os.environ.get("NARROWGAUGE_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "narrowgauge"


def _cocotb_verdict(path: Path) -> str:
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
    run: _Run, status: dict[str, Any], component: Any, outputs: Beats, ends: npt.NDArray[np.int64]
) -> None:
    """Latency from the isolated pattern, interval from the one at full speed.

    `ends` counts the batch's transactions at the end of each group that makes an output.
    """
    if status["name"] == "isolated":
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
        run.interval = span / steps
        declared = component.interval
        if declared is None or outputs.uniform is None:
            return
        # Output beats of the last transaction come after its first.
        slack = 0 if outputs.uniform == 1 else max(declared, outputs.uniform)
        if abs(span - steps * declared) > slack:
            run.failures.append(
                f"interval is declared as {declared} cycles a transaction and measured as "
                f"{run.interval:.4g} over {steps} transactions"
            )


def _coverage(run: _Run, bench: ModuleType, params: Any, batch: Batch, want: Batch) -> None:
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


def _score(
    run: _Run,
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


def _fill(
    run: _Run,
    *,
    top: str,
    component: Any,
    golden: ModuleType,
    bench: ModuleType,
    params: Any,
    level: str,
    seed: int,
    simulator: str,
    version: str,
    waves: bool,
    folder: Path,
    timeout: float,
    mutate: int | None,
) -> None:
    """Carry the run out; what goes wrong on the design's side lands in `run.failures`."""
    batch: Batch = golden.vectors(params, level, seed)
    run.transactions = len(next(iter(batch.values()))) if batch else 0
    if not run.transactions:
        raise MismatchError("the golden model gave no vectors")
    want: Batch = golden.model(params, batch)
    _coverage(run, bench, params, batch, want)
    ends = groups(batch)
    inputs = stream_beats(golden, params, batch, "input", len(ends))
    outputs = stream_beats(golden, params, want, "output", len(ends))
    if len(inputs.batch) == 0 or not outputs.count:
        raise MismatchError("the golden model gave no beats")

    folder.mkdir(parents=True, exist_ok=True)
    if mutate is None:
        text = emit.verilog(component, top)
    else:
        text = break_design(emit.rtlil(component, top), mutate)
    files = {
        "dut": folder / f"{top}.v",
        "harness": folder / "harness.v",
        "input": folder / "in.hex",
        "output": folder / "out.hex",
        "status": folder / "status.json",
        "results": folder / "results.xml",
    }
    for path in files.values():
        path.unlink(missing_ok=True)
    ports = Ports(
        s_width=inputs.width, s_last=inputs.last, m_width=outputs.width, m_last=outputs.last
    )
    files["dut"].write_text(text)
    files["harness"].write_text(harness(top, ports))
    rows = inputs.raw()
    rows[inputs.ends - 1, -1] |= 2
    files["input"].write_text(to_hex(rows))

    pace = int(component.latency or 0) + int(component.interval or 1)
    longest = int(np.diff(inputs.ends, prepend=0).max() + np.diff(outputs.ends, prepend=0).max())
    limits = {"drain": pace + 16, "stuck": 4 * (pace + longest) + 1000}
    limits["cycles"] = 64 * (inputs.count + outputs.count + 1000) * max(1, pace)
    runs = plan(inputs.ends.tolist(), outputs.ends.tolist(), level, seed)
    job = {
        "simulator": simulator,
        "version": version,
        "sources": [str(files["dut"]), str(files["harness"])],
        "waves": simulators.waves_suffix(simulator) if waves else "",
        "runs": runs,
        "limits": limits,
        **{key: str(files[key]) for key in ("input", "output", "status", "results")},
    }
    trouble = simulators.execute(job, folder=folder, cache=cache_folder(), timeout=timeout)
    statuses = json.loads(files["status"].read_text()) if files["status"].exists() else []
    if statuses:
        _score(run, statuses, limits, component, inputs, outputs, ends, files["output"].read_text())
    verdict = _cocotb_verdict(files["results"])
    if trouble:
        run.failures.append(trouble)
    elif verdict and not run.failures:
        run.failures.append(verdict)
    if not run.failures and len(statuses) != len(runs):
        run.failures.append(f"{len(statuses)} of {len(runs)} pattern runs were made")
    if level == "full" and run.missing:
        run.failures.append(f"coverage bins without a hit: {', '.join(run.missing)}")


def verify(
    *,
    name: str,
    component: Any,
    golden: ModuleType,
    bench: ModuleType,
    params: Any,
    level: str = "smoke",
    seed: int = 0,
    simulator: str = "verilator",
    waves: bool = False,
    build_dir: Path,
    timeout: float = 1800.0,
    mutate: int | None = None,
) -> Result:
    """Verify one design and give the verdict; a design that fails is a result, not an exception.

    Parameters
    ----------
    name : `unit/point`, for the report and the command that reproduces it
    component : stream component with `latency` and `interval`
    golden : module with `vectors` and `model`, and `input_beats` and `output_beats` where needed
    bench : module with `coverage`
    params : parameters of the golden model
    level, seed : which vectors; see `LEVELS`
    simulator : `verilator` or `icarus`
    waves : record every signal, to `waves.fst` (or `waves.vcd`) in the run's folder
    build_dir : folder of the run; what is in it is used again where the design is the same
    timeout : wall seconds for building and simulating
    mutate : put the fault with this seed into the design first; a run that then passes shows that
        the fault is harmless or that the bench is blind

    Raises `UsageError` for a bad level, seed or simulator, `MissingToolError` for a simulator that
    is not installed, and what `golden.vectors` raises.
    """
    if level not in LEVELS:
        raise UsageError(f"no level {level!r}; levels: {', '.join(LEVELS)}")
    if seed < 0:
        raise UsageError(f"seed must be 0 or more, got {seed}")
    version = simulators.version(simulator)
    start = time.monotonic()
    top = re.sub(r"\W", "_", name)
    run = _Run()
    try:
        _fill(
            run,
            top=top,
            component=component,
            golden=golden,
            bench=bench,
            params=params,
            level=level,
            seed=seed,
            simulator=simulator,
            version=version,
            waves=waves,
            folder=Path(build_dir).resolve(),
            timeout=timeout,
            mutate=mutate,
        )
    except MismatchError as error:
        run.failures.append(str(error))
    again = f"narrowgauge verify {name} --level {level} --seed {seed} --simulator {simulator}"
    if run.mismatch is not None:
        run.mismatch += f"\n  again: {again}"
    more = [f"and {len(run.failures) - _REASONS} more"] * (len(run.failures) > _REASONS)
    return Result(
        name=name,
        passed=not run.failures,
        level=level,
        seed=seed,
        simulator=version,
        transactions=run.transactions,
        beats_in=run.beats_in,
        beats_out=run.beats_out,
        cycles=run.cycles,
        patterns=tuple(run.patterns),
        latency=run.latency,
        interval=run.interval,
        bins=run.bins,
        missing=tuple(run.missing),
        mismatch=run.mismatch,
        failure="\n".join(run.failures[:_REASONS] + more),
        seconds=time.monotonic() - start,
    )
