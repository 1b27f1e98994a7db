"""Range batch normalisation, forward and backward, as one core of packets.

    STATISTICS, NORMALIZE, GRADIENTS, PROPAGATE   the passes of `units.range_bn_array`
    CONSTANTS                                     what `units.range_bn_constants` makes between them

A channel block is `lanes` channels; its N positions come in tiles, packets of any number of
positions, one a beat. Sums, positions of extremes, running averages and what a pass is given lie in
memories of `channels` channels, so that a tensor, or several layers', can be normalised block by
block. docs/cores/lightnorm.md has the table of commands.

All bits are those of the two units. Averages are moved at CONSTANTS by 2^-momentum of the
difference, with `guard` bits below the sums' unit, cut off downwards:

    average' = floor(((2^momentum - 1) average + 2^guard sum) / 2^momentum)

and CONSTANTS for inference takes floor(average / 2^guard) in place of the sums.

Status: 1 illegal command, 2 out of order, 3 cut (`last` before the final data beat), 4 overrun
(`last` later: the rest is discarded). What a command that is refused finds stays as it is; a pass
that is cut is over, and its tensor must come again from the first tile. The beat after `last` is a
header.

Source: Noh et al., "LightNorm: Area and Energy-Efficient Batch Normalization Hardware for On-Device
DNN Training", ICCD 2022, for the unit; commands, packets, memories and order are this project's.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from narrowgauge.golden.cores import lightnorm_programs, packets
from narrowgauge.golden.cores.baseline import (
    input_beats,
    lengths,
    output_beats,
    output_lengths,
)
from narrowgauge.golden.cores.lightnorm_machine import Machine
from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.payload import Batch, Field, Payload, join
from narrowgauge.golden.units import range_bn_array, range_bn_constants

__all__ = [
    "Params",
    "input_beats",
    "lengths",
    "model",
    "output_beats",
    "output_lengths",
    "vectors",
]


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: all of them; `lanes` is the channels of a block.

    Parameters
    ----------
    group, chunks, window, gradient_window, fraction, precision, position_bits : as
        `range_bn_array.Params` has them
    lanes : channels of a block, a power of two and a multiple of group, up to 64
    channels : that the memories hold, a multiple of lanes, up to 4096
    momentum : averages move by 2^-momentum of the difference, 1..8
    """

    group: int = 4
    chunks: int = 8
    window: int = 16
    gradient_window: int = 12
    fraction: int = 12
    precision: int = 9
    position_bits: int = 16
    lanes: int = 8
    channels: int = 64
    momentum: int = 3

    def __post_init__(self) -> None:
        _ = self.array, self.engine
        check_limits(self, momentum=(1, 8))
        if self.lanes & (self.lanes - 1):
            raise UsageError(f"lanes must be a power of two, got {self.lanes}")
        if not self.lanes <= self.channels <= 4096 or self.channels % self.lanes:
            raise UsageError(
                f"channels must be a multiple of lanes={self.lanes} up to 4096, got {self.channels}"
            )

    @cached_property
    def array(self) -> range_bn_array.Params:
        """The lanes' parameters."""
        return range_bn_array.Params(lanes=self.lanes, **self._shared)

    @cached_property
    def engine(self) -> range_bn_constants.Params:
        """The parameters of what works between the passes."""
        return range_bn_constants.Params(**self._shared)

    @property
    def _shared(self) -> dict[str, int]:
        names = (
            *("group", "chunks", "window", "gradient_window"),
            *("fraction", "precision", "position_bits"),
        )
        return {name: getattr(self, name) for name in names}

    @property
    def blocks(self) -> int:
        """Channel blocks that the memories hold."""
        return self.channels // self.lanes

    @property
    def guard(self) -> int:
        """Bits of an average below the unit of the sums."""
        return 8

    @property
    def count_bits(self) -> int:
        """Bits of a number of positions."""
        return self.position_bits + 1

    @cached_property
    def header(self) -> Payload:
        """The first beat of a packet, from bit 0 of `word`."""
        return Payload(
            (
                Field(name="opcode", width=4),
                Field(name="table", width=3),
                Field(name="kind", width=2),
                Field(name="first", width=1),
                Field(name="average", width=1),
                Field(name="forget", width=1),
                Field(name="unused", width=4),
                Field(name="block", width=16),
                Field(name="positions", width=self.count_bits),
            )
        )

    @property
    def engine_fields(self) -> tuple[str, ...]:
        """What of the layer goes to the engine as it is."""
        return "c", "inverse", "shift", "epsilon", "chunk_bits"

    @cached_property
    def layer(self) -> Payload:
        """The data beat of LAYER; c to chunk_bits are as `range_bn_constants` takes them."""
        return Payload(
            (
                Field(name="length", width=self.count_bits),
                Field(name="base", width=self.array.forward.exponent_bits),
                Field(name="gradient_base", width=self.array.backward.exponent_bits),
                *(self.engine.input[name] for name in self.engine_fields),
            )
        )

    @cached_property
    def position(self) -> Payload:
        """A data beat of a pass: a position of x and g, of which a pass may have one."""
        fmt = self.array.forward.beat(self.lanes, "x_")
        return Payload((*fmt, *self.array.backward.beat(self.lanes, "g_")))

    @cached_property
    def answer(self) -> Payload:
        """A beat that answers NORMALIZE or PROPAGATE: a position of y or dx."""
        return Payload(tuple(self.array.output[name] for name in ("codes", "scales")))

    @property
    def weights(self) -> Payload:
        """A record of WEIGHTS: a channel."""
        return Payload((self.engine.input["gamma"], self.engine.input["beta"]))

    @property
    def sums(self) -> Payload:
        """A record of SUMS: `second` is the spread, or the moment in two's complement."""
        width = max(self.array.spread_bits, self.array.moment_bits)
        return Payload(
            (
                self.array.output["total"],
                Field(name="second", width=width),
                Field(name="clipped", width=1),
                Field(name="nan", width=1),
            )
        )

    @property
    def averages(self) -> Payload:
        """A record of AVERAGES, in 2^-guard of the sums' unit."""
        total = self.array.total_bits + self.guard
        return Payload(
            (
                Field(name="total", width=total, encoding="signed"),
                Field(name="spread", width=self.array.spread_bits + self.guard),
            )
        )

    @property
    def places(self) -> Payload:
        """A record of PLACES: of a channel in a chunk."""
        return Payload(tuple(self.array.output[name] for name in ("largest", "least")))

    @property
    def results(self) -> Payload:
        """A record of RESULTS: the gradients of a channel, and whether gamma or beta was bad."""
        return Payload(tuple(self.engine.output[name] for name in ("dbeta", "dgamma", "bad")))

    @property
    def kept(self) -> Payload:
        """What is kept of a channel for the way back, where its results will be."""
        names = ("mean", "scale", "slope", "slope_unit")
        return Payload(tuple(self.engine.input[name] for name in names))

    @property
    def channel_bits(self) -> int:
        """Bits of a word with what is kept of a channel, or its results."""
        return max(self.kept.width, self.results.width - 1) + 1

    @property
    def constants(self) -> Payload:
        """What a channel is given for a pass, but for positions of extremes."""
        return Payload(self.array.constants.fields[:-2])

    @cached_property
    def tables(self) -> tuple[Payload, Payload, Payload, Payload, Payload]:
        """Records of the tables, in the order of their numbers."""
        return self.weights, self.sums, self.averages, self.places, self.results

    @cached_property
    def input(self) -> Payload:
        """One beat of a packet; what `word` holds depends on the command."""
        need = (self.header, self.layer, self.position, *self.tables)
        return Payload((_bytes("word", need), Field(name="last", width=1)))

    @cached_property
    def output(self) -> Payload:
        """One beat of a response; `status` is 0 but with `last`."""
        data = _bytes("data", (self.answer, *self.tables[1:]))
        return Payload((data, Field(name="status", width=4), Field(name="last", width=1)))


def _bytes(name: str, parts: tuple[Payload, ...]) -> Field:
    """Bytes that hold any of some payloads."""
    return Field(name=name, width=8, count=max(-(-part.width // 8) for part in parts))


def model(params: Params, batch: Batch) -> Batch:
    """Programs to the beats that answer them, `answered` of them each.

    A program is a row of beats: fields of `params.input` with an axis of programs before that of
    beats, `last` being named `final`. Each begins as after a reset.
    """
    parts, answered = [], []
    for number in range(len(batch["final"])):
        beats = {name: values[number] for name, values in batch.items()}
        beats["last"] = beats.pop("final")
        made = Machine(params).run(params.input.check(beats), f"program {number}")
        parts.append(made)
        answered.append(len(made["last"]))
    return join([params.output.beats(0), *parts]) | {"answered": np.array(answered, np.int64)}


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Programs of all commands, with errors at smoke and full; real: the captured layer."""
    return packets.batch(lightnorm_programs.make(params, level, seed))
