"""Which operands of a decoder layer take the low width and which the high one.

OPAL's rule: inputs that come from a normalisation are less sensitive and take `low` bits, all
others `high` = 2 low - 1; weights take `low`. Each can be set for all layers and for single ones.

Source: OPAL (arXiv 2409.05902).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from narrowgauge.golden.errors import UsageError

__all__ = ["INPUTS", "MATRICES", "Choice", "Policy"]

Choice = Literal["low", "high"]

INPUTS: Mapping[str, Choice] = MappingProxyType(
    {
        "qkv": "low",
        "query_key": "high",
        "value": "high",
        "attn_output": "high",
        "ffn_up": "low",
        "ffn_down": "high",
    }
)
"""Site -> default width of the activations there, in the order of a layer.

`qkv` enters the three projections, `query_key` are the operands of the scores, `value` the rows
that probabilities weigh, `attn_output` enters the projection after attention, `ffn_up` the up and
gate projections, `ffn_down` the down projection.
"""

MATRICES: Mapping[str, Choice] = MappingProxyType(
    dict.fromkeys(("qkv", "attn_output", "ffn_up", "ffn_down"), "low")
)
"""Site -> default width of the weights there."""

_KINDS: Mapping[str, Mapping[str, Choice]] = MappingProxyType(
    {"inputs": INPUTS, "weights": MATRICES}
)


def _choices(where: str, kind: str, given: object) -> Mapping[str, Choice]:
    known = _KINDS[kind]
    if not isinstance(given, Mapping):
        raise UsageError(f"{where}{kind} must map sites to low or high, got {given!r}")
    for site, choice in given.items():
        if site not in known:
            raise UsageError(f"{where}{kind} has no site {site!r}; sites: {', '.join(known)}")
        if choice not in ("low", "high"):
            raise UsageError(f"{where}{kind} of {site} must be low or high, got {choice!r}")
    return MappingProxyType({site: given[site] for site in known if site in given})


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A width for every operand of every layer; equal and hashable by what it says.

    Parameters
    ----------
    low : bits of the low width, 2..4; the high one has 2 low - 1
    inputs : site of `INPUTS` -> "low" or "high", for all layers; a site that is not there has its
        default
    weights : the same for the sites of `MATRICES`
    layers : layer, from 0 -> {"inputs": ..., "weights": ...}, what is different in that layer

    Raises
    ------
    UsageError : an unknown site, layer or width
    """

    low: int = 4
    inputs: Mapping[str, Choice] = field(default_factory=dict)
    weights: Mapping[str, Choice] = field(default_factory=dict)
    layers: Mapping[int, Mapping[str, Mapping[str, Choice]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.low) is not int or not 2 <= self.low <= 4:
            raise UsageError(f"low must be 2..4, got {self.low!r}")
        for kind, known in _KINDS.items():
            chosen = _choices("", kind, getattr(self, kind))
            object.__setattr__(self, kind, MappingProxyType({**known, **chosen}))
        if not isinstance(self.layers, Mapping):
            raise UsageError(f"layers must map numbers to choices, got {self.layers!r}")
        kept = {}
        for layer, kinds in self.layers.items():
            if type(layer) is not int or layer < 0:
                raise UsageError(f"a layer must be a number from 0, got {layer!r}")
            if not isinstance(kinds, Mapping):
                raise UsageError(f"layer {layer} must map inputs or weights, got {kinds!r}")
            for kind in kinds:
                if kind not in _KINDS:
                    raise UsageError(f"layer {layer} has inputs and weights, got {kind!r}")
            where = f"layer {layer}: "
            chosen_here = {kind: _choices(where, kind, kinds[kind]) for kind in sorted(kinds)}
            kept[layer] = MappingProxyType(chosen_here)
        object.__setattr__(self, "layers", MappingProxyType(dict(sorted(kept.items()))))

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        # Mappings that cannot be changed cannot be pickled either.
        return Policy.from_json, (self.to_json(),)

    @property
    def high(self) -> int:
        """Bits of the high width."""
        return 2 * self.low - 1

    def input_is_high(self, layer: int, site: str) -> bool:
        """Whether activations at a site of a layer take the high width."""
        return self._choice("inputs", layer, site) == "high"

    def weight_is_high(self, layer: int, site: str) -> bool:
        """Whether the weights at a site of a layer take the high width."""
        return self._choice("weights", layer, site) == "high"

    def input_bits(self, layer: int, site: str) -> int:
        """Bits of the activations at a site of a layer."""
        return self.high if self.input_is_high(layer, site) else self.low

    def weight_bits(self, layer: int, site: str) -> int:
        """Bits of the weights at a site of a layer."""
        return self.high if self.weight_is_high(layer, site) else self.low

    def _choice(self, kind: str, layer: int, site: str) -> Choice:
        if layer < 0:
            raise UsageError(f"a layer must be a number from 0, got {layer!r}")
        general: Mapping[str, Choice] = getattr(self, kind)
        if site not in general:
            raise UsageError(f"{kind} has no site {site!r}; sites: {', '.join(general)}")
        return self.layers.get(layer, {}).get(kind, general).get(site, general[site])

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back; the same for equal policies."""
        plain = {
            "low": self.low,
            "inputs": dict(self.inputs),
            "weights": dict(self.weights),
            "layers": {
                str(layer): {kind: dict(chosen) for kind, chosen in kinds.items()}
                for layer, kinds in self.layers.items()
            },
        }
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> "Policy":
        """The policy of a JSON object with any of `low`, `inputs`, `weights` and `layers`."""
        try:
            plain: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise UsageError(f"a policy must be JSON: {error}") from error
        if not isinstance(plain, dict):
            raise UsageError(f"a policy must be a JSON object, got {plain!r}")
        for name in plain:
            if name not in ("low", "inputs", "weights", "layers"):
                raise UsageError(f"a policy has low, inputs, weights and layers, got {name!r}")
        layers = plain.get("layers", {})
        if not isinstance(layers, dict):
            raise UsageError(f"layers must map numbers to choices, got {layers!r}")
        for layer in layers:
            if not (layer.isascii() and layer.isdigit() and str(int(layer)) == layer):
                raise UsageError(f"a layer must be a number from 0, got {layer!r}")
        return cls(**plain | {"layers": {int(key): value for key, value in layers.items()}})
