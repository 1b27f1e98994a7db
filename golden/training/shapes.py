"""The layers of any torch model, from the operations of one pass forward.

What counts is what reaches ATen: convolutions of two axes, products of a matrix of vectors and one
of weights (fully connected layers), batched products and attention. Names are those of the modules
in which they happen. Other operations that multiply two tensors are a `UsageError`, not left out.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.mapping.layers import Convolution, Layer, Product, linear

__all__ = ["trace", "trace_named"]

_ATEN = torch.ops.aten
_UNFOLLOWED = (
    *("lstm", "gru", "rnn_tanh", "rnn_relu", "mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn"),
    *("mv", "addmv", "dot", "vdot", "addbmm", "_int_mm", "_scaled_mm", "_trilinear"),
)
"""Operations that multiply and have no layer here: left out, they would be missed in every sum."""


class _Recorder(TorchDispatchMode):
    """Collects layers; `place` names the module at work."""

    def __init__(self, place: Callable[[], str]) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self._place = place
        self._times: dict[str, int] = {}

    def _name(self) -> str:
        name = self._place()
        count = self._times[name] = self._times.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet is _ATEN.convolution:
            self._convolution(*args[:9])
        elif packet in (_ATEN.mm, _ATEN.addmm):
            left, right = args[-2:]
            self.layers.append(linear(self._name(), left.shape[0], left.shape[1], right.shape[1]))
        elif packet in (_ATEN.bmm, _ATEN.baddbmm):
            left, right = args[-2:]
            self._product(left.shape[0], left.shape[1], left.shape[2], right.shape[2])
        elif "scaled_dot_product" in str(packet):
            query, key, value = args[:3]
            count, (rows, inner) = query.shape[:-2].numel(), query.shape[-2:]
            self._product(count, rows, inner, key.shape[-2])
            self._product(count, rows, key.shape[-2], value.shape[-1])
        elif str(packet).rpartition(".")[2] in _UNFOLLOWED:
            raise UsageError(f"{self._name()}: the products of {packet} are not followed")
        return made

    def _product(self, instances: int, rows: int, inner: int, columns: int) -> None:
        self.layers.append(
            Product(name=self._name(), instances=instances, rows=rows, inner=inner, columns=columns)
        )

    def _convolution(
        self, x: torch.Tensor, w: torch.Tensor, bias: Any, stride: Any, padding: Any,
        dilation: Any, transposed: bool, spare: Any, groups: int,
    ) -> None:  # fmt: skip
        name = self._name()
        if transposed or x.ndim != 4:
            what = "transposed" if transposed else f"of {x.ndim - 2} axes"
            raise UsageError(f"{name}: convolutions must be plain and of two axes, got one {what}")

        def two(value: list[int]) -> tuple[int, int]:
            return value[0], value[-1]

        self.layers.append(
            Convolution(
                name=name,
                batch=x.shape[0],
                channels=x.shape[1],
                outputs=w.shape[0],
                size=(x.shape[2], x.shape[3]),
                kernel=(w.shape[2], w.shape[3]),
                stride=two(stride),
                padding=two(padding),
                dilation=two(dilation),
                groups=groups,
                first=not self.layers,
            )
        )


def trace(model: nn.Module, *inputs: torch.Tensor) -> list[Layer]:
    """The layers that a call of the model has, in order.

    A convolution that comes first counts as one whose input needs no gradient. Nothing is kept of
    the pass; batch normalisation in training does move its averages.

    Raises
    ------
    UsageError : a convolution that is transposed or not of two axes, an operation of `_UNFOLLOWED`
    """
    inside: list[str] = []
    handles = []
    for name, module in model.named_modules():
        handles += [
            module.register_forward_pre_hook(lambda m, i, name=name: inside.append(name)),
            module.register_forward_hook(lambda m, i, o: inside.pop() and None),
        ]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), _Recorder(lambda: inside[-1] or "model") as found:
            model(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
    return found.layers


def trace_named(model: str, sizes: Sequence[int]) -> list[Layer]:
    """The same of `MODULE:NAME`, a model or what makes one, for an input of zeros."""
    module, sign, name = model.partition(":")
    if not sign:
        raise UsageError(f"a model is MODULE:NAME, got {model!r}")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"no model {model!r}: {error}") from None
    if not isinstance(found, nn.Module):
        found = found()
    return trace(found, torch.zeros(*sizes))
