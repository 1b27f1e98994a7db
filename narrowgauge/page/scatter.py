"""Area against delay and against energy, as scatter plots."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from narrowgauge.page.figure import Figure, number, of_kind, span
from narrowgauge.page.subjects import Subject, Vectors
from narrowgauge.page.vega import (
    Axis,
    by_unit,
    compiled,
    data,
    front_layers,
    fronts,
    labelled,
    polyline,
    stairs,
)

__all__ = ["area_delay", "area_energy", "mapped", "named", "vectors_of"]

_HEIGHT = 430


def named(best: Sequence[dict[str, Any]]) -> str:
    """The names on a front."""
    return ", ".join(dict.fromkeys(row["name"] for row in best))


def _units(subjects: Sequence[Subject]) -> list[str]:
    return list(dict.fromkeys(subject.unit for subject in subjects))


def _kind(dot: bool) -> tuple[str, str, str]:
    """Title, what the points are, and whose front is drawn."""
    if dot:
        return "Dot products", "dot products", "the Pareto front"
    return "Other units", "points of other units", "the Pareto front of each unit"


def area_delay(subjects: Sequence[Subject], *, dot: bool) -> Figure | None:
    """Area against the shortest clock period, with each unit's curve; GE a MAC for dot products."""
    shown = [s for s in of_kind(subjects, dot) if s.get("delay", "period_ps") is not None]
    if not shown:
        return None
    unit = "GE/MAC" if dot else "GE"
    points: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    for subject in shown:
        share = (subject.macs or 1) if dot else 1
        delay = subject.measures["delay"]

        def row(value: Any, asked: str, subject: Subject = subject, share: int = share) -> Any:
            area = value["ge"] / share
            return {
                "x": value["period_ps"],
                "y": round(area, 4),
                "name": subject.label,
                "unit": subject.unit,
                "asked": asked,
                "tip": f"{subject.label}: {number(value['period_ps'], 4)} ps, "
                f"{number(area, 4)} {unit} ({asked})",
            }

        points.append(row(delay, "shortest period"))
        for value in delay.get("curve") or []:
            target = value["target_ps"]
            asked = "mapped for area" if target is None else f"{number(target, 4)} ps asked for"
            steps.append(row(value, asked if value["met"] else f"{asked}, not met"))
    every = [*points, *steps]
    best = fronts(every, None if dot else "unit")
    x = Axis.over("Clock period (ps)", [row["x"] for row in every])
    y = Axis.over(f"Area ({unit})", [row["y"] for row in every])
    across = alt.X(**x.channel("x")), alt.Y(**y.channel("y"))
    colour = by_unit(_units(shown))
    curve = alt.Chart(data(steps)).encode(*across, color=colour["color"])
    layers = [
        curve.mark_line(strokeWidth=1.5, opacity=0.55)
        .encode(detail="name:N", order="x:Q")
        .properties(name="curves"),
        curve.mark_point(size=16, filled=True, opacity=0.9)
        .encode(tooltip="tip:N")
        .properties(name="steps"),
        *front_layers(best),
        alt.Chart(data(points))
        .mark_point(size=90, filled=True, opacity=1)
        .encode(*across, **colour, tooltip="tip:N")
        .properties(name="points"),
    ]
    # A name stands where its curve ends on the slow side: there is most room.
    curves = [sorted([s for s in steps if s["name"] == p["name"]], key=_x) or [p] for p in points]
    spec = labelled(
        compiled(alt.layer(*layers), height=_HEIGHT),
        x,
        y,
        [rows[-1] for rows in curves],
        markers=every,
        lines=[piece for rows in curves for piece in polyline(rows)] + stairs(best),
    )
    title, what, whose = _kind(dot)
    return Figure(
        key=f"area-delay-{'dot' if dot else 'units'}",
        title=title,
        text=f"Scatter plot of {len(shown)} {what}: clock period {span([p['x'] for p in every])} "
        f"ps, area {span([p['y'] for p in every])} {unit}. On {whose}: {named(best)}.",
        note="Lines join the netlists of one point over the periods asked for; the large marker is "
        f"the flow's netlist for speed. Dotted steps and rings: {whose} over all netlists shown, "
        "which need not compute the same. Clock-to-output and setup are included, wires are not.",
        spec=spec,
        height=_HEIGHT,
        measures=("delay",),
        names=tuple(s.name for s in shown),
        head=("point", "netlist", "period (ps)", f"area ({unit})"),
        rows=tuple((row["name"], row["asked"], row["x"], row["y"]) for row in every),
        marks={"points_marks": len(points), "steps_marks": len(steps), "rings_marks": len(best)},
    )


