"""Range batch normalisation in place of `torch.nn.BatchNorm2d`, unrounded or in golden arithmetic.

    mu = sum x / N   R = sum_k (M_k - m_k) / K   y = gamma (x - mu) / (c R + eps) + beta

as in `golden.units.range_bn`, positions in the order (N, H, W); c is one of `range_bn_layer`. The
kinds:

| kind | what computes |
| --- | --- |
| `fp32` | the formulas in the tensor's own type |
| `fp10` | golden arithmetic, groups of one channel |
| `bfp4`, `bfp8`, `bfp16` | golden arithmetic, groups of 4, 8, 16 channels |

In golden arithmetic x and the gradient are rounded to block floating point on the way in, gamma to
FP10, beta is FP32, and every bit is the golden model's, on a processor or an accelerator. Channels
that fill no group are completed with channels of zeros, with gamma and beta 0. In training c is
that of the batch; running averages are kept of mu and of R, never of s, and evaluation takes the
c of the last batch trained with. There mean and range are placed on a window of 16 bits.
"""

from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Overflow, Rounding, vector
from narrowgauge.golden.training import passes
from narrowgauge.golden.units.range_bn import FP10, Layer, RangeBn
from narrowgauge.golden.units.range_bn_passes import Statistics
from narrowgauge.golden.units.window import FP32

__all__ = ["KINDS", "RangeBatchNorm2d", "replace_batch_norm"]

KINDS: dict[str, int | None] = {"fp32": None, "fp10": 1, "bfp4": 4, "bfp8": 8, "bfp16": 16}
"""The group of each kind."""


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) as (C, positions)."""
    return x.transpose(0, 1).reshape(x.shape[1], -1)


def _images(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    n, c, h, w = like.shape
    return rows[:c].view(c, n, h, w).transpose(0, 1).contiguous()


class _Unrounded(torch.autograd.Function):
    """The formulas as they are; gives mu and R as well, unless they are given."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        x, gamma, beta, layer, running = given
        rows = _rows(x)
        ctx.layer, ctx.fixed = layer, running is not None
        largest = least = None
        if running is None:
            high, low, largest, least = passes.extremes(layer, rows)
            running = rows.mean(1), (high - low).mean(1)
        mean, spread = running
        scale = torch.where(spread == 0, 0.0, 1 / (layer.ratio * spread + layer.epsilon))
        normal = (rows - mean[:, None]) * scale[:, None]
        ctx.save_for_backward(normal, scale, gamma, largest, least)
        ctx.mark_non_differentiable(mean, spread)
        return _images(normal * gamma[:, None] + beta[:, None], x), mean, spread

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        normal, scale, gamma, largest, least = ctx.saved_tensors
        g = _rows(grads[0])
        dbeta, dgamma = g.sum(1), (g * normal).sum(1)
        if ctx.fixed:
            dx = g * (gamma * scale)[:, None]
        else:
            chunks = ctx.layer.chunks
            dx = g - (dbeta / ctx.layer.count)[:, None]
            patch = (dgamma * (ctx.layer.ratio / chunks))[:, None].expand(-1, chunks)
            dx.scatter_add_(1, largest, -patch).scatter_add_(1, least, patch)
            dx *= (gamma * scale)[:, None]
        return _images(dx, grads[0]), dgamma, dbeta, None, None


