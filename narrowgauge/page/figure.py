"""What a figure is: a Vega plot, the same figures as a table, and where they come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from narrowgauge.page.subjects import Subject

__all__ = ["Cell", "Figure", "front", "number", "of_kind", "span", "whole"]

Cell = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One plot.

    Attributes
    ----------
    key : name of its files and its anchor
    title : heading
    text : what it shows, for those who do not see it
    note : how to read it
    spec : Vega specification with colours as variables
    height : of the plot, in pixels; the page gives the width
    measures : what it needs from the store
    names : the points that it shows
    head, rows : the same figures as a table
    marks : mark of the plot -> how many items it must have
    choices : where one plot at a time is shown: label -> (key, values of the data set "tree", text)
    """

    key: str
    title: str
    text: str
    note: str
    spec: Mapping[str, Any]
    height: int
    measures: tuple[str, ...]
    names: tuple[str, ...]
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    marks: Mapping[str, int]
    choices: Mapping[str, tuple[str, Sequence[Mapping[str, Any]], str]] = field(
        default_factory=dict
    )


def number(value: float | None, digits: int = 3) -> str:
    """A number for readers: `digits` significant figures, thousands apart, no exponent."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    size = abs(value)
    places = 0
    while places < 6 and size * 10**places < 10 ** (digits - 1):
        places += 1
    return f"{value:,.{places}f}".replace(",", "\u202f")


def whole(value: float) -> str:
    """A whole number for readers."""
    return f"{value:,.0f}".replace(",", "\u202f")


def span(values: Sequence[float], digits: int = 3) -> str:
    """Smallest and largest."""
    low, high = number(min(values), digits), number(max(values), digits)
    return low if low == high else f"{low} to {high}"


def front(points: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """The Pareto front of (x, y, name) where less is better in both, by x."""
    kept: list[tuple[float, float, str]] = []
    for point in sorted(points):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    return kept


def of_kind(subjects: Sequence[Subject], dot: bool) -> list[Subject]:
    """The dot products, or the others."""
    return [subject for subject in subjects if bool(subject.macs) == dot]
