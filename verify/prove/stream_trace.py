"""Runs of a stream design, cycle by cycle, and how they are printed."""

from collections.abc import Sequence
from dataclasses import dataclass

from narrowgauge.golden.payload import Payload
from narrowgauge.verify.prove.claims import Counterexample
from narrowgauge.verify.prove.stream_shape import Shape

__all__ = ["Drive", "Row", "Trace", "show"]


@dataclass(frozen=True, kw_only=True)
class Drive:
    """What is driven in one cycle: `s_axis_tvalid`, `_tlast`, `_tdata` and `m_axis_tready`."""

    valid: int
    last: int
    data: int
    ready: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a design answers in one cycle: `s_axis_tready`, `m_axis_tvalid`, `_tlast`, `_tdata`."""

    ready: int
    valid: int
    last: int
    data: int


@dataclass(frozen=True, kw_only=True)
class Trace(Counterexample):
    """One run, or two that should agree, each from the first cycle after reset.

    Parameters
    ----------
    rule : the rule that it breaks: "hold", "stable", "apart", "count", "answer",
        "accept", "origin", "schedule"
    runs : what is driven, cycle by cycle
    start : what registers that reset leaves open hold at first, where that matters
    limit : cycles that may pass, for "answer" and "accept"
    watched : the transaction that "origin" is about
    garbage : registers that reset leaves open hold other bits in each run, rather than 0
    """

    rule: str
    runs: tuple[tuple[Drive, ...], ...]
    start: dict[str, int]
    limit: int = 0
    watched: int = 0
    garbage: bool = False


def show(
    shape: Shape,
    runs: Sequence[Sequence[Drive]],
    answers: Sequence[Sequence[Row]],
    taken: Payload,
    given: Payload,
) -> str:
    """Runs cycle by cycle, with transaction numbers and the fields of transferred beats."""
    lines = []
    for index, (run, rows) in enumerate(zip(runs, answers, strict=True)):
        if len(runs) > 1:
            lines.append(f"run {index + 1}")
        lines.append("cycle  in: valid ready last  out: valid ready last")
        number = beats = out = 0
        for cycle, (drive, row) in enumerate(zip(run, rows, strict=True)):
            into = f"{drive.valid:9} {row.ready:5} {drive.last:4}"
            outof = f"{row.valid:11} {drive.ready:5} {row.last:4}"
            said = []
            if drive.valid:
                verb = "takes" if row.ready else "waits"
                said.append(f"{verb} {number}: {_fields(taken, drive.data)}")
                if row.ready:
                    beats += 1
                    ends = drive.last if shape.by_last else beats % shape.block == 0
                    number += int(ends)
            if row.valid:
                verb = "gives" if drive.ready else "shows"
                said.append(f"{verb} {out // shape.answer}: {_fields(given, row.data)}")
                out += drive.ready
            lines.append(f"{cycle:5} {into} {outof}  {'; '.join(said)}".rstrip())
    return "\n".join(lines)


def _fields(payload: Payload, data: int) -> str:
    """Fields of TDATA in hexadecimal, lists from their first element."""
    parts = []
    for field in payload.data.fields:
        words = [
            data >> (i * field.width) & (1 << field.width) - 1 for i in range(field.count or 1)
        ]
        data >>= field.bits
        digits = -(-field.width // 4)
        hexes = [f"{word:0{digits}x}" for word in words[:8]] + ["..."] * (len(words) > 8)
        text = " ".join(hexes)
        parts.append(f"{field.name}={text if field.count is None else f'[{text}]'}")
    return " ".join(parts)
