"""Tables of what was checked: benches, mutants and netlists; survivors; proofs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from narrowgauge.page.figure import number, whole
from narrowgauge.page.markup import Markup, element
from narrowgauge.page.subjects import Subject
from narrowgauge.page.tables import NONE, boxed, figure_span, percent, plain, point_name, verdict

__all__ = ["checks", "proofs", "survivors"]


def _bar(value: float | None) -> Markup:
    """A share as a number with a bar."""
    if value is None:
        return element("td", NONE, class_="num")
    bar = element("span", class_="bar", style=f"--share:{100 * value:.1f}%", aria_hidden="true")
    return element("td", figure_span(f"{percent(value)} %"), bar, class_="num share")


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
        bench = verdict("bad", f"failed: {', '.join(failed)}") if failed else (
            verdict("good", levels) if runs else NONE
        )  # fmt: skip
        mutation = subject.measures.get("mutation")
        gates = subject.measures.get("gates")
        netlist: Markup = NONE
        if gates:
            said = f"equal, {whole(gates['beats'])} beats"
            netlist = verdict("good", said) if gates["equal"] else verdict("bad", "differs")
        killed = (
            f"{mutation['killed']} of {mutation['mutants'] - mutation['equivalent']}"
            if mutation
            else NONE
        )
        body.append(
            element(
                "tr",
                element("th", *point_name(subject), scope="row"),
                element("td", bench),
                element(
                    "td",
                    whole(sum(run["beats_out"] for run in runs)) if runs else NONE,
                    class_="num",
                ),
                element("td", f"{bins[0]} of {bins[1]}" if bins else NONE, class_="num"),
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
    return boxed(table, caption)


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
            element("th", *point_name(subject), scope="row"),
            element("td", str(claim["claim"]), class_="words"),
            element("td", str(claim["method"])),
            element("td", str(claim["size"])),
            element("td", verdict(_KIND[claim["status"]], claim["status"]), *_example(claim)),
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
    return boxed(table, caption)


_KIND = {"proved": "good", "refuted": "bad", "unknown": "open"}


def _example(claim: Mapping[str, Any]) -> list[Markup]:
    if claim["counterexample"] is None:
        return []
    return [element("pre", json.dumps(claim["counterexample"], indent=1, sort_keys=True))]
