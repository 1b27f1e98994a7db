"""`narrowgauge gates`: mapped netlists against golden model and RTL."""

import argparse
import json

from narrowgauge.console import Console, table
from narrowgauge.options import Command, count, shared

__all__ = ["COMMANDS", "gates"]


def gates(options: argparse.Namespace) -> int:
    """Mapped netlists against golden model and RTL."""
    from narrowgauge import gates as netlists

    console = Console(options.verbosity)
    results = netlists.gates(
        options.names,
        level=options.level,
        seed=options.seed,
        liberty=options.liberty,
        overrides=options.overrides,
        cache=options.cache,
        seconds=options.seconds,
        jobs=options.jobs,
        progress=console.progress,
    )
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        rows = [
            (
                name,
                goal,
                f"{each['beats']} beats {'equal' if each['equal'] else 'DIFFER'}",
                f"{each['proof']['compared']} functions {each['proof']['status']}",
                each["proof"]["against"],
            )
            for name, result in results.items()
            for goal, each in result["netlists"].items()
        ]
        print(table(("point", "netlist", "with the model", "equivalence", "to"), rows))
        for name, result in results.items():
            if result["mismatch"]:
                print(f"{console.verdict(False)}  {name}: {result['mismatch']}")
    good = all(
        each["equal"] and each["proof"]["status"] == "proved"
        for result in results.values()
        for each in result["netlists"].values()
    )
    return 0 if good else 1


def _gates_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "set", "level", "seed", "liberty", "jobs", "cache", "json")
    sub.add_argument("--seconds", type=count, default=300, metavar="N", help="limit of each proof")


COMMANDS = (
    Command(
        gates,
        "compare mapped netlists with the golden model, and prove them equal to the RTL",
        "narrowgauge gates fp_add mx_dot/w4a4_l32",
        _gates_options,
    ),
)
