"""Make the captured layer anew: `python -m narrowgauge.golden.training.capture --output FILE`.

Trains a net with range batch normalisation and keeps what its middle norm is given half-way: the
first positions and channels of x and of the gradient as bf16, gamma as FP10 and beta as FP32 codes.
Needs torch and the data. Another processor, or another torch, adds up convolutions in another order
and so gives other codes that look alike; with the same ones the file is the same.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from narrowgauge.golden.errors import NarrowgaugeError, UsageError
from narrowgauge.golden.formats import Overflow, Rounding, bf16_codes, vector
from narrowgauge.golden.samples.norm import NormLayer, digest, save
from narrowgauge.golden.training.data import Images, load
from narrowgauge.golden.training.loop import Plan, train
from narrowgauge.golden.training.nets import middle
from narrowgauge.golden.units.range_bn import FP10

__all__ = ["PLAN", "capture", "command", "main"]

PLAN = Plan(net="mobilenet", norm="bfp4", seed=1, epochs=1, batch=256, rate=0.3)
POSITIONS, CHANNELS = 2048, 16


class _Watch:
    """Keeps what one norm is given in one step; called before each step."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.name = ""
        self.kept: dict[str, Any] = {}
        self._hook: Any = None

    def __call__(self, step: int, net: torch.nn.Module) -> None:
        if step == self.step:
            self.name = middle(net)
            self._hook = net.get_submodule(self.name).register_forward_hook(self._see)
        elif self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _see(self, module: Any, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        self.kept |= {
            "x": given[0].detach().clone(),
            "gamma": module.weight.detach().clone(),
            "beta": module.bias.detach().clone(),
        }
        made.register_hook(lambda g: self.kept.update(g=g.detach().clone()))


def capture(plan: Plan = PLAN, data: Images | None = None, positions: int = POSITIONS) -> NormLayer:
    """Train, and keep the middle norm at half of the steps of the first epoch.

    Positions are whole images, so that there may be fewer; channels are 16 at most.
    """
    images = load("fashion") if data is None else data
    count = len(images.train) if plan.images is None else plan.images
    watch = _Watch(count // plan.batch // 2)
    train(plan, images, watch)
    x, g = watch.kept["x"], watch.kept["g"]
    _, channels, height, width = x.shape
    whole = min(positions // (height * width), len(x))
    if not whole:
        raise UsageError(f"positions must be at least {height * width}, got {positions}")

    def codes(values: torch.Tensor) -> Any:
        rows = values[:whole].permute(0, 2, 3, 1).reshape(-1, channels)[:, :CHANNELS]
        return bf16_codes(np.ascontiguousarray(rows.numpy()))

    gamma = watch.kept["gamma"][:CHANNELS].numpy()
    beta = np.ascontiguousarray(watch.kept["beta"][:CHANNELS].numpy())
    provenance = {
        "net": plan.net,
        "norm": plan.norm,
        "seed": plan.seed,
        "batch": plan.batch,
        "rate": plan.rate,
        "images": count,
        "step": watch.step,
        "layer": watch.name,
        "layer_shape": list(x.shape),
        "kept_shape": [whole, min(channels, CHANNELS), height, width],
        "data": images.name,
        "data_sha256": images.digest,
        "torch": metadata.version("torch"),
        "script": "narrowgauge.golden.training.capture",
        "rounding": "float32 to bf16 (x, g) and FP10 (gamma), to nearest, ties to even",
    }
    made = NormLayer(
        x=codes(x),
        g=codes(g),
        gamma=vector.encode(FP10, gamma, rounding=Rounding.RNE, overflow=Overflow.SATURATE).astype(
            np.uint16
        ),
        beta=beta.view(np.uint32).copy(),
        provenance=provenance,
    )
    provenance["digest"] = digest(made)
    return made


def command(
    prog: str, what: str, make: Callable[[Path], None], arguments: Sequence[str] | None
) -> int:
    """A command line that makes a file; returns the exit code."""
    parser = argparse.ArgumentParser(prog=prog, description=what)
    parser.add_argument("--output", type=Path, metavar="FILE", required=True, help="an .npz")
    path = parser.parse_args(arguments).output
    try:
        if not path.parent.is_dir():
            raise UsageError(f"no folder {path.parent}")
        make(path)
        print(f"{path}: {path.stat().st_size} bytes", file=sys.stderr)
    except (NarrowgaugeError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code if isinstance(error, NarrowgaugeError) else UsageError.exit_code
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    what = "Make the captured layer anew."
    return command("capture", what, lambda path: save(capture(), path), arguments)


if __name__ == "__main__":
    sys.exit(main())
