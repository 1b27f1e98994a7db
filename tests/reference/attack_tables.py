"""The tables of docs/attack.md, made of what tests.reference.attack tracks."""

from typing import Any

import numpy as np

from narrowgauge.console import markdown
from narrowgauge.golden.attack import GuardPlan, get_weights

__all__ = [
    *("FLIP", "GUARDED", "best_guards", "compared", "each", "fields", "flips", "guards"),
    *("methods", "overhead", "price", "runs", "short"),
]

FLIP = (
    *("tensor", "word", "bit", "field", "place", "before", "after", "loss"),
    *("flips", "test", "distilled"),
)
"""What is tracked of a flip, in this order; of random flips the last three."""
GUARDED = ("tensor", "word", "bits", "way", "fields", "loss", "flips", "test", "distilled")
"""The same of flips behind a guard."""
AFTER = (1, 5, 20, 100)
"""Flips after which the accuracy is told."""

Data = dict[str, Any]


def runs(data: Data, **wanted: Any) -> list[Data]:
    """The runs of a format, a method, a word for fields, seed by seed."""
    return [
        run
        for run in data["runs"]
        if all((run["fields"] if k == "word" else run["plan"][k]) == v for k, v in wanted.items())
    ]


def each(data: Data, name: str) -> list[Any]:
    """The values of a part of the plan, or of the word for fields, in order."""
    found = [run["fields"] if name == "word" else run["plan"][name] for run in data["runs"]]
    return list(dict.fromkeys(found))


def accuracy(found: list[Data], after: int) -> float:
    """Mean test accuracy in percent, before the first flip (0) or after the last (-1)."""
    last = [
        run["flips"][-1][-2] if after and run["flips"] else run["clean"]["test"] for run in found
    ]
    return 100 * float(np.mean(last))


def short(value: float) -> str:
    return f"{value:.{0 if value > 100 else 1}f}"


def flips(found: list[Data]) -> str:
    """Mean and range of the flips to chance; what is left of the accuracy where it is not met."""
    counts = [run["to_chance"] for run in found]
    if None in counts:
        met = sum(count is not None for count in counts)
        left = f"{accuracy(found, -1):.0f} % left"
        most = max(run["flips"][-1][-3] if run["flips"] else 0 for run in found)
        return f"{met} of {len(counts)} in {most}, {left}"
    low, high = min(counts), max(counts)
    return f"{short(float(np.mean(counts)))} ({low} to {high})" if low < high else f"{low}"


def methods(data: Data) -> str:
    rows = []
    for fmt in each(data, "fmt"):
        for method in each(data, "method"):
            found = runs(data, fmt=fmt, method=method)
            counts = [run["to_chance"] for run in found if run["to_chance"] is not None]
            spread = short(float(np.std(counts, ddof=1))) if len(counts) > 1 else ""
            once = ""
            if method == "zebra":
                first = [run["trials"][0] for run in found]
                if all(trial["end"] == "reached" for trial in first):
                    once = f"{np.mean([trial['flips'] for trial in first]):.1f}"
            rows.append([
                f"`{fmt}`", method, f"{accuracy(found, 0):.1f}", flips(found), spread, once,
                f"{accuracy(found, -1):.1f}",
            ])  # fmt: skip
    head = ["format", "method", "clean %", "flips to chance", "deviation", "first trial", "after %"]
    return markdown(head, rows)


def first_fields(found: list[Data]) -> str:
    """The fields of the first flips."""
    names = [run["flips"][0][FLIP.index("field")] for run in found if run["flips"]]
    bits = [run["flips"][0][FLIP.index("place")] for run in found if run["flips"]]
    told = dict.fromkeys(f"{name} {bit}" for name, bit in zip(names, bits, strict=True))
    return ", ".join(told)


def fields(data: Data) -> str:
    words = [word for word in each(data, "word") if word != "all"]
    rows = []
    for fmt in each(data, "fmt"):
        every = runs(data, fmt=fmt, word="all")
        cells = []
        for word in words:
            found = runs(data, fmt=fmt, word=word)
            if word == "top+element" and not found:
                found = every
            cells.append(flips(found) if found else "")
        rows.append([
            f"`{fmt}`", f"{accuracy(every, 0):.1f}", flips(every), first_fields(every), *cells,
        ])  # fmt: skip
    names = [word.replace("top+element", "elements").replace("scale", "scales") for word in words]
    names = [name.replace("outlier", "outliers").replace("position", "positions") for name in names]
    return markdown(["format", "clean %", "any bit", "first flip", *names], rows)


