"""The command that maps nets on the core of multi-mode block floating point."""

import argparse

from narrowgauge.console import Console
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.mapping.choose import MODES
from narrowgauge.golden.mapping.layers import PASSES
from narrowgauge.golden.mapping.nets import NETS
from narrowgauge.mapping import CORE, Request, evaluate, traced
from narrowgauge.options import Command, Set, count, places, record_option, shared, tell, words

__all__ = ["COMMANDS", "map_"]


def map_(options: argparse.Namespace) -> int:
    """Cycles, utilisation and traffic by layer, pass and mode."""
    if (options.torch is None) != (options.input is None):
        raise UsageError("--torch and --input belong together")
    layers, net, batch = None, options.net, options.batch
    if options.torch is not None:
        sizes = [int(part) for part in options.input.split("x") if part.isdigit()]
        if not sizes or min(sizes) < 1 or "x".join(map(str, sizes)) != options.input:
            raise UsageError(f"--input is sizes such as 64x3x224x224, got {options.input!r}")
        layers, net, batch = traced(options.torch, sizes), options.torch, sizes[0]
    request = Request(
        net=net, batch=batch, modes=options.mode, passes=options.passes,
        core=options.core, layers=layers, shared=options.shared,
    )  # fmt: skip
    places(options)
    console = Console(options.verbosity)
    report = evaluate(request, tell=lambda line, last: console.line(line, last=last))
    tell(options, report.to_json(), report.to_text("type" if options.summary else "layer"))
    return 0


def _map_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "json")
    sub.add_argument("--net", choices=tuple(NETS), default="resnet18", help="a table of layers")
    sub.add_argument("--batch", type=count, default=64, metavar="N", help="images, or sequences")
    sub.add_argument(
        "--torch", metavar="MODULE:NAME",
        help="trace a torch model, or what makes one, in place of a net; modules here are "
        "found (needs the extra train)",
    )  # fmt: skip
    sub.add_argument("--input", metavar="NxCxHxW", help="the size of the torch model's input")
    sub.add_argument(
        "--mode", type=words, default=",".join(MODES), metavar="M1,M2", help="of both operands"
    )
    sub.add_argument(
        "--passes", type=words, default=",".join(PASSES), metavar="P1,P2",
        help="forward, dx (gradient of the input), dw (of the weights)",
    )  # fmt: skip
    told = " ".join(f"{name}={value}" for name, value in CORE.items())
    sub.add_argument(
        "--set", action=Set, default={}, metavar="NAME=VALUE", dest="core",
        help=f"replace a parameter of flexblock_core, here {told}, load and results as pes; "
        "may be given again",
    )  # fmt: skip
    sub.add_argument(
        "--shared", action="store_true", help="all elements read the same words of B, always"
    )
    sub.add_argument("--summary", action="store_true", help="types of layers alone")
    record_option(sub)


COMMANDS = (
    Command(
        map_,
        "map a net's layers on flexblock_core: cycles, utilisation, traffic",
        "narrowgauge map --net mobilenet_v2 --mode fb12,fb16 --set nibbles=48 --summary",
        _map_options,
    ),
)
