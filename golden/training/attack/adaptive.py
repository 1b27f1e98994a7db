"""The search against a guard that the attacker knows: stored bits, in groups that get past it.

Of every layer the best actions to first order (`golden.attack.ways`: bits that no code covers,
pairs under parity, triples under SEC-DED, words that the guard has to give up) are tried by an
exact pass through the guard, and that with the most loss a flip is kept. Where none raises the
loss, the best two of a layer are taken together, then three, then four.

A victim's `Victim` has words without a guard; here each memory has one, and nothing else differs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from narrowgauge.golden.attack.guarded import Action, GuardedMemory
from narrowgauge.golden.attack.layout import WeightFormat
from narrowgauge.golden.attack.memory import Reading
from narrowgauge.golden.attack.plan import GuardPlan
from narrowgauge.golden.attack.ways import actions
from narrowgauge.golden.training.attack.replay import Replay, Row
from narrowgauge.golden.training.attack.search import (
    Record,
    Search,
    losses_of,
    sloped,
    unwatched,
)
from narrowgauge.golden.training.attack.victim import Victim

__all__ = ["GuardedVictim", "adaptive"]

Group = list[Action]


class GuardedVictim:
    """A net whose weights are read through guards.

    Parameters
    ----------
    net, fmt, reading : as of `Victim`
    guard : of every memory
    """

    def __init__(
        self, net: nn.Module, fmt: WeightFormat, guard: GuardPlan, reading: Reading = "replace"
    ) -> None:
        bits = guard.blocks_of(fmt) * fmt.payload.width
        self._plain = Victim(net, fmt, word_bits=bits, reading=reading)
        self.net, self.layers = self._plain.net, self._plain.layers
        self.clean = {
            name: GuardedMemory(memory, guard.kind, guard.recovery)
            for name, memory in self._plain.clean.items()
        }
        self.memories: dict[str, GuardedMemory] = {}
        self.restore()

    @property
    def bits(self) -> dict[str, int]:
        """Stored bits by field, and `check`: check bits."""
        checks = sum(m.layout.words * m.guard.check_bits for m in self.clean.values())
        return {**self._plain.bits, "check": checks}

    def gradients(self, loss: torch.Tensor) -> Mapping[str, npt.NDArray[np.floating]]:
        """As of `Victim`."""
        return self._plain.gradients(loss)

    def restore(self) -> None:
        """All memories as they were quantised."""
        self._plain.restore()
        self.memories = {name: memory.copy() for name, memory in self.clean.items()}

    def apply(self, layer: str, action: Action) -> None:
        """Flip the bits of an action, and let the net compute with what is read."""
        change = self.memories[layer].apply(action)
        weight = self.layers[layer].weight
        with torch.no_grad(), np.errstate(over="ignore"):
            index = torch.from_numpy(change.weights).to(weight.device)
            weight.view(-1)[index] = torch.from_numpy(change.new.astype(np.float32)).to(
                weight.device
            )

    def rows(self, layer: str, groups: list[Group]) -> list[Row]:
        """The output channels that each group changes; the memory is left as it was."""
        memory, weight = self.memories[layer], self.layers[layer].weight.detach()
        columns = memory.layout.columns
        owners = [number for number, group in enumerate(groups) for _ in group]
        # Actions of a group lie in words of their own: what one changes, the others do not.
        changes = memory.peek([action for group in groups for action in group])
        changed: dict[tuple[int, int], torch.Tensor] = {}
        for number, change in zip(owners, changes, strict=True):
            with np.errstate(over="ignore"):
                new = change.new.astype(np.float32)
            of = change.weights // columns
            for row in np.unique(of).tolist():
                values = changed.setdefault((number, row), weight[row].clone())
                index = torch.from_numpy(change.weights[of == row] - row * columns)
                values.view(-1)[index] = torch.from_numpy(new[of == row]).to(weight.device)
        return [(number, row, values) for (number, row), values in changed.items()]


def _flips(group: Group) -> int:
    return sum(len(action.places) for action in group)


def _apart(given: list[Action], together: int) -> Group:
    """So many actions, each in a word of its own; fewer where there are not as many."""
    first: dict[int, Action] = {}
    for action in given:
        first.setdefault(action.word, action)
    return list(first.values())[:together]


def _step(
    victim: GuardedVictim,
    replay: Replay,
    gradients: Mapping[str, npt.NDArray[np.floating]],
    labels: torch.Tensor,
    now: float,
    options: tuple[int, int, int],
) -> tuple[float, float, str, Group]:
    """The most loss a flip, the loss, the layer, and the actions."""
    tried, together, left = options
    best: tuple[float, float, str, Group] = (0.0, now, "", [])
    for layer, memory in victim.memories.items():
        found = actions(memory, gradients[layer], max(tried, together))
        groups = [[a] for a in found] if together == 1 else [_apart(found, together)]
        groups = [g for g in groups if len(g) == together and _flips(g) <= left]
        if not groups:
            continue
        tries = replay.outputs(layer, victim.rows(layer, groups), len(groups))
        for group, outputs in zip(groups, tries, strict=True):
            loss = float(losses_of(outputs, labels).mean())
            gain = (loss - now) / _flips(group)
            if gain > best[0]:
                best = (gain, loss, layer, group)
    return best


def _told(victim: GuardedVictim, layer: str, action: Action) -> Record:
    """An action as plain values."""
    memory = victim.memories[layer]
    return {
        "tensor": layer, "word": action.word, "bits": list(action.places), "way": action.way,
        "fields": [memory.names[place] for place in action.places],
    }  # fmt: skip


def adaptive(
    victim: GuardedVictim,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    search: Search,
    budget: int,
    watch: Callable[[int], tuple[dict[str, Any], bool]],
) -> tuple[list[Record], str]:
    """Actions on the victim as it is, and why the search ended; as `search.progressive`.

    `budget` and what `watch` is told are flips of stored bits; fields do not count.
    """
    made: list[Record] = []
    flips, together = 0, 1
    with Replay(victim.net, victim.layers) as replay:
        while flips < budget:
            images, labels, now, gradients = sloped(victim.gradients, replay, images, labels)
            if not gradients:
                return made, "no gradient"
            group: Group = []
            while together <= search.together and not group:
                options = (search.tried, together, budget - flips)
                _, after, layer, group = _step(victim, replay, gradients, labels, now, options)
                together += 1
            if not group:
                return made, "stuck"
            together = 1
            for action in group:
                told = _told(victim, layer, action)
                victim.apply(layer, action)
                flips += len(action.places)
                made.append({**told, "loss": after, "flips": flips})
            more, enough = unwatched(replay, watch, flips)
            made[-1] |= more
            if enough:
                return made, "reached"
    return made, "budget"
