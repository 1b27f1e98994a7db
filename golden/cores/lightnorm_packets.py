"""Packets of `lightnorm`: layers, tables and tensors as beats, and responses as numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores.lightnorm_commands import Kind, Opcode, Table
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BFP
from narrowgauge.golden.payload import Batch, Payload
from narrowgauge.golden.units.range_bn import Blocks, Layer
from narrowgauge.golden.units.range_bn_channels import epsilon_field, layer_fields

if TYPE_CHECKING:
    from narrowgauge.golden.cores.lightnorm import Params

__all__ = [
    "blocks_of",
    "constants",
    "fields_of",
    "layer",
    "packet",
    "read",
    "records_of",
    "tile",
    "write",
]

Ints = npt.NDArray[np.int64]


def packet(params: "Params", header: dict[str, Any], data: Ints | None = None) -> Batch:
    """A header and data words (beats, bytes); `last` on the final beat alone."""
    words = [_words(params, params.header, params.header.beats(1, **header))]
    if data is not None:
        words.append(data)
    word = np.concatenate(words)
    return params.input.beats(len(word), word=word, last=np.arange(len(word)) == len(word) - 1)


def _words(params: "Params", record: Payload, batch: Batch) -> Ints:
    """Records as words, from bit 0 on."""
    raw = record.pack(batch).astype(np.int64)
    count = params.input["word"].count
    assert count is not None
    return np.pad(raw, ((0, 0), (0, count - raw.shape[1])))


def layer(
    params: "Params", of: Layer, base: int, gradient_base: int, *, forget: bool = False
) -> Batch:
    """LAYER.

    Parameters
    ----------
    of : count, chunks, epsilon
    base, gradient_base : exponent fields at which the windows of x and g begin
    forget : all blocks are empty then
    """
    exponent = max(base, 1) - params.array.forward.bias
    fields = params.layer.beats(
        1,
        length=of.count,
        base=base,
        gradient_base=gradient_base,
        epsilon=epsilon_field(params.engine, of, exponent),
        **layer_fields(of),
    )
    header = {"opcode": Opcode.LAYER, "forget": int(forget)}
    return packet(params, header, _words(params, params.layer, fields))


def constants(
    params: "Params", block: int, kind: Kind = Kind.FORWARD, *, average: bool = False
) -> Batch:
    """CONSTANTS; `average`: the running averages move."""
    header = {"opcode": Opcode.CONSTANTS, "block": block, "kind": kind, "average": int(average)}
    return packet(params, header)


def write(params: "Params", table: Table, block: int, **fields: npt.ArrayLike) -> Batch:
    """WRITE of a block's records, each field (lanes,), of PLACES (chunks of the layer, lanes)."""
    record = params.tables[table]
    count = max([np.size(values) for values in fields.values()], default=params.lanes)
    flat = {name: np.asarray(values).reshape(-1) for name, values in fields.items()}
    header = {"opcode": Opcode.WRITE, "table": table, "block": block}
    return packet(params, header, _words(params, record, record.beats(count, **flat)))


def read(params: "Params", table: Table, block: int) -> Batch:
    """READ of a block's records."""
    return packet(params, {"opcode": Opcode.READ, "table": table, "block": block})


def tile(
    params: "Params",
    opcode: Opcode,
    block: int,
    *,
    x: Blocks | None = None,
    g: Blocks | None = None,
    first: bool,
) -> Batch:
    """Positions of a pass over a block; x, g are (positions, lanes).

    STATISTICS and NORMALIZE take x, PROPAGATE g, GRADIENTS both.
    """
    fields: dict[str, Ints] = {}
    count = 0
    for prefix, tensor in (("x_", x), ("g_", g)):
        if tensor is None:
            continue
        if tensor.codes.shape[1] != params.lanes:
            raise UsageError(
                f"a tile must have {params.lanes} channels, got {tensor.codes.shape[1]}"
            )
        count = len(tensor.codes)
        fields |= {f"{prefix}codes": tensor.codes, f"{prefix}scales": tensor.fields}
    data = _words(params, params.position, params.position.beats(count, **fields))
    header = {"opcode": opcode, "block": block, "first": int(first), "positions": count}
    return packet(params, header, data)


def fields_of(record: Payload, words: Ints) -> Batch:
    """What words (beats, bytes) hold from bit 0 on."""
    return record.unpack(words[:, : -(-record.width // 8)].astype(np.uint8))


def records_of(params: "Params", table: Table, answer: Batch) -> Batch:
    """The records of a response to READ."""
    return fields_of(params.tables[table], answer["data"])


def blocks_of(params: "Params", fmt: BFP, answers: Sequence[Batch]) -> Blocks:
    """Y or dx of the responses to the tiles of a pass."""
    made = fields_of(params.answer, np.concatenate([each["data"] for each in answers]))
    return Blocks(fmt=fmt, codes=made["codes"], fields=made["scales"])
