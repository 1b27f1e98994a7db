"""One decoder layer and one token as commands of `cores.opal_core`, with the answers expected.

The token is the last of a sequence whose earlier ones fill the caches of keys and values. Commands
are in the order of the layer: queries, keys, values; a head after the other of attention; the
projection after it; gate and up; down. Between them the host does what `elementwise` says.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores import opal_core, opal_packets
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BlockTensor, MXOpal, bf16_codes, bf16_values
from narrowgauge.golden.formats import quantize as to_blocks
from narrowgauge.golden.llm.decoder import SITE_OF, Decoder
from narrowgauge.golden.llm.elementwise import gated, rotary, rotate
from narrowgauge.golden.llm.linear import Inputs
from narrowgauge.golden.owq import OwqWeights
from narrowgauge.golden.payload import Batch

__all__ = ["Attend", "LayerCommands", "Matvec", "layer_commands", "packets_of"]

Codes = npt.NDArray[np.uint16]
F32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Matvec:
    """LOAD of a vector, then MATVEC with all rows of a matrix.

    Parameters
    ----------
    name : of the matrix, as in the model's file
    x : bf16 codes of the vector
    high, w_high : whether vector and weights take the high width
    weights : rows of blocks and their scales
    expected : bf16 codes, one a row
    """

    name: str
    x: Codes
    high: bool
    w_high: bool
    weights: OwqWeights
    expected: Codes


@dataclass(frozen=True, kw_only=True, eq=False)
class Attend:
    """LOAD of a query, then ATTEND to the cache of its head.

    Parameters
    ----------
    name : head0, head1, ...
    x : bf16 codes of the query, rotated and scaled
    keys : rows of the cache, (positions, head), high MX-OPAL
    v, v_scale : integers of the high width, (positions, head), and E8M0 scales (positions,)
    expected : bf16 codes, one an element of the head
    """

    name: str
    x: Codes
    keys: BlockTensor
    v: Ints
    v_scale: npt.NDArray[np.uint8]
    expected: Codes


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerCommands:
    """The commands of one layer for one token, and the token's state before and after it."""

    commands: tuple[Matvec | Attend, ...]
    before: F32
    after: F32


def layer_commands(decoder: Decoder, layer: int, state: F32) -> LayerCommands:
    """Commands for the last of some tokens in one layer.

    Parameters
    ----------
    decoder : of a scheme with OWQ weights, MX-OPAL activations and the log2 softmax, queries and
        keys high there
    layer : from 0
    state : what enters the layer, (tokens, width), float32; all tokens are in the caches
    """
    scheme, shape = decoder.scheme, decoder.shape
    if scheme.kind != "opal" or not scheme.log2:
        raise UsageError(f"scheme {scheme.name} is not that of opal_core: MX-OPAL with _log2")
    if not scheme.policy.input_is_high(layer, "query_key"):
        raise UsageError(f"queries and keys of layer {layer} must be high for opal_core")
    if not 0 <= layer < shape.blocks:
        raise UsageError(f"layer must be 0..{shape.blocks - 1}, got {layer}")
    commands: list[Matvec | Attend] = []

    def matvec(name: str, x: Codes) -> Codes:
        expected = decoder.matrix(layer, name)(Inputs(x[None]))[0]
        commands.append(
            Matvec(
                name=name,
                x=x,
                high=scheme.policy.input_is_high(layer, SITE_OF[name]),
                w_high=scheme.policy.weight_is_high(layer, SITE_OF[name]),
                weights=decoder.quantized(layer, name),
                expected=expected,
            )
        )
        return expected

    tokens, size = len(state), shape.head
    x = bf16_codes(decoder.norm(state, f"blk.{layer}.attn_norm"))
    q = matvec("attn_q", x[-1]).reshape(1, -1, size)
    caches = []
    for name in ("attn_k", "attn_v"):
        rows = decoder.matrix(layer, name)(Inputs(x))
        if not np.array_equal(matvec(name, x[-1]), rows[-1]):
            raise AssertionError(f"{name}: a row alone differs from the row among others")
        caches.append(rows.reshape(tokens, -1, size))
    position = np.arange(tokens)
    query = rotate(q, rotary(position[-1:], size, shape.rope_base), size**-0.5)[0]
    keys = rotate(caches[0], rotary(position, size, shape.rope_base))
    group = shape.heads // shape.kv_heads
    lengths = np.array([tokens])
    mixed = np.empty((shape.heads, size), np.uint16)
    for head in range(shape.heads):
        rows, v = (np.ascontiguousarray(c[:, head // group]) for c in (keys, caches[1]))
        scores = decoder.scores(layer, query[head : head + 1], rows, np.ones((1, tokens), np.bool_))
        mixed[head] = decoder.mix(layer, scores, v, lengths)[0]
        codes, scales = decoder.values(layer, v)
        fmt = MXOpal(b=scheme.policy.high, n=scheme.slots)
        commands.append(
            Attend(
                name=f"head{head}",
                x=query[head],
                keys=to_blocks(rows, fmt, axis=1),
                v=codes,
                v_scale=scales,
                expected=mixed[head],
            )
        )
    now = state[-1:] + bf16_values(matvec("attn_output", mixed.reshape(-1)))
    x = bf16_codes(decoder.norm(now, f"blk.{layer}.ffn_norm"))[0]
    gate, up = matvec("ffn_gate", x), matvec("ffn_up", x)
    now = now + bf16_values(matvec("ffn_down", gated(gate, up)))
    return LayerCommands(commands=tuple(commands), before=state[-1], after=now[0])


def packets_of(params: opal_core.Params, command: Matvec | Attend) -> tuple[Batch, Batch]:
    """The packets of a command: LOAD, and MATVEC or ATTEND, which releases the vector."""
    if isinstance(command, Attend):
        load = opal_packets.load(params, command.x, high=True)
        keys = opal_packets.Rows.of(command.keys, params.n)
        v_scale = command.v_scale.astype(np.int64)
        return load, opal_packets.attend(params, keys, command.v, v_scale)
    weights = command.weights
    rows = opal_packets.Rows(
        codes=weights.codes.astype(np.int64),
        scales=weights.scales.astype(np.int64),
        outliers=weights.outliers.astype(np.int64),
        positions=weights.positions.astype(np.int64),
    )
    load = opal_packets.load(params, command.x, high=command.high)
    made = opal_packets.matvec(
        params,
        rows,
        weights.row_scale,
        length=weights.columns,
        a_high=command.high,
        w_high=command.w_high,
    )
    return load, made
