"""Energy by sub-module: stacked bars."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from narrowgauge.page import palette
from narrowgauge.page.figure import Figure, number, of_kind
from narrowgauge.page.hierarchy import OWN, groups
from narrowgauge.page.scatter import mapped, vectors_of
from narrowgauge.page.subjects import Subject, Vectors
from narrowgauge.page.vega import THIN, compiled, data

__all__ = ["energy_split"]

_SMALL = 0.03
_STEP = 48
"""Pixels a point: its name and its bar."""
_REST = "small parts"


def _split(subject: Subject, vectors: Vectors) -> Sequence[Mapping[str, Any]]:
    return (subject.vectors(vectors) or {}).get("split") or []


def _parts(subject: Subject, vectors: Vectors, field: str) -> list[tuple[str, float]]:
    """Sub-modules of the top level with their pJ an operation, largest first."""
    found = groups(_split(subject, vectors), field)
    parts = [(head, sum(inner.values())) for head, inner in found.items()]
    whole = sum(pj for _, pj in parts)
    small = [pj for _, pj in parts if pj < _SMALL * whole]
    if len(small) < 2:
        return parts
    return [*(part for part in parts if part[1] >= _SMALL * whole), (_REST, sum(small))]


def _rows(
    shown: Sequence[Subject], vectors: Vectors, field: str, *, dot: bool
) -> list[dict[str, Any]]:
    """One row a segment; a part has the same colour in every bar."""
    rows: list[dict[str, Any]] = []
    hues: dict[str, str] = {OWN: "var(--muted)", _REST: "var(--line)"}
    for subject in shown:
        parts = _parts(subject, vectors, field)
        whole = sum(pj for _, pj in parts)
        macs = (subject.vectors(vectors) or {}).get("macs_per_operation") if dot else None
        scale = 1 / macs if macs else 100 / whole
        start = 0.0
        for name, pj in parts:
            hue = hues.setdefault(name, palette.HUES[(len(hues) - 2) % len(palette.HUES)])
            rows.append(
                {
                    "point": subject.label,
                    "start": round(start, 6),
                    "end": round(start + pj * scale, 6),
                    "middle": round(start + pj * scale / 2, 6),
                    "part": name,
                    "pj": pj,
                    "value": round(pj * scale, 6),
                    "share": pj / whole,
                    "hue": hue,
                    "tip": f"{subject.label}, {name}: {number(pj)} pJ an operation, "
                    f"{number(100 * pj / whole, 2)} %",
                }
            )
            start += pj * scale
    return rows


def _spoken(rows: Sequence[dict[str, Any]]) -> str:
    said: dict[str, list[str]] = {}
    for row in rows:
        said.setdefault(row["point"], []).append(f"{row['part']} {number(100 * row['share'], 2)} %")
    return " ".join(f"{point}: {', '.join(parts)}." for point, parts in said.items())


def _fitting(spec: dict[str, Any]) -> dict[str, Any]:
    """The same with names only where a segment has room for the whole name."""
    room = "scale('x', datum.end) - scale('x', datum.start)"
    for mark in spec["marks"]:
        if mark["name"] == "words_marks":
            fits = f"{room} > 6.6 * length(datum.part) + 6 ? datum.part : ''"
            mark["encode"]["update"]["text"] = {"signal": fits}
    return spec


def energy_split(subjects: Sequence[Subject], *, dot: bool) -> Figure | None:
    """One bar a point: pJ a MAC of dot products, shares of an operation of the others."""
    listed = [s for s in of_kind(subjects, dot) if "energy" in s.measures]
    vectors = vectors_of(listed)
    shown = [s for s in listed if len(_split(s, vectors)) > 1]
    if not shown:
        return None
    glitch = all(p.get("glitch_pj_per_op") is not None for s in shown for p in _split(s, vectors))
    rows = _rows(shown, vectors, "glitch_pj_per_op" if glitch else "pj_per_op", dot=dot)
    unit = "pJ/MAC" if dot else "% of an operation"
    hues = {row["part"]: row["hue"] for row in rows}
    colour = alt.Scale(domain=list(hues), range=list(hues.values()))
    place = alt.Y("point:N", sort=None, axis=None, scale=alt.Scale(paddingInner=0, paddingOuter=0))
    base = alt.Chart(data(rows)).encode(place)
    bars = base.mark_bar(stroke="var(--ground)", strokeWidth=2, fillOpacity=0.34, height=22)
    legend = alt.Legend(columns=3, symbolType="square", symbolOpacity=0.7)
    bars = bars.encode(
        alt.X("start:Q", title=f"Energy ({unit})", axis=alt.Axis(labelExpr=THIN)).scale(nice=False),
        x2="end:Q",
        yOffset=alt.value(_STEP - 16),
        fill=alt.Fill("part:N", scale=colour, legend=legend),
        tooltip="tip:N",
    )
    words = base.mark_text(fill="var(--text)", fontSize=11).encode(x="middle:Q", text="part:N")
    names = alt.Chart(data([{"point": s.label} for s in shown])).encode(place, text="point:N")
    layers = alt.layer(
        bars.properties(name="points"),
        words.encode(yOffset=alt.value(_STEP - 16)).properties(name="words"),
        names.mark_text(align="left", fill="var(--text)")
        .encode(x=alt.value(1), yOffset=alt.value(_STEP - 37))
        .properties(name="names"),
    )
    sample = "the real sample" if vectors == "real" else "random vectors"
    height = _STEP * len(shown)
    return Figure(
        key=f"energy-split-{'dot' if dot else 'units'}",
        title="Dot products" if dot else "Other units",
        text=f"Stacked bars of energy by sub-module, on {sample}. {_spoken(rows)}",
        note=f"Energy on {sample}, {'with glitches' if glitch else 'zero-delay'}, by sub-module of "
        "the top level, largest first. " + mapped(shown, "The netlist is the one mapped for {}."),
        spec=_fitting(compiled(layers, height=height)),
        height=height + 50,
        measures=("energy",),
        names=tuple(s.name for s in shown),
        head=("point", "part", f"energy ({unit})", "pJ/operation", "share (%)"),
        rows=tuple(
            (row["point"], row["part"], row["value"], row["pj"], round(100 * row["share"], 2))
            for row in rows
        ),
        marks={"points_marks": len(rows)},
    )
