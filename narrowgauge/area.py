"""Area of a point: its synthesis record, and which sub-module each gate equivalent belongs to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from narrowgauge import gates, tasks

__all__ = ["measure"]


def measure(
    *, name: str, overrides: Mapping[str, Any], liberty: str, cache: Path
) -> dict[str, Any]:
    """The record of `unit/point` as plain JSON, with "ge", "ge_per_mac" and "hierarchy".

    The hierarchy is that of the area run (`gates.hierarchy`); its sum is "ge".
    """
    record = tasks.synthesize(
        name=name, overrides=overrides, liberty=liberty, cache=cache, keep=None
    )
    return json.loads(record.to_json()) | {
        "ge": record.ge,
        "ge_per_mac": record.ge_per_mac,
        "hierarchy": gates.hierarchy(tasks.find(name, overrides), liberty, "area", cache),
    }
