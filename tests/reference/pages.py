"""Pages with tables between `<!-- NAME:begin -->` and `<!-- NAME:end -->`, made from figures."""

from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["Tables", "put", "update", "write"]

Tables = Mapping[str, Callable[[], str]]
"""What stands between the marks of a name, by name."""


def put(text: str, begin: str, end: str, made: str) -> str:
    """The page with other lines between two marks."""
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n{made}\n{end}{rest.partition(end)[2]}"


def write(text: str, tables: Tables) -> str:
    """The page with its tables made anew; a name without marks is an error."""
    for name, table in tables.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if end not in text.partition(begin)[2]:
            raise ValueError(f"no place for the table {name}")
        text = put(text, begin, end, table())
    return text


def update(pages: Mapping[Path, Tables]) -> None:
    """Write the tables of each page."""
    for page, tables in pages.items():
        page.write_text(write(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
