"""Coverage of the baseline cores: every command with every status, limits, cuts at every place."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores.baseline_answers import Work, parsed
from narrowgauge.golden.cores.packets import Opcode, Status
from narrowgauge.golden.payload import Batch

__all__ = ["coverage"]

Bools = npt.NDArray[np.bool_]

_STATUSES = {
    Opcode.LOAD: tuple(Status),
    Opcode.MATVEC: tuple(Status),
    Opcode.ATTEND: tuple(Status),
    Opcode.PASS: (Status.OK, Status.ILLEGAL, Status.CUT, Status.OVERRUN),
}
_NAMED = (Opcode.LOAD, Opcode.MATVEC, Opcode.ATTEND, Opcode.PASS)


def _bins(params: Any) -> dict[str, Callable[[Work], bool]]:
    """Bin name -> whether a command is of it."""

    def ended(opcode: Opcode, status: Status) -> Callable[[Work], bool]:
        return lambda w: w.command.header.opcode == opcode and w.command.status == status

    bins = {
        f"{opcode.name.lower()}_{status.name.lower()}": ended(opcode, status)
        for opcode, statuses in _STATUSES.items()
        for status in statuses
    }

    def is_(opcode: Opcode, work: Work) -> bool:
        return work.command.begun and work.command.header.opcode == opcode

    def keys(work: Work) -> bool:
        return is_(Opcode.ATTEND, work) and work.command.rows_whole == work.command.header.rows

    def cut(work: Work) -> bool:
        return work.command.begun and work.command.status == Status.CUT

    def odd(work: Work) -> int:
        """Elements in the final beat of a row, where it is not full."""
        vector = work.command.vector
        return 0 if vector is None else vector.length % params.lanes

    return bins | {
        "unknown_opcode": lambda w: w.command.header.opcode not in _NAMED,
        "only_a_header": lambda w: w.command.status == Status.CUT and not w.command.begun,
        "longest_vector": lambda w: (
            is_(Opcode.LOAD, w) and w.command.header.length == params.vector
        ),
        "row_of_one_beat": lambda w: (
            is_(Opcode.MATVEC, w)
            and w.command.rows_whole > 0
            and (w.command.vector is not None and w.command.vector.length <= params.lanes)
        ),
        "row_padded": lambda w: is_(Opcode.MATVEC, w) and odd(w) > 0,
        "row_full": lambda w: is_(Opcode.MATVEC, w) and odd(w) == 0,
        "matvec_kept": lambda w: is_(Opcode.MATVEC, w) and not w.command.header.release,
        "matvec_released": lambda w: is_(Opcode.MATVEC, w) and w.command.header.release == 1,
        "attend_kept": lambda w: is_(Opcode.ATTEND, w) and not w.command.header.release,
        "attend_released": lambda w: is_(Opcode.ATTEND, w) and w.command.header.release == 1,
        "single_position": lambda w: is_(Opcode.ATTEND, w) and w.command.header.rows == 1,
        "positions_in_several_beats": lambda w: keys(w) and w.command.header.rows > params.lanes,
        "cut_in_a_row": lambda w: is_(Opcode.MATVEC, w) and cut(w) and w.command.row_open,
        "cut_between_rows": lambda w: is_(Opcode.MATVEC, w) and cut(w) and not w.command.row_open,
        "cut_in_keys": lambda w: is_(Opcode.ATTEND, w) and cut(w) and not keys(w),
        "cut_in_values": lambda w: keys(w) and cut(w),
    }


def coverage(params: Any, batch: Batch, outputs: Batch) -> dict[str, Bools]:
    """Bin name -> one bool a program."""
    programs = parsed(params, batch)
    bins = _bins(params)
    hits = {
        name: np.array([any(test(work) for work in works) for works in programs])
        for name, test in bins.items()
    }
    # Which results there were, by the program that they answer.
    magnitude = outputs["data"] & 0x7FFF
    number = np.repeat(np.arange(len(programs)), outputs["answered"])
    for name, found in (("nan", magnitude > 0x7F80), ("inf", magnitude == 0x7F80)):
        hits[f"result_{name}"] = np.zeros(len(programs), np.bool_)
        hits[f"result_{name}"][number[found.any(axis=1)]] = True
    return hits
