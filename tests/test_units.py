"""Every registered point against its golden model, at level smoke.

Of points that differ in lanes or multipliers alone, the narrow ones: `narrowgauge verify` takes
them all.
"""

from pathlib import Path

import pytest

from narrowgauge import design, registry
from narrowgauge.registry import Point
from narrowgauge.verify import runner


def _narrow() -> list[Point]:
    """The points with as few lanes as their unit has in the registry, or without lanes."""
    chosen = []
    for entry in registry.ENTRIES:
        points = registry.points(entry.name)
        fewest = min(point.parameters.get("lanes", 0) for point in points)
        narrow = [p for p in points if p.parameters.get("lanes", 0) == fewest]
        least: dict[tuple[tuple[str, object], ...], Point] = {}
        for point in sorted(narrow, key=lambda point: point.parameters.get("nibbles", 0)):
            # Of a core a point of few elements stands for one of more.
            others = {k: v for k, v in point.parameters.items() if k not in ("nibbles", "pes")}
            key = () if "pes" in point.parameters else tuple(others.items())
            least.setdefault(key, point)
        chosen += least.values()
    return chosen


def test_every_unit_is_chosen() -> None:
    assert {point.entry.name for point in _narrow()} == {e.name for e in registry.ENTRIES}


@pytest.mark.parametrize("point", _narrow(), ids=lambda point: point.full_name)
def test_point_agrees_with_its_model(point: Point, tmp_path: Path) -> None:
    result = runner.verify(
        name=point.full_name,
        component=design.component(point),
        golden=point.entry.golden,
        bench=point.entry.bench,
        params=point.params,
        build_dir=tmp_path,
        timeout=600,
    )
    assert result.passed, f"{result.failure}\n{result.mismatch}"
    assert result.transactions > 0
    assert result.beats_out > 0
