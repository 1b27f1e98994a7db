"""The second pass of range batch normalisation: scale, shift and round, its channels interleaved.

    d = clip(x 2^(f - exponent) + minus_mean, 2^(f + 4))    y = (gain d + offset) 2^unit, in blocks

A beat holds `lanes` channels of one position, `channel_last` ends the position, `last` the tensor.
A beat with `load` brings the channels' constants in place of values and is not answered; constants
are kept until they are loaded anew. Beats are answered in order, one each.

x is cut off towards zero at 2^(exponent - f), and clipped to 2^(f + 7) of that unit; differences,
products and sums are exact, and y is rounded once, at its block's exponent (nearest even). Zeros,
both, are 0. A NaN block (field 31) stays one. Too large: the block saturates. The address of a beat
in a position with more beats than `channels` has is the last one.

Source: `golden.units.range_bn`, which cites the papers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import bfp_pack
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BFP, bf16_values, quantize, vector
from narrowgauge.golden.formats.element import Overflow, Rounding
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units.range_bn import FP10, REACH, ROOM, Blocks, Layer, RangeBn, blocks_of
from narrowgauge.golden.units.range_bn_passes import Constants, constants, differences, statistics
from narrowgauge.golden.units.range_bn_statistics import Params as StatisticsParams
from narrowgauge.golden.units.scores import rows_of
from narrowgauge.golden.units.stimuli import blocks as transactions
from narrowgauge.golden.units.stimuli import real_rows

__all__ = ["Params", "addresses", "model", "output_lengths", "vectors"]

Ints = npt.NDArray[np.int64]

_CONSTANTS = ("exponent", "minus_mean", "gain", "offset")
"""Of each channel; `unit` is of each block."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: group, fraction, precision, channels; how: lanes.

    Parameters
    ----------
    group : channels that share an exponent, a power of two, 1..16
    fraction : f, bits of a difference below the channel's power of two, 4..12
    precision : bits of a gain's magnitude, 6..16
    channels : most channels, a multiple of lanes by a power of two, up to 4096
    lanes : channels a beat, a multiple of group
    """

    group: int = 4
    fraction: int = 7
    precision: int = 9
    channels: int = 64
    lanes: int = 8

    def __post_init__(self) -> None:
        _ = RangeBn(group=self.group, fraction=self.fraction, precision=self.precision)
        if self.group > 16:
            raise UsageError(f"group must be 1..16, got {self.group}")
        _ = StatisticsParams(group=self.group, channels=self.channels, lanes=self.lanes)

    @property
    def arithmetic(self) -> RangeBn:
        """What is computed."""
        return RangeBn(group=self.group, fraction=self.fraction, precision=self.precision)

    @property
    def format(self) -> BFP:
        """The format of x and y."""
        return self.arithmetic.forward

    @property
    def depth(self) -> int:
        """Beats of the longest position."""
        return self.channels // self.lanes

    @property
    def value_bits(self) -> int:
        """Bits of a value and of a mean in the channel's unit, sign included."""
        return self.fraction + ROOM + 1

    @property
    def difference_bits(self) -> int:
        """Bits of a difference, sign included."""
        return self.fraction + REACH + 1

    @property
    def offset_bits(self) -> int:
        """Bits of an offset, sign included."""
        return self.fraction + self.precision + REACH + 1

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
            "minus_mean": (self.value_bits, L),
            "gain": (self.precision + 1, L),
            "offset": (self.offset_bits, L),
            "unit": (8, L // self.group),
        }
        return Payload(
            tuple(
                Field(name=name, width=width, count=count, encoding="signed")
                for name, (width, count) in signed.items()
            )
        )

    @property
    def input(self) -> Payload:
        """One beat: values, or constants."""
        fmt, L = self.format, self.lanes
        width = fmt.element.width
        return Payload(
            (
                Field(name="codes", width=width, count=L, encoding="sign_magnitude"),
                Field(name="scales", width=fmt.exponent_bits, count=L // self.group),
                *self.constants.fields,
                Field(name="load", width=1),
                Field(name="channel_last", width=1),
                Field(name="last", width=1),
            )
        )

    @property
    def output(self) -> Payload:
        """The answer to a beat of values."""
        return Payload((*self.input.fields[:2], Field(name="last", width=1)))


def addresses(params: Params, batch: Batch) -> Ints:
    """Where the constants of each beat stand."""
    made = []
    address = 0
    for ends in (batch["channel_last"] | batch["last"]).tolist():
        made.append(address)
        address = 0 if ends else min(address + 1, params.depth - 1)
    return np.array(made, np.int64)


def model(params: Params, batch: Batch) -> Batch:
    """Beats of values to beats of results."""
    beats = params.input.check(batch)
    address = addresses(params, beats)
    load = beats["load"] == 1
    # The last load before each beat at its address.
    loaded = np.full(len(load), -1)
    latest: dict[int, int] = {}
    for beat, (where, brings) in enumerate(zip(address.tolist(), load.tolist(), strict=True)):
        if brings:
            latest[where] = beat
        loaded[beat] = latest.get(where, -1)
    data = np.flatnonzero(~load)
    if data.size and (loaded[data] < 0).any():
        raise UsageError("values come before the constants of their channels")
    source = loaded[data]
    kept = {name: beats[name][source] for name in (*_CONSTANTS, "unit")}
    x = Blocks(fmt=params.format, codes=beats["codes"][data], fields=beats["scales"][data])
    zero = np.zeros_like(kept["gain"])
    made = Constants(
        exponent=kept["exponent"],
        mean=-kept["minus_mean"],
        gain=kept["gain"],
        offset=kept["offset"],
        unit=np.repeat(kept["unit"], params.group, axis=1),
        scale=zero,
        slope=zero,
        slope_unit=zero,
    )
    total = differences(params.arithmetic, made, x) * made.gain + made.offset
    y = blocks_of(params.format, total, made.unit, x.nan)
    return {"codes": y.codes, "scales": y.fields, "last": beats["last"][data]}


def output_lengths(params: Params, outputs: Batch) -> Ints:
    """Beats that answer each tensor."""
    return rows_of(outputs["last"]).lengths


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Tensors after their constants: of real statistics, of any numbers, of extremes."""
    rng = np.random.default_rng(seed)
    if level == "real":
        made = [_real(params, x) for x, _ in real_rows(rng, 24)]
    else:
        size, made, count = transactions(level, smoke=6_000), [], 0
        while count < size:
            made += (tensor := _tensor(params, rng))
            count += sum(len(part["last"]) for part in tensor)
    return {f.name: np.concatenate([each[f.name] for each in made]) for f in params.input.fields}


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
    return {
        "exponent": spread,
        "minus_mean": np.rint(rng.normal(0, 1, shape) * 2.0 ** (p.fraction - spread)).astype(
            np.int64
        ),
        "gain": rng.integers(1 << (p.precision - 2), 1 << p.precision, shape)
        * rng.choice([1, 1, 1, -1], shape),
        "offset": np.rint(rng.normal(0, 0.5, shape) * 2.0 ** (p.fraction + p.precision)).astype(
            np.int64
        ),
        "unit": rng.integers(-2, 3, (depth, p.lanes // p.group)) - p.fraction - p.precision,
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
    ends = (np.arange(depth) == depth - 1).astype(np.int64)
    made = _empty(params, depth) | {"load": np.ones(depth, np.int64), "channel_last": ends}
    for field in params.constants.fields:
        made[field.name] = np.clip(values[field.name], *field.limits)
    return made


def _empty(params: Params, beats: int) -> Batch:
    return {
        f.name: np.zeros((beats, f.count) if f.count else beats, np.int64)
        for f in params.input.fields
    }


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
    depth = (1, p.depth, int(rng.integers(1, p.depth + 1)))[rng.integers(0, 3)]
    count = int(rng.integers(1, longest))
    beats = count * depth
    most = (1 << fmt.mantissa_bits) - 1
    codes = rng.integers(-most, most + 1, (beats, p.lanes))
    codes = np.where(rng.random(codes.shape) < 0.1, 0, codes)
    shape = (beats, p.lanes // p.group)
    fields = np.clip(rng.integers(fmt.bias - 5, fmt.bias + 4, shape), 0, fmt.nan_field - 1)
    if not sensible:
        fields = rng.integers(0, fmt.nan_field, shape)
    if rng.random() < 0.2:
        fields = np.where(rng.random(shape) < 0.05, fmt.nan_field, fields)
        if rng.random() < 0.5:
            codes = np.where(np.repeat(fields, p.group, axis=1) == fmt.nan_field, 0, codes)
    channel_last = np.tile(np.arange(depth) == depth - 1, count)
    if rng.random() < 0.1:
        channel_last = rng.random(beats) < 1 / depth
        channel_last[-1] = True
    return _empty(params, beats) | {
        "codes": codes,
        "scales": fields,
        "channel_last": channel_last.astype(np.int64),
    }


def _real(params: Params, x: npt.NDArray[np.uint16]) -> Batch:
    """Activations normalised by their own statistics: tokens are positions."""
    p = params
    values = bf16_values(x)[:, : p.channels].astype(np.float64)
    t = quantize(values, p.format, axis=1)
    codes = t.codes.reshape(len(values), -1).astype(np.int64)
    blocks = Blocks(fmt=p.format, codes=codes, fields=t.scales.astype(np.int64))
    layer = Layer(count=len(values), chunks=8)
    one = vector.encode(FP10, np.ones(1), rounding=Rounding.RNE, overflow=Overflow.SATURATE)
    gamma, beta = np.repeat(one, p.channels), np.zeros(p.channels, np.int64)
    made = constants(p.arithmetic, layer, statistics(p.arithmetic, layer, blocks), gamma, beta)
    shape = (p.depth, p.lanes)
    loads = _loads(
        params,
        {
            "exponent": made.exponent.reshape(shape),
            "minus_mean": -made.mean.reshape(shape),
            "gain": made.gain.reshape(shape),
            "offset": made.offset.reshape(shape),
            "unit": made.unit.reshape(p.depth, -1, p.group)[:, :, 0],
        },
    )
    beats = len(values) * p.depth
    data = _empty(params, beats) | {
        "codes": codes.reshape(beats, p.lanes),
        "scales": blocks.fields.reshape(beats, -1),
        "channel_last": np.tile(np.arange(p.depth) == p.depth - 1, len(values)).astype(np.int64),
        "last": (np.arange(beats) == beats - 1).astype(np.int64),
    }
    return {name: np.concatenate([loads[name], data[name]]) for name in data}