def after(run: Data, flips: int) -> float:
    """Test accuracy after so many flips, or after the last before."""
    found = float(run["clean"]["test"])
    for flip in run["flips"]:
        if flip[-3] <= flips and flip[-2] is not None:
            found = flip[-2]
    return found


def price(found: list[Data]) -> tuple[float, bool]:
    """Mean flips to chance, and whether all got there; flips made count where one did not."""
    counts = [run["to_chance"] for run in found]
    made = [
        run["flips"][-1][-3] if count is None and run["flips"] else count or 0
        for run, count in zip(found, counts, strict=True)
    ]
    return float(np.mean(made)), None not in counts


def overhead(fmt: str, guard: str) -> float:
    """Storage beside the words, in percent."""
    return 100 * GuardPlan.of(guard).guard(get_weights(fmt)).overhead


def factor(one: tuple[float, bool], other: tuple[float, bool]) -> str:
    ratio = one[0] / other[0]
    return f"{'' if one[1] else '> '}{ratio:.{0 if ratio >= 10 else 1}f}"


def guards(data: Data) -> str:
    rows = []
    for fmt in each(data, "fmt"):
        bare = runs(data, fmt=fmt, guard="none")
        for guard in each(data, "guard"):
            found = runs(data, fmt=fmt, guard=guard)
            if not found:
                continue
            times = factor(price(found), price(bare)) if bare and guard != "none" else ""
            ways = [flip[3] for run in found for flip in run["flips"]]
            order = sorted(set(ways), key=lambda way: (-ways.count(way), way))
            told = [f"{ways.count(way)} {way}" for way in order]
            rows.append([
                f"`{fmt}`", f"`{guard}`", f"{overhead(fmt, guard):.2f}", flips(found),
                times,
                *(f"{100 * np.mean([after(run, n) for run in found]):.1f}" for n in AFTER),
                ", ".join(told),
            ])  # fmt: skip
    head = ["format", "guard", "storage %", "flips to chance", "times"]
    return markdown([*head, *(f"after {n} %" for n in AFTER), "ways, all seeds"], rows)


def best_guards(data: Data) -> str:
    """Which guards below 5 % of storage cost the attacker 20 times the flips."""
    told = []
    for fmt in each(data, "fmt"):
        bare = runs(data, fmt=fmt, guard="none")
        if not bare:
            continue
        plain = price(bare)
        found = {
            guard: price(runs(data, fmt=fmt, guard=guard))
            for guard in each(data, "guard")
            if guard != "none" and runs(data, fmt=fmt, guard=guard) and overhead(fmt, guard) < 5
        }
        best = max(found, key=lambda guard: found[guard][0])
        enough = "at least 20" if found[best][0] >= 20 * plain[0] else "not 20"
        told.append(
            f"`{fmt}` `{best}`, {factor(found[best], plain)} times ({enough}) at "
            f"{overhead(fmt, best):.2f} %"
        )
    return f"Most flips below 5 % of storage: {'; '.join(told)}." if told else ""


def compared(data: Data) -> str:
    """Methods beside each other, and what the distilled images told."""
    told = []
    for fmt in each(data, "fmt"):
        pair = [runs(data, fmt=fmt, method=method) for method in ("bfa", "zebra")]
        if all(pair) and price(pair[1])[1]:
            bfa, zebra = (price(found) for found in pair)
            told.append(f"`{fmt}` {'' if bfa[1] else 'above '}{bfa[0] / zebra[0]:.2f}")
    bar = data["configuration"]["bar"]
    zebra = runs(data, method="zebra")
    seen = [
        next(flip for flip in run["flips"] if flip[-1] <= bar)
        for run in zebra
        if run["seen"] is not None
    ]
    steps = [step for run in zebra for trial in run["trials"] for step in trial["steps"]]
    lines = [f"Flips of bfa over those of zebra: {', '.join(told)}."] if told else []
    if steps:
        lines.append(f"A batch is distilled in {np.mean(steps):.0f} steps of Adam.")
    if seen:
        lines.append(
            f"In {len(seen)} of {len(zebra)} runs of zebra the distilled images were at chance "
            f"after {np.mean([flip[-3] for flip in seen]):.1f} flips on average, with "
            f"{100 * np.mean([flip[-2] for flip in seen]):.0f} % of the test images still right."
        )
    return " ".join(lines)
