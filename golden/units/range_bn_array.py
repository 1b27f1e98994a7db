"""All passes of range batch normalisation on the same lanes, a block of channels at a time.

    STATISTICS  sum x; of each chunk largest and least and their positions; sum of the ranges
    NORMALIZE   y = (gain x 2^(field - exponent) + offset) 2^unit, in blocks
    GRADIENTS   sum g, sum g x
    PROPAGATE   dx = (gain g 2^(field - base - exponent) + offset +- patch) 2^unit, in blocks;
                + at the position `largest`, - at `least`, neither where it is both

A beat is one position of `lanes` channels; `mode` tells its pass, `last` ends a tensor and
`chunk_last` a chunk. A pass begins with the first beat after `last`, after LOAD, or of another
pass; positions and sums begin anew with it. A pass that is left without `last` is forgotten.

LOAD brings the constants of one channel, `lane`; PLACES its positions alone, so that they can
follow the chunks. NORMALIZE, GRADIENTS and PROPAGATE need constants of all channels, and those that
gather, STATISTICS and GRADIENTS, take their place: they must be loaded again after them.

STATISTICS answers to the end of each chunk, GRADIENTS to `last`, a beat a channel, channel 0 first;
`spread` is that of the chunks so far. `total` of GRADIENTS has the unit of STATISTICS, 2^(window -
gradient_window) times the sum on g's window. NORMALIZE and PROPAGATE answer every beat. What a pass
has no use for is 0 in its answers. Fields of the other tensor are not read.

Arithmetic, clips and zeros are those of `golden.units.range_bn`: x and g are placed on windows that
begin with the exponent `base` (a field of x's format or g's), cut off towards zero, and so are
products on windows of f + 7 bits; in that of g x the block of x begins where its field is
`exponent`. Sums are exact, modulo 2^bits beyond 2^position_bits positions or `chunks` chunks, and
so are positions; of equal extremes the first counts; a NaN block counts as zeros, sets `nan` of its
channels and stays a NaN block in y and dx. `clipped`: a value lay above its window. Bit 2 of `mode`
is not read in LOAD and PLACES.

Source: `golden.units.range_bn`, which cites the papers.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import bfp_pack
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BFP
from narrowgauge.golden.payload import Batch, Field, Payload, join
from narrowgauge.golden.units.range_bn_answers import answers
from narrowgauge.golden.units.range_bn_modes import passes
from narrowgauge.golden.units.range_bn_steps import ABOVE
from narrowgauge.golden.units.range_bn_stimuli import tensors
from narrowgauge.golden.units.range_bn_widths import Widths
from narrowgauge.golden.units.scores import rows_of

__all__ = ["Params", "model", "output_lengths", "vectors"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Params(Widths):
    """What: group, chunks, window, gradient_window, fraction, precision, position_bits, lanes.

    Parameters
    ----------
    group : channels that share an exponent, a power of two, 1..16
    chunks : most chunks of a tensor, a power of two, 1..16
    window : bits of the window of x, 8..20
    gradient_window : bits of that of g, 8..window
    fraction : f, bits of y's sums below gamma times the channel's power of two, 6..16
    precision : bits of a gain's magnitude, 6..16
    position_bits : bits of a position, 4..20
    lanes : channels, a multiple of group, up to 64
    """

    group: int = 4
    chunks: int = 8
    window: int = 16
    gradient_window: int = 12
    fraction: int = 12
    precision: int = 9
    position_bits: int = 16
    lanes: int = 8

    def __post_init__(self) -> None:
        self.check_widths()
        if self.group > 16:
            raise UsageError(f"group must be 1..16, got {self.group}")
        if self.gradient_window > self.window:
            raise UsageError(
                f"gradient_window must be 8..{self.window}, got {self.gradient_window}"
            )
        if not self.group <= self.lanes <= 64 or self.lanes % self.group:
            raise UsageError(
                f"lanes must be a multiple of group={self.group} up to 64, got {self.lanes}"
            )

    @property
    def forward(self) -> BFP:
        """The format of x and y."""
        return self.arithmetic.forward

    @property
    def backward(self) -> BFP:
        """The format of g and dx."""
        return self.arithmetic.backward

    @property
    def total_bits(self) -> int:
        """Bits of a total, sign included."""
        return self.window + 1 + self.position_bits

    @property
    def spread_bits(self) -> int:
        """Bits of a spread."""
        return self.window + self.chunks.bit_length()

    @cached_property
    def pack(self) -> bfp_pack.Params:
        """How a block is rounded."""
        return bfp_pack.Params(
            k=self.group,
            # A product, an offset of twice its size, and a patch of four times.
            width=self.arithmetic.product + ABOVE + 2,
            unit_bits=8,
            shared=True,
            exp_bits=self.forward.exponent_bits,
            man_bits=self.forward.mantissa_bits,
            alt_exp_bits=self.backward.exponent_bits,
            alt_man_bits=self.backward.mantissa_bits,
        )

    @cached_property
    def constants(self) -> Payload:
        """What LOAD brings."""
        signed = {
            "exponent": 7,
            "offset": self.offset_bits,
            "patch": self.patch_bits,
            "unit": 8,
        }
        return Payload(
            (
                Field(name="gain", width=self.precision + 1, encoding="sign_magnitude"),
                *(
                    Field(name=name, width=width, encoding="signed")
                    for name, width in signed.items()
                ),
                Field(name="largest", width=self.position_bits),
                Field(name="least", width=self.position_bits),
            )
        )

    @cached_property
    def input(self) -> Payload:
        """One beat: a position of x and g, or constants of a channel."""
        return Payload(
            (
                *self.forward.beat(self.lanes, "x_"),
                *self.backward.beat(self.lanes, "g_"),
                Field(name="base", width=self.backward.exponent_bits),
                Field(name="lane", width=max(1, (self.lanes - 1).bit_length())),
                *self.constants.fields,
                Field(name="mode", width=3),
                Field(name="chunk_last", width=1),
                Field(name="last", width=1),
            )
        )

    @cached_property
    def output(self) -> Payload:
        """A position of y or dx, or what was gathered of a channel."""
        codes, scales = self.pack.output.fields
        return Payload(
            (
                Field(name="codes", width=codes.width, count=self.lanes, encoding="sign_magnitude"),
                Field(name="scales", width=scales.width, count=self.lanes // self.group),
                Field(name="total", width=self.total_bits, encoding="signed"),
                Field(name="spread", width=self.spread_bits),
                Field(name="largest", width=self.position_bits),
                Field(name="least", width=self.position_bits),
                Field(name="moment", width=self.moment_bits, encoding="signed"),
                Field(name="clipped", width=1),
                Field(name="nan", width=1),
                Field(name="last", width=1),
            )
        )


def model(params: Params, batch: Batch) -> Batch:
    """Beats to answers."""
    beats = params.input.check(batch)
    made = [answers(params, beats, each) for each in passes(params, beats)]
    return join([params.output.beats(0), *made])


def output_lengths(params: Params, outputs: Batch) -> Ints:
    """Beats that answer each tensor."""
    return rows_of(outputs["last"]).lengths


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Passes of real statistics, of any numbers, of extremes; some cut short."""
    return tensors(params, level, seed)
