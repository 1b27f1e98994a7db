"""Statistics of range batch normalisation: one pass over a tensor, its channels interleaved.

    total = sum x      spread = sum over chunks of (largest - least)      positions of both

A beat holds `lanes` channels of one position; `channel_last` ends the position, and the next beat
begins the next position with channel 0. A beat with `chunk_last` is the last of its channels' chunk
and is answered with what the tensor has gathered so far and with where the extremes of this chunk
stand; `last` ends position, chunk and tensor. Chunks of any length, `chunk_last` on all beats of a
position: the answers to the last chunk have the statistics of all channels.

Values are placed on a window of `window` bits below 2^(base + 1), as in `golden.units.range_bn`:
cut off towards zero. Zeros, both, and elements of a NaN block are 0. A value on a field above
`base` is clipped, and its channel `clipped`; a block with field 31 sets `nan`. Fields 0 and 1 are
the same. Of equal extremes the first position counts. Positions count modulo 2^position_bits,
totals and spreads wrap beyond 2^position_bits positions and `chunks` chunks.

The first position of a tensor tells how many channels it has, `channels` at most. What another
position has beyond that goes to the last channels, and any other number sets `ragged`.

Source: `golden.units.range_bn`, which cites the papers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_values
from narrowgauge.golden.payload import Batch, Field, Payload, join
from narrowgauge.golden.units.interleaved import (
    Interleaved,
    position_ends,
    some_depth,
    with_nan,
)
from narrowgauge.golden.units.range_bn import Blocks, Layer, RangeBn, chunk_of, place, wrapped
from narrowgauge.golden.units.scores import rows_of
from narrowgauge.golden.units.stimuli import blocks as transactions
from narrowgauge.golden.units.stimuli import filled, real_rows

__all__ = ["Params", "Places", "model", "output_lengths", "places", "vectors"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Params(Interleaved):
    """What: group, chunks, window, position_bits, channels; how: lanes.

    Parameters
    ----------
    group : channels that share an exponent, a power of two, 1..64
    chunks : most chunks of a tensor, a power of two, 1..16
    window : bits of a value's magnitude, 8..20
    position_bits : bits of a position, 4..20
    channels : most channels, a multiple of lanes by a power of two, up to 4096
    lanes : channels a beat, a multiple of group
    """

    group: int = 4
    chunks: int = 8
    window: int = 16
    position_bits: int = 16
    channels: int = 64
    lanes: int = 8

    def __post_init__(self) -> None:
        _ = RangeBn(group=self.group, chunks=self.chunks, window=self.window)
        if not 4 <= self.position_bits <= 20:
            raise UsageError(f"position_bits must be 4..20, got {self.position_bits}")
        self.check_lanes()

    @property
    def total_bits(self) -> int:
        """Bits of a total, sign included."""
        return self.window + 1 + self.position_bits

    @property
    def spread_bits(self) -> int:
        """Bits of a spread."""
        return self.window + self.chunks.bit_length()

    @property
    def input(self) -> Payload:
        """One beat."""
        return Payload(
            (
                *self.blocks,
                Field(name="base", width=self.format.exponent_bits),
                Field(name="channel_last", width=1),
                Field(name="chunk_last", width=1),
                Field(name="last", width=1),
            )
        )

    @property
    def output(self) -> Payload:
        """The answer to a beat that ends a chunk."""
        L = self.lanes
        return Payload(
            (
                Field(name="total", width=self.total_bits, count=L, encoding="signed"),
                Field(name="spread", width=self.spread_bits, count=L),
                Field(name="largest", width=self.position_bits, count=L),
                Field(name="least", width=self.position_bits, count=L),
                Field(name="clipped", width=1, count=L),
                Field(name="nan", width=1, count=L // self.group),
                Field(name="ragged", width=1),
                Field(name="last", width=1),
            )
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """Where the beats stand; every array is (beats,).

    Parameters
    ----------
    address : number of the channels
    position : in the tensor, modulo 2**position_bits
    fresh, begin : the beat is of a tensor's first position, of a chunk's
    end : the beat is answered
    ragged : positions so far differ in length, or one was too long
    """

    address: Ints
    position: Ints
    fresh: Bools
    begin: Bools
    end: Bools
    ragged: Bools


def places(params: Params, batch: Batch) -> Places:
    """Follow the flags of beats."""
    rows = []
    address, position, fresh, begin, top, ragged = 0, 0, True, True, 0, False
    mask = (1 << params.position_bits) - 1
    flags = zip(
        *(batch[name].tolist() for name in ("channel_last", "chunk_last", "last")), strict=True
    )
    for channel_last, chunk_last, last in flags:
        ends = bool(channel_last or last)
        limit = params.depth - 1 if fresh else top
        ragged |= (not ends and address == limit) or (ends and not fresh and address != top)
        rows.append((address, position, fresh, begin or fresh, chunk_last or last, ragged))
        if ends and fresh:
            top = address
        if ends:
            address, begin, fresh = 0, bool(chunk_last), False
            position = (position + 1) & mask
        else:
            address = min(address + 1, limit)
        if last:
            position, fresh, ragged = 0, True, False
    columns = np.array(rows, np.int64).reshape(-1, 6).T
    return Places(
        address=columns[0],
        position=columns[1],
        fresh=columns[2] == 1,
        begin=columns[3] == 1,
        end=columns[4] == 1,
        ragged=columns[5] == 1,
    )


def model(params: Params, batch: Batch) -> Batch:
    """Beats of tensors to the answers of those that end a chunk."""
    beats = params.input.check(batch)
    at = places(params, beats)
    blocks = Blocks(fmt=params.format, codes=beats["codes"], fields=beats["scales"])
    base = np.maximum(beats["base"], 1) - params.format.bias
    placed, clipped = place(blocks, params.window, base[:, None])
    # Beats of equal address one after the other; a segment begins where the tensor, the chunk does.
    order = np.argsort(at.address, kind="stable")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    tensor = np.cumsum(at.fresh[order])
    chunk = np.cumsum(at.begin[order])[:, None]

    def summed(values: npt.NDArray[Any]) -> Ints:
        """Running sums within tensors."""
        sums: Ints = np.cumsum(values.astype(np.int64), axis=0)
        first = np.searchsorted(tensor, tensor)
        return sums - (sums[first] - values[first])

    # Of equal values the first beat wins, wherever positions wrap.
    bits = len(order).bit_length()
    number = np.arange(len(order))[:, None]
    offset = chunk << (params.window + 2 + bits)

    def extreme(values: Ints) -> tuple[Ints, Ints]:
        """The largest so far of a chunk, and the position of the first beat that has it."""
        key = ((values + 1) << bits) - 1 - number + offset
        key = np.maximum.accumulate(key, axis=0) - offset
        first = (1 << bits) - 1 - (key & ((1 << bits) - 1))
        return key >> bits, at.position[order][first]

    moved = placed[order]
    top, largest = extreme(moved)
    bottom, least = extreme(-moved)
    end = at.end[order][:, None]
    total = wrapped(summed(moved), params.total_bits)
    spread = summed(np.where(end, top + bottom, 0)) % (1 << params.spread_bits)
    bad = beats["scales"] == params.format.nan_field
    kept = back[at.end]
    return {
        "total": total[kept],
        "spread": spread[kept],
        "largest": largest[kept],
        "least": least[kept],
        "clipped": np.minimum(summed(clipped[order]), 1)[kept],
        "nan": np.minimum(summed(np.asarray(bad)[order]), 1)[kept],
        "ragged": at.ragged[at.end].astype(np.int64),
        "last": beats["last"][at.end],
    }


def output_lengths(params: Params, outputs: Batch) -> Ints:
    """Beats that answer each tensor."""
    return rows_of(outputs["last"]).lengths


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Tensors of few channels to all, of two positions to many, some with broken flags."""
    rng = np.random.default_rng(seed)
    if level == "real":
        return join([_real(params, x) for x, _ in real_rows(rng, 24)])
    return filled(transactions(level, smoke=3_000), lambda: _tensor(params, rng))


