"""Elements of multi-mode block floating point as one core of packets: dot products of all layers.

P elements (`units.bfp_pe`) work in lockstep. Each has a bank of A, which it alone reads, and a bank
of B; words of B are read by all elements, or each element reads its own bank. LOAD fills banks, RUN
makes the dot products of a tile:

    y[n][p] = sum over groups, in order, of RNE(A[p][group] . B[n or n, p][group])

The address of B comes of five nested counters (columns n1, n2, taps t1, t2, beats), that of A of
one. Groups are `group` beats and end with their tap. Results leave column after column, in each the
outputs (FB12: those of 2 r + s that `keep` names) one after the other, of each output all elements.
With `add` a result is RNE(sum + result), the sum being the one that an earlier RUN has left in its
place, with `hold` it stays in the core. docs/cores/flexblock_core.md has the table of commands.

All bits are those of `bfp_pe`, and of `arith.fp_add` for sums. Addresses have the bits that they
need and one more: beyond a memory they wrap, and the status says so.

FB24 has each nibble in two slots; those of A with d0 = 1 and those of B with d1 = 1
(`arith.fused_mul`) are not read by a RUN of FB24, and may hold anything.

With a guard each word lies in its bank with check bits (`golden.guard`), its exponent fields being
the `scale` of a word, and what is detected as wrong reads as zeros, which add nothing. `upsets` are
bits that flip in the banks.

Status: 1 illegal, 2 beyond a memory, 3 cut (`last` before the final data beat), 4 overrun (`last`
later: the rest is discarded). The beat after `last` is a header.

Source: Noh et al., "FlexBlock: A Flexible DNN Training Accelerator with Multi-Mode Block Floating
Point Support", IEEE Trans. Computers 2023, for modes and what the elements do; commands, memories,
counters and order are this project's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from narrowgauge.golden.arith import fused_mul
from narrowgauge.golden.cores import flexblock_programs, packets
from narrowgauge.golden.cores.baseline import (
    input_beats,
    lengths,
    output_beats,
    output_lengths,
)
from narrowgauge.golden.cores.flexblock_machine import Machine, Upset
from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.guard import Guard, Part
from narrowgauge.golden.payload import Batch, Field, Payload, join
from narrowgauge.golden.units import bfp_pe

__all__ = [
    "Params",
    "Stored",
    "Upset",
    "input_beats",
    "lengths",
    "model",
    "output_beats",
    "output_lengths",
    "vectors",
]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a bank holds of a word."""

    guard: Guard


