"""What the tables of the page share: numbers, verdicts, names, a box that scrolls; and stamps."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from narrowgauge.page.figure import Cell, number, whole
from narrowgauge.page.markup import Markup, element
from narrowgauge.page.subjects import Subject

__all__ = ["NONE", "boxed", "figure_span", "percent", "plain", "point_name", "stamps", "verdict"]

NONE = Markup('<span class="none" title="not measured">\u2013</span>')


_SIGN = {"good": "\u2713", "bad": "\u2717", "open": "?"}


def verdict(kind: str, words: str) -> Markup:
    """Words with a sign before them, so that colour says nothing alone."""
    return element(
        "span", element("span", _SIGN[kind], aria_hidden="true"), f" {words}", class_=kind
    )


def percent(value: float | None) -> str:
    """Hundredths, rounded down to a tenth: 100 is only said of all."""
    return "" if value is None else f"{int(value * 1000 + 1e-9) / 10:g}"


def figure_span(text: str) -> Markup:
    return element("span", text, class_="value")


def point_name(subject: Subject) -> list[str]:
    """The unit and the point, which may break between them."""
    unit, slash, point = subject.label.partition("/")
    return [f"{unit}{slash}", Markup("<wbr>"), point]


def boxed(table: Markup, label: str) -> Markup:
    """A table that scrolls in its box, which the keyboard reaches."""
    return element("div", table, class_="box", tabindex="0", role="region", aria_label=label)


def plain(caption: str, head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Markup:
    """A table of words and numbers; numbers to the right."""
    numeric = [any(isinstance(row[i], (int, float)) for row in rows) for i in range(len(head))]

    def cell(value: Cell, index: int) -> Markup:
        if isinstance(value, int):
            shown = whole(value)
        else:
            shown = value if isinstance(value, str) else number(value, 4)
        if index == 0:
            return element("th", shown, scope="row")
        return element("td", shown or NONE, class_="num" if numeric[index] else None)

    titles = [
        element("th", title, scope="col", class_="num" if right else None)
        for title, right in zip(head, numeric, strict=True)
    ]
    body = [element("tr", *(cell(value, i) for i, value in enumerate(row))) for row in rows]
    return boxed(
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", *titles)),
            element("tbody", *body),
        ),
        caption,
    )


def stamps(subjects: Sequence[Subject]) -> Markup:
    """What the figures were made with: one row a measure and stamp."""
    found: dict[tuple[str, str], list[str]] = {}
    for subject in subjects:
        for measure, stamp in sorted(subject.stamps.items()):
            key = (measure, json.dumps(stamp, sort_keys=True))
            found.setdefault(key, []).append(subject.label)
    rows = []
    for (measure, text), labels in sorted(found.items()):
        said = "; ".join(f"{name} {value}" for name, value in _flat(json.loads(text)))
        rows.append((measure, said, len(labels), ", ".join(labels)))
    return plain("What the figures were made with", ("measure", "stamp", "points", "names"), rows)


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested values as dotted names; digests by their first twelve digits."""
    if isinstance(value, Mapping):
        items = [
            _flat(inner, f"{name}.{key}" if name else str(key)) for key, inner in value.items()
        ]
        return [each for found in items for each in found]
    text = value if isinstance(value, str) else json.dumps(value)
    digest = len(text) == 64 and all(c in "0123456789abcdef" for c in text)
    return [(name.removeprefix("tools."), text[:12] if digest else text)]
