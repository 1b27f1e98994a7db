"""The command that scores benches by mutants."""

import argparse
import json

from narrowgauge import api
from narrowgauge.console import Console, table
from narrowgauge.golden.errors import UsageError
from narrowgauge.options import Command, count, output_option, shared

__all__ = ["COMMANDS", "mutate"]

_HEAD = ("point", "mutants", "killed", "equivalent", "survivors", "score")


def mutate(options: argparse.Namespace) -> int:
    """Scores, and the mutants that survived; 1 where a score is below `--least`."""
    if not 0 <= options.least <= 100:
        raise UsageError(f"--least must be 0..100, got {options.least:g}")
    console = Console(options.verbosity)
    scores = api.mutate(
        options.names,
        level=options.level,
        seed=options.seed,
        count=options.count,
        limit=options.limit,
        overrides=options.overrides,
        output=options.output,
        build_dir=options.build,
        cache=options.cache,
        jobs=options.jobs,
        progress=console.progress,
    )
    if options.json:
        print(json.dumps([score.to_json() for score in scores], indent=2))
    else:
        rows = [
            (
                score.name,
                str(len(score.outcomes)),
                str(score.killed),
                str(len(score.equivalents)),
                str(len(score.survivors)),
                f"{100 * score.score:.1f} %",
            )
            for score in scores
        ]
        print(table(_HEAD, rows))
        for score in scores:
            for each in score.survivors:
                print(f"survived: {score.name}: {each.mutation}\n      {each.reason}")
    return 0 if all(100 * score.score >= options.least for score in scores) else 1


def _mutate_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "set", "seed", "jobs", "cache", "json")
    sub.add_argument(
        "--level", choices=("smoke", "full"), default="smoke", help="vectors, as of verify"
    )
    sub.add_argument(
        "--count", type=count, metavar="N", help="mutants a point; else 400 of arith, 200 of units"
    )
    sub.add_argument(
        "--limit", type=float, default=30.0, metavar="SECONDS",
        help="of the solver, for each mutant that lives",
    )  # fmt: skip
    sub.add_argument(
        "--least", type=float, default=95.0, metavar="PERCENT", help="a lower score fails"
    )
    sub.add_argument(
        "--build", default="build/mutate", metavar="DIR", help="where simulations are built"
    )
    output_option(sub, None, "write each score as JSON here")


COMMANDS = (
    Command(
        mutate,
        "put faults into points and tell which share their benches notice",
        "narrowgauge mutate lzc/w8 mx_quantize/mxfp4_l8 --count 100",
        _mutate_options,
    ),
)
