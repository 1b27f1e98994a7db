"""Quantisation error of the block formats against what they store."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import altair as alt

from narrowgauge import sqnr
from narrowgauge.page.figure import Figure, span
from narrowgauge.page.scatter import named
from narrowgauge.page.vega import (
    Axis,
    by_unit,
    compiled,
    data,
    front_layers,
    fronts,
    labelled,
    stairs,
)

__all__ = ["error_storage"]

_HEIGHT = 430


def _short(name: str) -> str:
    """The name of a format without its block."""
    return sqnr.label(name).partition(",")[0]


def error_storage(rows: Sequence[sqnr.Row]) -> Figure | None:
    """SQNR of each block format, median and range over the tensors, against bits an element."""
    if not rows:
        return None
    points: list[dict[str, Any]] = [
        {
            "x": round(row.bits_per_element, 4),
            "y": round(median(row.sqnr.values()), 4),
            "low": round(min(row.sqnr.values()), 4),
            "high": round(max(row.sqnr.values()), 4),
            "name": _short(row.format),
            "unit": _short(row.format).rstrip("0123456789"),
            "tip": f"{sqnr.label(row.format)}: {row.bits_per_element:.2f} bits, "
            f"median {median(row.sqnr.values()):.1f} dB, "
            f"{min(row.sqnr.values()):.1f} to {max(row.sqnr.values()):.1f} dB",
        }
        for row in rows
    ]
    best = fronts(points, upward=True)
    colour = by_unit(list(dict.fromkeys(p["unit"] for p in points)))
    bits = [p["x"] for p in points]
    ends = [value for row in rows for value in row.sqnr.values()]
    x = Axis.over("Storage (bits an element)", bits, room=0.08)
    # Decibels are a logarithm already: the axis starts at 0.
    y = Axis.over("SQNR (dB), more is better", [0.0, *ends])
    base = alt.Chart(data(points)).encode(alt.X(**x.channel("x")), alt.Y(**y.channel("y")))
    layers = [
        base.mark_rule(strokeWidth=2, opacity=0.45)
        .encode(y="low:Q", y2="high:Q", color=colour["color"])
        .properties(name="ranges"),
        *front_layers(best),
        base.mark_point(size=90, filled=True, opacity=1)
        .encode(**colour, tooltip="tip:N")
        .properties(name="points"),
    ]
    tensors = len(rows[0].sqnr)
    medians = [p["y"] for p in points]
    return Figure(
        key="error-storage",
        title="Error against storage",
        text=f"Scatter plot of {len(rows)} block formats: {span(bits)} bits an element, median "
        f"SQNR {span(medians)} dB over {tensors} activation tensors. On the Pareto front: "
        f"{named(best)}.",
        note=f"Marker: median over {tensors} activation tensors of SmolLM2-135M; line: lowest to "
        "highest. Bits an element count scales, outliers and positions. Dotted steps and rings: "
        "the Pareto front of the medians.",
        spec=labelled(
            compiled(alt.layer(*layers), height=_HEIGHT),
            x,
            y,
            points,
            markers=points,
            lines=[(p["x"], p["low"], p["x"], p["high"]) for p in points] + stairs(best),
        ),
        height=_HEIGHT,
        measures=("sqnr",),
        names=(),
        head=("format", "bits/element", "lowest (dB)", "median (dB)", "highest (dB)"),
        rows=tuple(
            (
                sqnr.label(row.format),
                row.bits_per_element,
                min(row.sqnr.values()),
                median(row.sqnr.values()),
                max(row.sqnr.values()),
            )
            for row in rows
        ),
        marks={"points_marks": len(points), "ranges_marks": len(points), "rings_marks": len(best)},
    )
