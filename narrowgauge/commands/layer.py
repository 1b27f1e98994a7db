"""The command that runs a decoder layer on a core's generated Verilog."""

import argparse
from typing import Any

from narrowgauge.console import Console, table
from narrowgauge.options import Command, count, places, record_option, shared, tell

__all__ = ["COMMANDS", "layer"]


def layer(options: argparse.Namespace) -> int:
    """One decoder layer for one token, through the AXI ports."""
    from narrowgauge.layer import run

    places(options)
    console = Console(options.verbosity)
    made = run(
        options.point,
        layer=options.layer,
        positions=options.positions,
        cache=options.cache,
        folder=options.build,
        say=console.line,
    )
    tell(options, made, _text(made))
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


def _layer_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "cache", "json")
    sub.add_argument("--point", default="opal_core/p47_l128", help="a point of opal_core")
    sub.add_argument("--layer", type=int, default=1, metavar="N", help="of the model, from 0")
    sub.add_argument(
        "--positions", type=count, default=64, metavar="N",
        help="positions in the caches of keys and values, the token's own included",
    )  # fmt: skip
    sub.add_argument("--build", default="build/layer", metavar="DIR", help="model of the Verilog")
    record_option(sub)


COMMANDS = (
    Command(
        layer,
        "run a decoder layer of a language model on a core's generated Verilog",
        "narrowgauge layer --point opal_core/p47_l128 --positions 64",
        _layer_options,
    ),
)
