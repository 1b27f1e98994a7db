"""`narrowgauge report`: the page of measured results, and its plots."""

import argparse
import json

from narrowgauge import api
from narrowgauge.options import Command, output_option, shared

__all__ = ["COMMANDS", "report"]


def report(options: argparse.Namespace) -> int:
    """The page, and each plot as SVG and PNG."""
    written = api.report(
        options.names,
        store=options.store,
        output=options.output,
        cache=options.cache,
        library=options.library,
    )
    if options.json:
        print(json.dumps([path.as_posix() for path in written], indent=2))
    else:
        print(f"page: {written[0].as_posix()}")
        print(f"plots: {len(written) - 1} files in {(written[0].parent / 'plots').as_posix()}")
    return 0


def _report_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "cache", "json")
    shared(sub, "store")
    sub.add_argument(
        "--library", metavar="NAME",
        help="cell library whose figures are shown, where the store has several (default: the "
        "only one, or nangate45)",
    )  # fmt: skip
    output_option(sub, "build/report", "where the page and plots/ go")


COMMANDS = (
    Command(
        report,
        "write the page of all results, and its plots as SVG and PNG",
        "narrowgauge report mx_dot bf16_dot",
        _report_options,
    ),
)
