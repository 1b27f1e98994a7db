"""`narrowgauge synth` beside a recorded baseline: `--compare` and `--record`."""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from narrowgauge import api, compare, output
from narrowgauge.console import Console
from narrowgauge.doctor import require

if TYPE_CHECKING:
    from narrowgauge.synth.record import Record

__all__ = ["compared", "recorded"]


def compared(options: argparse.Namespace) -> int:
    """What changed; 1 where a figure is worse, or a point is not in the baseline."""
    base = compare.load(options.compare)
    compare.compare(base, (), options.slack)
    require("synth")
    from narrowgauge.synth import library
    from narrowgauge.synth.flow import flow_digest

    loaded = library.load(options.liberty)
    compare.check(base, loaded.name, flow_digest(loaded))
    named = bool(options.names or options.overrides)
    records: list[Record] = []
    for names, overrides in (
        [(options.names, options.overrides)] if named else compare.selection(base)
    ):
        records += api.synthesize(
            names,
            liberty=options.liberty,
            overrides=overrides,
            output=options.output,
            cache=options.cache,
            jobs=options.jobs,
            progress=Console(options.verbosity).progress,
        )
    found = compare.compare(base, records, options.slack)
    print(json.dumps(found.to_json(), indent=2) if options.json else found.to_text())
    return 0 if found.passed else 1


def recorded(options: argparse.Namespace, records: "Sequence[Record]") -> None:
    """Write the figures to the file that the options name."""
    points = api.points(options.names, overrides=options.overrides)
    output.record(options.record, compare.dump(compare.baseline(points, records)))
