"""Progressive bit search: which bits to flip so that the loss rises most.

Each step takes one forward and one backward pass of a batch. In every layer the bits are ordered by
their effect to first order (`golden.attack.effects`: exact change times gradient, over all weights
that a bit touches), the best are tried by an exact pass from that layer on (`replay`), and the
flip of all layers that gives the largest loss is kept. Where none raises the loss, the two best of
a layer are tried together, then three, and so on.

An image whose loss is above 10 000, or no number, is lost: it counts as 10 000, and is left out of
the steps that follow, since it gives no gradient.

Where a change is far beyond the weights, as of a shared exponent, its sign says nothing: such bits
are ordered by the magnitude of their effect, and those that make Inf or NaN come first.

Sources: Rakin et al., "Bit-Flip Attack: Crushing Neural Network with Progressive Bit Search", ICCV
2019; trying by layer as there, one bit at a time. The order for large changes is this project's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from narrowgauge.golden.attack import Flip, effects
from narrowgauge.golden.attack.effects import FAR
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.training.attack.replay import Replay, Row
from narrowgauge.golden.training.attack.victim import Victim

__all__ = ["Search", "losses_of", "progressive", "random_flips", "record", "sloped", "unwatched"]

_LOST = 1e4
"""Loss of an image from which on it is lost."""

Record = dict[str, Any]

Slopes = Mapping[str, npt.NDArray[np.floating]]
"""Gradients by layer."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How bits are searched.

    Parameters
    ----------
    tried : bits of a layer that are tried, one at a time, 1 or more
    together : most flips of a step
    fields : of `golden.attack.FIELDS`, where flips may lie
    """

    tried: int = 4
    together: int = 4
    fields: tuple[str, ...] = ("top", "element", "scale", "outlier", "position")

    def __post_init__(self) -> None:
        for name in ("tried", "together"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.fields:
            raise UsageError("no field was given")


def record(layer: str, flip: Flip, **more: Any) -> Record:
    """A flip as plain values; of the weights that it changes the first is told."""

    def plain(value: float) -> float | str:
        return float(value) if np.isfinite(value) else str(value)

    place = flip.place
    return {
        "tensor": layer, "word": flip.word, "bit": flip.bit,
        "field": place.field, "block": place.block, "index": place.index, "place": place.bit,
        "before": flip.before, "after": flip.after, "weights": len(flip.weights),
        "weight": int(flip.weights[0]) if len(flip.weights) else None,
        "old": plain(flip.old[0]) if len(flip.old) else None,
        "new": plain(flip.new[0]) if len(flip.new) else None,
        **more,
    }  # fmt: skip


def losses_of(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Loss of each image, NaN and what is too large as `_LOST`."""
    losses = functional.cross_entropy(outputs, labels, reduction="none")
    return losses.nan_to_num(nan=_LOST, posinf=_LOST).clamp_max(_LOST)


def best_bits(
    memory: Any, gradient: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_], count: int
) -> list[int]:
    """Addresses of the bits of a memory with the largest effects, best first; may be fewer."""
    found = effects(memory, gradient)
    with np.errstate(invalid="ignore", over="ignore"):
        usual = np.nanmax(np.abs(memory.floats()), initial=0)
        far = ~(found.largest <= FAR * usual)
        rank = np.where(far, np.abs(found.score), found.score)
    rank = np.nan_to_num(rank, nan=np.inf, posinf=np.inf)
    rank[~mask | (found.largest == 0) | ~(rank > 0)] = 0
    count = min(count, int(np.count_nonzero(rank)))
    if not count:
        return []
    top = np.argpartition(rank, -count)[-count:]
    return [int(a) for a in top[np.lexsort((top, -rank[top]))]]


def _rows(victim: Victim, layer: str, groups: list[list[int]]) -> list[Row]:
    """The output channels that each group of flips changes; the memory is left as it was."""
    memory, weight = victim.memories[layer], victim.layers[layer].weight.detach()
    per_row = memory.layout.columns
    made: list[Row] = []
    for number, group in enumerate(groups):
        changed: dict[int, torch.Tensor] = {}
        for address in group:
            flip = memory.flip(*divmod(address, memory.layout.word_bits))
            if not len(flip.weights):
                continue
            # A block lies in one row.
            row = int(flip.weights[0]) // per_row
            values = changed.setdefault(row, weight[row].clone())
            with np.errstate(over="ignore"):
                new = torch.from_numpy(flip.new.astype(np.float32)).to(weight.device)
            values.view(-1)[torch.from_numpy(flip.weights - row * per_row)] = new
        for address in reversed(group):
            memory.flip(*divmod(address, memory.layout.word_bits))
        made += [(number, row, values) for row, values in changed.items()]
    return made


