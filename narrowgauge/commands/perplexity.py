"""The command that scores a language model in golden arithmetic."""

import argparse

from narrowgauge.console import Console
from narrowgauge.golden.llm.scheme import SCHEMES
from narrowgauge.golden.policy import Policy
from narrowgauge.options import Command, places, record_option, scoring, shared, tell, words
from narrowgauge.perplexity import DEFAULT, FLOAT, Request, evaluate, read_text

__all__ = ["COMMANDS", "perplexity"]


def _schemes(named: list[str]) -> list[str]:
    return [FLOAT, *SCHEMES] if named == ["all"] else named


def perplexity(options: argparse.Namespace) -> int:
    """Perplexity by scheme."""
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
    places(options)
    console = Console(options.verbosity)
    jobs = None if options.jobs == 1 else options.jobs
    report = evaluate(request, cache=options.cache, jobs=jobs, progress=console.progress)
    tell(options, report.to_json(), report.to_text())
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
    record_option(sub)


COMMANDS = (
    Command(
        perplexity,
        "perplexity of a language model whose decoder computes in golden arithmetic",
        "narrowgauge perplexity --text wikitext-2/test.txt --window 512 --windows 8",
        _perplexity_options,
    ),
)
