"""The second pass of range batch normalisation: scale, shift and round, its channels interleaved.

    y = (gain x 2^(field - exponent) + offset) 2^unit, in blocks

A beat holds `lanes` channels of one position, `channel_last` ends the position, `last` the tensor.
A beat with `load` brings the channels' constants in place of values and is not answered; constants
are kept until they are loaded anew. Beats are answered in order, one each.

The product of gain and code is placed on a window of f + 7 bits: its top bit at the window's top
where the block's field is `exponent`, cut off towards zero below the window, clipped where it is
above. The sum is exact, and y is rounded once, at its block's exponent (nearest even). Zeros, both,
are 0. A NaN block (field 31) stays one. Too large: the block saturates. The address of a beat in a
position with more beats than `channels` has is the last one.

Source: `golden.units.range_bn`, which cites the papers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import bfp_pack
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_values, vector
from narrowgauge.golden.formats.element import Overflow, Rounding
from narrowgauge.golden.payload import Batch, Field, Payload, join
from narrowgauge.golden.units.interleaved import (
    Interleaved,
    position_ends,
    some_depth,
    with_nan,
)
from narrowgauge.golden.units.range_bn import (
    FP10,
    Blocks,
    Layer,
    RangeBn,
    blocks_of,
    exponent_offset,
    offset_bits,
)
from narrowgauge.golden.units.range_bn_passes import Constants, constants, scaled, statistics
from narrowgauge.golden.units.scores import rows_of
from narrowgauge.golden.units.stimuli import blocks as transactions
from narrowgauge.golden.units.stimuli import real_rows

__all__ = ["Params", "loaded", "model", "output_lengths", "sources", "vectors"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Params(Interleaved):
    """What: group, fraction, precision, channels; how: lanes.

    Parameters
    ----------
    group : channels that share an exponent, a power of two, 1..16
    fraction : f, bits of y's sums below gamma times the channel's power of two, 6..16
    precision : bits of a gain's magnitude, 6..16
    channels : most channels, a multiple of lanes by a power of two, up to 4096
    lanes : channels a beat, a multiple of group
    """

    group: int = 4
    fraction: int = 12
    precision: int = 9
    channels: int = 64
    lanes: int = 8

    def __post_init__(self) -> None:
        _ = RangeBn(group=self.group, fraction=self.fraction, precision=self.precision)
        if self.group > 16:
            raise UsageError(f"group must be 1..16, got {self.group}")
        self.check_lanes()

    @property
    def arithmetic(self) -> RangeBn:
        """What is computed."""
        return RangeBn(group=self.group, fraction=self.fraction, precision=self.precision)

    @property
    def offset_bits(self) -> int:
        """Bits of an offset, sign included."""
        return offset_bits(self.arithmetic)

    @property
    def pack(self) -> bfp_pack.Params:
        """How a block is rounded."""
        return bfp_pack.Params(
            k=self.group,
            width=self.offset_bits + 1,
            unit_bits=8,
            shared=True,
            exp_bits=self.format.exponent_bits,
            man_bits=self.format.mantissa_bits,
        )

    @property
    def constants(self) -> Payload:
        """What a beat with `load` brings."""
        L = self.lanes
        signed = {
            "exponent": (7, L),
            "offset": (self.offset_bits, L),
            "unit": (8, L // self.group),
        }
        return Payload(
            (
                Field(name="gain", width=self.precision + 1, count=L, encoding="sign_magnitude"),
                *(
                    Field(name=name, width=width, count=count, encoding="signed")
                    for name, (width, count) in signed.items()
                ),
            )
        )

    @property
    def input(self) -> Payload:
        """One beat: values, or constants."""
        return Payload(
            (
                *self.blocks,
                *self.constants.fields,
                Field(name="load", width=1),
                Field(name="channel_last", width=1),
                Field(name="last", width=1),
            )
        )

    @property
    def output(self) -> Payload:
        """The answer to a beat of values."""
        return Payload((*self.blocks, Field(name="last", width=1)))


def sources(params: Params, batch: Batch) -> tuple[Ints, Ints]:
    """Where the constants of each beat stand, and the beat that brought them last, or -1."""
    address, source = [], []
    latest = [-1] * params.depth
    here = 0
    ends = (batch["channel_last"] | batch["last"]).tolist()
    for beat, (load, end) in enumerate(zip(batch["load"].tolist(), ends, strict=True)):
        if load:
            latest[here] = beat
        address.append(here)
        source.append(latest[here])
        here = 0 if end else min(here + 1, params.depth - 1)
    return np.array(address, np.int64), np.array(source, np.int64)


def model(params: Params, batch: Batch) -> Batch:
    """Beats of values to beats of results."""
    beats = params.input.check(batch)
    data = beats["load"] == 0
    source = sources(params, beats)[1][data]
    if (source < 0).any():
        raise UsageError("values come before the constants of their channels")
    kept = {field.name: beats[field.name][source] for field in params.constants.fields}
    x = Blocks(fmt=params.format, codes=beats["codes"][data], fields=beats["scales"][data])
    exponent = kept["exponent"] - exponent_offset(params.arithmetic)
    total = scaled(params.arithmetic, exponent, kept["gain"], x) + kept["offset"]
    y = blocks_of(params.format, total, np.repeat(kept["unit"], params.group, axis=1), x.nan)
    return {"codes": y.codes, "scales": y.fields, "last": beats["last"][data]}


def output_lengths(params: Params, outputs: Batch) -> Ints:
    """Beats that answer each tensor."""
    return rows_of(outputs["last"]).lengths


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Tensors after their constants: of real statistics, of any numbers, of extremes."""
    rng = np.random.default_rng(seed)
    if level == "real":
        return join([_real(params, x) for x, _ in real_rows(rng, 24)])
    size = transactions(level, smoke=6_000)
    made: list[Batch] = []
    count = 0
    while count < size:
        made += (tensor := _tensor(params, rng))
        count += sum(len(part["last"]) for part in tensor)
    return join(made)


