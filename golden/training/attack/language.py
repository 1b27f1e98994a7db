"""The search for bits in a language model, whose norms keep no statistics.

RMSNorm divides by what it is given: there is nothing to make inputs from, unless statistics are
recorded when the weights are quantised. Three batches, labels the model's own likeliest tokens:

| batch | tokens |
| --- | --- |
| `random` | drawn over the vocabulary |
| `distilled` | embeddings, from random tokens on, that Adam brings to the recorded statistics |
| `text` | of a text |

A statistic is, of the input of a norm, the root mean square of each channel over the tokens of a
text. Distillation takes the sum over the norms of ||found - recorded||^2 / ||recorded||^2.

The model is of `golden.training.attack.llama`. Matrices of some blocks are attacked; those of
others, the embedding (which is the last matrix, too) and the norms are float32 and left alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from narrowgauge.golden.attack import get_weights
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.training.attack.llama import Norm
from narrowgauge.golden.training.attack.search import Record, Search, losses_of, progressive
from narrowgauge.golden.training.attack.victim import Victim

__all__ = ["BATCHES", "LanguagePlan", "distill_states", "perplexity", "run", "statistics"]

BATCHES = ("random", "distilled", "text")
"""See the module."""
_LOST = 1e4

Ints = npt.NDArray[np.int64]


def _watched(net: nn.Module, see: Callable[[torch.Tensor], None]) -> list[Any]:
    return [
        module.register_forward_pre_hook(lambda _, given: see(given[0]))
        for module in net.modules()
        if isinstance(module, Norm)
    ]


def _spread(x: torch.Tensor) -> torch.Tensor:
    return (x * x).mean(0).add(1e-12).sqrt()


def statistics(net: nn.Module, ids: torch.Tensor) -> list[torch.Tensor]:
    """What is recorded of each norm's input, in the order of the norms."""
    made: list[torch.Tensor] = []
    hooks = _watched(net, lambda x: made.append(_spread(x)))
    try:
        with torch.no_grad():
            net(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return made


def distill_states(
    net: nn.Module, start: torch.Tensor, recorded: list[torch.Tensor], steps: int, rate: float
) -> tuple[torch.Tensor, list[float]]:
    """States that go to the recorded statistics, and the distance before each step and at the end.

    Parameters
    ----------
    start : states to begin with, (windows * tokens, width)
    """
    x = start.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr=rate)
    seen: list[torch.Tensor] = []
    hooks = _watched(net, lambda given: seen.append(_spread(given)))
    distances: list[float] = []
    try:
        for step in range(steps + 1):
            seen.clear()
            net(x)
            apart = [
                ((found - want) ** 2).sum() / (want**2).sum()
                for found, want in zip(seen, recorded, strict=True)
            ]
            distance = torch.stack(apart).sum()
            distances.append(float(distance.detach()))
            if step < steps:
                (x.grad,) = torch.autograd.grad(distance, x)
                optimizer.step()
    finally:
        for hook in hooks:
            hook.remove()
    return x.detach(), distances


@dataclass(frozen=True, kw_only=True)
class LanguagePlan:
    """One attack on a model.

    Parameters
    ----------
    fmt : of the attacked matrices
    batch : of `BATCHES`
    windows : of the batch
    seed : of random tokens
    budget : most flips
    tried : bits of a matrix that are tried at each step
    steps, rate : of the distillation
    """

    fmt: str
    batch: str
    windows: int = 1
    seed: int = 1
    budget: int = 20
    tried: int = 1
    steps: int = 30
    rate: float = 0.02

    def __post_init__(self) -> None:
        get_weights(self.fmt)
        if self.batch not in BATCHES:
            raise UsageError(f"no batch {self.batch!r}; batches: {', '.join(BATCHES)}")
        for name in ("windows", "budget", "tried", "steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")


def perplexity(net: nn.Module, ids: torch.Tensor) -> float:
    """Of windows of tokens, (windows, tokens); Inf where it is no number."""
    with torch.no_grad():
        scores = net(ids.reshape(-1)).unflatten(0, ids.shape)
        losses = functional.cross_entropy(scores[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    value = float(losses.double().exp())
    return value if np.isfinite(value) else float("inf")


def run(
    net: nn.Sequential,
    plan: LanguagePlan,
    text: Ints,
    tests: Ints,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Attack a model, which is changed.

    Parameters
    ----------
    net : of `llama.make`
    text, tests : tokens, (windows, tokens): statistics are recorded and the batch `text` taken of
        the first, perplexity measured on the second; what a guess over the vocabulary would have
        is the end

    Returns
    -------
    `clean`, perplexity in the format; `flips`, records with `perplexity`; `end`; `to_chance`;
    `distances` of the distillation
    """
    vocabulary = len(net[0].matrix)
    window = torch.from_numpy(text)
    random = torch.Generator().manual_seed(plan.seed)
    size = plan.windows * text.shape[1]
    drawn = torch.randint(0, vocabulary, (size,), generator=random)
    inputs = drawn
    distances: list[float] = []
    if plan.batch == "text":
        if plan.windows > len(text):
            raise UsageError(f"windows must be at most {len(text)}, got {plan.windows}")
        inputs = window[: plan.windows].reshape(-1)
    if plan.batch == "distilled":
        recorded = statistics(net, window.reshape(-1))
        inputs, distances = distill_states(net, net[0](drawn), recorded, plan.steps, plan.rate)
    victim = Victim(net, get_weights(plan.fmt))
    with torch.no_grad():
        labels = net(inputs).argmax(-1)
    scored = torch.from_numpy(tests)

    def watch(flips: int) -> tuple[dict[str, Any], bool]:
        found = perplexity(net, scored)
        with torch.no_grad():
            # A window with a lost token could not be searched with any more.
            lost = bool((losses_of(net(inputs), labels) >= _LOST).any())
        if progress is not None:
            progress(f"{flips} flips: perplexity {found:.2f}")
        return {"flips": flips, "perplexity": found}, lost or not found < vocabulary

    clean = perplexity(net, scored)
    search = Search(tried=plan.tried)
    flips: list[Record]
    flips, end = progressive(victim, inputs, labels, search=search, budget=plan.budget, watch=watch)
    at = [f["flips"] for f in flips if not f.get("perplexity", 0.0) < vocabulary]
    return {
        "plan": dict(vars(plan)), "clean": clean, "vocabulary": vocabulary, "end": end,
        "to_chance": at[0] if at else None, "flips": flips, "distances": distances,
        "bits": victim.bits,
    }  # fmt: skip
