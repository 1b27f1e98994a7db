"""The tables of the page: comparison, checks, proofs, survivors, stamps; and those under plots."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from narrowgauge.page.figure import Cell, number, whole
from narrowgauge.page.markup import Markup, element
from narrowgauge.page.subjects import BASELINE, Subject, Vectors

__all__ = [
    "checks",
    "comparison",
    "comparison_data",
    "plain",
    "proofs",
    "stamps",
    "survivors",
]

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
    (
        "Checks",
        (("proof", "proved"), ("mutation", "mutants, %"), ("bins", "bins, %")),
    ),
)
"""Columns of the comparison: heading of some columns, and of each its key and unit."""

_KINDS: tuple[Vectors, ...] = ("random", "real")

_NONE = Markup('<span class="none" title="not measured">\u2013</span>')


def _figures(subject: Subject) -> dict[str, float | None]:
    """The numbers of the comparison that have a ratio, energies apart."""
    return {
        "ge": subject.ge,
        "ge_mac": subject.ge_per_mac,
        "period": subject.get("delay", "period_ps"),
        "fmax": subject.get("delay", "fmax_mhz"),
    }


def _energies(subject: Subject, kind: Vectors) -> dict[str, float | None]:
    return {key: subject.energy(kind, estimate, share) for key, estimate, share in _ENERGY}


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
                for kind in _KINDS
                if (vectors := subject.vectors(kind))
            },
        }
        for subject in subjects
    ]


def _proved(subject: Subject) -> tuple[float | None, Markup]:
    claims = subject.claims
    if not claims:
        return None, _NONE
    count = {status: sum(claim["status"] == status for claim in claims) for status in _STATUS}
    said = f"{count['proved']} of {len(claims)}"
    kind = "bad" if count["refuted"] else "good" if count["proved"] == len(claims) else "open"
    refuted = f", {count['refuted']} refuted" if count["refuted"] else ""
    return count["proved"] / len(claims), _verdict(kind, said + refuted)


_STATUS = ("proved", "refuted", "unknown")
_SIGN = {"good": "\u2713", "bad": "\u2717", "open": "?"}


def _verdict(kind: str, words: str) -> Markup:
    """Words with a sign before them, so that colour says nothing alone."""
    return element(
        "span", element("span", _SIGN[kind], aria_hidden="true"), f" {words}", class_=kind
    )


def _percent(value: float | None) -> str:
    """Hundredths, rounded down to a tenth: 100 is only said of all."""
    return "" if value is None else f"{int(value * 1000 + 1e-9) / 10:g}"


def _check_cells(subject: Subject) -> list[Markup]:
    share, words = _proved(subject)
    cells = [element("td", words, class_="num", data_key="proof", data_value=share)]
    mutation = subject.get("mutation", "score")
    bins = subject.bins
    covered = None if bins is None else bins[0] / bins[1]
    failed = any(not run["passed"] for run in subject.runs)
    for key, value in (("mutation", mutation), ("bins", covered)):
        if value is None:
            shown: str = _NONE
        elif key == "bins" and failed:
            shown = _verdict("bad", "bench failed")
        else:
            shown = _percent(value)
        cells.append(element("td", shown, class_="num", data_key=key, data_value=value))
    return cells


def comparison(subjects: Sequence[Subject]) -> Markup:
    """Every point with its figures; ratios, order and filter are the page's."""
    top = [
        element("th", title, colspan=len(columns), scope="colgroup") if title else element("td")
        for title, columns in _GROUPS
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
        for title, columns in _GROUPS
        for key, unit in columns
    ]
    body = []
    for subject in subjects:
        numbers = _figures(subject)
        keys = [key for title, columns in _GROUPS[1:5] for key, _ in columns]
        cells = []
        for key in keys:
            value = numbers.get(key)
            shown = _NONE if value is None else _value(number(value, 4))
            cells.append(element("td", shown, class_="num", data_key=key, data_value=value))
        body.append(
            element(
                "tr",
                element("th", element("span", *_name(subject)), scope="row", data_key="point"),
                *cells,
                *_check_cells(subject),
                data_name=subject.name,
                data_unit=subject.unit,
            )
        )
    caption = element("caption", "Every point, with the figures of one library")
    head = element("thead", element("tr", *top, class_="groups"), element("tr", *second))
    return _boxed(
        element("table", caption, head, element("tbody", *body), id="comparison"),
        "Comparison of all points",
    )


def _value(text: str) -> Markup:
    return element("span", text, class_="value")


def _name(subject: Subject) -> list[str]:
    """The unit and the point, which may break between them."""
    unit, slash, point = subject.label.partition("/")
    return [f"{unit}{slash}", Markup("<wbr>"), point]


def _boxed(table: Markup, label: str) -> Markup:
    """A table that scrolls in its box, which the keyboard reaches."""
    return element("div", table, class_="box", tabindex="0", role="region", aria_label=label)


