"""Convolutions and linear layers whose three products are made in FB12, FB16 or FB24.

Weights, biases, outputs and gradients are FP32, as in `torch.nn`; the operands of forward, dX and
dW are converted to the mode of that pass, each pass anew (`golden.training.products`).
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.training.precision import Arithmetic, Entry, Precision
from narrowgauge.golden.training.products import Convolution
from narrowgauge.golden.training.taps import Geometry

__all__ = ["KEPT", "BlockConv2d", "BlockLinear", "chosen", "replace_products"]

KEPT = ("ends", "authors", "none")
"""What stays FP32: the first convolution and the last linear layer; the 1 x 1 shortcuts of residual
blocks as well, as in the authors' simulator; nothing."""

Passes = tuple[Entry, Entry, Entry]


class _Product(torch.autograd.Function):
    """The product of x and w; its gradients are products in modes of their own."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        x, w, made, passes = given
        ctx.save_for_backward(x, w)
        ctx.made, ctx.passes = made, passes
        return made.forward(passes[0].convert, x, w)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        (x, w), dy = ctx.saved_tensors, grads[0].contiguous()
        made, passes = ctx.made, ctx.passes
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = made.dx(passes[1].convert, dy, w, x.shape)
        if ctx.needs_input_grad[1]:
            dw = made.dw(passes[2].convert, x, dy, w.shape)
        return dx, dw, None, None


def _alone(passes: Passes | None) -> Passes:
    """Entries of a layer that is used by itself: FB24 throughout."""
    if passes is not None:
        return passes
    arithmetic = Arithmetic()
    return Entry(arithmetic=arithmetic), Entry(arithmetic=arithmetic), Entry(arithmetic=arithmetic)


def _checked(x: torch.Tensor) -> torch.Tensor:
    if x.dtype != torch.float32:
        raise UsageError(f"x must be float32, got {str(x.dtype).removeprefix('torch.')}")
    return x.contiguous()


class BlockConv2d(torch.nn.Conv2d):
    """`torch.nn.Conv2d` of zeros at the borders, its products in groups.

    Attributes
    ----------
    passes : the entries of forward, dX and dW
    """

    passes: Passes

    def __init__(self, *arguments: Any, passes: Passes | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.padding_mode != "zeros" or isinstance(self.padding, str):
            raise UsageError(
                f"padding must be numbers of zeros, got {self.padding!r} of {self.padding_mode}"
            )
        self.passes = _alone(passes)

    @property
    def convolution(self) -> Convolution:
        """What is computed."""
        (s, t), (p, q), (d, e) = self.stride, self.padding, self.dilation
        geometry = Geometry(
            stride=(s, t), padding=(int(p), int(q)), dilation=(d, e), groups=self.groups
        )
        return Convolution(geometry=geometry, ordered=self.passes[0].arithmetic.ordered)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Of (N, C, H, W), float32."""
        if input.dim() != 4 or input.shape[1] != self.in_channels:
            raise UsageError(
                f"x must be (batch, {self.in_channels}, height, width), got {tuple(input.shape)}"
            )
        made = _Product.apply(_checked(input), self.weight, self.convolution, self.passes)
        return made if self.bias is None else made + self.bias[:, None, None]


class BlockLinear(torch.nn.Linear):
    """`torch.nn.Linear`, its products in groups; axes before the last are one batch.

    Attributes
    ----------
    passes : the entries of forward, dX and dW
    """

    passes: Passes

    def __init__(self, *arguments: Any, passes: Passes | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.passes = _alone(passes)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Of (..., features), float32."""
        if input.shape[-1:] != (self.in_features,):
            raise UsageError(f"x must be (..., {self.in_features}), got {tuple(input.shape)}")
        flat = _checked(input).reshape(-1, self.in_features, 1, 1)
        convolution = Convolution(geometry=Geometry(), ordered=self.passes[0].arithmetic.ordered)
        made = _Product.apply(flat, self.weight[:, :, None, None], convolution, self.passes)
        made = made.reshape(*input.shape[:-1], self.out_features)
        return made if self.bias is None else made + self.bias


def chosen(model: torch.nn.Module, kept: str = "ends") -> tuple[str, ...]:
    """Names of the convolutions and linear layers that are replaced; `kept` as of `KEPT`."""
    if kept not in KEPT:
        raise UsageError(f"kept must be one of {', '.join(KEPT)}, got {kept!r}")
    known = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
    ]
    names = [name for name, _ in known]
    if kept == "none":
        return tuple(names)
    first = next((name for name, m in known if isinstance(m, torch.nn.Conv2d)), None)
    last = next((name for name, m in reversed(known) if isinstance(m, torch.nn.Linear)), None)
    names = [name for name in names if name not in (first, last)]
    if kept == "authors":
        names = [name for name in names if "shortcut" not in name.split(".")]
    return tuple(names)


def replace_products(
    model: torch.nn.Module,
    setting: str,
    *,
    kept: str = "ends",
    arithmetic: Arithmetic | None = None,
    **options: Any,
) -> Precision:
    """Put blocks in the place of a model's convolutions and linear layers; returns their modes.

    Parameters, and so optimisers made before, are taken over. `options` are those of `Precision`:
    `interval`, `lower`, `upper`, `start`.
    """
    precision = Precision(
        layers=chosen(model, kept),
        setting=setting,
        arithmetic=Arithmetic() if arithmetic is None else arithmetic,
        **options,
    )
    for name, passes in precision.entries.items():
        above, _, own = name.rpartition(".")
        setattr(model.get_submodule(above), own, _replaced(model.get_submodule(name), passes))
    return precision


def _replaced(old: Any, passes: Passes) -> torch.nn.Module:
    bias = old.bias is not None
    new: BlockConv2d | BlockLinear
    if isinstance(old, torch.nn.Conv2d):
        new = BlockConv2d(
            old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding,
            old.dilation, old.groups, bias, old.padding_mode, passes=passes,
            device="meta", dtype=old.weight.dtype,
        )  # fmt: skip
    else:
        new = BlockLinear(
            old.in_features, old.out_features, bias, passes=passes,
            device="meta", dtype=old.weight.dtype,
        )  # fmt: skip
    new.weight, new.bias = old.weight, old.bias
    return new.train(old.training)
