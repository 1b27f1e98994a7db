"""What plots share: Altair charts as Vega, axes, units by colour and shape, fronts, names."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import altair as alt

from narrowgauge.page import labels, palette
from narrowgauge.page.figure import front

__all__ = [
    "THIN",
    "WIDTH",
    "Axis",
    "by_unit",
    "compiled",
    "data",
    "front_layers",
    "fronts",
    "labelled",
    "polyline",
    "stairs",
]

WIDTH = 760
"""Width of a plot in a file; on the page it follows the window."""

THIN = "replace(format(datum.value, ',.6~r'), regexp(',', 'g'), '\u202f')"
"""Numbers of an axis as those of the tables."""


def data(rows: Sequence[dict[str, Any]]) -> alt.Data:
    """Rows as data of a chart."""
    return alt.Data(values=list(rows))


@dataclass(frozen=True)
class Axis:
    """An axis with its ends said, so that places on it are known before it is drawn."""

    title: str
    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, title: str, values: Sequence[float], *, room: float = 0.05) -> "Axis":
        """An axis over values, `room` more at each end; decades where they are far apart."""
        low, high = min(values), max(values)
        if low > 0 and high > 4 * low:
            ends = math.log10(low), math.log10(high)
            more = room * (ends[1] - ends[0])
            steps = (1, 2, 5) if high < 200 * low else (1,)
            decades = range(math.floor(ends[0]) - 1, math.ceil(ends[1]) + 1)
            low, high = 10 ** (ends[0] - more), 10 ** (ends[1] + more)
            known = [float(f"{step}e{decade}") for decade in decades for step in steps]
            ticks = tuple(value for value in known if low <= value <= high)
            return cls(f"{title}, logarithmic", low, high, True, ticks)
        more = room * (high - low) or 0.1 * abs(high) or 1.0
        return cls(title, low - more, high + more, False, ())

    def at(self, value: float) -> float:
        """Where a value is: 0 at the low end, 1 at the high one."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def channel(self, field: str) -> dict[str, Any]:
        """Arguments of an encoding channel."""
        scale: dict[str, Any] = {"domain": [self.low, self.high], "nice": False}
        scale |= {"type": "log"} if self.log else {"zero": False}
        ticks: dict[str, Any] = {"labelExpr": THIN, "labelOverlap": True}
        # A count beside values would leave out some of them.
        ticks |= {"values": list(self.ticks)} if self.ticks else {"tickCount": 6}
        return {
            "shorthand": f"{field}:Q",
            "title": self.title,
            "scale": alt.Scale(**scale),
            "axis": alt.Axis(**ticks),
        }


def by_unit(units: Sequence[str]) -> dict[str, Any]:
    """Colour and shape of a unit, in one legend."""
    hues = alt.Scale(domain=list(units), range=[palette.hue(units, unit) for unit in units])
    shapes = alt.Scale(domain=list(units), range=[palette.shape(units, unit) for unit in units])
    legend = alt.Legend(symbolOpacity=1, columns=3) if len(units) > 1 else None
    return {
        "color": alt.Color("unit:N", scale=hues, legend=legend),
        "shape": alt.Shape("unit:N", scale=shapes, legend=legend),
    }


def fronts(
    rows: Sequence[dict[str, Any]], group: str | None = None, *, upward: bool = False
) -> list[dict[str, Any]]:
    """The points on the Pareto front (less `x`, less `y`; more `y` where `upward`), by x.

    With `group`, the front of each value of that field.
    """
    found = []
    sign = -1 if upward else 1
    for key in dict.fromkeys(row[group] if group else None for row in rows):
        points = [
            (row["x"], sign * row["y"], row["name"])
            for row in rows
            if group is None or row[group] == key
        ]
        found += [
            {"x": x, "y": sign * y, "name": name, "group": str(key), "order": index}
            for index, (x, y, name) in enumerate(front(points))
        ]
    return found


def front_layers(best: Sequence[dict[str, Any]]) -> list[Any]:
    """Fronts as dotted steps, and a ring around each of their points."""
    base = alt.Chart(data(best)).encode(x="x:Q", y="y:Q")
    line = base.mark_line(
        interpolate="step-after", stroke="var(--text)", strokeDash=[2, 4], strokeWidth=1.1
    ).encode(detail="group:N", order="order:Q")
    ring = base.mark_point(size=190, stroke="var(--text)", strokeWidth=1.1, fill="transparent")
    return [
        line.properties(name="front"),
        ring.encode(detail="name:N").properties(name="rings"),
    ]


def compiled(chart: Any, *, height: int) -> dict[str, Any]:
    """A chart as a Vega specification."""
    spec: dict[str, Any] = (
        chart.properties(width=WIDTH, height=height)
        .configure(**palette.CONFIG)
        .to_dict(format="vega")
    )
    for unused in ("$schema", "usermeta"):
        spec.pop(unused, None)
    return spec


def labelled(
    spec: dict[str, Any],
    x: Axis,
    y: Axis,
    names: Sequence[Mapping[str, Any]],
    *,
    markers: Sequence[Mapping[str, Any]],
    lines: Sequence[tuple[float, float, float, float]] = (),
) -> dict[str, Any]:
    """The same with names at the points `names` (x, y, name).

    Names keep off `markers` (x, y), and off `lines` (x0, y0, x1, y1) where they can.
    """
    height = spec["height"]

    def share(px: float, py: float) -> tuple[float, float]:
        return round(x.at(px), 6), round(1 - y.at(py), 6)

    around = labels.Obstacles(
        markers=[share(row["x"], row["y"]) for row in markers],
        lines=[(*share(x0, y0), *share(x1, y1)) for x0, y0, x1, y1 in lines],
    )
    shown = [
        labels.Label(name=row["name"], x=px, y=py)
        for row in names
        for px, py in [share(row["x"], row["y"])]
    ]
    values, mark = labels.marks(shown, around, height)
    return {**spec, "data": [*spec["data"], values], "marks": [*spec["marks"], mark]}


def polyline(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, float, float]]:
    """The pieces of a line through points."""
    return [(a["x"], a["y"], b["x"], b["y"]) for a, b in pairwise(rows)]


def stairs(best: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, float, float]]:
    """The pieces of the dotted steps of fronts."""
    pieces = []
    for a, b in pairwise(best):
        if a["group"] == b["group"]:
            pieces += [(a["x"], a["y"], b["x"], a["y"]), (b["x"], a["y"], b["x"], b["y"])]
    return pieces
