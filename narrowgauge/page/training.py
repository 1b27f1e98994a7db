"""Learning curves and accuracies of `narrowgauge train`, and the precision of passes over time."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from narrowgauge.page import palette
from narrowgauge.page.vega import data

__all__ = ["NAMES", "PRECISIONS", "curves", "files", "modes"]

NAMES = {
    "bn": "batch norm, FP32",
    "fp32": "range, FP32",
    "fp10": "range, FP10",
    "bfp4": "range, FP10 + BFP, G = 4",
    "bfp8": "range, FP10 + BFP, G = 8",
    "bfp16": "range, FP10 + BFP, G = 16",
}
"""The norms in words."""
PRECISIONS = {
    "fb24": "FB24",
    "fb16": "FB16",
    "fb12": "FB12",
    "mixed": "FB12, dX in FB24",
    "mixed_dw": "FB12, dW in FB24",
    "dynamic": "dynamic precision",
}
"""The precisions in words."""

_PASSES = {"forward": "forward", "dx": "dX", "dw": "dW"}
_ROW = 18
_LONG = 400
"""Room for the longest name, in pixels."""
_WIDTH, _HEIGHT, _LOW = 360, 300, 150
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [4, 4], [10, 4])


def _named(name: str) -> str:
    """Runs as `narrowgauge.train.named` calls them, in words."""
    norm, _, precision = name.partition("+")
    return f"{NAMES[norm]}; {PRECISIONS[precision]}" if precision else NAMES[norm]


def _losses(net: str, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Mean loss of the seeds against the share of the training that is done."""
    rows = []
    for norm, seeds in runs.items():
        columns = list(zip(*(run["losses"] for run in seeds), strict=True))
        epochs = len(seeds[0]["accuracy"])
        rows += [
            {
                "net": net,
                "norm": _named(norm),
                "x": (index + 0.5) * epochs / len(columns),
                "y": sum(column) / len(column),
            }
            for index, column in enumerate(columns)
        ]
    return rows


def _accuracies(net: str, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {"net": net, "norm": _named(norm), "x": 100 * run["accuracy"][-1]}
        for norm, seeds in runs.items()
        for run in seeds
    ]


def curves(report: Mapping[str, Any]) -> Any:
    """The chart of a report as `narrowgauge.train.Report.to_json` has it: a column a net."""
    nets = report["runs"]
    held = report["configuration"]["held"]
    title = f"Accuracy on the {'held' if held else 'test'} images (%)"
    known = [*NAMES, *(f"{norm}+{precision}" for norm in NAMES for precision in PRECISIONS)]
    norms = [_named(key) for key in known if any(key in runs for runs in nets.values())]
    # What the others are compared with is in the colour of the text.
    own = [name for name in norms if name != NAMES["bn"]]
    colours = ["var(--text)" if n == NAMES["bn"] else palette.hue(own, n) for n in norms]
    hues = alt.Scale(domain=norms, range=colours)
    dashes = alt.Scale(domain=norms, range=[_DASHES[i % 6] for i in range(len(norms))])
    legend = alt.Legend(columns=3, symbolSize=500, symbolStrokeWidth=2, labelLimit=_LONG)
    columns = []
    for net, runs in nets.items():
        rows = _losses(net, runs)
        epochs = max(len(run["accuracy"]) for seeds in runs.values() for run in seeds)
        ends = [f([row["y"] for row in rows]) for f in (min, max)]
        height = alt.Scale(type="log", nice=False, domain=[ends[0] / 1.1, ends[1] * 1.1])
        loss = (
            alt.Chart(data(rows))
            .mark_line(strokeWidth=1.8)
            .encode(
                alt.X("x:Q", title="Epochs", scale=alt.Scale(nice=False, domain=[0, epochs])),
                alt.Y("y:Q", title="Training loss, logarithmic", scale=height),
                color=alt.Color("norm:N", scale=hues, legend=legend),
                strokeDash=alt.StrokeDash("norm:N", scale=dashes, legend=legend),
            )
            .properties(width=_WIDTH, height=_HEIGHT, title=net)
        )
        found = alt.Chart(data(_accuracies(net, runs))).encode(
            alt.Y("norm:N", title=None, sort=norms, axis=alt.Axis(labelLimit=_LONG))
        )
        x = alt.X(
            "x:Q",
            title=title,
            scale=alt.Scale(zero=False, nice=False, padding=14),
            axis=alt.Axis(tickCount=6),
        )
        seeds = found.mark_point(size=60, filled=True, opacity=0.7).encode(
            x, color=alt.Color("norm:N", scale=hues, legend=None)
        )
        mean = found.mark_tick(thickness=2, size=20, color="var(--text)").encode(
            alt.X("mean(x):Q", title=title)
        )
        below = alt.layer(seeds, mean).properties(width=_WIDTH, height=_LOW)
        columns.append(alt.vconcat(loss, below, spacing=18))
    return alt.hconcat(*columns, spacing=30).configure(
        **palette.CONFIG,
        title=alt.TitleConfig(color="var(--text)", fontSize=14, anchor="start"),
    )


def _rows(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row an interval of each pass of each layer of one run."""
    known = run["precision"]
    passes = [f"{layer} {_PASSES[each]}" for layer in known["layers"] for each in known["passes"]]
    step = known["interval"]
    return [
        {
            "pass": each,
            "x": index * step,
            "x2": (index + 1) * step,
            "mode": known["modes"][mode].upper(),
        }
        for index, row in enumerate(known["history"])
        for each, mode in zip(passes, row["modes"], strict=True)
    ]


def modes(report: Mapping[str, Any]) -> Any | None:
    """The chart of precision over time, of the first seed of dynamic runs; None without any."""
    parts = []
    for net, runs in report["runs"].items():
        for key, seeds in runs.items():
            if not key.endswith("+dynamic"):
                continue
            rows = _rows(seeds[0])
            if not rows:
                continue
            names = list(dict.fromkeys(row["pass"] for row in rows))
            scale = alt.Scale(
                domain=["FB12", "FB16", "FB24"], range=[palette.HUES[i] for i in (2, 4, 1)]
            )
            parts.append(
                alt.Chart(data(rows))
                .mark_rect(stroke="var(--ground)", strokeWidth=1)
                .encode(
                    alt.X("x:Q", title="Steps", scale=alt.Scale(nice=False, padding=0)),
                    alt.X2("x2:Q"),
                    alt.Y("pass:N", title=None, sort=names),
                    color=alt.Color("mode:N", scale=scale, legend=alt.Legend(columns=3)),
                )
                .properties(
                    width=_WIDTH,
                    height=_ROW * len(names),
                    title=f"{net}, {NAMES[key.partition('+')[0]]}",
                )
            )
    if not parts:
        return None
    return alt.concat(*parts, columns=2, spacing=30).configure(
        **palette.CONFIG,
        title=alt.TitleConfig(color="var(--text)", fontSize=14, anchor="start"),
    )


def files(report: Mapping[str, Any]) -> dict[str, bytes]:
    """The plots as SVG and PNG, on white: `training`, and `precision` where a run is dynamic."""
    import vl_convert

    made: dict[str, bytes] = {}
    for name, chart in (("training", curves(report)), ("precision", modes(report))):
        if chart is not None:
            paper = palette.on_paper(chart.to_dict(format="vega"))
            made[f"{name}.svg"] = vl_convert.vega_to_svg(paper).encode()
            made[f"{name}.png"] = vl_convert.vega_to_png(paper, scale=2)
    return made
