"""The command that scores benches by mutants."""

import argparse
import json

from narrowgauge import api
from narrowgauge.console import Console, table
from narrowgauge.golden.errors import UsageError

__all__ = ["mutate"]

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
