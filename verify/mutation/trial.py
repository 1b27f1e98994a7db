"""The cocotb side of a group of mutants: each in a process forked from the fresh simulation.

A mutant starts from the state that the design starts from, whatever those before it have done, and
its patterns end with the first that fails. Number 0 is the design without a fault; the cycles that
it takes bound those of the mutants.
"""

import json
import os
import traceback
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import SimTimeoutError

from narrowgauge.verify.bench import JOB, PERIOD, run_pattern

__all__ = ["SLOWER", "run_mutants"]

SLOWER = 16
"""A pattern that takes this many times the cycles of the fault-free design has no end."""


def _report(job: dict[str, Any], record: dict[str, Any]) -> None:
    with open(job["mutants"], "a") as stream:
        stream.write(json.dumps(record) + "\n")


async def _mutant(dut: Any, job: dict[str, Any], number: int, cycles: list[int]) -> None:
    """One mutant through the patterns, up to the first that fails; its line of the report.

    The recorded beats of a pattern are in the report where they are not those expected.
    """
    expected = Path(job["expected"]).read_bytes()
    dut.mutsel.value = number
    Clock(dut.clk, PERIOD, "ns", impl="gpi").start()
    record: dict[str, Any] = {"number": number, "statuses": [], "endless": "", "recorded": None}
    seen = 0
    for index, run in enumerate(job["runs"]):
        limits = job["limits"]
        if cycles:
            limits = limits | {"cycles": SLOWER * cycles[index] + 2 * limits["stuck"]}
        try:
            status = await run_pattern(dut, run, limits)
        except SimTimeoutError:
            record["endless"] = run["name"]
            break
        record["statuses"].append(status)
        with open(job["output"], "rb") as stream:
            stream.seek(seen)
            recorded = stream.read()
        seen += len(recorded)
        if recorded != expected[: len(recorded)]:
            record["recorded"] = recorded.decode()
            break
        if status["error"]:
            break
    _report(job, record)


def _cycles(job: dict[str, Any]) -> list[int]:
    """Cycles of each pattern of the fault-free design."""
    for line in Path(job["mutants"]).read_text().splitlines():
        record = json.loads(line)
        if record["number"] == 0:
            return [status["cycle"] for status in record["statuses"]]
    return []


@cocotb.test()
async def run_mutants(dut: Any) -> None:
    """Every number of the job; what each left is a line of the report, none where it crashed."""
    job = json.loads(Path(os.environ[JOB]).read_text())
    for number in job["numbers"]:
        cycles = _cycles(job)
        # Before the first event: what the design and the harness do at time zero, opening their
        # files included, each mutant does by itself.
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        try:
            await _mutant(dut, job, number, cycles)
        except BaseException:
            traceback.print_exc()
        finally:
            # The child is a copy: it must neither report to cocotb nor go on with the loop.
            os._exit(0)
