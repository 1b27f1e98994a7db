"""The cocotb side of a run: clock, reset, one pattern after the other, verdict.

Runs inside the simulator. Nothing here happens in every cycle: the clock is the simulator's own,
and each pattern is one wait for the harness to raise `done`.
"""

import json
import os
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout

from narrowgauge.verify.harness import ERRORS

__all__ = ["JOB", "PERIOD", "run_pattern", "run_patterns"]

JOB = "NARROWGAUGE_JOB"
"""Environment variable with the path of the job: JSON with `runs`, `limits` and `status`."""

PERIOD = 10
"""Of the clock, in ns."""

_READ = (
    "error",
    "error_cycle",
    "error_beat",
    "cycle",
    "accepted",
    "received",
    "first_out",
    "last_out",
    "latency_min",
    "latency_max",
)


async def run_pattern(dut: Any, run: dict[str, Any], limits: dict[str, int]) -> dict[str, Any]:
    """Reset, then one pattern to its end; what the harness counted."""
    dut.rst.value = 1
    for name in ("source", "sink", "seed", "beats_in", "beats_out", "abort_after"):
        getattr(dut, name).value = run[name]
    dut.stuck_limit.value = limits["stuck"]
    dut.drain.value = limits["drain"]
    for _ in range(4):
        await FallingEdge(dut.clk)
    if not int(dut.done.value):
        dut.rst.value = 0
        # The harness ends by itself when nothing moves; this catches one that moves for ever.
        await with_timeout(RisingEdge(dut.done), limits["cycles"] * PERIOD, "ns")
    await FallingEdge(dut.clk)
    return run | {name: int(getattr(dut, name).value) for name in _READ}


@cocotb.test()
async def run_patterns(dut: Any) -> None:
    """Every run of the job; its status is written whatever the verdict."""
    job = json.loads(Path(os.environ[JOB]).read_text())
    Clock(dut.clk, PERIOD, "ns", impl="gpi").start()
    statuses = []
    try:
        for run in job["runs"]:
            statuses.append(await run_pattern(dut, run, job["limits"]))
    finally:
        Path(job["status"]).write_text(json.dumps(statuses))
    assert len(statuses) == len(job["runs"])
    for status in statuses:
        text = ERRORS.get(status["error"], "").format(limit=job["limits"]["stuck"])
        assert not status["error"], f"pattern {status['name']}: {text}"
