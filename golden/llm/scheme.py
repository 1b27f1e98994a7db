"""Schemes: which numbers and units a decoder's matrix products and softmaxes use.

| scheme | weights | activations | products |
| --- | --- | --- | --- |
| bf16 | bf16 | bf16 | bf16_dot |
| w4a16, w3a16 | OWQ, INT4 or INT3 | bf16 | w4a16_dot, kept columns as one beat of bf16_dot |
| w4a4_7, w3a3_5 | the same | MX-OPAL, by policy | opal_dot |
| w4a4, w3a3 | the same | MX-OPAL, low everywhere | opal_dot |
| mxint4_7 | MXINT4, k = 128 | MXINT, by the same policy | opal_dot without outliers |
| mxint4 | MXINT4, k = 128 | MXINT4, k = 128 | opal_dot without outliers |
| mxfp4 | MXFP4 (OCP, k = 32) | MXFP4 | exact by 128 elements |
| nvfp4 | E2M1, E4M3 a 16, FP32 a row | the same | exact by 128 elements |

In the MX-OPAL and MXINT schemes queries, keys and values take the policy's widths, keys and queries
with outliers (MX-OPAL), values without; in the others attention is bf16. `_log2` behind a name
replaces the bf16 softmax and its product with V by log2_softmax and shift_attend, V as MXINT7
(MXINT5 where low is 3), `_log2_norm` by those with shift_attend's division by the row's sum;
without it V is multiplied, as quantised, by bf16 probabilities in bf16_dot. "Exact by 128": exact
sum of 128 products, rounded to FP32, sums added in FP32 in order.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.policy import INPUTS, Policy

__all__ = ["SCHEMES", "Kind", "Scheme", "get_scheme"]

Kind = Literal["bf16", "int_weight", "opal", "mxint", "mxfp4", "nvfp4"]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How a decoder computes.

    Parameters
    ----------
    name : what the command line and tables call it
    kind : numbers of the linear layers
    policy : widths; of int_weight only `low` counts
    log2 : log2_softmax and shift_attend in place of a bf16 softmax
    renormalise : shift_attend divides by the sum of the probabilities
    """

    name: str
    kind: Kind
    policy: Policy = field(default_factory=Policy)
    log2: bool = False
    renormalise: bool = False

    @property
    def owq(self) -> bool:
        """Whether the weights are `owq.OwqWeights`."""
        return self.kind in ("int_weight", "opal")

    @property
    def slots(self) -> int:
        """Outliers a block of activations keeps."""
        return 4 if self.kind == "opal" else 0

    @property
    def blocks(self) -> bool:
        """Whether queries, keys and values are quantised."""
        return self.kind in ("opal", "mxint")


_ALL_LOW = dict.fromkeys(INPUTS, "low")


def _table() -> dict[str, Scheme]:
    low3, low4 = Policy(low=3), Policy(low=4)
    plain = [
        Scheme(name="bf16", kind="bf16"),
        Scheme(name="w4a16", kind="int_weight", policy=low4),
        Scheme(name="w4a4_7", kind="opal", policy=low4),
        Scheme(name="w4a4", kind="opal", policy=Policy(low=4, inputs=_ALL_LOW)),  # type: ignore[arg-type]
        Scheme(name="w3a16", kind="int_weight", policy=low3),
        Scheme(name="w3a3_5", kind="opal", policy=low3),
        Scheme(name="w3a3", kind="opal", policy=Policy(low=3, inputs=_ALL_LOW)),  # type: ignore[arg-type]
        Scheme(name="mxint4_7", kind="mxint", policy=low4),
        Scheme(name="mxint4", kind="mxint", policy=Policy(low=4, inputs=_ALL_LOW)),  # type: ignore[arg-type]
        Scheme(name="mxfp4", kind="mxfp4"),
        Scheme(name="nvfp4", kind="nvfp4"),
    ]
    table = {}
    for scheme in plain:
        table[scheme.name] = scheme
        for suffix, renormalise in (("_log2", False), ("_log2_norm", True)):
            name = f"{scheme.name}{suffix}"
            table[name] = replace(scheme, name=name, log2=True, renormalise=renormalise)
    return table


SCHEMES: dict[str, Scheme] = _table()
"""Name -> scheme."""


def get_scheme(name: str) -> Scheme:
    """The scheme of a name; `UsageError` lists those that there are."""
    if name not in SCHEMES:
        raise UsageError(f"no scheme {name!r}; schemes: {', '.join(SCHEMES)}")
    return SCHEMES[name]
