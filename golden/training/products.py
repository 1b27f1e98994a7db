"""The three products of a convolution in groups of block floating point, on torch tensors.

| pass | sum over | groups of a side |
| --- | --- | --- |
| forward | taps (kh, kw), in each the input channels | channels of x at a pixel, of w at a tap |
| dX | taps, in each the output channels | channels of dY at a pixel, of w at a tap |
| dW | output pixels (oy, ox), in each the images | images of x and of dY at a channel and pixel |

A group has up to G elements and begins at the first channel of a group of the convolution, or at
the first image. Where a group of the convolution has less than `FEW` channels to sum over, as in
depthwise layers and for images, forward and dX gather the window first: a group is up to G of its
elements in the order (kh, kw, channel). With a stride s the inputs of dX fall into s x s classes
with taps of their own. A linear layer is a convolution of one tap on one pixel.

Sums: `ordered` is the arithmetic of `golden.units.bfp_pe` in every bit: products of a group are
summed exactly and rounded to FP32 once, groups are added in FP32 in the order of the table, from
+0. Else torch convolves the same operands in FP32 and the order is its own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from narrowgauge.golden.formats import BFP
from narrowgauge.golden.training.blocks import power
from narrowgauge.golden.training.groups import Grouped
from narrowgauge.golden.training.taps import Class, Geometry, classes, windows

__all__ = ["FEW", "PASSES", "Convolution"]

PASSES = ("forward", "dx", "dw")

FEW = 8
"""Channels from which on they are grouped at each tap."""

Convert = Callable[[torch.Tensor, int], Grouped]
"""Puts a tensor into groups along an axis."""


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A convolution of two axes and its gradients.

    Parameters
    ----------
    geometry : stride, padding, dilation, groups of channels
    ordered : see the module
    """

    geometry: Geometry
    ordered: bool = False

    def forward(self, convert: Convert, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """The outputs, (N, O, oh, ow), without bias."""
        n, _, *size = x.shape
        kernel = (w.shape[2], w.shape[3])
        high, wide = self.geometry.output((size[0], size[1]), kernel)
        # (groups, outputs, channels summed over, taps)
        weights = w.reshape(self.geometry.groups, -1, w.shape[1], math.prod(kernel))
        made = x.new_zeros(n, w.shape[0], high, wide)
        if w.shape[1] >= FEW:
            a, b = convert(weights, 2), convert(self._apart(x), 2)
            if not self.ordered:
                values = b.values().view_as(x), a.values().view_as(w)
                return torch.nn.functional.conv2d(*values, None, *self._arguments())
            self._dense(a, b, made, kernel, back=False)
        else:
            self._gathered(convert, weights, self._apart(x), made, kernel, back=False)
        return made

    def dx(
        self, convert: Convert, dy: torch.Tensor, w: torch.Tensor, shape: torch.Size
    ) -> torch.Tensor:
        """The gradient of an input of that shape."""
        kernel = (w.shape[2], w.shape[3])
        weights = w.reshape(self.geometry.groups, -1, w.shape[1], math.prod(kernel))
        made = dy.new_zeros(shape)
        if weights.shape[1] >= FEW:
            a, b = convert(weights, 1), convert(self._apart(dy), 2)
            if not self.ordered:
                return self._torch(b.values().view_as(dy), made, a.values().view_as(w), 0)
            back = Grouped(
                fmt=a.fmt, axis=2, zeroed=None,
                codes=a.codes.transpose(1, 2), fields=a.fields.transpose(1, 2),
            )  # fmt: skip
            self._dense(back, b, made, kernel, back=True)
        else:
            turned = weights.transpose(1, 2)
            self._gathered(convert, turned, self._apart(dy), made, kernel, back=True)
        return made

    def dw(
        self, convert: Convert, x: torch.Tensor, dy: torch.Tensor, shape: torch.Size
    ) -> torch.Tensor:
        """The gradient of weights of that shape."""
        a, b = convert(dy, 0), convert(x, 0)
        if not self.ordered:
            return self._torch(a.values(), b.values(), x.new_zeros(shape), 1)
        groups = self.geometry.groups
        kernel, size = (shape[2], shape[3]), (dy.shape[2], dy.shape[3])
        pair = classes(self.geometry, kernel, size, back=False)[0]

        def shifted(t: torch.Tensor) -> torch.Tensor:
            """(taps, images, groups, pixels, channels)"""
            parts = [part for _, part in windows(t.permute(2, 3, 0, 1), pair, kernel[1])]
            made = torch.stack(parts).unflatten(4, (groups, -1)).flatten(1, 2)
            return made.permute(0, 2, 3, 1, 4)

        def pixels(t: torch.Tensor) -> torch.Tensor:
            """(images, groups, pixels, channels)"""
            return t.reshape(len(t), groups, shape[0] // groups, -1).mT

        left, right = pixels(a.codes), shifted(b.codes)
        terms = []
        for j, part in enumerate(range(0, len(x), a.fmt.k)):
            # (groups, pixels, outputs, images) and (taps, groups, pixels, images, channels)
            one = left[part : part + a.fmt.k].permute(1, 2, 3, 0)
            two = right[:, part : part + a.fmt.k].permute(0, 2, 3, 1, 4)
            fields = pixels(a.fields)[j, ..., None], shifted(b.fields)[:, j, ..., None, :]
            terms.append(_term(a.fmt, one, two, *fields))
        total = torch.zeros_like(terms[0][:, :, 0])
        for p in range(terms[0].shape[2]):
            for term in terms:
                total += term[:, :, p]
        # (taps, groups, outputs, channels)
        return total.permute(1, 2, 3, 0).reshape(shape).contiguous()

    def _apart(self, t: torch.Tensor) -> torch.Tensor:
        """(N, groups, channels of a group, H, W)."""
        return t.unflatten(1, (self.geometry.groups, -1))

    def _arguments(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]:
        g = self.geometry
        return g.stride, g.padding, g.dilation, g.groups

    def _torch(
        self, dy: torch.Tensor, x: torch.Tensor, w: torch.Tensor, which: int
    ) -> torch.Tensor:
        g = self.geometry
        made: torch.Tensor = torch.ops.aten.convolution_backward(
            dy, x, w, [0], g.stride, g.padding, g.dilation, False, [0, 0], g.groups,
            [which == 0, which == 1, False],
        )[which]  # fmt: skip
        return made

    def _classes(
        self, made: torch.Tensor, kernel: tuple[int, int], back: bool
    ) -> list[tuple[tuple[Class, Class], torch.Tensor]]:
        """Pairs of classes, and the part of the outputs that each makes."""
        found = classes(self.geometry, kernel, (made.shape[-2], made.shape[-1]), back=back)
        return [
            (pair, made[..., pair[0].first :: pair[0].every, pair[1].first :: pair[1].every])
            for pair in found
        ]

    def _dense(
        self, a: Grouped, b: Grouped, made: torch.Tensor, kernel: tuple[int, int], *, back: bool
    ) -> None:
        """Groups at each tap: a is (groups, outputs, K, taps), b (N, groups, K, H, W)."""
        k = a.fmt.k
        for pair, part in self._classes(made, kernel, back):
            total = torch.zeros(())
            found = (
                windows(t.permute(3, 4, 0, 1, 2), pair, kernel[1]) for t in (b.codes, b.fields)
            )
            for (tap, codes), (_, fields) in zip(*found, strict=True):
                # (N, groups, K, pixels)
                flat, field = (t.flatten(0, 1).permute(1, 2, 3, 0) for t in (codes, fields))
                for j, start in enumerate(range(0, a.codes.shape[2], k)):
                    total = total + _term(
                        a.fmt,
                        a.codes[:, :, start : start + k, tap],
                        flat[:, :, start : start + k],
                        a.fields[:, :, j, tap, None],
                        field[:, :, j, None],
                    )
            part.copy_(total.reshape(part.shape))

    def _gathered(
        self,
        convert: Convert,
        w: torch.Tensor,
        source: torch.Tensor,
        made: torch.Tensor,
        kernel: tuple[int, int],
        *,
        back: bool,
    ) -> None:
        """Groups of a window: w is (groups, outputs, channels, taps), source (N, groups, channels,
        H, W).
        """
        # Images and groups last in memory, so that what a tap takes lies in long runs.
        last = source.permute(3, 4, 2, 0, 1).contiguous()
        for pair, part in self._classes(made, kernel, back):
            taps = [ky * kernel[1] + kx for ky in pair[0].taps for kx in pair[1].taps]
            # Elements of the window first: (taps x channels, groups, outputs).
            a = convert(w[..., taps].permute(3, 2, 0, 1).flatten(0, 1), 0)
            found = [x.permute(2, 0, 1, 3, 4) for _, x in windows(last, pair, kernel[1])]
            # (taps x channels, pixels, N, groups)
            b = convert(torch.stack(found).flatten(2, 3).flatten(0, 1), 0)
            total = _ordered(a, b) if self.ordered else _product(a.values(), b.values())
            part.copy_(total.permute(1, 2, 3, 0).reshape(part.shape))


def _product(w: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """(P, N, groups, outputs): FP32 sums of w (K, groups, outputs), windows (K, P, N, groups)."""
    if w.shape[2] == 1:
        return (window * w[:, None, None, :, 0]).sum(0)[..., None]
    return torch.einsum("kgo,kpng->pngo", w, window)


def _ordered(a: Grouped, b: Grouped) -> torch.Tensor:
    """As `_product`, in the order of the groups of K."""
    total = torch.zeros(())
    parts = zip(a.codes.split(a.fmt.k), b.codes.split(a.fmt.k), strict=True)
    for j, (w, window) in enumerate(parts):
        total = total + _term(
            a.fmt, w.permute(1, 2, 0), window.permute(1, 3, 0, 2),
            a.fields[j, ..., None], b.fields[j].mT[:, :, None],
        )  # fmt: skip
    # (P, groups, outputs, N)
    return total.permute(0, 3, 1, 2)


def _term(
    fmt: BFP, a: torch.Tensor, b: torch.Tensor, a_field: torch.Tensor, b_field: torch.Tensor
) -> torch.Tensor:
    """RNE to FP32 of the exact product of codes (..., m, k) and (..., k, n), fields (..., m, 1) and
    (..., 1, n).
    """
    exact32 = fmt.k * ((1 << fmt.mantissa_bits) - 1) ** 2 < 1 << 24
    kind = torch.float32 if exact32 else torch.float64
    dot = torch.matmul(a.to(kind), b.to(kind)).to(torch.float64)
    exponent = a_field.clamp(min=1) + b_field.clamp(min=1) - 2 * (fmt.bias + fmt.fraction_bits)
    made = (dot * power(exponent, torch.float64)).to(torch.float32)
    bad = (a_field == fmt.nan_field) | (b_field == fmt.nan_field)
    return made.masked_fill(bad, float("nan")) if bool(bad.any()) else made
