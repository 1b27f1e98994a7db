"""The tracked attacks, attack.json, and the tables of docs/attack.md made from them.

`python -m tests.reference.attack NAME=FILE.json ...` takes what `narrowgauge attack --record` has
written: `methods`, of several methods, `resnet`, the same of another net, `fields`, of several
fields, `guards` and `guards_resnet`, of several guards, `repeated` and `repeated_resnet`, of one
guard in several trials. What is not given stays.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from narrowgauge.attack import Request
from tests.reference import attack_tables as tables
from tests.reference.attack_tables import FLIP, GUARDED, overhead, price, runs
from tests.reference.pages import put

__all__ = [
    "BEGIN",
    "DATA",
    "END",
    "FLIP",
    "GUARDED",
    "PAGE",
    "command",
    "load",
    "main",
    "overhead",
    "price",
    "reduce",
    "render",
    "runs",
]

DATA = Path(__file__).with_name("attack.json")
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "attack.md"
BEGIN, END = "<!-- attack:begin -->", "<!-- attack:end -->"

Data = dict[str, Any]


def load() -> dict[str, Data]:
    """The tracked records by name."""
    data: dict[str, Data] = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def reduce(report: Data) -> Data:
    """What is tracked of a record."""

    def plain(value: Any) -> Any:
        return round(value, 4) if isinstance(value, float) else value

    kept = []
    for run in report["runs"]:
        plan = ["fmt", "method", "seed", "fields"]
        names = FLIP[-3:] if run["plan"]["method"] == "random" else FLIP
        if run["plan"].get("guard") is not None:
            plan, names = [*plan, "guard"], GUARDED
        kept.append({
            "fields": run["fields"],
            "plan": {name: run["plan"][name] for name in plan},
            "clean": run["clean"],
            "end": run["end"],
            "to_chance": run["to_chance"],
            "seen": run["seen"],
            "trials": [
                {"flips": trial["flips"], "end": trial["end"],
                 "steps": [group["steps"] for group in trial.get("distillation", ())]}
                for trial in run["trials"]
            ],
            "bits": run["bits"],
            "flips": [[plain(flip.get(name)) for name in names] for flip in run["flips"]],
        })  # fmt: skip
    return {"configuration": report["configuration"], "runs": kept}


def command(data: Data) -> str:
    """What makes the record."""
    c, plain = data["configuration"], Request()
    words = ["narrowgauge attack --data", c["data"]]
    options = {"format": "formats", "method": "methods", "fields": "fields", "guard": "guards"}
    for option, name in options.items():
        if c.get(name, []) != list(getattr(plain, name)):
            words.append(f"--{option} {','.join(c[name])}")
    words += [
        f"--{name.replace('_', '-')} {c[name]}"
        for name in (
            *("net", "epochs", "rate", "train_batch", "seeds", "tests", "budget", "trials"),
            *("batch", "bound", "validation", "bar", "judge", "tried", "word_bits", "reading"),
        )
        if c[name] != getattr(plain, name)
    ]
    return " ".join([*words, "--jobs 1 --record build/attack.json"])


def _said(data: Data) -> str:
    c = data["configuration"]
    return (
        f"`{c['net']}` on {c['data']}, trained for {c['epochs']} epochs to "
        f"{100 * c['accuracy']:.1f} % of all test images ({c['parameters']} parameters). Chance: "
        f"at most {100 * c['bar']:g} % of the first {c['tests']} test images. {c['seeds']} seeds, "
        f"at most {c['budget']} flips (random: {1000 * c['budget']}), {c['batch']} images a "
        f"search, distilled to {c['bound']:g}; trials of zebra: {c['trials']}. "
        f"torch {c['torch']}, one thread."
    )


_TABLES = {
    "methods": tables.methods,
    "resnet": tables.methods,
    "fields": tables.fields,
    "guards": tables.guards,
    "guards_place": tables.guards,
    "guards_resnet": tables.guards,
    "repeated": tables.guards,
    "repeated_resnet": tables.guards,
}
"""What is shown of each record, in this order."""


def render(data: dict[str, Data], page: str) -> str:
    """The page with its tables."""
    parts = []
    for name, table in _TABLES.items():
        if name not in data:
            continue
        said = _said(data[name])
        if table is tables.methods:
            said = f"{tables.compared(data[name])} {said}".strip()
        if table is tables.guards:
            said = f"{tables.best_guards(data[name])} {said}".strip()
        parts.append(f"{table(data[name])}\n\n{said}\n\n    {command(data[name])}")
    made = "\n\n".join(parts)
    return put(page, BEGIN, END, made)


def main(paths: Sequence[str]) -> None:
    """Take recorded files into the tracked one and into the page."""
    data = load() if DATA.exists() else {}
    for given in paths:
        name, _, path = given.partition("=")
        if name not in _TABLES:
            raise SystemExit(f"NAME=FILE, NAME of {', '.join(_TABLES)}; got {given!r}")
        data[name] = reduce(json.loads(Path(path).read_text(encoding="utf-8")))
    lines = []
    for name, report in data.items():
        made = ",\n".join("  " + json.dumps(run) for run in report["runs"])
        told = json.dumps(report["configuration"])
        lines.append(f' "{name}": {{"configuration": {told}, "runs": [\n{made}\n ]}}')
    DATA.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    PAGE.write_text(render(data, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
