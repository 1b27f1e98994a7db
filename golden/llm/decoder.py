"""The forward pass of a llama model in a scheme's arithmetic: golden units, and `elementwise`.

    x = RNE_bf16(rmsnorm(h));  q, k, v = linear(x);  q, k rotated, q times 1 / sqrt(head)
    h += linear(attention(q, k, v));  x = RNE_bf16(rmsnorm(h))
    h += linear(gated(linear(x), linear(x)))

State h is float32, what enters and leaves linear layers and attention bf16. The embedding, the last
norm and the product with the (tied) embedding, which is not part of the decoder, are float32.
Windows are independent: positions start at 0 in each, no token sees another window.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import MXOpal, bf16_codes, bf16_values, dequantize
from narrowgauge.golden.formats import quantize as to_blocks
from narrowgauge.golden.llm import attention, bf16, opal
from narrowgauge.golden.llm.elementwise import gated, rms_norm, rotary, rotate
from narrowgauge.golden.llm.linear import (
    Bf16Linear,
    BlockLinear,
    Inputs,
    IntLinear,
    Linear,
    OpalLinear,
    operand_of,
)
from narrowgauge.golden.llm.operand import Operand
from narrowgauge.golden.llm.scheme import Scheme
from narrowgauge.golden.owq import OwqWeights
from narrowgauge.golden.samples.llama import Floats, Llama, Shape
from narrowgauge.golden.units import bf16_softmax, log2_softmax, shift_attend

__all__ = ["SITE_OF", "Decoder", "losses_of"]

Codes = npt.NDArray[np.uint16]
F32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

SITE_OF = {
    "attn_q": "qkv",
    "attn_k": "qkv",
    "attn_v": "qkv",
    "attn_output": "attn_output",
    "ffn_gate": "ffn_up",
    "ffn_up": "ffn_up",
    "ffn_down": "ffn_down",
}
"""Matrix -> site of the policy whose activations enter it."""


def losses_of(scores: F32, following: Ints) -> npt.NDArray[np.float64]:
    """-ln p of the following tokens, (tokens,), from scores (tokens, vocabulary)."""
    top = scores.max(axis=-1).astype(np.float64)
    total = top + np.log(np.exp(scores - top[:, None].astype(np.float32)).sum(axis=-1))
    return np.asarray(total - scores[np.arange(len(following)), following])


class Decoder:
    """A model in a scheme's arithmetic.

    Parameters
    ----------
    shape : the model's numbers
    tensor : name -> array, as of `samples.llama.Llama`
    scheme : what computes
    weights : (layer, matrix, bits) -> quantised weights, for schemes with `owq`
    layers : how many layers, from the first, compute in the scheme; the others, by default none,
        in float32 as `samples.llama.Llama` has it
    """

    def __init__(
        self,
        shape: Shape,
        tensor: Callable[[str], Floats],
        scheme: Scheme,
        weights: Callable[[int, str, int], OwqWeights] | None = None,
        layers: int | None = None,
    ) -> None:
        if scheme.owq and weights is None:
            raise UsageError(f"scheme {scheme.name} needs quantised weights")
        self.shape, self.scheme = shape, scheme
        self._layers = shape.blocks if layers is None else layers
        self._float = Llama(shape, tensor)
        self._tensor, self._weights = tensor, weights
        self._made: dict[tuple[int, str, int], Linear] = {}

    def norm(self, state: F32, name: str) -> F32:
        """A norm of the model, float32."""
        weight = self._tensor(f"{name}.weight").astype(np.float32)
        return rms_norm(state, weight, self.shape.epsilon)

    def quantized(self, layer: int, matrix: str) -> OwqWeights:
        """The quantised weights of a matrix, of schemes with `owq`."""
        if self._weights is None:
            raise UsageError(f"scheme {self.scheme.name} has no quantised weights")
        return self._weights(layer, matrix, self.scheme.policy.weight_bits(layer, SITE_OF[matrix]))

    def matrix(self, layer: int, matrix: str) -> Linear:
        """A linear layer, made at its first use."""
        policy, site = self.scheme.policy, SITE_OF[matrix]
        key = (layer, matrix, policy.input_bits(layer, site))
        if key not in self._made:
            self._made[key] = self._linear(layer, matrix)
        return self._made[key]

    def _linear(self, layer: int, matrix: str) -> Linear:
        scheme, policy, site = self.scheme, self.scheme.policy, SITE_OF[matrix]
        if scheme.owq:
            owq = self.quantized(layer, matrix)
            if scheme.kind == "int_weight":
                return IntLinear(owq)
            return OpalLinear(
                operand_of(owq),
                owq.row_scale,
                low=policy.low,
                bits=policy.input_bits(layer, site),
            )
        dense = self._tensor(f"blk.{layer}.{matrix}.weight").astype(np.float32)
        if scheme.kind == "bf16":
            return Bf16Linear(dense)
        if scheme.kind == "mxint":
            fmt = MXOpal(b=policy.weight_bits(layer, site), n=0)
            return OpalLinear(
                Operand.of(to_blocks(dense, fmt, axis=1)),
                None,
                low=policy.low,
                bits=policy.input_bits(layer, site),
            )
        return BlockLinear(dense, scheme.kind)

    def scores(self, layer: int, q: Codes, k: Codes, wanted: npt.NDArray[np.bool_]) -> Codes:
        """bf16 scores of rows of q, (rows, head), with all keys, (positions, head)."""
        scheme = self.scheme
        if not scheme.blocks:
            return bf16.products(q, k, wanted=wanted)
        fmt = MXOpal(b=scheme.policy.input_bits(layer, "query_key"), n=scheme.slots)
        a, w = (Operand.of(to_blocks(x, fmt, axis=1)) for x in (q, k))
        return bf16_codes(opal.products(a, w, low=scheme.policy.low))

    def values(self, layer: int, v: Codes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """Rows of V, (positions, head), as integers of the high width, and their scales."""
        policy = self.scheme.policy
        bits = policy.input_bits(layer, "value")
        made = to_blocks(v, MXOpal(b=bits, n=0), axis=1)
        codes = made.codes[:, 0, : v.shape[1]].astype(np.int64) << (policy.high - bits)
        return codes, made.scales[:, 0]

    def mix(self, layer: int, scores: Codes, v: Codes, lengths: Ints) -> Codes:
        """Softmax of rows of scores, of which `lengths` count, times V; (rows, head)."""
        scheme = self.scheme
        if scheme.log2:
            params = log2_softmax.Params()
            codes, zero, nan = attention.log2_codes(params, scores, lengths)
            attend = shift_attend.Params(
                v_bits=scheme.policy.high, lanes=v.shape[1], renormalise=scheme.renormalise
            )
            whole, scales = self.values(layer, v)
            return attention.shifted(attend, codes, zero, nan, whole, scales, lengths)
        if scheme.blocks:
            fmt = MXOpal(b=scheme.policy.input_bits(layer, "value"), n=0)
            v = bf16_codes(dequantize(to_blocks(v, fmt, axis=1)))
        return bf16.products(
            attention.softmax(bf16_softmax.Params(), scores, lengths), np.ascontiguousarray(v.T)
        )

    def _attention(self, layer: int, x: Inputs, windows: int) -> Codes:
        shape, size = self.shape, self.shape.head
        q, k, v = (self.matrix(layer, f"attn_{n}")(x) for n in "qkv")
        tokens = len(q) // windows
        tables = rotary(np.arange(tokens), size, shape.rope_base)
        group = shape.heads // shape.kv_heads
        mixed = np.empty((windows, tokens, shape.heads, size), np.uint16)
        lengths = np.repeat(np.arange(1, tokens + 1), group)
        wanted = np.arange(tokens) < lengths[:, None]
        for window in range(windows):
            part = slice(window * tokens, (window + 1) * tokens)
            queries = rotate(q[part].reshape(tokens, -1, size), tables, size**-0.5)
            keys = rotate(k[part].reshape(tokens, -1, size), tables)
            values = v[part].reshape(tokens, -1, size)
            for source in range(shape.kv_heads):
                heads = slice(source * group, (source + 1) * group)
                rows = queries[:, heads].reshape(-1, size)
                scores = self.scores(layer, rows, np.ascontiguousarray(keys[:, source]), wanted)
                made = self.mix(layer, scores, np.ascontiguousarray(values[:, source]), lengths)
                mixed[window, :, heads] = made.reshape(tokens, group, size)
        return mixed.reshape(len(q), -1)

    def _layer(self, layer: int, state: F32, windows: int) -> F32:
        """The state after one layer."""
        block = f"blk.{layer}"
        x = Inputs(bf16_codes(self.norm(state, f"{block}.attn_norm")))
        mixed = Inputs(self._attention(layer, x, windows))
        state = state + bf16_values(self.matrix(layer, "attn_output")(mixed))
        x = Inputs(bf16_codes(self.norm(state, f"{block}.ffn_norm")))
        gate, up = self.matrix(layer, "ffn_gate")(x), self.matrix(layer, "ffn_up")(x)
        return state + bf16_values(self.matrix(layer, "ffn_down")(Inputs(gated(gate, up))))

    def hidden(self, ids: npt.NDArray[np.int64], step: Callable[[int], None] | None = None) -> F32:
        """Tokens of windows, (windows, tokens), to the normalised last state, (.., .., width).

        `step` is told each layer that is done.
        """
        windows, tokens = ids.shape
        state = self._tensor("token_embd.weight")[ids.reshape(-1)].astype(np.float32)
        for layer in range(self.shape.blocks):
            if layer < self._layers:
                state = self._layer(layer, state, windows)
            else:
                parts = state.reshape(windows, tokens, -1)
                state = np.concatenate([self._float.layer(layer, part) for part in parts])
            if step:
                step(layer)
        return self.norm(state, "output_norm").reshape(windows, tokens, -1)

    def losses(
        self, ids: npt.NDArray[np.int64], step: Callable[[int], None] | None = None
    ) -> npt.NDArray[np.float64]:
        """-ln p of each token but the first of each window, (windows, tokens - 1)."""
        embedding = self._tensor("token_embd.weight").astype(np.float32, copy=False)
        state = self.hidden(ids, step)
        return np.stack(
            [losses_of(s[:-1] @ embedding.T, row[1:]) for s, row in zip(state, ids, strict=True)]
        )
