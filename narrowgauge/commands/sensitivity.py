"""The command that searches which activations can be narrow."""

import argparse
import json

from narrowgauge import output
from narrowgauge.console import Console
from narrowgauge.golden.policy import INPUTS
from narrowgauge.options import Command, places, record_option, scoring, shared, words
from narrowgauge.perplexity import Request, read_text

__all__ = ["COMMANDS", "sensitivity"]


def sensitivity(options: argparse.Namespace) -> int:
    """Loss with each site narrow alone, and a policy within a budget."""
    from narrowgauge.sensitivity import measure, to_text

    request = Request(
        schemes=[options.scheme],
        text=None if options.text is None else read_text(options.text),
        calibration=None if options.calibration is None else read_text(options.calibration),
        window=options.window,
        windows=options.windows,
        layers=options.layers,
        batch=options.batch,
        compensate=not options.no_compensation,
    )
    places(options)
    console = Console(options.verbosity)
    finding = measure(
        request,
        budget=options.budget,
        sites=options.sites,
        by_layer=options.by_layer,
        cache=options.cache,
        jobs=None if options.jobs == 1 else options.jobs,
        progress=lambda what, loss: console.line(f"{what}: loss {loss:.4f}"),
    )
    if options.record is not None:
        output.record(options.record, finding.policy.to_json() + "\n")
    print(json.dumps(finding.to_json(), indent=2) if options.json else to_text(finding))
    return 0


def _sensitivity_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "jobs", "json")
    sub.add_argument("--scheme", default="w4a4_7_log2", metavar="S", help="one with a policy")
    sub.add_argument(
        "--budget", type=float, default=0.02, metavar="NATS",
        help="how much more loss than with all sites high",
    )  # fmt: skip
    sub.add_argument(
        "--sites",
        type=words,
        default=",".join(INPUTS),
        metavar="S1,S2,...",
        help="what may be low",
    )
    sub.add_argument(
        "--by-layer", action="store_true", help="choose in each layer alone (many measurements)"
    )
    scoring(sub)
    record_option(sub, "write the policy, for perplexity --policy")


COMMANDS = (
    Command(
        sensitivity,
        "loss with each input of a layer narrow alone, and a policy within a budget",
        "narrowgauge sensitivity --scheme w4a4_7_log2 --budget 0.02 --record policy.json",
        _sensitivity_options,
    ),
)
