"""One design against its golden model, from vectors to verdict.

Vectors and expected beats are made in NumPy, the simulation runs by itself (`harness`, `bench`),
and what it recorded is compared in NumPy. A run that did not really happen (no vectors, no results
file, a beat too few, a cocotb test that did not pass) is a failure, never a success.
"""

import json
import os
import re
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from narrowgauge.golden.errors import MismatchError, UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.hdl import emit
from narrowgauge.verify import simulator as simulators
from narrowgauge.verify.mutate import break_design
from narrowgauge.verify.patterns import PREFIX
from narrowgauge.verify.result import Result
from narrowgauge.verify.stage import stage
from narrowgauge.verify.verdict import Run, cocotb_verdict, coverage, score

__all__ = ["LEVELS", "cache_folder", "verify"]

LEVELS = tuple(PREFIX)
"""`smoke` (seconds), `full` (every bin must be hit) and `real` (recorded tensors)."""

_REASONS = 6
"""Reasons that a failing result lists."""


def cache_folder() -> Path:
    """Where compiled objects are kept: $NARROWGAUGE_CACHE, or the user's cache folder."""
    own = os.environ.get("NARROWGAUGE_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "narrowgauge"


def _fill(
    run: Run,
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
    given: Batch | None,
) -> None:
    """Carry the run out; what goes wrong on the design's side lands in `run.failures`."""
    made = stage(component, golden, params, level, seed, given)
    run.transactions = made.transactions
    coverage(run, bench, params, made.batch, made.want)
    if mutate is None:
        text = emit.verilog(component, top)
    else:
        text = break_design(emit.rtlil(component, top), mutate)
    files = made.write(folder, top, text)
    runs, limits = made.runs, made.limits
    job = {
        "simulator": simulator,
        "version": version,
        "sources": [files["dut"], files["harness"]],
        "waves": simulators.waves_suffix(simulator) if waves else "",
        "thorough": level == "full",
        "runs": runs,
        "limits": limits,
        **{key: files[key] for key in ("input", "output", "status", "results")},
    }
    trouble = simulators.execute(job, folder=folder, cache=cache_folder(), timeout=timeout)
    status = Path(files["status"])
    statuses = json.loads(status.read_text()) if status.exists() else []
    if statuses:
        recorded = Path(files["output"]).read_text()
        score(run, statuses, limits, component, made.inputs, made.outputs, made.ends, recorded)
    verdict = cocotb_verdict(Path(files["results"]))
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
    given: Batch | None = None,
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
    given : transactions to use in place of the golden model's vectors

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
    run = Run()
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
            given=given,
        )
    except MismatchError as error:
        run.failures.append(str(error))
    again = f"narrowgauge verify {name} --level {level} --seed {seed} --simulator {simulator}"
    if given is not None:
        again += " --input FILE.npz"
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