def _x(row: dict[str, Any]) -> float:
    return float(row["x"])


def vectors_of(subjects: Sequence[Subject]) -> Vectors:
    """The real sample where every subject has it: one plot mixes no vectors."""
    return "real" if all(subject.vectors("real") for subject in subjects) else "random"


def mapped(subjects: Sequence[Subject], words: str) -> str:
    """A sentence on the netlists that the energies are of: `words` with "{}" for their goal.

    "" where there are none, where they differ, or where it is not said.
    """
    goals = {str(s.measures["energy"].get("netlist") or "") for s in subjects if _has_energy(s)}
    return words.format(goals.pop()) if len(goals) == 1 and all(goals) else ""


def _has_energy(subject: Subject) -> bool:
    return "energy" in subject.measures


def area_energy(subjects: Sequence[Subject], *, dot: bool) -> Figure | None:
    """Energy against area, both a MAC for dot products: glitch-aware, and zero-delay below it."""
    share = "pj_per_mac" if dot else "pj_per_op"
    listed = [s for s in of_kind(subjects, dot) if "energy" in s.measures and s.energy_ge]
    vectors = vectors_of(listed)
    shown = [s for s in listed if s.energy(vectors, "zero_delay", share) is not None]
    if not shown:
        return None
    glitch = all(s.energy(vectors, "glitch", share) is not None for s in shown)
    area_unit, unit = ("GE/MAC", "pJ/MAC") if dot else ("GE", "pJ/operation")
    points: list[dict[str, Any]] = []
    for subject in shown:
        zero = subject.energy(vectors, "zero_delay", share)
        upper = subject.energy(vectors, "glitch", share) if glitch else zero
        area = (subject.energy_ge or 0) / ((subject.macs or 1) if dot else 1)
        points.append(
            {
                "x": round(area, 4),
                "y": upper,
                "zero": zero,
                "name": subject.label,
                "unit": subject.unit,
                "tip": f"{subject.label}: {number(area, 4)} {area_unit}, {number(upper)} {unit}"
                + (f" ({number(zero)} without glitches)" if glitch else ""),
            }
        )
    best = fronts(points, None if dot else "unit")
    values = [row[key] for row in points for key in ("y", "zero")]
    x = Axis.over(f"Area ({area_unit})", [row["x"] for row in points], room=0.07)
    y = Axis.over(f"Energy ({unit})", values)
    base = alt.Chart(data(points)).encode(alt.X(**x.channel("x")), alt.Y(**y.channel("y")))
    colour = by_unit(_units(shown))
    layers: list[Any] = []
    if glitch:
        layers.append(
            base.mark_rule(strokeWidth=2, opacity=0.5)
            .encode(y2="zero:Q", color=colour["color"])
            .properties(name="glitches")
        )
    layers += [
        *front_layers(best),
        base.mark_point(size=90, filled=True, opacity=1)
        .encode(**colour, tooltip="tip:N")
        .properties(name="points"),
    ]
    spec = labelled(
        compiled(alt.layer(*layers), height=_HEIGHT),
        x,
        y,
        points,
        markers=points,
        lines=[(row["x"], row["y"], row["x"], row["zero"]) for row in points] + stairs(best),
    )
    title, what, whose = _kind(dot)
    sample = "the real sample" if vectors == "real" else "random vectors"
    means = (
        "with glitches; the line reaches down to the figure without (zero-delay)"
        if glitch
        else "zero-delay: without glitches"
    )
    return Figure(
        key=f"area-energy-{'dot' if dot else 'units'}",
        title=title,
        text=f"Scatter plot of {len(shown)} {what}: area {span([p['x'] for p in points])} "
        f"{area_unit}, energy {span([p['y'] for p in points])} {unit} on {sample}. "
        f"On {whose}: {named(best)}.",
        note=f"Energy on {sample}, {means}. "
        + mapped(shown, "Both are of the netlist mapped for {}. ")
        + f"Dotted steps and rings: {whose}.",
        spec=spec,
        height=_HEIGHT,
        measures=("area", "energy"),
        names=tuple(s.name for s in shown),
        head=(
            "point",
            f"area ({area_unit})",
            *((f"with glitches ({unit})",) if glitch else ()),
            f"zero-delay ({unit})",
        ),
        rows=tuple((p["name"], p["x"], *((p["y"],) if glitch else ()), p["zero"]) for p in points),
        marks={"points_marks": len(points), "rings_marks": len(best)},
    )
