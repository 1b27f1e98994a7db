"""Processing element for block floating point in three precisions, chosen group by group.

    result = sum over groups of RNE(2^(max(e_a, 1) + max(e_b, 1) - 254 - 2 (m - 1)) * sum a_i b_i)

Codes have a sign and m = 4, 8 or 16 bits of magnitude, a group one exponent field of 8 bits, e
(`golden.formats.BFP`). Products and their sum over a group are exact; the sum is rounded to FP32
once, and the groups are added in FP32 in the order they come, RNE, from +0. FP32 as IEEE 754:
subnormals are made, overflow is Inf, Inf - Inf is NaN. Field 0 is field 1. With field 255 on either
side a sum is NaN whatever the codes. A group of zeros adds +0.

A beat fills the slots of `nibbles` / 16 cells of `golden.arith.fused_mul`:

    mode      m   elements of a side a beat   outputs   beats of a whole group
    0 FB12    4   2 rows, 2 columns of 4 cells      4   group12 / (4 cells)
    1 FB16    8   4 cells                           1   group16 / (4 cells)
    2 FB24   16   cells                             1   group24 / cells

Each row of a and column of b of FB12 is a group with a field of its own; the other modes read the
first field of a side. `end` closes a group, `last` a dot product with its group; slots that a group
leaves are 0. What a beat adds is as its own mode says, fields and outputs of a group are as its
final beat says, so that a change of mode within a group is defined; mode 3 is mode 2. A dot product
whose final group is of FB12 is answered with four results, output 2 r + s of row r and column s,
else with one, which is accumulator 3: groups of several modes in one dot product add up where each
has an output. Sums of groups longer than `group12`, `group16`, `group24` wrap.

With modes = 1 the element is of FB24 alone, with one code a cell and side: the baseline.

Source: Noh et al., "FlexBlock", IEEE Trans. Computers 2023: modes, groups, FP32 between groups.
Rounding, order, outputs and the mapping of multipliers are this project's.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import fused_mul
from narrowgauge.golden.arith.fused_mul import BITS, FB12, FB24
from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.payload import Batch, Field, Payload, join
from narrowgauge.golden.units import bfp_stimuli, window
from narrowgauge.golden.units.range_bn import wrapped
from narrowgauge.golden.units.stimuli import blocks, filled

__all__ = ["Groups", "Params", "groups", "model", "output_lengths", "vectors"]

Ints = npt.NDArray[np.int64]

_NAN_FIELD = 255


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: all of them.

    Parameters
    ----------
    nibbles : multipliers of 4 x 4 bits, a multiple of 16, up to 1024
    group12, group16, group24 : elements of a whole group in each mode, 1..4096, for which the sums
        have room
    modes : 3, or 1 for FB24 alone
    """

    nibbles: int = 48
    group12: int = 216
    group16: int = 108
    group24: int = 54
    modes: int = 3

    def __post_init__(self) -> None:
        check_limits(
            self,
            nibbles=(16, 1024),
            group12=(1, 4096),
            group16=(1, 4096),
            group24=(1, 4096),
        )
        if self.nibbles % 16:
            raise UsageError(f"nibbles must be a multiple of 16, got {self.nibbles}")
        if self.modes not in (1, 3):
            raise UsageError(f"modes must be 1 or 3, got {self.modes}")

    @property
    def cells(self) -> int:
        """Products of 16 x 16 bits a beat."""
        return self.nibbles // 16

    @property
    def multiplier(self) -> fused_mul.Params:
        """The multipliers of a beat."""
        return fused_mul.Params(cells=self.cells)

    @property
    def outputs(self) -> int:
        """Accumulators."""
        return 4 if self.modes == 3 else 1

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Elements of a whole group by mode."""
        return self.group12, self.group16, self.group24

    def sum_bits(self, mode: int) -> int:
        """Bits of the exact sum of a whole group, sign included."""
        return int(self.sizes[mode] * ((1 << BITS[mode]) - 1) ** 2).bit_length() + 1

    @property
    def sum_width(self) -> int:
        """Bits of the sum of the output that every mode has."""
        return (
            max(self.sum_bits(mode) for mode in range(3)) if self.modes == 3 else self.sum_bits(2)
        )

    @property
    def rest_width(self) -> int:
        """Bits of the sums of the other outputs."""
        return self.sum_bits(FB12)

    def depth(self, mode: int) -> int:
        """Elements of a group that a beat takes of each side, in FB12 of each row and column."""
        return self.cells * fused_mul.elements(mode)

    def beats(self, mode: int) -> int:
        """Beats of a whole group."""
        return -(-self.sizes[min(mode, FB24)] // self.depth(mode))

    def pack(self, mode: int, a: Ints, b: Ints) -> tuple[Ints, Ints]:
        """Groups to beats: the fields a and b, shape (groups, beats, slots).

        Parameters
        ----------
        a, b : codes (groups, size); for FB12 (groups, 2, size), rows of a and columns of b. A size
            that does not fill its final beat is filled up with zeros
        """
        depth = self.depth(mode)
        made = []
        for codes in (np.asarray(a, np.int64), np.asarray(b, np.int64)):
            whole = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, -codes.shape[-1] % depth)])
            made.append(np.moveaxis(whole.reshape(*whole.shape[:-1], -1, depth), -2, 1))
        if self.modes == 1:
            return made[0], made[1]
        return fused_mul.pack(mode, made[0], made[1])

    @property
    def input(self) -> Payload:
        """One beat."""
        three = self.modes == 3
        count = self.cells * (fused_mul.SLOTS if three else 1)
        width = 5 if three else 17
        return Payload(
            (
                *(Field(name=x, width=width, count=count, encoding="sign_magnitude") for x in "ab"),
                Field(name="a_scale", width=8, count=2 if three else 1),
                Field(name="b_scale", width=8, count=2 if three else 1),
                *((Field(name="mode", width=2),) if three else ()),
                Field(name="end", width=1),
                Field(name="last", width=1),
            )
        )

    @property
    def output(self) -> Payload:
        """One result; `last` with the final one of a dot product."""
        return Payload((Field(name="result", width=32, format="fp32"), Field(name="last", width=1)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """The groups of a sequence of beats.

    Parameters
    ----------
    ends : numbers of their final beats, (groups,)
    mode : 0..2, (groups,)
    sums : exact, (groups, outputs)
    totals : the same as far as there is room for them
    a, b : the field of each output's row and column, (groups, outputs)
    terms : FP32 codes, (groups, outputs)
    """

    ends: Ints
    mode: Ints
    sums: Ints
    totals: Ints
    a: Ints
    b: Ints
    terms: Ints

    @property
    def four(self) -> npt.NDArray[np.bool_]:
        """Groups with four outputs."""
        return np.asarray((self.mode == FB12) & (self.terms.shape[1] > 1))


def groups(params: Params, beat: Batch) -> Groups:
    """Add up groups and convert their totals."""
    if params.modes == 3:
        sums = fused_mul.model(params.multiplier, {x: beat[x] for x in ("a", "b", "mode")})
        added = np.concatenate([sums["o"][:, None], sums["rest"]], axis=1)
        modes = np.minimum(beat["mode"], FB24)
    else:
        added = (beat["a"] * beat["b"]).sum(axis=1, keepdims=True)
        modes = np.full(len(added), FB24)
    ends = np.flatnonzero(beat["end"] | beat["last"])
    # What follows the final end is of no group.
    begins = np.concatenate([[0], ends + 1]).astype(np.int64)[: len(ends)]
    running = np.concatenate([np.zeros((1, added.shape[1]), np.int64), np.cumsum(added, axis=0)])
    exact = running[ends + 1] - running[begins]
    totals = wrapped(exact, params.sum_width)
    totals[:, 1:] = wrapped(totals[:, 1:], params.rest_width)
    mode, outputs = modes[ends], np.arange(params.outputs)
    a, b = beat["a_scale"][ends][:, outputs >> 1], beat["b_scale"][ends][:, outputs & 1]
    none = np.zeros(totals.shape, np.bool_)
    terms = window.convert(
        totals,
        np.maximum(a, 1) + np.maximum(b, 1) - 254 - 2 * (np.array(BITS)[mode] - 1)[:, None],
        (a == _NAN_FIELD) | (b == _NAN_FIELD),
        none,
        none,
    )
    return Groups(ends=ends, mode=mode, sums=exact, totals=totals, a=a, b=b, terms=terms)


def model(params: Params, batch: Batch) -> Batch:
    """Beats of dot products to their results, four or one for each `last`."""
    beat = params.input.check(batch)
    made = groups(params, beat)
    terms = made.terms
    if params.modes == 3:
        # The one output of the other modes is accumulator 3; +0 changes no sum that began as +0.
        alone = np.concatenate([np.zeros((len(terms), 3), np.int64), terms[:, :1]], axis=1)
        terms = np.where(made.four[:, None], terms, alone)
    final = beat["last"][made.ends]
    results = np.stack([window.accumulate(column, final) for column in terms.T], axis=1)
    given = np.ones(results.shape, np.bool_)
    given[:, :-1] = made.four[final == 1][:, None]
    closes = np.zeros(results.shape, np.int64)
    closes[:, -1] = 1
    return {"result": results[given], "last": closes[given]}


def output_lengths(params: Params, outputs: Batch) -> Ints:
    """Results of each dot product."""
    ends = np.flatnonzero(outputs["last"])
    return np.diff(ends, prepend=-1)


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Dot products of groups of all lengths and modes, exponents at their ends, cancellations."""
    rng = np.random.default_rng(seed)
    if level == "real":
        return join(list(bfp_stimuli.real(params, rng)))
    return filled(blocks(level, smoke=3_000), lambda: bfp_stimuli.dot(params, rng))