@dataclass(frozen=True, kw_only=True)
class Params:
    """What: all but `load` and `results`, which change beats, never an answer.

    Parameters
    ----------
    pes : elements, a power of two, 2..64
    nibbles, group12, group16, group24 : of each, as `bfp_pe.Params` has them
    a_depth, b_depth : rows of a bank of A and of B, powers of two, 2..8192
    sums : results of an element that the core keeps, a power of two, 4..8192
    load : words of a beat of LOAD, a power of two, at most pes
    results : results of a beat of answers, a power of two, at most pes
    guard : of the words in the banks, of `golden.guard.KINDS`, without bounds
    """

    pes: int = 4
    nibbles: int = 48
    group12: int = 216
    group16: int = 108
    group24: int = 54
    a_depth: int = 256
    b_depth: int = 256
    sums: int = 64
    load: int = 4
    results: int = 4
    guard: str = "none"

    def __post_init__(self) -> None:
        _ = self.pe
        check_limits(self, pes=(2, 64), a_depth=(2, 8192), b_depth=(2, 8192), sums=(4, 8192))
        for name in ("pes", "a_depth", "b_depth", "sums", "load", "results"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise UsageError(f"{name} must be a power of two, got {value}")
        for name in ("load", "results"):
            if getattr(self, name) > self.pes:
                raise UsageError(
                    f"{name} must not exceed pes={self.pes}, got {getattr(self, name)}"
                )
        if self.stored.guard.limits:
            raise UsageError(f"guard must be one without bounds, got {self.guard!r}")

    @cached_property
    def pe(self) -> bfp_pe.Params:
        """Parameters of an element."""
        names = ("nibbles", "group12", "group16", "group24")
        return bfp_pe.Params(**{name: getattr(self, name) for name in names})

    @property
    def steps(self) -> int:
        """Beats that the results of all elements take."""
        return self.pes // self.results

    @property
    def bank_bits(self) -> int:
        """Bits of a word's address that name its bank."""
        return (self.pes - 1).bit_length()

    @property
    def row_bits(self) -> tuple[int, int]:
        """Bits of a row of A and of B."""
        return (self.a_depth - 1).bit_length(), (self.b_depth - 1).bit_length()

    @property
    def address_bits(self) -> int:
        """Bits of the address of a word of B."""
        return self.row_bits[1] + self.bank_bits

    @property
    def count_bits(self) -> int:
        """Bits of the counts of RUN, less one: none need be larger than a memory."""
        return max(self.row_bits[0], self.address_bits)

    @property
    def group_bits(self) -> int:
        """Bits of the beats of a group, less one."""
        return max(1, (max(self.pe.beats(mode) for mode in range(3)) - 1).bit_length())

    @cached_property
    def word(self) -> Payload:
        """A word of A or B: what a beat of the element takes of that side."""
        count = fused_mul.SLOTS * self.pe.cells
        return Payload(
            (
                Field(name="slots", width=5, count=count, encoding="sign_magnitude"),
                Field(name="scales", width=8, count=2),
            )
        )

    @cached_property
    def stored(self) -> Stored:
        """A word as its bank holds it: slots of four bits and a sign, and two exponent fields."""
        parts: list[Part] = []
        slots, scales = self.word.fields
        for low in range(0, slots.width * (slots.count or 1), slots.width):
            parts += [Part("element", low, slots.width - 1), Part("top", low + slots.width - 1, 1)]
        for number in range(scales.count or 1):
            low = slots.width * (slots.count or 1) + number * scales.width
            parts.append(Part("scale", low, scales.width))
        return Stored(guard=Guard(kind=self.guard, parts=tuple(parts)))

    @property
    def guarded(self) -> Stored | None:
        """The same where there is a guard."""
        return None if self.guard == "none" else self.stored

    @cached_property
    def header(self) -> Payload:
        """The first beat of a packet, from bit 0 of `word`."""
        return Payload(
            (
                Field(name="opcode", width=4),
                Field(name="side", width=1),
                Field(name="after", width=1),
                Field(name="mode", width=2),
                Field(name="shared", width=1),
                Field(name="add", width=1),
                Field(name="hold", width=1),
                Field(name="unused", width=1),
                Field(name="keep", width=4),
                Field(name="above", width=8),
                Field(name="address", width=20),
                Field(name="words", width=20),
            )
        )

    @cached_property
    def run(self) -> Payload:
        """The data of RUN, over `run_beats` beats; counts are less one."""
        counts = ("beats", "t2", "t1", "n2", "n1")
        moves = ("move_t2", "move_t1", "move_n2", "move_n1")
        return Payload(
            (
                Field(name="a", width=self.row_bits[0]),
                Field(name="b", width=self.address_bits),
                Field(name="group", width=self.group_bits),
                *(Field(name=name, width=self.count_bits) for name in counts),
                *(Field(name=name, width=self.address_bits + 1) for name in moves),
            )
        )

    @property
    def run_beats(self) -> int:
        """Data beats of RUN."""
        return -(-self.run.width // self.input["word"].bits)

    @cached_property
    def input(self) -> Payload:
        """One beat of a packet; what `word` holds depends on the command."""
        count = max(self.load * self.word.width, self.header.width) // 8
        return Payload((Field(name="word", width=8, count=count), Field(name="last", width=1)))

    @cached_property
    def output(self) -> Payload:
        """One beat of a response; `status` is 0 but with `last`."""
        return Payload(
            (
                Field(name="data", width=32, count=self.results, format="fp32"),
                Field(name="status", width=4),
                Field(name="last", width=1),
            )
        )


def model(params: Params, batch: Batch, upsets: Iterable[Upset] = ()) -> Batch:
    """Programs to the beats that answer them, `answered` of them each.

    A program is a row of beats: fields of `params.input` with an axis of programs before that of
    beats, `last` being named `final`. Each begins as after a reset.

    Parameters
    ----------
    upsets : bits that flip in the banks; none of words that are not loaded
    """
    parts, answered = [], []
    flips = tuple(upsets)
    for each in flips:
        if not 0 <= each.program < len(batch["final"]):
            raise UsageError(f"no program {each.program} in which a bit could flip")
    for number in range(len(batch["final"])):
        beats = {name: values[number] for name, values in batch.items()}
        beats["last"] = beats.pop("final")
        machine = Machine(params, tuple(each for each in flips if each.program == number))
        made = machine.run(params.input.check(beats), f"program {number}")
        parts.append(made)
        answered.append(len(made["last"]))
    return join([params.output.beats(0), *parts]) | {"answered": np.array(answered, np.int64)}


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Programs of all commands, with errors at smoke and full; real: layers of captured tensors."""
    return packets.batch(flexblock_programs.make(params, level, seed))
