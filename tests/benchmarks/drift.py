"""What truncating the operands of dW does to running averages: `python -m tests.benchmarks.drift`.

A net trains on 12 800 images of Fashion-MNIST, one precision and rounding after the other. Accuracy
is on the test images, with the running averages of the training, and with averages that are taken
anew afterwards, of 5120 training images. Lag is the distance of the two means over the deviation,
mean over channels and norms. Needs torch and the data.
"""

import sys
from typing import Any

import torch

from narrowgauge.console import markdown
from narrowgauge.golden.training import loop
from narrowgauge.golden.training.data import Images, load

__all__ = ["main"]

RUNS = (
    ("fp32", "rtz"), ("mixed_dw", "rtz"), ("mixed", "rtz"), ("mixed", "rne"),
    ("mixed", "stochastic"),
)  # fmt: skip
"""`mixed` has dW in FB12, `mixed_dw` has all but dW."""
IMAGES, ANEW = 12_800, 5120


def _anew(net: torch.nn.Module, data: Images) -> float:
    """Take the running averages anew; how far the old means were off."""
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    net.train()
    with torch.no_grad():
        for part in loop._prepared(data.train[:ANEW]).split(256):
            net(part)
    lags = []
    for old, norm in zip(before, norms, strict=True):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        off = (old - norm.running_mean).abs() / (norm.running_var + norm.eps).sqrt()
        lags.append(float(off.mean()))
    return sum(lags) / len(lags)


def main(net: str = "resnet") -> None:
    """Print the table."""
    data, rows = load("fashion"), []
    for precision, rounding in RUNS:
        found: list[Any] = []
        plan = loop.Plan(
            net=net, norm="bn", precision=precision, rounding=rounding, seed=1, epochs=1,
            images=IMAGES, batch=256, rate=0.3,
        )  # fmt: skip
        made = loop.train(plan, data, lambda step, model, found=found: found.append(model))
        lag = _anew(found[-1], data)
        anew = loop._accuracy(found[-1], data)
        rows.append([
            f"`{precision}`", rounding, f"{made['losses'][-1]:.3f}", f"{lag:.2f}",
            f"{100 * made['accuracy'][-1]:.1f}", f"{100 * anew:.1f}",
        ])  # fmt: skip
    head = ("precision", "rounding", "last loss", "lag", "accuracy %", "with averages anew")
    print(markdown(head, rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