def _anything(params: Params, rng: np.random.Generator, depth: int) -> Batch:
    """Constants without a sense, or at their ends."""
    made: Batch = {}
    for field in params.constants.fields:
        low, high = field.limits
        shape = (depth, field.count or 1)
        values = rng.integers(low, high + 1, shape)
        near = np.clip(rng.integers(-20, 21, shape), low, high)
        ends = rng.choice([low, high, 0, 1, -1], shape)
        made[field.name] = np.select(
            [rng.random(shape) < 0.3, rng.random(shape) < 0.4], [ends, near], values
        )
    # Most sums then lie where the format has exponents.
    made["unit"] = rng.integers(-40, 8, made["unit"].shape)
    return made


def _sensible(params: Params, rng: np.random.Generator, depth: int) -> Batch:
    """Constants as statistics give them, for values of about 1."""
    p = params
    shape = (depth, p.lanes)
    spread = rng.integers(-3, 4, shape)
    gain = rng.integers(1 << (p.precision - 2), 1 << p.precision, shape)
    gain *= rng.choice([1, 1, 1, -1], shape)
    mean = rng.normal(0, 1, shape) * 2.0 ** (p.fraction - p.precision - spread)
    beta = rng.normal(0, 0.5, shape) * 2.0**p.fraction
    return {
        "exponent": spread + exponent_offset(p.arithmetic),
        "gain": gain,
        "offset": np.rint(beta - gain * mean).astype(np.int64),
        "unit": rng.integers(-2, 3, (depth, p.lanes // p.group)) - p.fraction,
    }


def _rounded(params: Params, rng: np.random.Generator, depth: int) -> Batch:
    """Constants whose offsets alone are what the blocks round: ties, clips, values far apart."""
    p = params
    sums = bfp_pack.vectors(p.pack, "smoke", int(rng.integers(0, 1 << 30)))
    rows = rng.integers(0, len(sums["nan"]), depth * p.lanes // p.group)
    made = _sensible(params, rng, depth)
    made["gain"] = np.where(rng.random(made["gain"].shape) < 0.8, 0, made["gain"])
    made["offset"] = sums["value"][rows].reshape(depth, p.lanes)
    made["unit"] = sums["unit"][rows].reshape(depth, -1)
    return made


def _loads(params: Params, values: Mapping[str, Ints]) -> Batch:
    """Beats that load constants, as a position of their own."""
    depth = len(values["gain"])
    clipped = {f.name: np.clip(values[f.name], *f.limits) for f in params.constants.fields}
    return params.input.beats(depth, load=1, channel_last=position_ends(1, depth), **clipped)


def _tensor(params: Params, rng: np.random.Generator) -> list[Batch]:
    """Constants of all channels, then positions; some constants are loaded anew in between."""
    kind = int(rng.choice([0, 0, 0, 1, 1, 2]))
    fresh, sensible = (_sensible, _rounded, _anything)[kind], kind < 2
    made = [_loads(params, fresh(params, rng, params.depth))]
    # Where constants are what is tried, they change with every position.
    parts, longest = (int(rng.integers(6, 16)), 2) if kind == 1 else (int(rng.integers(1, 4)), 20)
    for _ in range(parts):
        if len(made) > 1:
            made.append(_loads(params, fresh(params, rng, int(rng.integers(1, params.depth + 1)))))
        made.append(_values(params, rng, longest, sensible=sensible))
    made[-1]["last"][-1] = 1
    return made


def _values(params: Params, rng: np.random.Generator, longest: int, *, sensible: bool) -> Batch:
    fmt, p = params.format, params
    depth = some_depth(p, rng)
    count = int(rng.integers(1, longest))
    beats = count * depth
    most = (1 << fmt.mantissa_bits) - 1
    codes = rng.integers(-most, most + 1, (beats, p.lanes))
    codes = np.where(rng.random(codes.shape) < 0.1, 0, codes)
    shape = (beats, p.lanes // p.group)
    fields = np.clip(rng.integers(fmt.bias - 5, fmt.bias + 4, shape), 0, fmt.nan_field - 1)
    if not sensible:
        fields = rng.integers(0, fmt.nan_field, shape)
    codes, fields = with_nan(p, rng, codes, fields)
    channel_last = position_ends(count, depth)
    if rng.random() < 0.1:
        channel_last = (rng.random(beats) < 1 / depth).astype(np.int64)
        channel_last[-1] = 1
    return p.input.beats(beats, codes=codes, scales=fields, channel_last=channel_last)


def _real(params: Params, x: npt.NDArray[np.uint16]) -> Batch:
    """Activations normalised by their own statistics: tokens are positions."""
    p = params
    blocks = Blocks.of(bf16_values(x)[:, : p.channels], p.format)
    layer = Layer(count=len(x), chunks=8)
    one = vector.encode(FP10, np.ones(1), rounding=Rounding.RNE, overflow=Overflow.SATURATE)
    gamma, beta = np.repeat(one, p.channels), np.zeros(p.channels, np.int64)
    made = constants(p.arithmetic, layer, statistics(p.arithmetic, layer, blocks), gamma, beta)
    data = p.input.beats(len(x) * p.depth, **p.laid_out(blocks))
    data["last"][-1] = 1
    return join([_loads(p, loaded(p, made)), data])


def loaded(params: Params, made: Constants) -> dict[str, Ints]:
    """The constants of all channels as the fields of beats that load them."""
    shape = (params.depth, params.lanes)
    return {
        "exponent": (made.exponent + exponent_offset(params.arithmetic)).reshape(shape),
        "gain": made.gain.reshape(shape),
        "offset": made.offset.reshape(shape),
        "unit": made.unit.reshape(params.depth, -1, params.group)[:, :, 0],
    }
