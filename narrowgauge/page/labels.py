"""Names beside markers, placed so that they keep off each other.

The places are found here rather than by Vega's label transform, which needs a canvas: the plots for
papers are drawn where there is none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["NARROW", "WIDE", "Label", "Obstacles", "marks", "place"]

WIDE, NARROW = 680.0, 290.0
"""Widths between the axes that labels are placed for; a plot takes the narrow ones below 480."""

_LETTER, _HEIGHT = 6.9, 12.0
"""Room for a letter of 12 pixels in the fonts that are wide, and for a line."""

_PLACES: tuple[tuple[str, float, float], ...] = tuple(
    (align, side * dx, dy)
    for dx, dy in ((11, 0), (8, -11), (8, 12), (14, -22), (14, 23), (22, -33), (22, 34))
    for align, side in (("left", 1), ("right", -1))
)
"""Where a name may stand, best first: alignment and offset from the marker to the text's middle."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A name and where its marker is, as shares of width and height from the left and the top."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Obstacles:
    """What names keep off: markers, never under a name, and lines, better not under one."""

    markers: Sequence[tuple[float, float]]
    lines: Sequence[tuple[float, float, float, float]] = ()


Box = tuple[float, float, float, float]


def _box(label: Label, spot: tuple[str, float, float], width: float, height: float) -> Box:
    align, dx, dy = spot
    long = _LETTER * len(label.name)
    left = label.x * width + dx - (long if align == "right" else 0)
    top = label.y * height + dy - _HEIGHT / 2
    return left, top, left + long, top + _HEIGHT


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _along(line: tuple[float, float, float, float], width: float, height: float) -> list[Box]:
    """A line as small boxes, no further apart than half a text is high."""
    x0, y0, x1, y1 = line[0] * width, line[1] * height, line[2] * width, line[3] * height
    count = 1 + int(max(abs(x1 - x0), abs(y1 - y0)) / 6)
    at = [(x0 + (x1 - x0) * i / count, y0 + (y1 - y0) * i / count) for i in range(count + 1)]
    return [(x - 1, y - 1, x + 1, y + 1) for x, y in at]


def place(
    labels: Sequence[Label], around: Obstacles, width: float, height: float
) -> list[tuple[str, float, float] | None]:
    """A place for each label, or None where there is no room; earlier labels choose first."""
    dots = [
        (x * width - 5, y * height - 5, x * width + 5, y * height + 5) for x, y in around.markers
    ]
    lines = [box for line in around.lines for box in _along(line, width, height)]
    taken: list[Box] = []
    found: list[tuple[str, float, float] | None] = []
    for label in labels:
        best: tuple[float, tuple[str, float, float], Box] | None = None
        for index, spot in enumerate(_PLACES):
            box = _box(label, spot, width, height)
            inside = box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height
            if not inside or any(_touch(box, other) for other in (*taken, *dots)):
                continue
            cost = 0.5 * index + sum(_touch(box, other) for other in lines)
            if best is None or cost < best[0]:
                best = cost, spot, box
        found.append(None if best is None else best[1])
        if best is not None:
            taken.append(best[2])
    return found


def marks(
    labels: Sequence[Label], around: Obstacles, height: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A Vega data set and the text mark that shows it; wide and narrow plots have own places."""
    wide = place(labels, around, WIDE, height)
    narrow = place(labels, around, NARROW, height)
    values = [
        {"x": label.x, "y": label.y, "name": label.name, **_fields("w", w), **_fields("n", n)}
        for label, w, n in zip(labels, wide, narrow, strict=True)
    ]

    def chosen(field: str) -> dict[str, Any]:
        return {"signal": f"width < 480 ? datum.n{field} : datum.w{field}"}

    mark = {
        "type": "text",
        "name": "labels",
        "from": {"data": "names"},
        "interactive": False,
        "encode": {
            "enter": {
                "fill": {"value": "var(--text)"},
                "fontSize": {"value": 12},
                "baseline": {"value": "middle"},
            },
            "update": {
                "x": {"signal": "datum.x * width"},
                "y": {"signal": "datum.y * height"},
                "dx": chosen("dx"),
                "dy": chosen("dy"),
                "align": chosen("align"),
                # A name that is only transparent would still take room beside the plot.
                "text": {"signal": "(width < 480 ? datum.nshown : datum.wshown) ? datum.name : ''"},
            },
        },
    }
    return {"name": "names", "values": values}, mark


def _fields(prefix: str, spot: tuple[str, float, float] | None) -> Mapping[str, Any]:
    align, dx, dy = spot or ("left", 0, 0)
    named = {"align": align, "dx": dx, "dy": dy, "shown": int(spot is not None)}
    return {f"{prefix}{name}": value for name, value in named.items()}