class _Golden(torch.autograd.Function):
    """Golden arithmetic; gives mu and R of the batch as float32 as well."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        x, gamma, beta, params, layer, stats = given
        rows = _rows(x)
        if extra := -len(rows) % params.group:
            rows = torch.nn.functional.pad(rows, (0, 0, 0, extra))
        scale, shift = (
            np.pad(codes, (0, len(rows) - len(codes))) for codes in (_fp10(gamma), _fp32(beta))
        )
        y, ctx.kept = passes.forward(params, layer, rows, scale, shift, stats)
        ctx.fixed = stats is not None
        found = ctx.kept.stats
        unit = 2.0 ** (found.base + 1 - params.window)
        mean, spread = (
            torch.from_numpy(total[: x.shape[1]] * (unit / over)).to(x.device, torch.float32)
            for total, over in ((found.total, layer.count), (found.spread, layer.chunks))
        )
        ctx.mark_non_differentiable(mean, spread)
        return _images(y, x), mean, spread

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        g = grads[0]
        rows = _rows(g)
        if extra := -len(rows) % ctx.kept.params.group:
            rows = torch.nn.functional.pad(rows, (0, 0, 0, extra))
        dx, sums = passes.backward(ctx.kept, rows, through=not ctx.fixed)
        dgamma, dbeta = (
            torch.from_numpy(vector.decode(FP32, codes[: g.shape[1]])).to(g.device, torch.float32)
            for codes in (sums.dgamma, sums.dbeta)
        )
        return _images(dx, g), dgamma, dbeta, None, None, None


def _fp10(values: torch.Tensor) -> Any:
    host = values.detach().cpu().numpy()
    return vector.encode(FP10, host, rounding=Rounding.RNE, overflow=Overflow.SATURATE)


def _fp32(values: torch.Tensor) -> Any:
    """The bits are the codes."""
    host = values.detach().cpu().to(torch.float32).contiguous().numpy()
    return host.view(np.uint32).astype(np.int64)


class RangeBatchNorm2d(torch.nn.Module):
    """See the module; arguments and attributes as those of `torch.nn.BatchNorm2d`.

    Parameters
    ----------
    num_features : channels
    eps : added to c R, from 0 to below 1
    momentum : share of the batch in running averages; None is the mean of all batches
    affine : whether there are gamma (`weight`) and beta (`bias`); 1 and 0 otherwise
    track_running_stats : whether running averages are kept; evaluation is as training otherwise
    device, dtype : of parameters and averages
    kind : one of `KINDS`
    factor : of `range_bn_layer.FACTORS`: the paper's `bound`, or `normal`
    chunks : K; a batch must have 2 K positions at least, else `UsageError`
    fraction, precision, window, gradient_window : as of `RangeBn`; the defaults are the hardware's
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        kind: str = "bfp4",
        factor: str = "bound",
        chunks: int = 8,
        fraction: int = 12,
        precision: int = 9,
        window: int = 16,
        gradient_window: int = 12,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise UsageError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        if num_features < 1:
            raise UsageError(f"num_features must be at least 1, got {num_features}")
        self.params = RangeBn(
            group=KINDS[kind] or 1,
            chunks=chunks,
            fraction=fraction,
            precision=precision,
            window=window,
            gradient_window=gradient_window,
        )
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.kind, self.factor = kind, factor
        place = {"device": device, "dtype": dtype}
        if affine:
            self.weight = torch.nn.Parameter(torch.ones(num_features, **place))
            self.bias = torch.nn.Parameter(torch.zeros(num_features, **place))
        else:
            self.register_parameter("weight", None)
            self.register_parameter("bias", None)
        # Deviation 1 in the shortest chunks there are, until a batch has been seen.
        first = Layer(count=2 * chunks, chunks=chunks, epsilon=eps, factor=factor)
        kept: dict[str, Any] = {
            "running_mean": torch.zeros(num_features, **place),
            "running_range": torch.full((num_features,), 1 / first.ratio, **place),
            "running_count": torch.tensor(first.count, device=device),
            "num_batches_tracked": torch.tensor(0, device=device),
        }
        for name, value in kept.items():
            self.register_buffer(name, value if track_running_stats else None)

    def extra_repr(self) -> str:
        """What the module is, within its brackets."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}, "
            f"kind={self.kind!r}, factor={self.factor!r}, chunks={self.params.chunks}"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of (N, C, H, W); a batch that is too small or of other channels is a `UsageError`."""
        if x.dim() != 4 or x.shape[1] != self.num_features:
            raise UsageError(
                f"x must be (batch, {self.num_features}, height, width), got {tuple(x.shape)}"
            )
        batch = self.training or not self.track_running_stats
        count = x.numel() // self.num_features if batch else int(self.running_count)
        layer = Layer(count=count, chunks=self.params.chunks, epsilon=self.eps, factor=self.factor)
        gamma, beta = self.weight, self.bias
        if gamma is None:
            gamma = torch.ones(self.num_features, dtype=x.dtype, device=x.device)
            beta = torch.zeros_like(gamma)
        if self.kind == "fp32":
            running = None if batch else (self.running_mean, self.running_range)
            y, mean, spread = _Unrounded.apply(x, gamma, beta, layer, running)
        else:
            if x.dtype != torch.float64:
                x = x.to(torch.float32)
            stats = None if batch else self._placed(layer)
            y, mean, spread = _Golden.apply(x, gamma, beta, self.params, layer, stats)
        if self.training and self.track_running_stats:
            self._follow(mean, spread, count)
        return y

    def _follow(self, mean: torch.Tensor, spread: torch.Tensor, count: int) -> None:
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_count.fill_(count)
            share = self.momentum
            if share is None:
                share = 1 / int(self.num_batches_tracked)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_range.lerp_(spread.to(self.running_range.dtype), share)

    def _placed(self, layer: Layer) -> Statistics:
        """Running averages on a window whose base is that of the largest."""
        mean, spread = (
            np.pad(
                value.detach().cpu().numpy().astype(np.float64),
                (0, -self.num_features % self.params.group),
            )
            for value in (self.running_mean, self.running_range)
        )
        fmt = self.params.forward
        top = int(np.frexp(max(np.abs(mean).max(), spread.max()))[1]) - 1
        base = min(max(top, 1 - fmt.bias), fmt.nan_field - 1 - fmt.bias)
        unit = 2.0 ** (base + 1 - self.params.window)
        none = np.zeros((layer.chunks, len(mean)), np.int64)
        return Statistics(
            base=base,
            total=np.rint(mean * (layer.count / unit)).astype(np.int64),
            spread=np.rint(spread * (layer.chunks / unit)).astype(np.int64),
            largest=none,
            least=none,
            clipped=np.zeros(len(mean), np.bool_),
        )


def replace_batch_norm(model: torch.nn.Module, **options: Any) -> torch.nn.Module:
    """Put a `RangeBatchNorm2d` in the place of every `torch.nn.BatchNorm2d`; returns the model.

    `options` are `kind`, `factor`, `chunks` and the widths. eps, momentum, gamma, beta and the
    running mean are taken over; the running range is that for which c R is the running deviation.
    """
    if isinstance(model, torch.nn.BatchNorm2d):
        return _converted(model, options)
    for name, child in model.named_children():
        setattr(model, name, replace_batch_norm(child, **options))
    return model


def _converted(old: Any, options: dict[str, Any]) -> RangeBatchNorm2d:
    like = old.weight if old.affine else old.running_mean
    place = {} if like is None else {"device": like.device, "dtype": like.dtype}
    new = RangeBatchNorm2d(
        old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats,
        **place, **options,
    )  # fmt: skip
    with torch.no_grad():
        if old.affine:
            new.weight.copy_(old.weight)
            new.bias.copy_(old.bias)
        if old.track_running_stats:
            new.running_mean.copy_(old.running_mean)
            new.running_range *= torch.sqrt(old.running_var + old.eps)
            new.num_batches_tracked.copy_(old.num_batches_tracked)
    return new.train(old.training)
