"""Which activations can be narrow: the loss with each alone at low, then greedily a policy.

All sites start high. Each is measured low alone; then, from the one that costs the least loss for
the MACs it makes narrow, each is made low as well and stays so where the loss of all that are low
is within the budget. A site is that of `policy.INPUTS`, in all layers or in one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.policy import INPUTS, Choice, Policy
from narrowgauge.golden.samples.llama import Shape

__all__ = ["Finding", "Site", "macs", "policy_of", "search"]

Site = tuple[str, int | None]
"""A site of `policy.INPUTS`, and its layer or None for all."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a search found.

    Parameters
    ----------
    policy : sites that stayed low, the others high
    base, loss : loss with all high, and of the policy
    alone : site -> how much the loss grows with it low alone
    trials : sites in the order in which they were tried, with the loss then and whether they stayed
    """

    policy: Policy
    base: float
    loss: float
    alone: dict[Site, float]
    trials: tuple[tuple[Site, float, bool], ...]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "policy": self.policy.to_json(),
            "base": self.base,
            "loss": self.loss,
            "alone": {name_of(site): change for site, change in self.alone.items()},
            "trials": [
                {"site": name_of(site), "loss": loss, "low": kept}
                for site, loss, kept in self.trials
            ],
        }


def name_of(site: Site) -> str:
    """A site as text: `qkv`, or `3.qkv` in one layer."""
    name, layer = site
    return name if layer is None else f"{layer}.{name}"


def macs(shape: Shape, ffn: int, positions: int) -> dict[str, int]:
    """MACs of a token in one layer, by site, with so many positions in the caches."""
    kv = shape.kv_heads * shape.head
    return {
        "qkv": shape.width * (shape.width + 2 * kv),
        "query_key": shape.width * positions,
        "value": shape.width * positions,
        "attn_output": shape.width * shape.width,
        "ffn_up": 2 * shape.width * ffn,
        "ffn_down": shape.width * ffn,
    }


def policy_of(low: int, narrow: Sequence[Site]) -> Policy:
    """The policy with these sites low and all others high."""
    inputs: dict[str, Choice] = dict.fromkeys(INPUTS, "high")
    layers: dict[int, dict[str, dict[str, Choice]]] = {}
    for name, layer in narrow:
        if layer is None:
            inputs[name] = "low"
        else:
            layers.setdefault(layer, {"inputs": {}})["inputs"][name] = "low"
    return Policy(low=low, inputs=inputs, layers=layers)


def search(
    loss: Callable[[Policy], float],
    weights: dict[Site, float],
    *,
    low: int,
    budget: float,
    progress: Callable[[str, float], None] = lambda what, loss: None,
) -> Finding:
    """Search a policy whose loss is within `budget` of that with all sites high.

    Parameters
    ----------
    loss : mean loss, in nats, under a policy
    weights : the sites to search, and how many MACs each makes narrow
    low : bits of the low width
    budget : nats, at least 0
    progress : told of each loss that was measured
    """
    if not weights:
        raise UsageError("a search needs at least one site")
    if not budget >= 0:
        raise UsageError(f"budget must be at least 0, got {budget}")
    for (name, layer), count in weights.items():
        if name not in INPUTS or (layer is not None and layer < 0):
            raise UsageError(f"no site {name_of((name, layer))!r}; sites: {', '.join(INPUTS)}")
        if not count > 0:
            raise UsageError(f"MACs of {name_of((name, layer))} must be above 0, got {count}")

    def measured(narrow: Sequence[Site], what: str) -> float:
        value = loss(policy_of(low, narrow))
        progress(what, value)
        return value

    base = measured([], "all high")
    alone = {site: measured([site], f"{name_of(site)} low") - base for site in weights}
    kept: list[Site] = []
    last, trials = base, []
    for site in sorted(weights, key=lambda site: (alone[site] / weights[site], name_of(site))):
        value = alone[site] + base if not kept else measured([*kept, site], f"+ {name_of(site)}")
        stays = value <= base + budget
        trials.append((site, value, stays))
        if stays:
            kept.append(site)
            last = value
    return Finding(
        policy=policy_of(low, kept), base=base, loss=last, alone=alone, trials=tuple(trials)
    )
