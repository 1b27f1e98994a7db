"""The command that runs a decoder layer on a core's generated Verilog."""

import argparse
import json
from pathlib import Path
from typing import Any

from narrowgauge import output
from narrowgauge.console import Console, table

__all__ = ["layer"]


def layer(options: argparse.Namespace) -> int:
    """One decoder layer for one token, through the AXI ports."""
    from narrowgauge.layer import run

    if options.record is not None:
        output.folder(Path(options.record).parent)
    console = Console(options.verbosity)
    made = run(
        options.point,
        layer=options.layer,
        positions=options.positions,
        cache=options.cache,
        folder=options.build,
        say=console.line,
    )
    text = json.dumps(made, indent=2)
    if options.record is not None:
        output.record(options.record, text + "\n")
    print(text if options.json else _text(made))
    return 0


def _text(made: dict[str, Any]) -> str:
    rows = [
        (
            stage["name"],
            str(stage["commands"]),
            str(stage["macs"]),
            str(stage["cycles"]),
            f"{100 * stage['utilisation']:.1f} %",
        )
        for stage in made["stages"]
    ]
    whole = f"{100 * made['utilisation']:.1f} %"
    rows.append(("all", "", str(made["macs"]), str(made["cycles"]), whole))
    said = table(("stage", "commands", "MACs", "cycles", "utilisation"), rows)
    return (
        f"PASS  {made['point']}, {made['model']}, layer {made['layer']}, {made['positions']} "
        f"positions: {made['bits_compared']} output bits equal\n{said}"
    )
