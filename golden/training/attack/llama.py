"""`golden.samples.llama.Llama` in torch, its parts in a row: what a search takes a part at a time.

Rows of all states are the tokens of the windows, one after the other.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.samples.llama import Floats, Shape

__all__ = ["MATRICES", "Norm", "make"]

MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
"""Of a block."""

Tensor = Callable[[str], Floats]


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, weight: torch.Tensor, epsilon: float) -> None:
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(weight, requires_grad=False), epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        square = (x * x).mean(-1, keepdim=True)
        return x / torch.sqrt(square + self.epsilon) * self.weight


class _Fixed(nn.Module):
    """A matrix that is not attacked."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.matrix)


class _Embedding(nn.Module):
    """Of tokens; states pass as they are."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.is_floating_point() else self.matrix[x]


def _float32(array: Floats) -> torch.Tensor:
    # A copy: what a model reads from a file cannot be written.
    return torch.from_numpy(np.array(array, np.float32))


class _Block(nn.Module):
    def __init__(
        self, shape: Shape, tensor: Tensor, index: int, tokens: int, attacked: bool
    ) -> None:
        super().__init__()
        self.shape, self.tokens = shape, tokens
        for name in ("attn_norm", "ffn_norm"):
            weight = _float32(tensor(f"blk.{index}.{name}.weight"))
            setattr(self, name, Norm(weight, shape.epsilon))
        for name in MATRICES:
            weight = _float32(tensor(f"blk.{index}.{name}.weight"))
            if attacked:
                layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
                layer.weight.data = weight.clone()
                setattr(self, name, layer)
            else:
                setattr(self, name, _Fixed(weight))
        half = shape.head // 2
        speed = shape.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = torch.outer(torch.arange(tokens, dtype=torch.float64), speed)[:, None, :]
        self.register_buffer("cos", angle.cos().float())
        self.register_buffer("sin", angle.sin().float())

    def _rotated(self, x: torch.Tensor) -> torch.Tensor:
        even, odd = x[..., 0::2], x[..., 1::2]
        pair = (even * self.cos - odd * self.sin, even * self.sin + odd * self.cos)
        return torch.stack(pair, -1).flatten(-2)

    def _attention(self, x: torch.Tensor) -> torch.Tensor:
        shape, size = self.shape, self.shape.head
        q, k, v = (
            getattr(self, f"attn_{name}")(x).view(-1, self.tokens, heads, size)
            for name, heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads))
        )
        q, k = self._rotated(q), self._rotated(k)
        group = shape.heads // shape.kv_heads
        k, v = (each.repeat_interleave(group, 2) for each in (k, v))
        score = torch.einsum("wqhd,wkhd->whqk", q, k) / size**0.5
        future = torch.ones(self.tokens, self.tokens, dtype=torch.bool).triu(1)
        score = score.masked_fill(future.to(score.device), float("-inf")).softmax(-1)
        return torch.einsum("whqk,wkhd->wqhd", score, v).reshape(len(x), -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """States, (windows * tokens, width)."""
        x = x + self.attn_output(self._attention(self.attn_norm(x)))
        inner = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(inner)) * self.ffn_up(inner))


class _Head(nn.Module):
    def __init__(self, norm: Norm, embedding: torch.Tensor) -> None:
        super().__init__()
        self.norm = norm
        self.register_buffer("matrix", embedding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.norm(x), self.matrix)


def make(shape: Shape, tensor: Tensor, tokens: int, blocks: Sequence[int]) -> nn.Sequential:
    """The model, of token numbers (windows * tokens,) or states; scores of the next tokens.

    Parameters
    ----------
    tensor : as of `golden.samples.llama.Llama`
    tokens : of a window
    blocks : those whose matrices are attacked
    """
    for index in blocks:
        if not 0 <= index < shape.blocks:
            raise UsageError(f"blocks must be 0..{shape.blocks - 1}, got {index}")
    embedding = _float32(tensor("token_embd.weight"))
    parts: list[nn.Module] = [_Embedding(embedding)]
    parts += [_Block(shape, tensor, n, tokens, n in blocks) for n in range(shape.blocks)]
    last = Norm(_float32(tensor("output_norm.weight")), shape.epsilon)
    return nn.Sequential(*parts, _Head(last, embedding)).eval()
