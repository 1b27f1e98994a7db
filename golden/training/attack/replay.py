"""A forward pass taken up in its middle, for many changed weights of one layer at a time.

One pass records what each leaf module returns. To try other weights of a layer, leaves that were
called before it return what they did, the layer's output is given, and only what follows is
computed: once, on a batch that holds the whole batch again for every try. A try changes few output
channels, and only those are convolved anew. Of a `Sequential` the parts before the layer are not
entered at all.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from narrowgauge.golden.errors import UsageError

__all__ = ["Replay", "Row"]

Row = tuple[int, int, torch.Tensor]
"""A try's number, an output channel, and its weights there, shaped as one row of the weight."""


def _parts(net: nn.Module) -> list[nn.Module]:
    """Modules that, called one after the other, are the net."""
    # A subclass may do more than call its children in turn.
    if type(net).forward is not nn.Sequential.forward:
        return [net]
    return [part for child in net.children() for part in _parts(child)]


class Replay:
    """See the module. Leaves must be called in the same order in every pass.

    Parameters
    ----------
    net : its leaves are watched as long as the object is entered as a context
    layers : those that are tried, by name
    """

    def __init__(self, net: nn.Module, layers: dict[str, Any]) -> None:
        self._layers = layers
        self._leaves = [m for m in net.modules() if next(m.children(), None) is None]
        self._outputs: list[torch.Tensor] = []
        self._inputs: dict[str, torch.Tensor] = {}
        self._at: dict[str, int] = {}
        self._parts = _parts(net)
        self._entries: list[tuple[int, torch.Tensor]] = []
        self._call, self._start, self._copies = 0, 0, 0
        self._given: torch.Tensor | None = None

    def __enter__(self) -> "Replay":
        names = {id(module): name for name, module in self._layers.items()}
        for leaf in self._leaves:
            leaf.forward = self._watched(leaf.forward, names.get(id(leaf)))
        return self

    def __exit__(self, *_: object) -> None:
        for leaf in self._leaves:
            del leaf.__dict__["forward"]

    def _watched(self, forward: Any, layer: str | None) -> Any:
        def run(*inputs: Any, **named: Any) -> Any:
            call, self._call = self._call, self._call + 1
            if self._given is None:
                made = forward(*inputs, **named)
                if layer is not None:
                    if layer in self._inputs:
                        raise UsageError(f"layer {layer} is called twice in a pass")
                    self._inputs[layer], self._at[layer] = inputs[0].detach(), call
                self._outputs.append(made.detach())
                return made
            if call > self._start:
                return forward(*inputs, **named)
            if call == self._start:
                return self._given
            kept = self._outputs[call]
            return kept.repeat(self._copies, *[1] * (kept.dim() - 1))

        return run

    def record(self, x: torch.Tensor) -> torch.Tensor:
        """A whole pass, with gradients where they are wanted."""
        self._outputs, self._inputs, self._at, self._entries = [], {}, {}, []
        self._given, self._call = None, 0
        for part in self._parts:
            self._entries.append((self._call, x.detach()))
            x = part(x)
        if missing := sorted(set(self._layers) - set(self._at)):
            raise UsageError(f"layer {missing[0]} is not called in a pass")
        return x

    @torch.no_grad()
    def outputs(self, layer: str, rows: Sequence[Row], tries: int) -> torch.Tensor:
        """What the net returns for each try, (tries, batch, ...).

        A row replaces an output channel of its try; several of one try, several channels.
        """
        call = self._at[layer]
        kept = self._outputs[call]
        given = kept.repeat(tries, 1, *[1] * (kept.dim() - 2)).unflatten(0, (tries, len(kept)))
        if rows:
            made = self._rows(layer, rows)
            for place, (number, row, _) in enumerate(rows):
                given[number][:, row] = made[:, place]
        first = max(n for n, (start, _) in enumerate(self._entries) if start <= call)
        self._call, x = self._entries[first]
        self._given, self._start, self._copies = given.flatten(0, 1), call, tries
        try:
            x = x.repeat(tries, *[1] * (x.dim() - 1))
            for part in self._parts[first:]:
                x = part(x)
        finally:
            self._given = None
        return x.unflatten(0, (tries, len(kept)))

    def _rows(self, layer: str, rows: Sequence[Row]) -> torch.Tensor:
        """Channels anew, (batch, rows, ...)."""
        module, x = self._layers[layer], self._inputs[layer]
        weight = torch.stack([values for _, _, values in rows])
        index = torch.tensor([row for _, row, _ in rows], device=x.device)
        bias = None if module.bias is None else module.bias[index]
        if isinstance(module, nn.Linear):
            return functional.linear(x, weight, bias)
        if module.padding_mode != "zeros":
            raise UsageError(f"layer {layer}: padding {module.padding_mode} is not supported")
        groups = 1
        if module.groups > 1:
            wide = module.in_channels // module.groups
            of = index // (module.out_channels // module.groups)
            lanes = (of[:, None] * wide + torch.arange(wide, device=x.device)).flatten()
            x, groups = x[:, lanes], len(rows)
        return functional.conv2d(
            x, weight, bias, module.stride, module.padding, module.dilation, groups
        )
