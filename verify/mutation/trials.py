"""One group of mutants through the bench: what noticed each of them, or that nothing did."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from narrowgauge.golden.errors import MismatchError
from narrowgauge.hdl.emit import Emitted
from narrowgauge.verify import simulator as simulators
from narrowgauge.verify.beats import to_hex
from narrowgauge.verify.mutation.faults import SELECT_BITS, Fault, switched
from narrowgauge.verify.runner import cache_folder
from narrowgauge.verify.stage import Stage
from narrowgauge.verify.verdict import Run, score

__all__ = ["Kill", "Trial", "run"]

Kill = Literal["value", "protocol", "stuck", "timing", "crash"]
"""What noticed a mutant: a beat, a stream rule, no end, latency or interval, the simulator."""

# The vectors of the patterns that stall are a part of those at full speed: what computes is found
# out by these three, what holds a beat back by the others.
_FIRST = ("isolated", "idle", "throughput")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the bench made of one mutant.

    Parameters
    ----------
    kill : what noticed it, or None where it lived
    reason : the bench's first line about it; "" where it lived
    cycles : simulated cycles up to there
    """

    kill: Kill | None
    reason: str
    cycles: int


def _judge(made: Stage, design: Emitted, record: dict[str, Any] | None) -> Trial:
    """The verdict of the bench on one line of the report, by the same code as any run's."""
    if record is None:
        return Trial(kill="crash", reason="the simulation ended before its time", cycles=0)
    statuses = record["statuses"]
    cycles = sum(status["cycle"] for status in statuses)
    run = Run()
    # Patterns before the failing one recorded what was expected of them.
    expected = to_hex(made.outputs.raw())
    size = expected.index("\n") + 1
    wrong = record["recorded"]
    right = statuses if wrong is None else statuses[:-1]
    recorded = "".join(expected[: size * status["received"]] for status in right) + (wrong or "")
    if statuses:
        try:
            score(
                run,
                statuses,
                made.limits,
                design,
                made.inputs,
                made.outputs,
                made.ends,
                recorded,
            )
        except MismatchError as error:
            run.failures.append(str(error))
    reason = run.failures[0] if run.failures else ""
    kill: Kill | None = None
    if record["endless"] and not run.failures:
        return Trial(kill="stuck", reason=f"pattern {record['endless']}: no end", cycles=cycles)
    if run.mismatch is not None:
        kill = "value"
    elif any(status["error"] == 7 for status in statuses):
        kill = "stuck"
    elif any(status["error"] for status in statuses):
        kill = "protocol"
    elif run.failures:
        kill = "timing" if "is declared as" in reason else "protocol"
    elif len(statuses) != len(made.runs):
        raise MismatchError(
            f"mutant {record['number']}: {len(statuses)} of {len(made.runs)} patterns ran, "
            f"none of them failed"
        )
    return Trial(kill=kill, reason=reason, cycles=cycles)


def run(
    *,
    design: Emitted,
    flat_rtlil: str,
    faults: Sequence[Fault],
    made: Stage,
    folder: Path,
    timeout: float = 3600.0,
) -> list[Trial]:
    """The bench on every fault of a group, in the order of the group; one build, one simulator.

    `made` holds the vectors and patterns of the design.

    A bench that fails without a fault, or a simulation that does not come to its end, is a
    `MismatchError`: there is no score then.
    """
    version = simulators.version("verilator")
    folder.mkdir(parents=True, exist_ok=True)
    text = switched(flat_rtlil, faults, folder)
    files = made.write(folder, design.name, text, select=SELECT_BITS)
    expected, mutants = folder / "expected.hex", folder / "mutants.jsonl"
    expected.write_text(to_hex(made.outputs.raw()))
    mutants.write_text("")
    runs = sorted(
        made.runs,
        key=lambda each: _FIRST.index(each["name"]) if each["name"] in _FIRST else len(_FIRST),
    )
    job = {
        "simulator": "verilator",
        "version": version,
        "sources": [files["dut"], files["harness"]],
        "waves": "",
        "thorough": False,
        "module": "narrowgauge.verify.mutation.trial",
        "runs": runs,
        "limits": made.limits,
        "numbers": list(range(len(faults) + 1)),
        "expected": str(expected),
        "mutants": str(mutants),
        **{key: files[key] for key in ("input", "output", "status", "results")},
    }
    trouble = simulators.execute(job, folder=folder, cache=cache_folder(), timeout=timeout)
    if trouble:
        raise MismatchError(f"mutants of {design.name}: {trouble}")
    records = [json.loads(line) for line in mutants.read_text().splitlines()]
    known = {record["number"]: record for record in records}
    trials = [_judge(made, design, known.get(number)) for number in range(len(faults) + 1)]
    if trials[0].kill is not None:
        raise MismatchError(f"{design.name} fails without a fault: {trials[0].reason}")
    return trials[1:]
