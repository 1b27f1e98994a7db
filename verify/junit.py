"""JUnit XML of verification results, as continuous integration reads it."""

import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from narrowgauge.verify.result import Result

__all__ = ["write"]


def write(results: Sequence[Result], path: Path) -> None:
    """One test case a result; the file appears whole. No results is a failing suite."""
    failed = sum(not result.passed for result in results)
    suite = ET.Element(
        "testsuite",
        name="narrowgauge",
        tests=str(max(1, len(results))),
        failures=str(failed if results else 1),
        errors="0",
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    for result in results:
        case = ET.SubElement(
            suite, "testcase", classname=result.name, name=f"{result.level}-{result.seed}"
        )
        case.set("time", f"{result.seconds:.3f}")
        if not result.passed:
            failure = ET.SubElement(case, "failure", message=result.failure.split("\n")[0])
            failure.text = "\n".join(filter(None, [result.failure, result.mismatch]))
        output = ET.SubElement(case, "system-out")
        output.text = (
            f"{result.simulator}: {result.transactions} transactions, {result.beats_out} beats "
            f"compared, {result.cycles} cycles, patterns {', '.join(result.patterns) or 'none'}"
        )
    if not results:
        case = ET.SubElement(suite, "testcase", classname="narrowgauge", name="verify")
        ET.SubElement(case, "failure", message="no design was verified")
    ET.indent(suite)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True) + b"\n")
    temporary.replace(path)
