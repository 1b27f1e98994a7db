"""Every bench turns red on a unit with a fault in it.

A fault may be harmless (a bit that nothing reads), so a few are tried, in order: one of them must
be noticed, by a wrong beat or a broken stream rule, or the bench is blind.
"""

from pathlib import Path

import pytest

from narrowgauge import design, registry
from narrowgauge.registry import Entry
from narrowgauge.verify import runner

FAULTS = 5
"""Faults that are tried before a bench counts as blind."""


@pytest.mark.parametrize("entry", registry.ENTRIES, ids=lambda entry: entry.name)
def test_bench_notices_a_fault(entry: Entry, tmp_path: Path) -> None:
    # The narrowest point, whose faults are the others'.
    name, values = min(
        entry.points.items(), key=lambda each: (each[1].get("lanes", 0), each[1].get("nibbles", 0))
    )
    lanes = {"lanes": 8} if values.get("lanes", 0) > 16 else {}
    point = registry.Point(entry=entry, name=name, params=entry.params(name, **lanes))
    for seed in range(FAULTS):
        result = runner.verify(
            name=point.full_name,
            component=design.component(point),
            golden=entry.golden,
            bench=entry.bench,
            params=point.params,
            build_dir=tmp_path,
            timeout=600,
            mutate=seed,
        )
        # A run that could not be made is no evidence: the harness must have seen the fault.
        if result.failure.startswith("pattern ") and result.beats_in > 0:
            return
        assert result.passed, result.failure
    pytest.fail(f"{FAULTS} faults in {point.full_name} went unnoticed")
