"""The tracked trainings in FB12, FB16 and FB24, precision.json, and the tables made from them.

`python -m tests.reference.precision FILE.json ...` takes what `narrowgauge train --precision ...
--record` has written. Files with the same settings share a table; of a net and run that several of
them have, the last one's counts. Shares and modes are shown of the first table.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from narrowgauge.console import markdown
from narrowgauge.train import NETS, NORMS, PRECISIONS
from tests.reference.pages import put
from tests.reference.training import PAGE

__all__ = [
    "BEGIN",
    "DATA",
    "END",
    "PAGE",
    "THRESHOLDS",
    "command",
    "gap",
    "grouped",
    "load",
    "main",
    "merged",
    "render",
]

DATA = Path(__file__).with_name("precision.json")
BEGIN, END = "<!-- precision:begin -->", "<!-- precision:end -->"
THRESHOLDS = {"lower": 0.1, "upper": 0.2}
"""Of dynamic precision, unless a record has others."""

Runs = dict[str, dict[str, list[dict[str, Any]]]]


def load() -> list[dict[str, Any]]:
    """The tracked reports."""
    data: list[dict[str, Any]] = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def merged(reports: Sequence[dict[str, Any]]) -> Runs:
    """The runs of reports by net and run, in the order of norms and precisions."""
    found: Runs = {}
    for report in reports:
        for net, runs in report["runs"].items():
            found.setdefault(net, {}).update(runs)

    def place(name: str) -> tuple[int, int]:
        norm, _, precision = name.partition("+")
        return NORMS.index(norm), PRECISIONS.index(precision or "fp32")

    return {
        net: {name: found[net][name] for name in sorted(found[net], key=place)}
        for net in NETS
        if net in found
    }


def _accuracy(runs: list[dict[str, Any]]) -> list[float]:
    """Of each seed after the last epoch, in percent."""
    return [100 * run["accuracy"][-1] for run in runs]


def gap(runs: list[dict[str, Any]], base: list[dict[str, Any]]) -> tuple[float, float | None]:
    """The mean difference of runs with the same seed; its standard error if there are several."""
    apart = [a - b for a, b in zip(_accuracy(runs), _accuracy(base), strict=False)]
    error = np.std(apart, ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else None
    return float(np.mean(apart)), None if error is None else float(error)


def command(data: dict[str, Any]) -> str:
    """What makes the record."""
    c = data["configuration"]
    names = [name.partition("+") for name in next(iter(data["runs"].values()))]
    words = ["narrowgauge train --data", c["data"]]
    if tuple(data["runs"]) != NETS:
        words.append(f"--net {','.join(data['runs'])}")
    norms = list(dict.fromkeys(norm for norm, _, _ in names))
    precisions = list(dict.fromkeys(precision or "fp32" for _, _, precision in names))
    words += [f"--norm {','.join(norms)}", f"--precision {','.join(precisions)}"]
    words += [f"--{name} {c[name]}" for name in ("seeds", "epochs", "batch", "rate")]
    if c["images"] + c["held"] != 60_000:
        words.append(f"--images {c['images']}")
    for name, usual in (
        ("factor", "bound"), ("held", 0), ("kept", "ends"), ("rounding", "rtz"),
        ("interval", 20), *THRESHOLDS.items(),
    ):  # fmt: skip
        if c.get(name, usual) != usual:
            words.append(f"--{name} {c[name]}")
    if c.get("ordered"):
        words.append("--ordered")
    return " ".join([*words, "--jobs 1 --record build/precision.json"])


def _history(runs: list[dict[str, Any]], what: str) -> Any:
    """Modes or shares, (seeds, intervals, layers, passes)."""
    found = [[row[what] for row in run["precision"]["history"]] for run in runs]
    made = np.array(found)
    return made.reshape(*made.shape[:2], -1, 3)


def _modes(runs: list[dict[str, Any]]) -> list[str]:
    """For forward, dX and dW, the percentage of layers and intervals in FB12, FB16 and FB24."""
    if "precision" not in runs[0]:
        return [""] * 3
    modes = _history(runs, "modes")
    return [
        " / ".join(f"{100 * np.mean(modes[..., each] == mode):.0f}" for mode in range(3))
        for each in range(3)
    ]


def _accuracies(runs: Runs) -> str:
    rows = []
    for net, found in runs.items():
        for name, seeds in found.items():
            norm, _, precision = name.partition("+")
            last = np.mean([run["losses"][-1] for run in seeds])
            over = ""
            if name != "bn" and "bn" in found:
                mean, error = gap(seeds, found["bn"])
                over = f"{mean:+.2f}" + ("" if error is None else f" ± {error:.2f}")
            values = _accuracy(seeds)
            row = [net, f"`{norm}`", f"`{precision or 'fp32'}`", f"{np.mean(values):.2f}"]
            rows.append([*row, over, f"{last:.3f}", str(len(values)), *_modes(seeds)])
    head = ("net", "norm", "precision", "accuracy %", "over FP32", "last loss", "seeds")
    return markdown([*head, "forward", "dX", "dW"], rows)


def _shares(runs: Runs) -> str:
    """Shares set to zero, of each layer and pass, in runs whose precision is fixed."""
    rows, known = [], ("fb16", "fb12")
    for net, found in runs.items():
        fixed = [found.get(f"bn+{name}") for name in known]
        if not all(fixed):
            continue
        means = [_history(seeds, "shares").mean((0, 1)) for seeds in fixed if seeds]
        assert fixed[0]
        for index, layer in enumerate(fixed[0][0]["precision"]["layers"]):
            cells = [f"{100 * mean[index, each]:.1f}" for mean in means for each in range(3)]
            rows.append([net, layer, *cells])
    heads = [f"{name.upper()} {each}" for name in known for each in ("forward", "dX", "dW")]
    return markdown(["net", "layer", *heads], rows) if rows else ""


def _steps(runs: Runs) -> str:
    """The bits of each pass of the first dynamic run of a net, interval by interval."""
    rows = []
    for net, found in runs.items():
        seeds = found.get("bn+dynamic")
        if not seeds:
            continue
        modes = _history(seeds[:1], "modes")[0]
        for index, layer in enumerate(seeds[0]["precision"]["layers"]):
            for each, name in enumerate(("forward", "dX", "dW")):
                bits = " ".join(str((4, 8, 16)[mode]) for mode in modes[:, index, each])
                rows.append([net, layer, name, bits])
    head = ["net", "layer", "pass", "bits of a magnitude, interval by interval"]
    return markdown(head, rows) if rows else ""


def _said(data: dict[str, Any], steps: int) -> str:
    c = data["configuration"]
    test = f"all {c['test_images']} test images"
    if c["held"]:
        test = f"the last {c['held']} images of the training set, which were held out"
    kept = {
        "ends": "The first convolution and the last linear layer are FP32.",
        "authors": "The first convolution, 1 x 1 shortcuts and the last linear layer are FP32.",
        "none": "Every layer is in groups.",
    }[c["kept"]]
    thresholds = f", thresholds {c['lower']} and {c['upper']}" if "lower" in c else ""
    return (
        f"{c['data']}: {c['images']} images, {c['epochs']} epoch{'s' * (c['epochs'] > 1)} in "
        f"{steps} steps of {c['batch']}, largest learning rate {c['rate']}; accuracy on {test}, "
        "mean over the seeds. Over FP32: mean difference to `bn` in FP32 of runs with the same "
        "seed, and its standard error where there are several. Last loss: mean over the last "
        f"twentieth of an epoch. {kept} Rounding {c['rounding']}, intervals of {c['interval']} "
        f"steps{thresholds}. Forward, dX, dW: "
        "percentage of layers and intervals in FB12 / FB16 / FB24. "
        f"torch {c['torch']}, NumPy {c['numpy']}, one thread."
    )


def _tables(reports: Sequence[dict[str, Any]], *, whole: bool) -> str:
    """The tables of reports with the same settings; `whole`: shares and modes as well."""
    runs = merged(reports)
    steps = next(iter(next(iter(runs.values())).values()))[0]["steps"]
    commands = "\n".join(f"    {command(report)}" for report in reports)
    # Thresholds are those of the report that has them.
    most = max(reports, key=lambda report: len(report["configuration"]))
    parts = [_accuracies(runs), _said(most, steps), commands]
    if whole:
        shares = _shares(runs)
        if shares:
            parts += [
                "Elements that alignment sets to zero, in percent, mean of the intervals:",
                shares,
            ]
        parts.append(_steps(runs))
    return "\n\n".join(part for part in parts if part)


def _alike(report: dict[str, Any]) -> str:
    """What reports that share a table have in common."""
    known = dict(report["configuration"])
    known.pop("seeds")
    # A report without `dynamic` has no thresholds.
    for name, usual in THRESHOLDS.items():
        known.setdefault(name, usual)
    return json.dumps(known, sort_keys=True)


def grouped(reports: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Reports that share a table together, in the order of the first of each."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for report in reports:
        groups.setdefault(_alike(report), []).append(report)
    return list(groups.values())


def render(reports: Sequence[dict[str, Any]], page: str) -> str:
    """The page with its tables."""
    first, *others = grouped(reports)
    tables = [_tables(first, whole=True), *(_tables(each, whole=False) for each in others)]
    return put(page, BEGIN, END, "\n\n".join(tables))


def main(paths: Sequence[str]) -> None:
    """Take recorded files into the tracked one and into the page."""
    reports = [json.loads(Path(path).read_text(encoding="utf-8")) for path in paths]
    for runs in (runs for report in reports for runs in report["runs"].values()):
        for run in (run for seeds in runs.values() for run in seeds):
            run["losses"] = [round(loss, 5) for loss in run["losses"]]
    text = json.dumps(reports, indent=1)
    # Lists of numbers or names on one line.
    text = re.sub(r"\[\s+([^\[\]{}]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    DATA.write_text(text + "\n", encoding="utf-8")
    PAGE.write_text(render(reports, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
