"""The command that scores a language model in golden arithmetic."""

import argparse
import json
from pathlib import Path

from narrowgauge import output
from narrowgauge.console import Console
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.llm.scheme import SCHEMES
from narrowgauge.golden.policy import Policy
from narrowgauge.options import Command, scoring, shared, words
from narrowgauge.perplexity import DEFAULT, FLOAT, Request, evaluate, read_text

__all__ = ["COMMANDS", "perplexity"]


def _schemes(named: list[str]) -> list[str]:
    return [FLOAT, *SCHEMES] if named == ["all"] else named


def perplexity(options: argparse.Namespace) -> int:
    """Perplexity by scheme."""
    if options.record is not None:
        output.folder(Path(options.record).parent)
    request = Request(
        schemes=_schemes(options.scheme),
        text=None if options.text is None else read_text(options.text),
        calibration=None if options.calibration is None else read_text(options.calibration),
        window=options.window,
        windows=options.windows,
        layers=options.layers,
        batch=options.batch,
        compensate=not options.no_compensation,
        policy=None if options.policy is None else Policy.from_json(read_text(options.policy)),
    )
    console = Console(options.verbosity)
    jobs = None if options.jobs == 1 else options.jobs
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {jobs}")
    report = evaluate(request, cache=options.cache, jobs=jobs, progress=console.progress)
    text = json.dumps(report.to_json(), indent=2)
    if options.record is not None:
        output.record(options.record, text + "\n")
    print(text if options.json else report.to_text())
    return 0


def _perplexity_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "jobs", "json")
    sub.add_argument(
        "--scheme", type=words, default=",".join(DEFAULT), metavar="S1,S2,...",
        help=f"how it computes: all, or any of {FLOAT}, {', '.join(SCHEMES)}",
    )  # fmt: skip
    scoring(sub)
    sub.add_argument(
        "--policy", metavar="FILE.json", help="widths by site and layer, for schemes that have them"
    )
    sub.add_argument("--record", metavar="FILE", help="write the results as JSON")


COMMANDS = (
    Command(
        perplexity,
        "perplexity of a language model whose decoder computes in golden arithmetic",
        "narrowgauge perplexity --text wikitext-2/test.txt --window 512 --windows 8",
        _perplexity_options,
    ),
)
