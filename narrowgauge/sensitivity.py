"""The search for a policy on the language model: losses come from `perplexity.evaluate`, kept."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from narrowgauge.console import table
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.llm.scheme import get_scheme
from narrowgauge.golden.llm.search import Finding, Site, macs, name_of, search
from narrowgauge.golden.policy import INPUTS, Policy
from narrowgauge.language import load
from narrowgauge.perplexity import Request, evaluate

__all__ = ["measure", "to_text"]


def measure(
    request: Request,
    *,
    budget: float,
    sites: Sequence[str] = tuple(INPUTS),
    by_layer: bool = False,
    cache: str = "build/cache",
    jobs: int | None = None,
    progress: Callable[[str, float], None] = lambda what, loss: None,
) -> Finding:
    """Search for the one scheme of a request, over sites of all layers or of each.

    Raises `UsageError` for a scheme without a policy, or a site that is unknown.
    """
    if len(request.schemes) != 1 or not get_scheme(request.schemes[0]).blocks:
        raise UsageError(
            f"a search is for one scheme with a policy, got {', '.join(request.schemes)}"
        )
    if not sites:
        raise UsageError(f"no site was given; sites: {', '.join(INPUTS)}")
    if not 0 <= budget < np.inf:
        raise UsageError(f"budget must be at least 0, got {budget:g}")
    for name in sites:
        if name not in INPUTS:
            raise UsageError(f"no site {name!r}; sites: {', '.join(INPUTS)}")
    scheme = get_scheme(request.schemes[0])
    model = load()
    ffn = len(model.tensor("blk.0.ffn_up.weight"))
    counts = macs(model.shape, ffn, request.window // 2)
    layers = model.shape.blocks if request.layers is None else request.layers
    weights: dict[Site, float] = {}
    for name in sites:
        if by_layer:
            weights |= {(name, layer): float(counts[name]) for layer in range(layers)}
        else:
            weights[name, None] = float(counts[name] * layers)

    def loss(policy: Policy) -> float:
        report = evaluate(replace(request, policy=policy), cache=cache, jobs=jobs)
        return float(np.mean(report.losses[scheme.name]))

    return search(loss, weights, low=scheme.policy.low, budget=budget, progress=progress)


def to_text(finding: Finding) -> str:
    """The sites in the order tried, and what came of each."""
    rows = [
        (name_of(site), f"{finding.alone[site]:+.4f}", f"{loss - finding.base:+.4f}",
         "low" if kept else "high")
        for site, loss, kept in finding.trials
    ]  # fmt: skip
    head = ("site", "alone", "with those before", "width")
    return (
        f"{table(head, rows)}\n\nloss {finding.loss:.4f}, {finding.base:.4f} with all high; "
        f"perplexity {np.exp(finding.loss):.3f}, {np.exp(finding.base):.3f}"
    )
