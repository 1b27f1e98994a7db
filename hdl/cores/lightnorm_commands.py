"""What the parts of `lightnorm` tell each other of commands, as its golden model numbers them."""

from enum import IntEnum

__all__ = ["Kind", "Opcode", "State", "Table"]


class Opcode(IntEnum):
    """Commands; of a pass the low bits are the array's mode, and no other has bit 1."""

    NOP = 0
    LAYER = 1
    STATISTICS = 2
    NORMALIZE = 3
    CONSTANTS = 4
    WRITE = 5
    GRADIENTS = 6
    PROPAGATE = 7
    READ = 8


class Table(IntEnum):
    WEIGHTS = 0
    SUMS = 1
    AVERAGES = 2
    PLACES = 3
    RESULTS = 4


class Kind(IntEnum):
    FORWARD = 0
    BACKWARD = 1
    INFERENCE = 2


class State(IntEnum):
    """What the memories hold of a block."""

    EMPTY = 0
    SUMMED = 1
    READY = 2
    GATHERED = 3
    SOLVED = 4
    INFERRING = 5
