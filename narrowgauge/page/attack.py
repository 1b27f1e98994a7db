"""Accuracy against flips of `narrowgauge attack`, as one plot: a panel a format."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from narrowgauge.page import palette
from narrowgauge.page.vega import data

__all__ = ["curves", "files"]

_WIDTH, _HEIGHT, _COLUMNS = 250, 190, 3
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [4, 4], [10, 4], [3, 1])


def _series(report: Mapping[str, Any]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Runs by format and by what else differs."""
    c = report["configuration"]
    made: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for run in report["runs"]:
        plan = run["plan"]
        words = [plan["method"]] if len(c["methods"]) > 1 else []
        words += [run["fields"]] if len(c["fields"]) > 1 else []
        words += [plan["guard"]] if c["guards"] else []
        made.setdefault((plan["fmt"], ", ".join(words) or plan["method"]), []).append(run)
    return made


def _accuracy(run: Mapping[str, Any], flips: int) -> float:
    """In percent, after so many flips, or the last before."""
    found = run["clean"]["test"]
    for flip in run["flips"]:
        if "test" in flip and flip["flips"] <= flips:
            found = flip["test"]
    return 100 * float(found)


def _rows(fmt: str, name: str, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    counts = {flip["flips"] for run in runs for flip in run["flips"] if "test" in flip}
    return [
        {"format": fmt, "series": name, "x": n, "y": sum(_accuracy(r, n) for r in runs) / len(runs)}
        for n in sorted({0, *counts})
    ]


def curves(report: Mapping[str, Any]) -> Any:
    """The chart of a report as `narrowgauge.attack.Report.to_json` has it; means of the seeds."""
    series = _series(report)
    names = list(dict.fromkeys(name for _, name in series))
    hues = alt.Scale(domain=names, range=[palette.hue(names, name) for name in names])
    # Where hues come again, dashes are others.
    kinds = [_DASHES[(n + n // len(_DASHES)) % len(_DASHES)] for n in range(len(names))]
    dashes = alt.Scale(domain=names, range=kinds)
    legend = alt.Legend(columns=4, symbolSize=500, symbolStrokeWidth=2, labelLimit=0)
    most = max(flip["flips"] for run in report["runs"] for flip in run["flips"])
    ticks = [n for n in (0, 1, 3, 10, 30, 100, 1000, 10_000) if n <= most]
    across = alt.Scale(type="symlog", constant=1, domain=[0, most], nice=False)
    bar = [{"y": 100 * report["configuration"]["bar"]}]
    panels = []
    for fmt in dict.fromkeys(fmt for fmt, _ in series):
        rows = [row for (f, name), runs in series.items() if f == fmt
                for row in _rows(f, name, runs)]  # fmt: skip
        line = (
            alt.Chart(data(rows))
            .mark_line(strokeWidth=1.8, interpolate="step-after")
            .encode(
                alt.X("x:Q", title="Flips", scale=across, axis=alt.Axis(values=ticks)),
                alt.Y("y:Q", title="Accuracy (%)", scale=alt.Scale(domain=[0, 100])),
                color=alt.Color("series:N", scale=hues, legend=legend),
                strokeDash=alt.StrokeDash("series:N", scale=dashes, legend=legend),
            )
        )
        chance = alt.Chart(data(bar)).mark_rule(color="var(--muted)").encode(alt.Y("y:Q"))
        panels.append(alt.layer(chance, line).properties(width=_WIDTH, height=_HEIGHT, title=fmt))
    return alt.concat(*panels, columns=_COLUMNS, spacing=26).configure(
        **palette.CONFIG,
        title=alt.TitleConfig(color="var(--text)", fontSize=14, anchor="start"),
    )


def files(report: Mapping[str, Any]) -> dict[str, bytes]:
    """The plot as `attack.svg` and `attack.png`, on white."""
    import vl_convert

    paper = palette.on_paper(curves(report).to_dict(format="vega"))
    return {
        "attack.svg": vl_convert.vega_to_svg(paper).encode(),
        "attack.png": vl_convert.vega_to_png(paper, scale=2),
    }
