"""`narrowgauge report`: the page of measured results, and its plots."""

import argparse
import json

from narrowgauge import api

__all__ = ["report"]


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
