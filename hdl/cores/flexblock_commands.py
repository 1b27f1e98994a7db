"""What the parts of `flexblock_core` tell each other of commands, as its golden model has them."""

from enum import IntEnum

from amaranth.lib import data

__all__ = ["COLUMN", "ORDER", "RUN", "Opcode", "Status"]


class Opcode(IntEnum):
    NOP = 0
    LOAD = 1
    RUN = 2


class Status(IntEnum):
    """How a command ended."""

    OK = 0
    ILLEGAL = 1
    BEYOND = 2
    CUT = 3
    OVERRUN = 4


ORDER = data.StructLayout({"run": 1, "status": 3})
"""An answer: of a RUN's results, or a status alone."""

RUN = data.StructLayout({"four": 1, "keep": 4, "add": 1, "hold": 1})
"""What becomes of a RUN's results; `four`: it is of FB12."""

COLUMN = data.StructLayout({"final": 1, "beyond": 1})
"""A column whose results will come: the RUN's final one, an address was beyond its memory."""
