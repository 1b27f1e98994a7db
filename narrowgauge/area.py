"""Area of a point: its synthesis record, and which sub-module each gate equivalent belongs to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from narrowgauge import design, tasks
from narrowgauge.gates import netlists, played, stimulus
from narrowgauge.registry import Point
from narrowgauge.synth import library, origin
from narrowgauge.synth.gates import build

__all__ = ["STREAMS", "hierarchy", "measure"]

STREAMS = 64
"""Parts that the vectors are cut into, which are played at once."""


def measure(
    *, name: str, overrides: Mapping[str, Any], liberty: str, cache: Path
) -> dict[str, Any]:
    """The record of `unit/point` as plain JSON, with "ge", "ge_per_mac" and "hierarchy"."""
    record = tasks.synthesize(
        name=name, overrides=overrides, liberty=liberty, cache=cache, keep=None
    )
    return json.loads(record.to_json()) | {
        "ge": record.ge,
        "ge_per_mac": record.ge_per_mac,
        "hierarchy": hierarchy(tasks.find(name, overrides), liberty, cache),
    }


def hierarchy(point: Point, liberty: str, cache: Path) -> list[dict[str, Any]]:
    """The area run's cells by sub-module: "path", dotted, and "ge"; the largest first.

    The path "" is the unit's own logic. `synth.origin` says how a cell's module is found; the
    vectors are those of level smoke. The sum is the area of the record.
    """
    cells = library.load(liberty)
    made = netlists(point, liberty, cache)
    mapped = build(made.mapped("area"), point.identifier, cells)
    sent = stimulus(point, point.entry.golden.vectors(point.params, "smoke", 1))
    text = design.emitted(point, cache).text
    traced = origin.trace(made.rtl, mapped, text, played(sent.input), streams=STREAMS)
    areas: dict[str, float] = {}
    for path, cell in zip(traced.paths, mapped.cells, strict=True):
        areas[path] = areas.get(path, 0.0) + cells.cells[cell.kind].area
    rows = [{"path": path, "ge": area / cells.nand2_area} for path, area in areas.items()]
    return sorted(rows, key=lambda row: -float(row["ge"]))