def _step(
    victim: Victim,
    replay: Replay,
    gradients: Mapping[str, npt.NDArray[np.floating]],
    labels: torch.Tensor,
    search: Search,
    masks: Mapping[str, npt.NDArray[np.bool_]],
    together: int,
) -> tuple[float, str, list[int]]:
    """The largest loss, the layer, and the addresses of the flips."""
    best: tuple[float, str, list[int]] = (-1.0, "", [])
    for layer, memory in victim.memories.items():
        wanted = search.tried if together == 1 else together
        bits = best_bits(memory, gradients[layer], masks[layer], wanted)
        groups = [[bit] for bit in bits] if together == 1 else [bits]
        if not bits or len(bits) < together:
            continue
        found = replay.outputs(layer, _rows(victim, layer, groups), len(groups))
        for group, outputs in zip(groups, found, strict=True):
            loss = float(losses_of(outputs, labels).mean())
            if loss > best[0]:
                best = (loss, layer, group)
    return best


def progressive(
    victim: Victim,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    search: Search,
    budget: int,
    watch: Callable[[int], tuple[dict[str, Any], bool]],
) -> tuple[list[Record], str]:
    """Flips of the victim as it is, and why the search ended.

    Parameters
    ----------
    images, labels : the batch that losses are taken of
    budget : most flips
    watch : told how many flips there are after each step; gives what to record, and whether that
        is enough

    Ends are `reached`, `budget`, `stuck` (no flips together raise the loss) and `no gradient` (no
    image is left, or none of them has one). `loss` is that of the images that were left.
    """
    masks = victim.masks(search.fields)
    if not any(mask.any() for mask in masks.values()):
        raise UsageError(f"no bit lies in {', '.join(search.fields)}")
    made: list[Record] = []
    with Replay(victim.net, victim.layers) as replay:
        together = 1
        while len(made) < budget:
            images, labels, now, gradients = sloped(victim.gradients, replay, images, labels)
            if not gradients:
                return made, "no gradient"
            found: tuple[float, str, list[int]] = (-1.0, "", [])
            while together <= min(search.together, budget - len(made)):
                found = _step(victim, replay, gradients, labels, search, masks, together)
                if found[0] > now:
                    break
                together += 1
            after, layer, group = found
            if not after > now:
                return made, "stuck" if together > search.together else "budget"
            together = 1
            for address in group:
                width = victim.memories[layer].layout.word_bits
                flip = victim.flip(layer, *divmod(address, width))
                made.append(record(layer, flip, loss=after))
            more, enough = unwatched(replay, watch, len(made))
            made[-1] |= more
            if enough:
                return made, "reached"
    return made, "budget"


def sloped(
    slopes: Callable[[torch.Tensor], Slopes], replay: Replay, images: torch.Tensor,
    labels: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, float, Slopes]:  # fmt: skip
    """The images that are not lost, their labels, their mean loss, and its `slopes`.

    No slopes where no image is left, one of them is NaN or Inf, or all are zero.
    """
    losses, images, labels = _not_lost(replay, images, labels)
    if not len(images):
        return images, labels, float("nan"), {}
    loss = losses.mean()
    made = slopes(loss)
    sane = [np.isfinite(g).all() for g in made.values()]
    if not all(sane) or not any(g.any() for g in made.values()):
        made = {}
    return images, labels, float(loss.detach()), made


def _not_lost(
    replay: Replay, images: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Losses of the images that are not lost, with these and their labels; a pass is recorded."""
    losses = losses_of(replay.record(images), labels)
    good = losses.detach() < _LOST
    if bool(good.all()):
        return losses, images, labels
    images, labels = images[good], labels[good]
    if len(images):
        losses = losses_of(replay.record(images), labels)
    return losses, images, labels


def unwatched(
    replay: Replay, watch: Callable[[int], tuple[dict[str, Any], bool]], flips: int
) -> tuple[dict[str, Any], bool]:
    """Call `watch` while the net's leaves are their own: other batches must not be recorded."""
    replay.__exit__()
    try:
        return watch(flips)
    finally:
        replay.__enter__()


def random_flips(
    victim: Victim,
    *,
    seed: int,
    fields: tuple[str, ...],
    counts: list[int],
    watch: Callable[[int], tuple[dict[str, Any], bool]],
) -> list[Record]:
    """Bits drawn over all memories alike, none twice; what `watch` says after some counts."""
    masks = victim.masks(fields)
    layers = list(masks)
    bits = [np.flatnonzero(mask) for mask in masks.values()]
    sizes = np.array([len(b) for b in bits])
    total, ends = int(sizes.sum()), np.cumsum(sizes)
    if not total:
        raise UsageError(f"no bit lies in {', '.join(fields)}")
    drawn = np.random.default_rng(seed).permutation(total)[: max(counts)]
    made: list[Record] = []
    done = 0
    for count in counts:
        for number in drawn[done:count]:
            place = int(np.searchsorted(ends, number, side="right"))
            layer = layers[place]
            address = int(bits[place][number - (ends[place] - sizes[place])])
            victim.flip(layer, *divmod(address, victim.memories[layer].layout.word_bits))
        done = min(count, total)
        more, enough = watch(done)
        made.append({"flips": done, **more})
        if enough or done == total:
            break
    return made
