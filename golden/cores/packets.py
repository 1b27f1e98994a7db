"""Packets of the cores: headers, data beats, responses; what host, model and stimuli share.

A packet is a header beat and its data beats, `last` on the final one. A response is one or more
beats, `last` and `status` on the final one. docs/cores/opal_core.md has the table of commands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Field, Payload, join

__all__ = [
    "REAL_ROWS",
    "Header",
    "Opcode",
    "Out",
    "Status",
    "batch",
    "load",
    "nop",
    "program",
    "responses",
    "split",
    "through",
    "to_words",
]

Ints = npt.NDArray[np.int64]

HEADER_BITS = 56

REAL_ROWS = (96, 48)
"""Rows of weights that meet each real vector, first in the low width, then in the high one.

A decoder layer has about two products with a low vector for each with a high one, and hundreds of
rows or more for a vector.
"""


class Opcode(IntEnum):
    """Commands."""

    NOP = 0
    LOAD = 1
    MATVEC = 2
    ATTEND = 3
    PASS = 4


class Out(IntEnum):
    """What a command answers with: bf16, or blocks of codes of two widths."""

    BF16 = 0
    LOW = 1
    HIGH = 2
    PLAIN = 3


class Status(IntEnum):
    """How a command ended; on the last beat of its response."""

    OK = 0
    ILLEGAL = 1
    ORDER = 2
    CUT = 3
    OVERRUN = 4


_PLACES = (
    *(("opcode", 0, 4), ("high", 4, 1), ("plain", 5, 1), ("out", 6, 2), ("release", 8, 1)),
    *(("length", 16, 16), ("rows", 32, 16), ("reference", 48, 8)),
)
"""Name, lowest bit and width of the header's fields."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first beat of a packet; bits that no field names are 0 and not read.

    Parameters
    ----------
    opcode : of `Opcode`, or any other of 4 bits, which is an illegal command
    high, plain, out, release, length, rows, reference : see the table of commands
    """

    opcode: int
    high: int = 0
    plain: int = 0
    out: int = 0
    release: int = 0
    length: int = 0
    rows: int = 0
    reference: int = 0

    @property
    def code(self) -> int:
        """The header as an integer, bit 0 first in `word`."""
        total = 0
        for name, place, width in _PLACES:
            value = int(getattr(self, name))
            if not 0 <= value < 1 << width:
                raise UsageError(f"header: {name} must be 0..{(1 << width) - 1}, got {value}")
            total |= value << place
        return total

    @classmethod
    def decode(cls, code: int) -> "Header":
        """The reverse of `code`."""
        return cls(**{name: code >> place & (1 << width) - 1 for name, place, width in _PLACES})


def to_words(field: Field, width: int, values: npt.ArrayLike) -> Ints:
    """Codes of `width` bits, (beats, m), laid end to end in the elements of a field, from bit 0."""
    codes = np.asarray(values, np.int64)
    count = field.count or 1
    if codes.shape[1] * width > field.bits:
        raise UsageError(f"{codes.shape[1]} codes of {width} bits exceed field {field.name}")
    bits = np.zeros((len(codes), field.bits), np.int64)
    places = codes[..., None] >> np.arange(width, dtype=np.int64) & 1
    bits[:, : codes.shape[1] * width] = places.reshape(len(codes), -1)
    weights = np.int64(1) << np.arange(field.width, dtype=np.int64)
    made: Ints = (bits.reshape(len(codes), count, field.width) * weights).sum(axis=2)
    return made


def from_words(field: Field, width: int, count: int, words: Ints) -> Ints:
    """The first `count` codes of `width` bits of words, (beats, elements); see `to_words`."""
    bits = words[..., None] >> np.arange(field.width, dtype=np.int64) & 1
    flat = bits.reshape(len(words), -1)[:, : count * width].reshape(len(words), count, width)
    made: Ints = (flat << np.arange(width, dtype=np.int64)).sum(axis=2)
    return made


def packet(payload: Payload, header: Header, data: Batch | None = None) -> Batch:
    """A header with its data beats; `last` on the final beat alone."""
    word = to_words(payload["word"], HEADER_BITS, [[header.code]])
    parts = [payload.beats(1, word=word)] + ([] if data is None else [data])
    made = join(parts)
    made["last"][:] = 0
    made["last"][-1] = 1
    return made


def nop(payload: Payload) -> Batch:
    """A beat that does nothing and has no response."""
    return packet(payload, Header(opcode=Opcode.NOP))


def _vector(payload: Payload, q_lanes: int, x: npt.ArrayLike) -> tuple[int, Batch]:
    codes = np.asarray(x, np.int64)
    if codes.ndim != 1 or not len(codes):
        raise UsageError(f"a vector has one axis and an element at least, got {codes.shape}")
    rows = np.pad(codes, (0, -len(codes) % q_lanes)).reshape(-1, q_lanes)
    return len(codes), payload.beats(len(rows), word=to_words(payload["word"], 16, rows))


def load(
    payload: Payload, q_lanes: int, x: npt.ArrayLike, *, high: bool = False, plain: bool = False
) -> Batch:
    """LOAD of a vector of bf16 codes; `high` and `plain` choose its format in the operand memory.

    Cores without a quantiser do not read them.
    """
    length, data = _vector(payload, q_lanes, x)
    header = Header(opcode=Opcode.LOAD, high=int(high), plain=int(plain), length=length)
    return packet(payload, header, data)


def through(
    payload: Payload,
    q_lanes: int,
    x: npt.ArrayLike,
    *,
    high: bool = False,
    plain: bool = False,
    quantise: bool = True,
) -> Batch:
    """PASS of a vector of bf16 codes: back as blocks, or as it is."""
    length, data = _vector(payload, q_lanes, x)
    header = Header(
        opcode=Opcode.PASS, high=int(high), plain=int(plain), out=int(quantise), length=length
    )
    return packet(payload, header, data)


def program(payload: Payload, parts: Sequence[Batch], size: int) -> Batch:
    """Packets one after the other, filled up to `size` beats with NOPs."""
    made = join(parts)
    count = len(made["last"])
    if count > size:
        raise UsageError(f"a program of {count} beats exceeds {size}")
    return join([made] + [nop(payload)] * (size - count))


def batch(programs: Sequence[Batch]) -> Batch:
    """Programs of as many beats each as a core's batch: a row a program, `last` named `final`."""
    made = {name: np.stack([p[name] for p in programs]) for name in programs[0]}
    made["final"] = made.pop("last")
    return made


def split(batch: Batch) -> list[Batch]:
    """Beats as packets or responses, cut after each `last`; what follows the final one is left."""
    ends = np.flatnonzero(batch["last"]) + 1
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    return [
        {name: values[start:end] for name, values in batch.items()}
        for start, end in zip(starts, ends, strict=True)
    ]


def responses(batch: Batch) -> list[tuple[Batch, Status]]:
    """The responses of output beats, each with its status."""
    return [(part, Status(int(part["status"][-1]))) for part in split(batch)]
