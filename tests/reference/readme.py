"""The README's sentences of FlexBlock and of bit flips: `python -m tests.reference.readme`."""

import math
import textwrap
from pathlib import Path
from typing import Any

from tests.reference import README, attack, mapping, mapping_ratios
from tests.reference.pages import Tables, update

__all__ = ["PAGES"]

GUARD = "secded_shared_window"
"""The guard of MX-OPAL that takes the most flips."""


def _wrapped(words: str) -> str:
    return textwrap.fill(words, 100, break_long_words=False, break_on_hyphens=False)


def _flexblock() -> str:
    data = mapping.load()
    found = mapping_ratios.ratios(data)

    def over(rival: str, mode: str) -> str:
        values = found[f"{rival} area"][mode].values()
        return f"{math.prod(values) ** (1 / len(values)):.1f}"

    def used(*, depthwise: bool) -> str:
        kinds = mapping.groups(data["nibbles"][mapping.CHOSEN])
        chosen = [group for kind, group in kinds if (kind == "depthwise") is depthwise]
        return f"{100 * mapping.mean(chosen):.0f} %"

    return _wrapped(
        "Training in blocks: [FlexBlock](docs/cores/flexblock_core.md) does every pass of a "
        "training in FB12, FB16 or FB24. Area for area it takes the steps of [three "
        f"nets](docs/mapping.md) {over('fb24', 'fb12')} times as fast in FB12, and "
        f"{over('fb24', 'fb16')} times in FB16, as FB24 alone, {over('bf16', 'fb12')} and "
        f"{over('bf16', 'fb16')} times as fast as bf16; it uses {used(depthwise=False)} of its "
        f"multipliers, in depthwise layers {used(depthwise=True)}."
    )


def _flips() -> str:
    data = attack.load()

    def taken(name: str) -> str:
        runs = [run for run in data[name]["runs"] if _is_guarded(run)]
        return f"{sum(run['to_chance'] for run in runs) / len(runs):.0f}"

    return _wrapped(
        "Bit flips: in every block format one [flip of a shared exponent](docs/attack.md) takes a "
        "net to chance. Behind the best [guard](docs/units/guarded_memory.md) of MX-OPAL an "
        f"attacker who knows it needs {taken('repeated')} for one net and "
        f"{taken('repeated_resnet')} for another."
    )


def _is_guarded(run: dict[str, Any]) -> bool:
    plan = run["plan"]
    return bool(plan["fmt"] == "mx_opal4" and plan["guard"] == GUARD and run["end"] == "reached")


PAGES: dict[Path, Tables] = {README: {"flexblock": _flexblock, "flips": _flips}}
"""What is written, and from what."""

if __name__ == "__main__":
    update(PAGES)
