"""A plain NumPy forward pass of the llama architecture, for capturing activations.

Each block: x = rmsnorm(h); h += Wo attention(rope(Wq x), rope(Wk x), Wv x); x = rmsnorm(h);
h += Wdown (silu(Wgate x) * (Wup x)). Logits are rmsnorm(h) times the (tied) embedding.

Tensor names and the layout of the rotary pairs are those of GGUF files: Wq and Wk are stored with
the two halves of a pair next to each other, so pair i of a head is elements 2i and 2i + 1.
Source: Touvron et al., LLaMA, 2023; Su et al., RoFormer, 2021.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError

__all__ = ["Floats", "Llama", "Observer", "Shape"]

Floats = npt.NDArray[np.floating[Any]]
Observer = Callable[[int, str, Floats], None]
"""Called as (block, site, x), x of shape (tokens, width): qkv, attn_output, ffn_up, ffn_down."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The numbers that fix a llama model; `heads` must be a multiple of `kv_heads`."""

    blocks: int
    width: int
    heads: int
    kv_heads: int
    rope_base: float
    epsilon: float

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise UsageError(f"heads must be a multiple of {self.kv_heads}, got {self.heads}")
        if self.width % (2 * self.heads):
            raise UsageError(f"width must be a multiple of {2 * self.heads}, got {self.width}")

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.width // self.heads


class Llama:
    """A model whose tensors are asked for by name.

    Parameters
    ----------
    shape : the model's numbers
    tensor : name -> array, (outputs, inputs) for a projection, (width,) for a norm; called anew at
        each use, so that it may read from a file or from a cache
    precision : type of every intermediate
    """

    def __init__(
        self,
        shape: Shape,
        tensor: Callable[[str], Floats],
        *,
        precision: Literal["float32", "float64"] = "float32",
    ) -> None:
        self.shape = shape
        self._tensor = tensor
        self._dtype = np.dtype(precision)

    def _weight(self, name: str) -> Floats:
        return self._tensor(f"{name}.weight").astype(self._dtype, copy=False)

    def _norm(self, x: Floats, name: str) -> Floats:
        square = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(square + self._dtype.type(self.shape.epsilon)) * self._weight(name)

    def rotate(self, x: Floats) -> Floats:
        """Rotary position embedding of x, shape (tokens, heads, head); row t is position t."""
        half = self.shape.head // 2
        speed = self.shape.rope_base ** (-np.arange(half) / half)
        angle = np.outer(np.arange(len(x)), speed)[:, None, :]
        cos, sin = np.cos(angle).astype(self._dtype), np.sin(angle).astype(self._dtype)
        even, odd = x[..., 0::2], x[..., 1::2]
        y = np.empty_like(x)
        y[..., 0::2] = even * cos - odd * sin
        y[..., 1::2] = even * sin + odd * cos
        return y

    def _attention(self, x: Floats, index: int, observe: Observer | None) -> Floats:
        block = f"blk.{index}"
        tokens, size = len(x), self.shape.head
        q = self.rotate((x @ self._weight(f"{block}.attn_q").T).reshape(tokens, -1, size))
        k = self.rotate((x @ self._weight(f"{block}.attn_k").T).reshape(tokens, -1, size))
        v = (x @ self._weight(f"{block}.attn_v").T).reshape(tokens, -1, size)
        future = np.triu(np.ones((tokens, tokens), dtype=bool), 1)
        mixed = np.empty_like(q)
        for head in range(self.shape.heads):
            source = head * self.shape.kv_heads // self.shape.heads
            score = q[:, head] @ k[:, source].T / self._dtype.type(np.sqrt(size))
            score[future] = -np.inf
            score = np.exp(score - score.max(axis=-1, keepdims=True))
            mixed[:, head] = score / score.sum(axis=-1, keepdims=True) @ v[:, source]
        if observe:
            observe(index, "attn_output", mixed.reshape(tokens, -1))
        return mixed.reshape(tokens, -1) @ self._weight(f"{block}.attn_output").T

    def layer(self, index: int, state: Floats, observe: Observer | None = None) -> Floats:
        """The state, (tokens, width), after one block."""
        block = f"blk.{index}"
        x = self._norm(state, f"{block}.attn_norm")
        if observe:
            observe(index, "qkv", x)
        state = state + self._attention(x, index, observe)
        x = self._norm(state, f"{block}.ffn_norm")
        if observe:
            observe(index, "ffn_up", x)
        gate = x @ self._weight(f"{block}.ffn_gate").T
        with np.errstate(over="ignore"):  # exp(large) is inf, and silu is then the right -0
            gate = gate / (1 + np.exp(-gate))
        x = gate * (x @ self._weight(f"{block}.ffn_up").T)
        if observe:
            observe(index, "ffn_down", x)
        return np.asarray(state + x @ self._weight(f"{block}.ffn_down").T)

    def hidden(self, ids: npt.NDArray[np.int64], observe: Observer | None = None) -> Floats:
        """Token numbers, shape (tokens,), to the normalised last state, (tokens, width)."""
        state = self._tensor("token_embd.weight")[ids].astype(self._dtype)
        for index in range(self.shape.blocks):
            state = self.layer(index, state, observe)
        return self._norm(state, "output_norm")

    def logits(self, ids: npt.NDArray[np.int64]) -> Floats:
        """Token numbers to the scores of the next token, shape (tokens, vocabulary)."""
        return self.hidden(ids) @ self._weight("token_embd").T

    def losses(self, ids: npt.NDArray[np.int64]) -> Floats:
        """-ln p of each token but the first given those before it, shape (tokens - 1,)."""
        scores = self.logits(ids)[:-1]
        top = scores.max(axis=-1)
        total = top + np.log(np.exp(scores - top[:, None]).sum(axis=-1))
        return total - scores[np.arange(len(ids) - 1), ids[1:]]

    def greedy(self, ids: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
        """The `count` tokens that follow when the likeliest is taken each time."""
        for _ in range(count):
            nearest = self.hidden(ids)[-1] @ self._weight("token_embd").T
            ids = np.append(ids, np.argmax(nearest))
        return ids[-count:]
