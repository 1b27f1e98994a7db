"""FP32 or bf16 to groups of FB12, FB16 or FB24, and the zero-setting count beside them.

    scale = M = largest exponent field of the group
    code  = significand, its leading one in the top bit, shifted right by M - e, and rounded

A packet, up to `last`, is any number of groups. The first beat of a group says its mode, 0 FB12, 1
FB16, 2 or 3 FB24; the group ends with as many beats as its mode has, or with `last`. Each beat is
answered by one, after its group's end: codes as sign and magnitude, an integer of 4, 8 or 16 bits
from the LSB whatever the mode, the group's scale and mode, and `end` on its final beat.

`zeroed` counts, from the packet's first beat to this one, the elements that alignment sets to zero:
normal ones with M - e + 1 > bits, whatever the rounding; none of a group with NaN or Inf. It stays
at its largest number, and begins anew behind `last`.

Zero, -0: code 0. Subnormals: honoured, on the grid of field 1, which is the scale's least. NaN,
Inf: scale 255, all codes of the group 0. RNE and stochastic rounding clip at the largest magnitude.

Stochastic rounding takes 8 random bits for each element, as `Rounding.STOCHASTIC` says, from an
LFSR of 31 bits, x^31 + x^28 + 1, which a packet's first beat sets: bits 15..0 are `seed`, bits
30..16 the complement of its lower 15. The word of lane j is bits 7..0 of the state rotated right by
5 j. A beat takes eight steps, each a shift left with bit 30 xor bit 27 coming in. Words of a beat
share bits; the states of a packet do not depend on its groups or modes.

Source: `golden.formats.flexblock`, `golden.formats.bfp`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.formats import BFP, FloatFormat, Rounding, get, vector
from narrowgauge.golden.formats.bfp import quantize_groups
from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.golden.units.bfp_convert_stimuli import some_packets
from narrowgauge.golden.units.scores import rows_of

__all__ = ["MODE_BITS", "RANDOM_BITS", "Groups", "Params", "groups_of", "model", "vectors"]

Ints = npt.NDArray[np.int64]

MODE_BITS = (4, 8, 16, 16)
"""Bits of a magnitude in each mode."""
RANDOM_BITS = 8
_LFSR = 31
_TAP = 28


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: source, group12, group16, group24, rounding, count_bits; how: lanes.

    Parameters
    ----------
    source : "fp32" or "bf16"
    group12, group16, group24 : elements a group of each mode, multiples of lanes; the largest is 2
        to 1024 beats
    rounding : rtz, rne or stochastic
    count_bits : bits of `zeroed`, 4..32
    lanes : elements a beat, 1..64
    """

    source: str = "fp32"
    group12: int = 216
    group16: int = 108
    group24: int = 54
    rounding: str = Rounding.RTZ
    count_bits: int = 24
    lanes: int = 9

    def __post_init__(self) -> None:
        if self.source not in ("fp32", "bf16"):
            raise UsageError(f"source must be fp32 or bf16, got {self.source!r}")
        if self.rounding not in (Rounding.RTZ, Rounding.RNE, Rounding.STOCHASTIC):
            raise UsageError(f"rounding must be rtz, rne or stochastic, got {self.rounding!r}")
        object.__setattr__(self, "rounding", Rounding(self.rounding))
        check_limits(self, count_bits=(4, 32), lanes=(1, 64))
        if self.lanes >> (self.count_bits - 1):
            raise UsageError(
                f"count_bits must be more than those of lanes={self.lanes}, got {self.count_bits}"
            )
        for name in ("group12", "group16", "group24"):
            size = getattr(self, name)
            if size < self.lanes or size % self.lanes:
                raise UsageError(f"{name} must be a multiple of lanes={self.lanes}, got {size}")
        if not 2 <= self.depth <= 1024:
            raise UsageError(f"the largest group must be 2..1024 beats, got {self.depth}")

    @property
    def format(self) -> FloatFormat:
        """Format of the elements that come."""
        found = get(self.source)
        assert isinstance(found, FloatFormat)
        return found

    @property
    def beats(self) -> tuple[int, int, int]:
        """Beats of a group in each mode."""
        L = self.lanes
        return self.group12 // L, self.group16 // L, self.group24 // L

    @property
    def depth(self) -> int:
        """Beats of the largest group."""
        return max(self.beats)

    @property
    def stochastic(self) -> bool:
        """Whether there is a `seed`."""
        return self.rounding is Rounding.STOCHASTIC

    @property
    def input(self) -> Payload:
        """One beat; `mode` is read with a group's first, `seed` with a packet's first."""
        seed = (Field(name="seed", width=16),) if self.stochastic else ()
        return Payload(
            (
                Field(name="x", width=self.format.width, count=self.lanes, format=self.source),
                Field(name="mode", width=2),
                *seed,
                Field(name="last", width=1),
            )
        )

    @property
    def output(self) -> Payload:
        """One beat; `scale` and `mode` are the same over a group's beats."""
        return Payload(
            (
                Field(name="codes", width=17, count=self.lanes, encoding="sign_magnitude"),
                Field(name="scale", width=8),
                Field(name="mode", width=2),
                Field(name="end", width=1),
                Field(name="zeroed", width=self.count_bits),
                Field(name="last", width=1),
            )
        )

    def group_format(self, mode: int) -> BFP:
        """The format of a group, with room for the largest."""
        return BFP(
            exponent_bits=8,
            mantissa_bits=MODE_BITS[mode],
            k=self.depth * self.lanes,
            rounding=Rounding(self.rounding),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """Where the groups of a sequence of beats lie.

    Parameters
    ----------
    starts, lengths, modes : (groups,); mode 3 counts as 2
    """

    starts: Ints
    lengths: Ints
    modes: Ints

    @property
    def number(self) -> Ints:
        """Group of each beat that is in one."""
        return np.repeat(np.arange(len(self.starts)), self.lengths)


def groups_of(params: Params, batch: Batch) -> Groups:
    """Follow modes and `last`; beats behind the final whole group are in none."""
    found: list[tuple[int, int, int]] = []
    start = mode = left = 0
    flags = zip(batch["mode"].tolist(), batch["last"].tolist(), strict=True)
    for beat, (asked, last) in enumerate(flags):
        if not left:
            start, mode = beat, min(asked, 2)
            left = params.beats[mode]
        left -= 1
        if last or not left:
            found.append((start, beat + 1 - start, mode))
            left = 0
    columns = np.array(found, np.int64).reshape(-1, 3).T
    return Groups(starts=columns[0], lengths=columns[1], modes=columns[2])


def random_words(params: Params, batch: Batch) -> Ints:
    """Random bits of each element, (beats, lanes)."""
    mask = (1 << _LFSR) - 1
    states = []
    state, fresh = 0, True
    for seed, last in zip(batch["seed"].tolist(), batch["last"].tolist(), strict=True):
        if fresh:
            state = seed | (~seed & 0x7FFF) << 16
        states.append(state)
        for _ in range(RANDOM_BITS):
            state = (state << 1 | (state >> _LFSR - 1 ^ state >> _TAP - 1) & 1) & mask
        fresh = bool(last)
    turns = np.arange(params.lanes) * 5 % _LFSR
    drawn = np.array(states, np.int64)[:, None]
    return (drawn >> turns | drawn << _LFSR - turns) & ((1 << RANDOM_BITS) - 1)


def model(params: Params, batch: Batch) -> Batch:
    """Beats of packets to as many of groups; a group that has not ended is not answered."""
    beats = params.input.check(batch)
    at = groups_of(params, beats)
    count = int(at.lengths.sum())
    inside = np.arange(params.depth) < at.lengths[:, None]

    def in_groups(values: npt.NDArray[np.integer]) -> Ints:
        """Elements of beats as groups, (groups, depth * lanes), zeros behind their end."""
        made = np.zeros((*inside.shape, params.lanes), np.int64)
        made[inside] = values[:count]
        return made.reshape(len(at.starts), -1)

    u = vector.unpack(params.format, in_groups(beats["x"]))
    bad = np.asarray((u.is_nan | u.is_inf).any(axis=1))
    random = None
    if params.stochastic:
        random = in_groups(random_words(params, beats))
    codes, scale = np.zeros_like(u.significand), np.full(len(bad), 255)
    for mode in range(3):
        rows = np.flatnonzero((at.modes == mode) & ~bad)
        codes[rows], scale[rows] = quantize_groups(
            params.group_format(mode),
            u.sign[rows],
            u.significand[rows],
            u.exponent[rows],
            random=None if random is None else random[rows],
            random_bits=RANDOM_BITS if params.stochastic else None,
        )
    field = in_groups(beats["x"]) >> params.format.mantissa_bits & 0xFF
    bits = np.array(MODE_BITS)[at.modes][:, None]
    gone = (field > 0) & (scale[:, None] - field >= bits) & ~bad[:, None]
    in_beats = gone.reshape(*inside.shape, params.lanes).sum(axis=2)[inside]
    end = np.zeros(count, np.int64)
    end[np.cumsum(at.lengths) - 1] = 1
    return {
        "codes": codes.reshape(*inside.shape, params.lanes)[inside],
        "scale": scale[at.number],
        "mode": at.modes[at.number],
        "end": end,
        "zeroed": np.minimum(_running(in_beats, beats["last"]), (1 << params.count_bits) - 1),
        "last": beats["last"][:count],
    }


def _running(values: Ints, last: Ints) -> Ints:
    """Sums from each packet's first beat."""
    sums: Ints = np.cumsum(values)
    first = np.concatenate([[0], np.flatnonzero(last[: len(values)]) + 1])
    packet = np.searchsorted(first, np.arange(len(values)), side="right") - 1
    before = np.concatenate([[0], sums])[first]
    return sums - before[packet]


def output_lengths(params: Params, outputs: Batch) -> Ints:
    """Beats that answer each packet."""
    return rows_of(outputs["last"]).lengths


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Packets of whole groups and of groups cut short, in all modes, about every exponent."""
    return some_packets(params, level, seed)
