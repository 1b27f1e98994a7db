"""Lines on a terminal: progress, tables, colour where it is wanted."""

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from narrowgauge.workers import Task

__all__ = ["Console", "markdown", "table"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under a head; numbers to the right."""
    columns = [list(column) for column in zip(head, *rows, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    right = [
        bool(rows) and all(not c or c[0].isdigit() or c[0] in "-+." for c in column[1:])
        for column in columns
    ]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(cells, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join([line(head), line(["-" * w for w in widths]), *map(line, rows)])


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same in Markdown: the first column to the left, the others to the right."""
    lines = [head, [":--", *("--:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


class Console:
    """Progress on standard error: one line that moves on a terminal, plain lines otherwise."""

    def __init__(self, verbosity: int = 0, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._verbosity = verbosity
        self._terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def colour(self) -> bool:
        """Whether results may be coloured (https://no-color.org)."""
        return (
            not os.environ.get("NO_COLOR")
            and sys.stdout.isatty()
            and os.environ.get("TERM") != "dumb"
        )

    def verdict(self, passed: bool) -> str:
        """PASS or FAIL."""
        word, code = ("PASS", 32) if passed else ("FAIL", 31)
        return f"\x1b[{code}m{word}\x1b[0m" if self.colour else word

    def progress(self, task: Task, done: int, total: int, seconds: float) -> None:
        """One task has ended."""
        self.line(f"[{done}/{total}] {task.label} ({seconds:.1f} s)", last=done == total)

    def line(self, line: str, *, last: bool = True) -> None:
        """A line of progress; on a terminal it takes the place of one that was not the last."""
        if self._verbosity < 0:
            return
        if self._terminal and self._verbosity == 0:
            width = os.get_terminal_size(self._stream.fileno()).columns
            end = "\n" if last else ""
            self._stream.write(f"\r\x1b[K{line[: max(20, width - 1)]}{end}")
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()