def _flags(count: int, depth: int, chunks: int) -> Batch:
    """Of a whole tensor."""
    chunk = chunk_of(Layer(count=count, chunks=chunks), np.arange(count + 1))
    return {
        "channel_last": position_ends(count, depth),
        "chunk_last": np.repeat(np.diff(chunk), depth),
        "last": (np.arange(count * depth) == count * depth - 1).astype(np.int64),
    }


def _tensor(params: Params, rng: np.random.Generator) -> Batch:
    fmt, L = params.format, params.lanes
    depth = some_depth(params, rng)
    some = 1 << int(rng.integers(0, params.chunks.bit_length()))
    chunks = (1, params.chunks, some)[rng.integers(0, 3)]
    count = int(rng.integers(2, 40)) if rng.random() < 0.9 else int(rng.integers(40, 200))
    count = max(count, 2 * chunks)
    beats = count * depth
    most = (1 << fmt.mantissa_bits) - 1
    kind = rng.integers(0, 5)
    codes = rng.integers(-most, most + 1, (beats, L))
    if kind == 0:
        codes = rng.integers(-2, 3, (beats, L))
    elif kind == 1:
        codes = np.repeat(rng.integers(-most, most + 1, (1, L)), beats, axis=0)
    any_base, one_bit = int(rng.integers(0, fmt.nan_field)), 1 << int(rng.integers(0, 5))
    base = (any_base, one_bit, 0)[rng.integers(0, 3)]
    below = rng.integers(0, rng.choice([1, 3, params.window + 4]), (beats, L // params.group))
    fields = np.clip(max(base, 1) - below, 0, fmt.nan_field - 1)
    if rng.random() < 0.3:
        above = np.minimum(fields + rng.integers(1, 4, fields.shape), fmt.nan_field - 1)
        fields = np.where(rng.random(fields.shape) < 0.05, above, fields)
    codes, fields = with_nan(params, rng, codes, fields)
    flags = _flags(count, depth, chunks)
    broken = rng.integers(0, 12)
    if broken == 0:
        flags["channel_last"] = (rng.random(beats) < 1 / depth).astype(np.int64)
    elif broken == 1:
        flags["channel_last"] ^= (rng.random(beats) < 0.05).astype(np.int64)
        flags["chunk_last"] ^= (rng.random(beats) < 0.05).astype(np.int64)
    elif broken == 2:
        flags["channel_last"][:] = 0
    return params.input.beats(beats, codes=codes, scales=fields, base=base, **flags)


def _real(params: Params, x: npt.NDArray[np.uint16]) -> Batch:
    """Activations: tokens are positions, as many channels as there is room for."""
    blocks = Blocks.of(bf16_values(x)[:, : params.channels], params.format)
    count = len(x)
    live = blocks.fields[blocks.fields < params.format.nan_field]
    flags = _flags(count, params.depth, min(params.chunks, count // 2))
    given = params.laid_out(blocks) | flags
    return params.input.beats(count * params.depth, base=live.max(initial=1), **given)
