"""Pages with tables between `<!-- NAME:begin -->` and `<!-- NAME:end -->`, made from figures."""

from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["Tables", "update", "write"]

Tables = Mapping[str, Callable[[], str]]
"""What stands between the marks of a name, by name."""


def write(text: str, tables: Tables) -> str:
    """The page with its tables made anew; a name without marks is an error."""
    for name, table in tables.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        head, marked, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not (marked and closed):
            raise ValueError(f"no place for the table {name}")
        text = f"{head}{begin}\n{table()}\n{end}{tail}"
    return text


def update(pages: Mapping[Path, Tables]) -> None:
    """Write the tables of each page."""
    for page, tables in pages.items():
        page.write_text(write(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
