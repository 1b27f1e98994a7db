"""The registers of a system, one list for hardware, driver and documentation.

Words of 32 bits at byte addresses. `ro` is read only, `rw` keeps what is written, `w1` acts on the
bits that are written as 1 and reads as 0 or as its state.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "ADDRESS_BITS",
    "CLEAR",
    "COUNTERS",
    "ENABLE",
    "FRESH",
    "GUARD",
    "IDENTITY",
    "PARAMETERS",
    "REGISTERS",
    "RESET",
    "STATUS_BUSY",
    "STATUS_ERROR",
    "STATUS_RESET",
    "VERSION",
    "Register",
    "address",
]

IDENTITY = 0x4E47_4F50
"""What ID reads: "NGOP"."""

VERSION = 0x0001_0000
"""What VERSION reads: major in the upper half, minor in the lower."""

ADDRESS_BITS = 12
"""Bits of an address: a page of 4 KiB."""

PARAMETERS = 0x80
"""Address of the first parameter of the core, one word each, in the order of the metadata."""

ENABLE, RESET, FRESH, CLEAR = 1, 2, 4, 8
"""Bits of CONTROL."""

STATUS_BUSY, STATUS_ERROR, STATUS_RESET = 1, 2, 4
"""Bits of STATUS; bits 7:4 are the first error's kind."""


@dataclass(frozen=True, kw_only=True)
class Register:
    """One word."""

    name: str
    address: int
    access: Literal["ro", "rw", "w1"]
    meaning: str


def _counters() -> tuple[Register, ...]:
    meanings = {
        "CYCLES": "cycles",
        "BUSY": "cycles in which STATUS shows busy",
        "STALL_IN": "cycles in which s_axis_tvalid waits for s_axis_tready",
        "STALL_OUT": "cycles in which m_axis_tvalid waits for m_axis_tready",
        "BEATS_IN": "beats taken",
        "BEATS_OUT": "beats given",
        "PACKETS_IN": "beats taken with TLAST",
        "PACKETS_OUT": "beats given with TLAST",
        "ILLEGAL": "responses with status 1",
        "ORDER": "responses with status 2",
        "CUT": "responses with status 3",
        "OVERRUN": "responses with status 4",
    }
    return tuple(
        Register(name=name, address=0x10 + 4 * i, access="ro", meaning=f"counts {meaning}")
        for i, (name, meaning) in enumerate(meanings.items())
    )


COUNTERS = _counters()
"""The counters, of 32 bits, which wrap."""

GUARD = (
    Register(
        name="CORRECTED",
        address=0x40,
        access="ro",
        meaning="counts words that left the core's guarded memory with a bit taken back",
    ),
    Register(
        name="DETECTED",
        address=0x44,
        access="ro",
        meaning="counts words that left the core's guarded memory detected as wrong",
    ),
)
"""Counters of cores that have a guard, and of no others; of 32 bits, which wrap."""

REGISTERS: tuple[Register, ...] = (
    Register(name="ID", address=0x00, access="ro", meaning=f"0x{IDENTITY:08x}, which is NGOP"),
    Register(name="VERSION", address=0x04, access="ro", meaning="major [31:16], minor [15:0]"),
    Register(
        name="CONTROL",
        address=0x08,
        access="rw",
        meaning="[0] enable (1 after reset); write 1 to [1] for a soft reset, with [2] so that the "
        "next beat is a header, to [3] to clear the counters",
    ),
    Register(
        name="STATUS",
        address=0x0C,
        access="w1",
        meaning="[0] busy, [1] an error was answered, [2] soft reset under way, [7:4] status of "
        "the first error; write 1 to [1] to clear [1] and [7:4]",
    ),
    *COUNTERS,
)


def address(name: str) -> int:
    """Where a register of `REGISTERS` or `GUARD` lies."""
    return next(each.address for each in (*REGISTERS, *GUARD) if each.name == name)
