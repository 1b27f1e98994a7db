"""Tables of synthesis records, in Markdown or aligned for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from narrowgauge.golden.errors import UsageError
from narrowgauge.synth.record import Record

__all__ = ["table"]


def table(
    records: Sequence[Record],
    *,
    baseline: str | None = None,
    columns: Mapping[str, Callable[[Record], str]] | None = None,
    style: Literal["markdown", "text"] = "markdown",
) -> str:
    """One row a record: point, GE, GE/MAC, FFs, depth, delay, memory bits, ratio.

    Parameters
    ----------
    records : the rows, in order
    baseline : name of the record that the last column, `x`, is a ratio to: of GE a MAC where both
        have it, else of GE; None leaves that column out
    columns : more columns, heading -> text of a record
    style : "markdown", or "text" with aligned columns

    The memory column appears only where a record has memories, GE/MAC only where one has MACs. A
    delay is marked `a` where it is of the area run.

    Raises
    ------
    UsageError : no record has the baseline's name, or the records come from different flows
    """
    for record in records:
        if record.flow_digest != records[0].flow_digest:
            raise UsageError(
                f"{record.name} and {records[0].name} come from different flows or libraries"
            )
    base = None
    if baseline is not None:
        base = next((record for record in records if record.name == baseline), None)
        if base is None:
            raise UsageError(f"no record {baseline!r} to compare with")
    shown: dict[str, Callable[[Record], str]] = {"point": lambda r: r.name}
    shown["GE"] = lambda r: f"{r.ge:.0f}"
    if any(record.macs is not None for record in records):
        shown["GE/MAC"] = lambda r: "" if r.ge_per_mac is None else f"{r.ge_per_mac:.1f}"
    shown["FFs"] = lambda r: str(r.flip_flops)
    shown["depth"] = lambda r: str(r.depth)
    shown["delay ps"] = lambda r: f"{r.delay_ps:.0f}{' a' if r.delay_goal == 'area' else ''}"
    if any(record.memories for record in records):
        shown["memory bits"] = lambda r: str(r.memory_bits)
    shown.update(columns or {})
    if base is not None:
        shown["x"] = lambda r: f"{_ratio(r, base):.2f}"
    head = list(shown)
    rows = [[text(record) for text in shown.values()] for record in records]
    return _markdown(head, rows) if style == "markdown" else _text(head, rows)


def _ratio(record: Record, base: Record) -> float:
    if record.ge_per_mac is not None and base.ge_per_mac is not None:
        return record.ge_per_mac / base.ge_per_mac if base.ge else float("nan")
    return record.ge / base.ge if base.ge else float("nan")


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [head, rule, *rows])


def _text(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for cells in [head, *rows]:
        first = cells[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines) + "\n"
