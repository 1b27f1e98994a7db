"""The tracked trainings, training.json, and the tables of docs/training.md made from them.

`python -m tests.reference.training FILE.json ...` takes what `narrowgauge train --record` has
written: a table a file, with the figures of an earlier one beside those which only the factor sets
apart. The first of two that are tested on images held out has no table of its own.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from narrowgauge.console import markdown
from narrowgauge.train import NETS, NORMS
from tests.reference.pages import put

__all__ = [
    "BEGIN",
    "DATA",
    "END",
    "PAGE",
    "command",
    "comparison",
    "gap",
    "load",
    "main",
    "mean",
    "render",
]

DATA = Path(__file__).with_name("training.json")
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "training.md"
BEGIN, END = "<!-- training:begin -->", "<!-- training:end -->"


def load() -> list[dict[str, Any]]:
    """The tracked reports."""
    data: list[dict[str, Any]] = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def _found(data: dict[str, Any], net: str, norm: str) -> list[float]:
    """Accuracy of each seed after the last epoch, in percent."""
    return [100 * run["accuracy"][-1] for run in data["runs"][net][norm]]


def mean(data: dict[str, Any], net: str, norm: str) -> float:
    """The mean over the seeds."""
    return float(np.mean(_found(data, net, norm)))


def gap(data: dict[str, Any], net: str, norm: str) -> tuple[float, float]:
    """The mean difference to `bn` of the same seed, and its standard error."""
    apart = np.subtract(_found(data, net, norm), _found(data, net, "bn"))
    return float(apart.mean()), float(apart.std(ddof=1) / np.sqrt(len(apart)))


def command(data: dict[str, Any]) -> str:
    """What makes the record."""
    c = data["configuration"]
    words = ["narrowgauge train --data", c["data"]]
    norms = next(iter(data["runs"].values()))
    for option, given, known in (("net", data["runs"], NETS), ("norm", norms, NORMS)):
        if tuple(given) != known:
            words.append(f"--{option} {','.join(given)}")
    words += [f"--{name} {c[name]}" for name in ("seeds", "epochs", "batch", "rate")]
    if c["factor"] != "bound":
        words.append(f"--factor {c['factor']}")
    if c["held"]:
        words.append(f"--held {c['held']}")
    return " ".join([*words, "--jobs 1 --record build/training.json"])


def _over(data: dict[str, Any], net: str, norm: str) -> str:
    return "" if norm == "bn" else "{:+.2f} ± {:.2f}".format(*gap(data, net, norm))


def _early(data: dict[str, Any], net: str, norm: str) -> float:
    """The mean loss of the first quarter of the first epoch."""
    runs = data["runs"][net][norm]
    parts = max(1, len(runs[0]["losses"]) // len(runs[0]["accuracy"]) // 4)
    return float(np.mean([run["losses"][:parts] for run in runs]))


def _said(data: dict[str, Any]) -> str:
    """What was trained on, and tested with."""
    c = data["configuration"]
    steps = next(iter(data["runs"].values()))["bn"][0]["steps"]
    test = f"all {c['test_images']} test images"
    if c["held"]:
        test = f"the last {c['held']} images of the training set, which were held out"
    return (
        f"{c['data']}: {c['images']} images, {c['epochs']} epoch{'s' * (c['epochs'] > 1)} in "
        f"{steps} steps of {c['batch']}, largest learning rate {c['rate']}; accuracy on {test}, "
        f"mean over {c['seeds']} seeds. Over `bn`: mean difference of runs with the same seed, and "
        "its standard error."
    )


def table(data: dict[str, Any]) -> str:
    """A row a net and norm."""
    rows = []
    for net, norms in data["runs"].items():
        for norm, runs in norms.items():
            found = _found(data, net, norm)
            last = float(np.mean([run["losses"][-1] for run in runs]))
            row = [net, f"`{norm}`", f"{np.mean(found):.2f}", f"{np.std(found, ddof=1):.2f}"]
            row += [f"{min(found):.2f} to {max(found):.2f}", _over(data, net, norm), f"{last:.3f}"]
            rows.append(row)
    head = ("net", "norm", "accuracy %", "deviation", "seeds", "over `bn`", "last loss")
    c = data["configuration"]
    sizes = ", ".join(
        f"{net} {next(iter(norms.values()))[0]['parameters']}"
        for net, norms in data["runs"].items()
    )
    said = (
        f"{_said(data)} Factor `{c['factor']}`. Last loss: mean over the last twentieth of an "
        f"epoch. Parameters: {sizes}. torch {c['torch']}, NumPy {c['numpy']}, one thread."
    )
    return f"{markdown(head, rows)}\n\n{said}\n\n    {command(data)}"


def comparison(one: dict[str, Any], two: dict[str, Any]) -> str:
    """A row a net and norm of the second, columns of two factors."""
    both = {data["configuration"]["factor"]: data for data in (one, two)}
    rows = [
        [net, f"`{norm}`", *(f"{mean(data, net, norm):.2f}" for data in both.values())]
        + [_over(data, net, norm) for data in both.values()]
        + [f"{_early(data, net, norm):.3f}" for data in both.values()]
        for net, norms in two["runs"].items()
        for norm in norms
    ]
    head = ["net", "norm"]
    head += [f"{what} `{name}`" for what in ("%", "over `bn`", "early loss") for name in both]
    said = f"{_said(two)} Early loss: mean over the first quarter of an epoch."
    return f"{markdown(head, rows)}\n\n{said}\n\n" + "\n".join(
        f"    {command(data)}" for data in both.values()
    )


def _beside(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Whether the second has every net and norm of the first, and another factor alone."""
    known = [{**data["configuration"], "factor": None} for data in (one, two)]
    return known[0] == known[1] and all(
        set(norms) <= set(two["runs"].get(net, ())) for net, norms in one["runs"].items()
    )


def _tables(reports: Sequence[dict[str, Any]]) -> list[str]:
    made = []
    for index, report in enumerate(reports):
        before = [other for other in reports[:index] if _beside(report, other)]
        after = any(_beside(report, other) for other in reports[index + 1 :])
        if before:
            made.append(comparison(before[0], report))
        elif not (after and report["configuration"]["held"]):
            made.append(table(report))
    return made


def render(reports: Sequence[dict[str, Any]], page: str) -> str:
    """The page with its tables."""
    tables = "\n\n".join(_tables(reports))
    return put(page, BEGIN, END, tables)


def main(paths: Sequence[str]) -> None:
    """Take recorded files into the tracked one and into the page."""
    reports = [json.loads(Path(path).read_text(encoding="utf-8")) for path in paths]
    for norms in (norms for report in reports for norms in report["runs"].values()):
        for run in (run for runs in norms.values() for run in runs):
            run["losses"] = [round(loss, 5) for loss in run["losses"]]
    DATA.write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render(reports, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
