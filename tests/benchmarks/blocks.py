"""What rounding to blocks takes off x and the gradient of a training: `python -m
tests.benchmarks.blocks`.

Each net trains with the unrounded range on 30 720 images of Fashion-MNIST; half-way, every norm's
first 4096 positions are rounded to the formats of the hardware. The error of a tensor is the mean
over channels of the root of the mean squared error over that of the mean square; rows are means
over norms. In the last column channels are in order of their deviations, so that those which share
an exponent are as much alike as they can be. Needs torch and the data.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from narrowgauge.console import markdown
from narrowgauge.golden.training.data import load
from narrowgauge.golden.training.loop import Plan, train
from narrowgauge.golden.units.range_bn import Blocks, RangeBn

__all__ = ["main"]

Floats = npt.NDArray[np.float32]

STEP, POSITIONS, GROUPS = 60, 4096, (1, 4, 8, 16)


def _seen(net: str) -> dict[tuple[str, str], list[Floats]]:
    """Values and gradient (positions, channels) of each norm, by what is before it."""
    seen: dict[tuple[str, str], list[Floats]] = {}
    hooks: list[Any] = []

    def keep(kind: str, name: str, values: torch.Tensor) -> None:
        rows = values.detach().permute(0, 2, 3, 1).reshape(-1, values.shape[1])[:POSITIONS]
        seen.setdefault((kind, name), []).append(rows.numpy().copy())

    def watch(step: int, model: torch.nn.Module) -> None:
        for hook in hooks:
            hook.remove()
        hooks.clear()
        if step != STEP:
            return
        before: Any = None
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                before = module
            elif module.__class__.__name__ == "RangeBatchNorm2d":
                kind = "depthwise" if before.groups > 1 else "dense"

                def see(_: Any, given: Any, made: torch.Tensor, kind: str = kind) -> None:
                    keep(kind, "x", given[0])
                    made.register_hook(lambda g: keep(kind, "g", g))

                hooks.append(module.register_forward_hook(see))

    plan = Plan(net=net, norm="fp32", seed=1, epochs=1, images=30_720, batch=256, rate=0.3)
    train(plan, load("fashion"), watch)
    return seen


def _error(values: Floats, name: str, group: int) -> float:
    params = RangeBn(group=group)
    fmt = params.forward if name == "x" else params.backward
    filled = np.pad(values, [(0, 0), (0, -values.shape[1] % group)])
    rounded = Blocks.of(filled, fmt).values()[:, : values.shape[1]]
    apart = np.sqrt(((rounded - values) ** 2).mean(axis=0) / (values**2).mean(axis=0))
    return float(apart.mean())


def main() -> None:
    """Print the table."""
    rows = []
    for net in ("resnet", "mobilenet"):
        for (kind, name), tensors in sorted(_seen(net).items(), key=lambda item: item[0][1] != "x"):
            cells = [
                f"{np.mean([_error(each, name, group) for each in tensors]):.3f}"
                for group in GROUPS
            ]
            alike = [each[:, np.argsort(each.std(axis=0))] for each in tensors]
            cells.append(f"{np.mean([_error(each, name, GROUPS[-1]) for each in alike]):.3f}")
            rows.append([net, kind, name, *cells])
    head = ["net", "convolution before", "tensor", *(f"G = {group}" for group in GROUPS)]
    print(markdown([*head, f"G = {GROUPS[-1]}, in order"], rows))


if __name__ == "__main__":
    main()
