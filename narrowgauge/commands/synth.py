"""`narrowgauge synth`: area, depth and delay, alone or beside a recorded baseline."""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from narrowgauge import api, compare, output
from narrowgauge.compare import SLACK
from narrowgauge.console import Console
from narrowgauge.doctor import require
from narrowgauge.options import Command, output_option, places, shared

if TYPE_CHECKING:
    from narrowgauge.synth.record import Record

__all__ = ["COMMANDS", "synth"]


def synth(options: argparse.Namespace) -> int:
    """Area, depth and delay; beside a baseline, or to make one."""
    if options.compare is not None:
        return _compared(options)
    if options.record is not None:
        # A request that is refused makes no folder.
        api.points(options.names, overrides=options.overrides)
    places(options)
    console = Console(options.verbosity)
    records = api.synthesize(
        options.names,
        liberty=options.liberty,
        overrides=options.overrides,
        output=options.output,
        cache=options.cache,
        jobs=options.jobs,
        progress=console.progress,
    )
    if options.json:
        print(json.dumps([json.loads(record.to_json()) for record in records], indent=2))
    else:
        from narrowgauge.synth import report

        print(report.table(records, style="text"))
    if options.record is not None:
        _recorded(options, records)
    return 0


def _compared(options: argparse.Namespace) -> int:
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


def _recorded(options: argparse.Namespace, records: "Sequence[Record]") -> None:
    """Write the figures to the file that the options name."""
    points = api.points(options.names, overrides=options.overrides)
    output.record(options.record, compare.dump(compare.baseline(points, records)))


def _synth_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "set", "liberty", "jobs", "cache", "json")
    output_option(sub, None, "write each record as JSON and Markdown here")
    baseline = sub.add_mutually_exclusive_group()
    baseline.add_argument(
        "--compare", metavar="FILE",
        help="print what changed since the baseline in FILE, and end with 1 where a figure is "
        "worse by more than the slack; no name is what the baseline holds",
    )  # fmt: skip
    baseline.add_argument("--record", metavar="FILE", help="write the figures as a baseline")
    sub.add_argument(
        "--slack", type=float, default=SLACK, metavar="PERCENT",
        help="what --compare lets a figure grow",
    )  # fmt: skip


COMMANDS = (
    Command(
        synth,
        "map to cells; report area, depth and delay",
        "narrowgauge synth mx_dot/w4a4_l32 --liberty generic",
        _synth_options,
    ),
)
