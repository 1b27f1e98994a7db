"""A network whose weights are read from memories: flips act on what it computes at once.

Every `Conv2d` and `Linear` of the net has a memory of its own; biases, norms, their statistics and
the steps of integers are not in any. The net computes in float32 on the values that the words say.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import nn

from narrowgauge.golden.attack import FIELDS, Flip, WeightMemory
from narrowgauge.golden.attack.layout import WeightFormat
from narrowgauge.golden.attack.memory import Reading
from narrowgauge.golden.errors import UsageError

__all__ = ["Victim", "accuracy"]

_AT_ONCE = 1000
"""Images of a pass in `accuracy`."""


def accuracy(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the images whose largest output is the label's; an output of NaN is wrong."""
    right = 0
    with torch.no_grad():
        for start in range(0, len(images), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            found = net(images[part])
            good = found.argmax(1) == labels[part]
            right += int((good & ~found.isnan().any(1)).sum())
    return right / len(images)


class Victim:
    """See the module.

    Parameters
    ----------
    net : changed in place, set to evaluation
    fmt : of all weights
    word_bits, reading : as of `WeightMemory`
    """

    def __init__(
        self,
        net: nn.Module,
        fmt: WeightFormat,
        *,
        word_bits: int = 64,
        reading: Reading = "replace",
    ) -> None:
        self.net = net.eval()
        self.layers: dict[str, nn.Conv2d | nn.Linear] = {
            name: module
            for name, module in net.named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        }
        if not self.layers:
            raise UsageError("the net has no convolution and no linear layer")
        for parameter in net.parameters():
            parameter.requires_grad_(False)
        self.clean = {
            name: WeightMemory.encode(
                module.weight.detach().cpu().numpy(), fmt, word_bits=word_bits, reading=reading
            )
            for name, module in self.layers.items()
        }
        for module in self.layers.values():
            module.weight.requires_grad_(True)
        self.memories: dict[str, WeightMemory] = {}
        self.restore()

    @property
    def device(self) -> torch.device:
        """Where the net computes."""
        return next(self.net.parameters()).device

    @property
    def bits(self) -> dict[str, int]:
        """Bits in all memories, by field."""
        counts = np.zeros(len(FIELDS), np.int64)
        for memory in self.clean.values():
            counts += np.bincount(memory.layout.fields, minlength=len(FIELDS))
        return {name: int(count) for name, count in zip(FIELDS, counts, strict=True)}

    def restore(self) -> None:
        """All memories as they were quantised."""
        self.memories = {name: memory.copy() for name, memory in self.clean.items()}
        with torch.no_grad():
            for name, module in self.layers.items():
                module.weight.copy_(torch.from_numpy(self.memories[name].floats()))

    def flip(self, layer: str, word: int, bit: int) -> Flip:
        """Flip a bit of a layer's memory, and let the net compute with it."""
        if layer not in self.memories:
            raise UsageError(f"no layer {layer!r}; layers: {', '.join(self.memories)}")
        flip = self.memories[layer].flip(word, bit)
        self.write(layer, flip)
        return flip

    def write(self, layer: str, flip: Flip) -> None:
        """Take the values of a flip into the net."""
        weight = self.layers[layer].weight
        with torch.no_grad(), np.errstate(over="ignore"):
            index = torch.from_numpy(flip.weights).to(weight.device)
            new = torch.from_numpy(flip.new.astype(np.float32)).to(weight.device)
            weight.view(-1)[index] = new

    def gradients(self, loss: torch.Tensor) -> Mapping[str, np.ndarray]:
        """Of the loss with respect to the weights of each layer, float32."""
        weights = [module.weight for module in self.layers.values()]
        found = torch.autograd.grad(loss, weights)
        return {name: g.cpu().numpy() for name, g in zip(self.layers, found, strict=True)}

    def masks(self, fields: Iterable[str]) -> dict[str, np.ndarray]:
        """Which bits of each memory lie in some fields, bool of (bits,)."""
        numbers = []
        for name in fields:
            if name not in FIELDS or name == "padding":
                raise UsageError(f"no field {name!r}; fields: {', '.join(FIELDS[:-1])}")
            numbers.append(FIELDS.index(name))
        return {name: np.isin(memory.layout.fields, numbers) for name, memory in self.clean.items()}
