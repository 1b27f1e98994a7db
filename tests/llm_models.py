"""A toy llama with random weights, and its quantised weights, for tests."""

from collections.abc import Callable
from functools import cache

import numpy as np

from narrowgauge.golden.owq import OwqWeights
from narrowgauge.golden.owq_quantize import quantize
from narrowgauge.golden.samples.llama import Shape

SHAPE = Shape(blocks=2, width=64, heads=4, kv_heads=2, rope_base=1e4, epsilon=1e-5)
FFN, VOCABULARY = 160, 50


@cache
def tensors() -> dict[str, np.ndarray]:
    """Name -> array, float32; a channel of each norm is large, as in real models."""
    rng = np.random.default_rng(5)
    head = SHAPE.kv_heads * SHAPE.head
    made = {"token_embd.weight": rng.standard_normal((VOCABULARY, SHAPE.width))}
    for layer in range(SHAPE.blocks):
        for name, rows, columns in (
            ("attn_q", SHAPE.width, SHAPE.width), ("attn_k", head, SHAPE.width),
            ("attn_v", head, SHAPE.width), ("attn_output", SHAPE.width, SHAPE.width),
            ("ffn_gate", FFN, SHAPE.width), ("ffn_up", FFN, SHAPE.width),
            ("ffn_down", SHAPE.width, FFN),
        ):  # fmt: skip
            matrix = rng.standard_normal((rows, columns)) * columns**-0.5
            made[f"blk.{layer}.{name}.weight"] = matrix
        for name in ("attn_norm", "ffn_norm"):
            weight = 1 + 0.2 * rng.standard_normal(SHAPE.width)
            weight[7] = 6
            made[f"blk.{layer}.{name}.weight"] = weight
    made["output_norm.weight"] = np.full(SHAPE.width, 0.1)
    return {name: array.astype(np.float32) for name, array in made.items()}


def tensor(name: str) -> np.ndarray:
    """As `samples.llama.Llama` asks for it."""
    return tensors()[name]


@cache
def weights() -> Callable[[int, str, int], OwqWeights]:
    """Quantised weights, each made once."""

    @cache
    def made(layer: int, matrix: str, bits: int) -> OwqWeights:
        dense = tensor(f"blk.{layer}.{matrix}.weight")
        return quantize(dense, None, bits=bits, compensate=False)

    return made
