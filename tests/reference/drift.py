"""What truncating the operands of dW does to running averages: drift.json, a table of the page.

`python -m tests.reference.drift` trains a net on 12 800 images of Fashion-MNIST, one precision and
rounding after the other, and writes both. Accuracy is on the test images, with the running averages
of the training, and with averages that are taken anew afterwards, of 5120 training images. Lag is
the distance of the two means over the deviation, mean over channels and norms. Needs torch and the
data.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrowgauge.console import markdown
from tests.reference.pages import Tables, update
from tests.reference.training import PAGE

if TYPE_CHECKING:
    from torch import nn

    from narrowgauge.golden.training.data import Images

__all__ = ["DATA", "SHOWN", "load", "main", "table"]

DATA = Path(__file__).with_name("drift.json")
RUNS = (
    ("fp32", "rtz"), ("mixed_dw", "rtz"), ("mixed", "rtz"), ("mixed", "rne"),
    ("mixed", "stochastic"),
)  # fmt: skip
"""`mixed` has dW in FB12, `mixed_dw` has all but dW."""
NET, IMAGES, BATCH, ANEW = "resnet", 12_800, 256, 5120


def load() -> dict[str, Any]:
    """The tracked figures."""
    data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def table() -> str:
    """What the page shows of them."""
    data = load()
    rows = [
        [
            f"`{run['precision']}`", run["rounding"], f"{run['loss']:.3f}", f"{run['lag']:.2f}",
            f"{run['accuracy']:.1f}", f"{run['anew']:.1f}",
        ]
        for run in data["runs"]
    ]  # fmt: skip
    head = ("precision", "rounding", "last loss", "lag", "accuracy %", "with averages anew")
    said = (
        f"{data['net']}, {data['images'] // data['batch']} steps of {data['batch']}, seed 1. "
        f"torch {data['torch']}, NumPy {data['numpy']}, one thread."
    )
    return f"{markdown(head, rows)}\n\n{said}"


SHOWN: dict[Path, Tables] = {PAGE: {"drift": table}}


def _anew(net: "nn.Module", data: "Images") -> float:
    """Take the running averages anew; how far the old means were off."""
    import torch

    from narrowgauge.golden.training import loop

    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    net.train()
    with torch.no_grad():
        for part in loop._prepared(data.train[:ANEW]).split(BATCH):
            net(part)
    lags = []
    for old, norm in zip(before, norms, strict=True):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        off = (old - norm.running_mean).abs() / (norm.running_var + norm.eps).sqrt()
        lags.append(float(off.mean()))
    return sum(lags) / len(lags)


def main() -> None:
    """Train, and write the figures and the page."""
    import torch

    from narrowgauge.golden.training import data as sets
    from narrowgauge.golden.training import loop

    torch.set_num_threads(1)
    data, runs = sets.load("fashion"), []
    for precision, rounding in RUNS:
        found: list[Any] = []
        plan = loop.Plan(
            net=NET, norm="bn", precision=precision, rounding=rounding, seed=1, epochs=1,
            images=IMAGES, batch=BATCH, rate=0.3,
        )  # fmt: skip
        made = loop.train(plan, data, lambda step, model, found=found: found.append(model))
        lag = _anew(found[-1], data)
        runs.append(
            {
                "precision": precision, "rounding": rounding,
                "loss": round(made["losses"][-1], 5), "lag": round(lag, 5),
                "accuracy": round(100 * made["accuracy"][-1], 2),
                "anew": round(100 * loop._accuracy(found[-1], data), 2),
            }
        )  # fmt: skip
    known = {"net": NET, "images": IMAGES, "batch": BATCH, "averaged": ANEW}
    versions = {"torch": version("torch"), "numpy": version("numpy")}
    DATA.write_text(json.dumps({**known, **versions, "runs": runs}, indent=1) + "\n", "utf-8")
    update(SHOWN)


if __name__ == "__main__":
    main()
