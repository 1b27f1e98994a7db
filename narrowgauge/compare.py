"""Figures of synthesis beside a recorded baseline: what became larger, what smaller.

A baseline is a JSON file: flow digest, library, tools, and for each point its parameters and
`FIGURES`. Figures compare only where flow digest and parameters are equal.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrowgauge.console import table
from narrowgauge.golden.errors import UsageError

if TYPE_CHECKING:
    from narrowgauge.registry import Point
    from narrowgauge.synth.record import Record

__all__ = [
    "FIGURES",
    "SLACK",
    "Comparison",
    "Delta",
    "baseline",
    "check",
    "compare",
    "dump",
    "load",
    "selection",
]

FIGURES = {
    "ge": "GE",
    "depth": "depth",
    "delay_ps": "delay ps",
    "flip_flops": "FFs",
    "memory_bits": "memory bits",
}
"""Figure -> heading; of each, less is better."""
SLACK = 1.0
"""Percent; cells that are numbered anew move the area by up to 0.5 %."""


@dataclass(frozen=True, kw_only=True)
class Delta:
    """One point beside its baseline; `before` is None where it cannot be compared, and why."""

    name: str
    now: dict[str, float]
    before: dict[str, float] | None
    worse: tuple[str, ...]
    better: tuple[str, ...]
    missing: str | None

    @property
    def verdict(self) -> str:
        """In words: what is worse and better, beyond the slack."""
        if self.missing is not None:
            return self.missing
        parts = [f"worse: {', '.join(FIGURES[f] for f in self.worse)}"] if self.worse else []
        if self.better:
            parts.append(f"better: {', '.join(FIGURES[f] for f in self.better)}")
        return "; ".join(parts) or ("equal" if self.now == self.before else "within slack")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All points; `passed` where each could be compared and no figure is worse than the slack."""

    slack: float
    deltas: tuple[Delta, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is worse, and nothing missing from the baseline."""
        return not any(delta.worse or delta.missing for delta in self.deltas)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self) | {"passed": self.passed}

    def to_text(self) -> str:
        """A table: each figure with its change in percent, and the verdict."""
        shown = [
            figure
            for figure in FIGURES
            if any((d.before or {}).get(figure) or d.now[figure] for d in self.deltas)
        ]
        rows = [
            [delta.name, *(_cell(delta, figure) for figure in shown), delta.verdict]
            for delta in self.deltas
        ]
        head = ["point", *(FIGURES[figure] for figure in shown), f"beyond {self.slack:g} %"]
        failed = sum(bool(delta.worse or delta.missing) for delta in self.deltas)
        said = f"{failed} of {len(self.deltas)} points fail" if failed else "no point is worse"
        return f"{table(head, rows)}\n\n{said}"


def _cell(delta: Delta, figure: str) -> str:
    now = f"{delta.now[figure]:.0f}"
    if delta.before is None or delta.now[figure] == delta.before[figure]:
        return now
    before = delta.before[figure]
    if not before:
        return f"{now} (was 0)"
    return f"{now} ({(delta.now[figure] / before - 1) * 100:+.1f} %)"


def _figures(record: "Record") -> dict[str, float]:
    return {figure: round(getattr(record, figure), 2) for figure in FIGURES}


def baseline(points: "Sequence[Point]", records: "Sequence[Record]") -> dict[str, Any]:
    """What is kept of some records, to compare later ones with."""
    first = records[0]
    return {
        "flow_digest": first.flow_digest,
        "library": first.library,
        "tools": dict(first.tools),
        "points": {
            record.name: {
                "point": f"{point.entry.name}/{point.name}",
                "overrides": dict(point.overrides),
                "parameters": dict(record.parameters),
                "figures": _figures(record),
            }
            for point, record in zip(points, records, strict=True)
        },
    }


def dump(data: dict[str, Any]) -> str:
    """A baseline as text, one point a line."""
    rows = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in data["points"].items()]
    head = {key: value for key, value in data.items() if key != "points"}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    return "\n".join(["{", *lines, ' "points": {', ",\n".join(rows), " }", "}"]) + "\n"


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The baseline in a file; anything else is a `UsageError` that names the file."""
    shown = os.fspath(path)
    try:
        data: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        whole = isinstance(data["flow_digest"], str) and bool(data["points"])
        for each in data["points"].values():
            numbers = [each["figures"][figure] for figure in FIGURES]
            whole &= all(isinstance(number, (int, float)) for number in numbers)
            whole &= isinstance(each["point"], str) and isinstance(each["parameters"], dict)
            whole &= isinstance(each["overrides"], dict)
    except FileNotFoundError:
        raise UsageError(
            f"no baseline {shown!r}; to make it: narrowgauge synth NAMES --record {shown}"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read baseline {shown!r}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise UsageError(f"{shown!r} is no baseline of narrowgauge synth --record")
    return data


def selection(base: dict[str, Any]) -> list[tuple[list[str], dict[str, Any]]]:
    """The points of a baseline: names, and the overrides that they share."""
    groups: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for each in base["points"].values():
        same = json.dumps(each["overrides"])
        groups.setdefault(same, ([], each["overrides"]))[0].append(each["point"])
    return list(groups.values())


def check(base: dict[str, Any], library: str, flow_digest: str) -> None:
    """Refuse a baseline of another flow or library: its figures do not compare."""
    if flow_digest != base["flow_digest"]:
        raise UsageError(
            f"the baseline is of another flow or library ({base['library']}, flow "
            f"{base['flow_digest'][:12]}; now {library}, flow {flow_digest[:12]}), so figures do "
            "not compare; to record it anew: narrowgauge synth NAMES --record FILE"
        )


def compare(base: dict[str, Any], records: "Sequence[Record]", slack: float = SLACK) -> Comparison:
    """Each record beside the baseline's figures of the same point.

    Parameters
    ----------
    base : from `load` or `baseline`
    records : what there is now
    slack : percent by which a figure may be larger

    A point that the baseline has not, or has with other parameters, is in the result as missing.
    Another flow or library than the baseline's is a `UsageError`, as is a slack below 0.
    """
    if not 0 <= slack < float("inf"):
        raise UsageError(f"slack must be at least 0 percent, got {slack}")
    deltas = []
    for record in records:
        check(base, record.library, record.flow_digest)
        deltas.append(_delta(record, base["points"].get(record.name), slack))
    return Comparison(slack=slack, deltas=tuple(deltas))


def _delta(record: "Record", kept: dict[str, Any] | None, slack: float) -> Delta:
    now = _figures(record)
    missing = None
    if kept is None:
        missing = "not in the baseline"
    elif kept["parameters"] != json.loads(json.dumps(dict(record.parameters))):
        missing = "other parameters in the baseline"
    if kept is None or missing is not None:
        return Delta(name=record.name, now=now, before=None, worse=(), better=(), missing=missing)
    before = {figure: kept["figures"][figure] for figure in FIGURES}
    share = slack / 100
    return Delta(
        name=record.name,
        now=now,
        before=before,
        worse=tuple(f for f in FIGURES if now[f] > before[f] * (1 + share)),
        better=tuple(f for f in FIGURES if now[f] < before[f] * (1 - share)),
        missing=None,
    )