def plain(caption: str, head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Markup:
    """A table of words and numbers; numbers to the right."""
    numeric = [any(isinstance(row[i], (int, float)) for row in rows) for i in range(len(head))]

    def cell(value: Cell, index: int) -> Markup:
        shown = value if isinstance(value, str) else number(value, 4)
        if index == 0:
            return element("th", shown, scope="row")
        return element("td", shown or _NONE, class_="num" if numeric[index] else None)

    titles = [
        element("th", title, scope="col", class_="num" if right else None)
        for title, right in zip(head, numeric, strict=True)
    ]
    body = [element("tr", *(cell(value, i) for i, value in enumerate(row))) for row in rows]
    return _boxed(
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", *titles)),
            element("tbody", *body),
        ),
        caption,
    )


def _bar(value: float | None) -> Markup:
    """A share as a number with a bar."""
    if value is None:
        return element("td", _NONE, class_="num")
    bar = element("span", class_="bar", style=f"--share:{100 * value:.1f}%", aria_hidden="true")
    return element("td", _value(f"{_percent(value)} %"), bar, class_="num share")


def checks(subjects: Sequence[Subject]) -> Markup | None:
    """Bench, coverage, mutants and mapped netlist of every point that has one of them."""
    shown = [s for s in subjects if {"verify", "mutation", "gates"} & set(s.measures)]
    if not shown:
        return None
    titles = (
        "point",
        "bench",
        "beats compared",
        "bins hit",
        "coverage",
        "mutants killed",
        "score",
        "mapped netlist",
    )
    numeric = {"beats compared", "bins hit", "coverage", "mutants killed", "score"}
    body = []
    for subject in shown:
        runs, bins = subject.runs, subject.bins
        failed = [run["level"] for run in runs if not run["passed"]]
        levels = ", ".join(dict.fromkeys(run["level"] for run in runs))
        verdict = _verdict("bad", f"failed: {', '.join(failed)}") if failed else (
            _verdict("good", levels) if runs else _NONE
        )  # fmt: skip
        mutation = subject.measures.get("mutation")
        gates = subject.measures.get("gates")
        netlist: Markup = _NONE
        if gates:
            said = f"equal, {whole(gates['beats'])} beats"
            netlist = _verdict("good", said) if gates["equal"] else _verdict("bad", "differs")
        killed = (
            f"{mutation['killed']} of {mutation['mutants'] - mutation['equivalent']}"
            if mutation
            else _NONE
        )
        body.append(
            element(
                "tr",
                element("th", *_name(subject), scope="row"),
                element("td", verdict),
                element(
                    "td",
                    whole(sum(run["beats_out"] for run in runs)) if runs else _NONE,
                    class_="num",
                ),
                element("td", f"{bins[0]} of {bins[1]}" if bins else _NONE, class_="num"),
                _bar(bins[0] / bins[1] if bins else None),
                element("td", killed, class_="num"),
                _bar(subject.get("mutation", "score")),
                element("td", netlist),
            )
        )
    head = [
        element("th", title, scope="col", class_="num" if title in numeric else None)
        for title in titles
    ]
    caption = "Bench, coverage, mutants and mapped netlist"
    table = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
    return _boxed(table, caption)


def survivors(subjects: Sequence[Subject]) -> Markup:
    """Mutants that no vector killed, with the reason where one is known."""
    rows = [
        (subject.label, str(survivor["mutation"]), str(survivor["reason"] or "not explained"))
        for subject in subjects
        for survivor in subject.measures.get("mutation", {}).get("survivors", [])
    ]
    return plain("Mutants that survived", ("point", "mutation", "reason"), rows)


def proofs(subjects: Sequence[Subject]) -> Markup | None:
    """Every claim with its method, its size and what came of it."""
    body = [
        element(
            "tr",
            element("th", *_name(subject), scope="row"),
            element("td", str(claim["claim"]), class_="words"),
            element("td", str(claim["method"])),
            element("td", str(claim["size"])),
            element("td", _verdict(_KIND[claim["status"]], claim["status"]), *_example(claim)),
            element("td", number(claim["seconds"], 2), class_="num"),
        )
        for subject in subjects
        for claim in subject.claims
    ]
    if not body:
        return None
    titles = ("point", "claim", "method", "size", "status", "s")
    head = [element("th", t, scope="col", class_="num" if t == "s" else None) for t in titles]
    caption = "Claims, how each was settled and at what size"
    table = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
    return _boxed(table, caption)


_KIND = {"proved": "good", "refuted": "bad", "unknown": "open"}


def _example(claim: Mapping[str, Any]) -> list[Markup]:
    if claim["counterexample"] is None:
        return []
    return [element("pre", json.dumps(claim["counterexample"], indent=1, sort_keys=True))]


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
        rows.append((measure, said, float(len(labels)), ", ".join(labels)))
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
