"""What host, model and stimuli of `lightnorm` share: commands, tables, states of a block."""

from enum import IntEnum

__all__ = ["PASSES", "READABLE", "WRITABLE", "Kind", "Opcode", "State", "Table"]


class Opcode(IntEnum):
    """Commands; of a pass the low bits are the array's mode."""

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
    """Memories that the host sees."""

    WEIGHTS = 0
    SUMS = 1
    AVERAGES = 2
    PLACES = 3
    RESULTS = 4


class Kind(IntEnum):
    """What CONSTANTS makes constants of."""

    FORWARD = 0
    BACKWARD = 1
    INFERENCE = 2


class State(IntEnum):
    """What the memories hold of a block.

    EMPTY nothing; SUMMED statistics; READY constants for NORMALIZE and GRADIENTS, and statistics;
    GATHERED constants for NORMALIZE, and sums over g; SOLVED constants for PROPAGATE, and results;
    INFERRING constants of averages.
    """

    EMPTY = 0
    SUMMED = 1
    READY = 2
    GATHERED = 3
    SOLVED = 4
    INFERRING = 5


PASSES = {
    Opcode.STATISTICS: frozenset(State),
    Opcode.NORMALIZE: frozenset({State.READY, State.GATHERED, State.INFERRING}),
    Opcode.GRADIENTS: frozenset({State.READY, State.GATHERED}),
    Opcode.PROPAGATE: frozenset({State.SOLVED}),
}
"""States in which each pass may begin."""

WRITABLE = (Table.WEIGHTS, Table.SUMS, Table.AVERAGES, Table.PLACES)
READABLE = (Table.SUMS, Table.AVERAGES, Table.PLACES, Table.RESULTS)
