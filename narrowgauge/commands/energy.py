"""`narrowgauge energy`: pJ an operation and a MAC of mapped netlists."""

import argparse
import json
import re
from collections.abc import Mapping
from typing import Any

from narrowgauge.console import Console, table
from narrowgauge.options import Command, count, output_option, shared

__all__ = ["COMMANDS", "energy"]


def energy(options: argparse.Namespace) -> int:
    """Energy of mapped netlists."""
    from narrowgauge import energy as measured

    console = Console(options.verbosity)
    results = measured.energy(
        options.names,
        liberty=options.liberty,
        goal=options.goal,
        period_ps=options.period,
        vectors=tuple(options.vectors.split(",")),
        glitch=not options.no_glitch,
        operations=options.operations,
        seed=options.seed,
        overrides=options.overrides,
        cache=options.cache,
        output=options.output,
        jobs=options.jobs,
        progress=console.progress,
    )
    if options.json:
        print(json.dumps(results, indent=2))
        return 0
    rows = [
        _row(name, kind, result["period_ps"], each)
        for name, result in results.items()
        for kind, each in result["vectors"].items()
    ]
    head = (
        *("point", "vectors", "ops", "ps", "pJ/op", "pJ/MAC", "with glitches", "pJ/MAC"),
        *("switching", "internal", "clock", "leakage", "memory"),
    )
    print(table(head, rows))
    if len(results) == 1:
        for kind, each in next(iter(results.values()))["vectors"].items():
            print(f"\n{kind} vectors, by module:")
            print(table(("module", "pJ/op", "with glitches", "GE"), _split(each)))
    return 0


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _row(name: str, kind: str, period: float, each: Mapping[str, Any]) -> tuple[str, ...]:
    zero, late = each["zero_delay"], each["glitch"] or {}
    shown = late or zero
    parts = (f"{shown[p] / shown['pj_per_op']:.0%}" for p in zero if not p.startswith("pj_"))
    memory = each["memory"]
    return (
        name,
        kind,
        f"{each['operations']}",
        f"{period:.0f}",
        _number(zero["pj_per_op"]),
        _number(zero["pj_per_mac"]),
        _number(late.get("pj_per_op")),
        _number(late.get("pj_per_mac")),
        *parts,
        _number(memory and memory["pj_per_op"]),
    )


def _split(each: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row a module; modules that differ in their number alone, such as lanes, make one."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in each["split"]:
        groups.setdefault(re.sub(r"\d+(?=\.|$)", "*", row["path"]), []).append(row)
    rows = []
    for path, members in groups.items():
        late = [m["glitch_pj_per_op"] for m in members if m["glitch_pj_per_op"] is not None]
        number = f" ({len(members)})" if "*" in path else ""
        rows.append(
            (
                f"{path or '(own logic)'}{number}",
                _number(sum(m["pj_per_op"] for m in members)),
                _number(sum(late) if late else None),
                f"{sum(m['ge'] for m in members):.0f}",
            )
        )
    return sorted(rows, key=lambda row: -float(row[1]))


def _energy_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "set", "seed", "liberty", "jobs", "cache", "json")
    sub.add_argument(
        "--goal", choices=("speed", "area"), default="speed", help="the mapping that is measured"
    )
    sub.add_argument(
        "--period", type=float, metavar="PS",
        help="of the clock; by default the shortest that each netlist allows",
    )  # fmt: skip
    sub.add_argument(
        "--vectors", default="random,real", metavar="KIND,...",
        help="random (level smoke) and real, the latter where a unit has recorded tensors",
    )  # fmt: skip
    sub.add_argument(
        "--operations", type=count, metavar="N",
        help="transactions of each kind of vectors, at least; else 1024, or 64 programs of a core",
    )  # fmt: skip
    sub.add_argument("--no-glitch", action="store_true", help="leave out simulation with delays")
    output_option(sub, None, "write each result as JSON here")


COMMANDS = (
    Command(
        energy,
        "energy of mapped netlists on their own vectors, an operation and a MAC",
        "narrowgauge energy mx_dot/w4a4_l32 --vectors real",
        _energy_options,
    ),
)
