"""The comparison of all points, and what the page needs for its ratios."""

from collections.abc import Sequence
from typing import Any

from narrowgauge.page.figure import number
from narrowgauge.page.markup import Markup, element
from narrowgauge.page.subjects import BASELINE, KINDS, Subject, Vectors
from narrowgauge.page.tables import NONE, boxed, figure_span, percent, point_name, verdict

__all__ = ["comparison", "comparison_data"]

_ENERGY = (
    ("op_zero", "zero_delay", "pj_per_op"),
    ("op_glitch", "glitch", "pj_per_op"),
    ("mac_zero", "zero_delay", "pj_per_mac"),
    ("mac_glitch", "glitch", "pj_per_mac"),
)

_GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("", (("point", "point"),)),
    ("Area", (("ge", "GE"), ("ge_mac", "GE/MAC"))),
    ("Delay", (("period", "ps"), ("fmax", "MHz"))),
    ("Energy, zero-delay", (("op_zero", "pJ/op"), ("mac_zero", "pJ/MAC"))),
    ("Energy, glitches", (("op_glitch", "pJ/op"), ("mac_glitch", "pJ/MAC"))),
    ("Memory", (("op_memory", "pJ/op"),)),
    (
        "Checks",
        (("proof", "proved"), ("mutation", "mutants, %"), ("bins", "bins, %")),
    ),
)
"""Columns of the comparison: heading of some columns, and of each its key and unit."""


def _figures(subject: Subject) -> dict[str, float | None]:
    """The numbers of the comparison that have a ratio, energies apart."""
    return {
        "ge": subject.ge,
        "ge_mac": subject.ge_per_mac,
        "period": subject.get("delay", "period_ps"),
        "fmax": subject.get("delay", "fmax_mhz"),
    }


def _energies(subject: Subject, kind: Vectors) -> dict[str, float | None]:
    found = {key: subject.energy(kind, estimate, share) for key, estimate, share in _ENERGY}
    return found | {"op_memory": subject.memory.get(kind)}


def comparison_data(subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    """What the page needs for ratios: the numbers of each point, and their text by vectors."""
    return [
        {
            "name": subject.name,
            "unit": subject.unit,
            "macs": subject.macs,
            "baseline": subject.unit == BASELINE,
            "made": subject.made_with,
            "values": _figures(subject),
            "energy": {
                kind: {
                    "macs": vectors["macs_per_operation"],
                    **{
                        key: None if value is None else [value, number(value)]
                        for key, value in _energies(subject, kind).items()
                    },
                }
                for kind in KINDS
                if (vectors := subject.vectors(kind))
            },
        }
        for subject in subjects
    ]


def _proved(subject: Subject) -> tuple[float | None, Markup]:
    claims = subject.claims
    if not claims:
        return None, NONE
    count = {status: sum(claim["status"] == status for claim in claims) for status in _STATUS}
    said = f"{count['proved']} of {len(claims)}"
    kind = "bad" if count["refuted"] else "good" if count["proved"] == len(claims) else "open"
    refuted = f", {count['refuted']} refuted" if count["refuted"] else ""
    return count["proved"] / len(claims), verdict(kind, said + refuted)


_STATUS = ("proved", "refuted", "unknown")


def _check_cells(subject: Subject) -> list[Markup]:
    share, words = _proved(subject)
    cells = [element("td", words, class_="num", data_key="proof", data_value=share)]
    mutation = subject.get("mutation", "score")
    bins = subject.bins
    covered = None if bins is None else bins[0] / bins[1]
    failed = any(not run["passed"] for run in subject.runs)
    for key, value in (("mutation", mutation), ("bins", covered)):
        if value is None:
            shown: str = NONE
        elif key == "bins" and failed:
            shown = verdict("bad", "bench failed")
        else:
            shown = percent(value)
        cells.append(element("td", shown, class_="num", data_key=key, data_value=value))
    return cells


def comparison(subjects: Sequence[Subject]) -> Markup:
    """Every point with its figures; ratios, order and filter are the page's."""
    groups = [each for each in _GROUPS if each[0] != "Memory" or any(s.memory for s in subjects)]
    top = [
        element("th", title, colspan=len(columns), scope="colgroup") if title else element("td")
        for title, columns in groups
    ]
    second = [
        element(
            "th",
            element("button", unit, element("span", class_="arrow", aria_hidden="true")),
            scope="col",
            data_key=key,
            class_="num" if title else None,
            aria_sort="none",
        )
        for title, columns in groups
        for key, unit in columns
    ]
    body = []
    for subject in subjects:
        kind: Vectors = "real" if subject.vectors("real") else "random"
        numbers = _figures(subject) | _energies(subject, kind)
        keys = [key for _, columns in groups[1:-1] for key, _ in columns]
        cells = []
        for key in keys:
            value = numbers.get(key)
            digits = 4 if key in _figures(subject) else 3
            shown = NONE if value is None else figure_span(number(value, digits))
            cells.append(element("td", shown, class_="num", data_key=key, data_value=value))
        body.append(
            element(
                "tr",
                element("th", element("span", *point_name(subject)), scope="row", data_key="point"),
                *cells,
                *_check_cells(subject),
                data_name=subject.name,
                data_unit=subject.unit,
            )
        )
    caption = element("caption", "Every point, with the figures of one library")
    head = element("thead", element("tr", *top, class_="groups"), element("tr", *second))
    return boxed(
        element("table", caption, head, element("tbody", *body), id="comparison"),
        "Comparison of all points",
    )
