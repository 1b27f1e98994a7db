"""Images made from a net alone: the statistics of its batch normalisations are the only data.

Images start near zero with random labels and are changed by Adam until

    ce * cross-entropy + bn * (sum over norms of d(input of the norm) + d(image))

falls to a bound; d(v) = (||mean(v) - m||^2 + ||std(v) - s||^2) / B, with means and deviations over
the positions of each image and channel, m and s the norm's running ones, for an image 0 and 1.

Source: Park et al., "ZeBRA: Precisely Destroying Neural Networks with Zero-Data Based Repeated Bit
Flip Attack", BMVC 2021; the weights of the terms, Adam and its rate are those of its code for
CIFAR-10. Its bounds are of nets with 19 norms and more: the sum over fewer falls below 10 after few
steps, while images still tell nothing. That of the attack is 2 here, and 10 on request; that of
the validation is 1 as there, mostly not reached, so that the steps end it. All images of a batch
are made at once, not 16: none sees another.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from narrowgauge.golden.errors import UsageError

__all__ = ["ATTACK", "VALIDATION", "Distillation", "distill"]


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How images are made.

    Parameters
    ----------
    ce, bn : weights of the two terms
    bound : where to stop
    group : images at a time
    steps : most steps of a group
    rate : first rate of Adam; a tenth of it after `patience` steps without gain
    """

    ce: float
    bn: float
    bound: float
    group: int = 64
    steps: int = 2000
    rate: float = 0.1
    patience: int = 50


ATTACK = Distillation(ce=0.2, bn=0.1, bound=2, steps=500)
"""Of the batch that flips are searched with."""
VALIDATION = Distillation(ce=2, bn=1, bound=1, steps=100)
"""Of the images that tell whether the net is at chance."""
_START = 0.024
_LEAST = 1e-3
"""Share of the first rate below which nothing is gained any more."""


def _distance(values: torch.Tensor, mean: Any, deviation: Any) -> torch.Tensor:
    flat = values.flatten(2)
    spread = (flat.var(2, correction=0) + 1e-8).sqrt()
    apart = ((flat.mean(2) - mean) ** 2).sum() + ((spread - deviation) ** 2).sum()
    return apart / len(values)


def distill(
    net: nn.Module,
    shape: tuple[int, int, int],
    classes: int,
    count: int,
    settings: Distillation,
    seed: int,
) -> tuple[torch.Tensor, torch.Tensor, list[dict[str, float]]]:
    """Images, labels, and of each group its steps and last loss.

    Parameters
    ----------
    net : in evaluation
    shape : channels, height and width of an image

    A net without batch normalisation, or whose norms keep no statistics, is a `UsageError`.
    """
    norms = [
        m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m.running_var is not None
    ]
    if not norms:
        raise UsageError("the net has no batch normalisation with statistics to make images from")
    device = next(net.parameters()).device
    random = torch.Generator().manual_seed(seed)
    terms: list[torch.Tensor] = []

    def see(module: Any, given: tuple[torch.Tensor, ...]) -> None:
        terms.append(_distance(given[0], module.running_mean, module.running_var.sqrt()))

    images, labels, made = [], [], []
    hooks = [norm.register_forward_pre_hook(see) for norm in norms]
    try:
        for start in range(0, count, settings.group):
            size = min(settings.group, count - start)
            wanted = torch.randint(0, classes, (size,), generator=random).to(device)
            first = (2 * torch.rand(size, *shape, generator=random) - 1) * _START
            x = first.to(device).requires_grad_(True)
            optimizer = torch.optim.Adam([x], lr=settings.rate)
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, patience=settings.patience
            )
            loss, steps = torch.zeros(()), 0
            while steps < settings.steps:
                terms.clear()
                found = net(x)
                statistics = torch.stack([*terms, _distance(x, 0.0, 1.0)]).sum()
                entropy = nn.functional.cross_entropy(found, wanted)
                loss = settings.ce * entropy + settings.bn * statistics
                reached = float(loss.detach()) <= settings.bound
                stuck = optimizer.param_groups[0]["lr"] < _LEAST * settings.rate
                if reached or stuck:
                    break
                (x.grad,) = torch.autograd.grad(loss, x)
                optimizer.step()
                plateau.step(float(loss.detach()))
                steps += 1
            images.append(x.detach())
            labels.append(wanted)
            made.append({"steps": steps, "loss": float(loss.detach())})
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(images), torch.cat(labels), made
