"""The command that scores a language model in golden arithmetic."""

import argparse
import json
from pathlib import Path

from narrowgauge import output
from narrowgauge.console import Console
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.llm.scheme import SCHEMES
from narrowgauge.golden.policy import Policy
from narrowgauge.perplexity import FLOAT, Request, evaluate, read_text

__all__ = ["perplexity"]


def _schemes(words: list[str]) -> list[str]:
    return [FLOAT, *SCHEMES] if words == ["all"] else words


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
