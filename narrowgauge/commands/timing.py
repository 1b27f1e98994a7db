"""`narrowgauge timing`: shortest period, path groups, worst paths, area-delay curve."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from narrowgauge.console import Console, table
from narrowgauge.options import Command, count, output_option, periods, shared

__all__ = ["COMMANDS", "timing"]

_GROUPS = ("reg2reg", "in2reg", "reg2out", "in2out")


def timing(options: argparse.Namespace) -> int:
    """Delay of mapped netlists; 1 where a period cannot be met."""
    from narrowgauge import timing as measured

    console = Console(options.verbosity)
    results = measured.timing(
        options.names,
        liberty=options.liberty,
        goal=options.goal,
        periods=options.sweep or ([] if options.period is None else [options.period]),
        points=options.curve or 0,
        paths=options.paths,
        boundary=options.boundary,
        overrides=options.overrides,
        cache=options.cache,
        output=options.output,
        jobs=options.jobs,
        progress=console.progress,
    )
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        _print(results)
    missed = measured.unmet(results)
    for line in missed:
        print(f"narrowgauge: error: {line}", file=sys.stderr)
    return 1 if missed else 0


def _print(results: Mapping[str, Any]) -> None:
    head = ("point", "netlist", "GE", "period ps", "fmax MHz", *(f"{g} ps" for g in _GROUPS))
    rows = []
    for name, result in results.items():
        shown = {"period": result} if result["goal"] == "period" else result["netlists"]
        rows += [_row(name, goal, each) for goal, each in sorted(shown.items(), reverse=True)]
    print(table(head, rows))
    for name, result in results.items():
        if len(result["curve"]) > 1:
            print(f"\n{name}: least area found for each period")
            print(table(("asked ps", "period ps", "GE", "", "mapping"), _steps(result)))
    if len(results) == 1:
        result = next(iter(results.values()))
        first = {k: result[k] for k in ("group", "start", "end", "period_ps")}
        for path in [{**first, "points": result["path"]}, *result["paths"]]:
            print(f"\n{path['group']}: from {path['start']} to {path['end']}")
            print(table(("signal", "cell", "", "delay", "at ps", "slew", "load fF"), _points(path)))


def _row(name: str, goal: str, each: Mapping[str, Any]) -> tuple[str, ...]:
    groups = (each["groups"].get(group) for group in _GROUPS)
    return (
        name,
        goal,
        f"{each['ge']:.0f}",
        f"{each['period_ps']:.1f}",
        f"{each['fmax_mhz']:.1f}",
        *("" if period is None else f"{period:.1f}" for period in groups),
    )


def _steps(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            "" if step["target_ps"] is None else f"{step['target_ps']:.1f}",
            f"{step['period_ps']:.1f}",
            f"{step['ge']:.0f}",
            "" if step["met"] else "not met",
            step["made"],
        )
        for step in result["curve"]
    ]


def _points(path: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            point["point"],
            point["cell"],
            point["edge"],
            f"{point['delay_ps']:.2f}",
            f"{point['arrival_ps']:.2f}",
            f"{point['slew_ps']:.2f}",
            f"{point['load_ff']:.2f}",
        )
        for point in path["points"]
    ]


def _timing_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "set", "liberty", "jobs", "cache", "json")
    sub.add_argument(
        "--goal",
        choices=("speed", "area"),
        default="speed",
        help="the mapping whose paths are told",
    )
    asked = sub.add_mutually_exclusive_group()
    asked.add_argument(
        "--period", type=float, metavar="PS", help="map for this period, with the least area"
    )
    asked.add_argument(
        "--sweep", type=periods, metavar="LO:HI:STEPS",
        help="map for so many periods from LO to HI ps, at equal ratios",
    )  # fmt: skip
    asked.add_argument(
        "--curve", type=count, nargs="?", const=8, metavar="STEPS",
        help="the same between the fastest mapping found and the smallest (8 periods)",
    )  # fmt: skip
    sub.add_argument(
        "--paths", type=count, default=1, metavar="N", help="worst paths, each to another end"
    )
    sub.add_argument(
        "--boundary", choices=("registers", "ideal"), default="registers",
        help="what stands at the ports: flip-flops, or inputs at the clock's edge and no load",
    )  # fmt: skip
    output_option(sub, None, "write each result as JSON here")


COMMANDS = (
    Command(
        timing,
        "shortest clock period, worst paths and area-delay curve of mapped netlists",
        "narrowgauge timing mx_dot/w4a4_l32 --curve 8",
        _timing_options,
    ),
)
