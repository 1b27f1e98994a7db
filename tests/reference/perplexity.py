"""The tracked perplexities, perplexity.json, and the table of docs/perplexity.md made from them.

`python -m tests.reference.perplexity FILE.json ...` takes what `narrowgauge perplexity --record`
has written; several files must have the same configuration.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from narrowgauge.console import markdown
from tests.reference.pages import put

__all__ = ["BEGIN", "DATA", "END", "PAGE", "load", "main", "render", "table"]

DATA = Path(__file__).with_name("perplexity.json")
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "perplexity.md"
BEGIN, END = "<!-- perplexity:begin -->", "<!-- perplexity:end -->"

_ORDER = (
    "fp32", "bf16", "w4a16", "w4a4_7", "w4a4", "w3a16", "w3a3_5", "w3a3", "mxint4_7", "mxint4",
    "mxfp4", "nvfp4",
)  # fmt: skip


def load() -> dict[str, Any]:
    """The tracked figures."""
    data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def perplexity(data: dict[str, Any], name: str) -> float:
    """Perplexity over all windows of a scheme."""
    return float(np.exp(np.mean(data["schemes"][name]["losses"])))


def _widths(policy: dict[str, Any]) -> str:
    """What a policy for all layers says of the activations."""
    low = [site for site, choice in policy["inputs"].items() if choice == "low"]
    return f"low only at {', '.join(low)}"


_SOFTMAXES = ("", "_log2", "_log2_norm")
"""What stands behind a scheme's name, in the order of the columns."""


def _row(label: str, found: dict[str, float], exact: float | None, same: float | None) -> list[str]:
    """Perplexities by softmax, and how far from float32 and A16 where there is one."""
    cells = [label]
    for softmax in _SOFTMAXES:
        value = found.get(softmax)
        cells.append("" if value is None else f"{value:.2f}")
        for other in (same,) if softmax else (exact, same):
            known = value is not None and other is not None
            cells.append(f"{value - other:+.2f}" if known else "")  # type: ignore[operator]
    return cells


def table(data: dict[str, Any]) -> str:
    """A row a scheme: perplexity by softmax, and how far each is from float32 and A16."""
    rows = []
    schemes = data["schemes"]
    exact = perplexity(data, "fp32")
    for name in _ORDER:
        if name not in schemes:
            continue
        found = {s: perplexity(data, f"{name}{s}") for s in _SOFTMAXES if f"{name}{s}" in schemes}
        weights = f"{name[:2]}a16" if name[0] == "w" and not name.endswith("a16") else None
        same = perplexity(data, weights) if weights in schemes else None
        rows.append(_row(f"`{name}`", found, exact if name != "fp32" else None, same))
    chosen: dict[tuple[str, str], dict[str, float]] = {}
    for policy in data["policies"]:
        name = policy["scheme"].partition("_log2")[0]
        found = chosen.setdefault((name, _widths(policy["policy"])), {})
        found[policy["scheme"].removeprefix(name)] = float(np.exp(np.mean(policy["losses"])))
    for (name, widths), found in chosen.items():
        same = perplexity(data, f"{name[:2]}a16")
        rows.append(_row(f"`{name}`, {widths}", found, exact, same))
    head = ("scheme", "perplexity", "over fp32", "over A16", "log2 softmax", "over A16")
    head += ("renormalised", "over A16")
    c = data["configuration"]
    spread = "with" if c["compensate"] else "without"
    said = (
        f"{c['model']}, all {c['blocks']} layers, WikiText-2 test, the first {c['windows']} "
        f"windows of {c['window']} tokens, all tokens but the first of each scored. OWQ weights "
        f"for {c['calibration_tokens']} tokens of WikiText-2 valid, {spread} error compensation. "
        "A16: the same weights with bf16 activations and a bf16 softmax. Renormalised: the log2 "
        "softmax, whose sums with V are divided by the sum of the row."
    )
    return f"{markdown(head, rows)}\n\n{said}"


def render(data: dict[str, Any], page: str) -> str:
    """The page with its table."""
    return put(page, BEGIN, END, table(data))


def main(paths: Sequence[str]) -> None:
    """Take recorded files into the tracked one and into the page; those with a policy are rows."""
    merged: dict[str, Any] = {"configuration": None, "schemes": {}, "policies": []}
    for path in paths:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        policy = data["configuration"]["policy"]
        common = data["configuration"] | {"policy": None}
        if merged["configuration"] not in (None, common):
            raise SystemExit(f"{path} has another configuration than the files before it")
        merged["configuration"] = common
        if policy is None:
            merged["schemes"] |= data["schemes"]
            continue
        for name, found in data["schemes"].items():
            row = {"scheme": name, "policy": policy, "losses": found["losses"]}
            merged["policies"].append(row)
    DATA.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render(merged, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
