"""What calls have in common: points by name, stimuli, words that may be given once each.

Every check is a `UsageError` of one line, before any work.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from narrowgauge import registry
from narrowgauge.golden.errors import UsageError

__all__ = [
    "LEVELS",
    "Level",
    "Names",
    "Overrides",
    "need_real",
    "once",
    "one_of",
    "seeded",
    "select",
    "stimuli",
]

Names = str | Sequence[str]
"""`unit` (all its points) or `unit/point`, one or several; none is every point."""
Overrides = Mapping[str, Any] | None
"""Parameter -> value, for every point named."""
Level = Literal["smoke", "full", "real"]

LEVELS: tuple[Level, ...] = ("smoke", "full", "real")


def select(names: Names, overrides: Overrides) -> list[registry.Point]:
    """The points that names select, with some of their parameters replaced."""
    listed = (names,) if isinstance(names, str) else tuple(names)
    return registry.points(*listed, **(overrides or {}))


def one_of(what: str, value: str, known: Sequence[str]) -> None:
    """Refuse a word that is not known."""
    if value not in known:
        raise UsageError(f"{what} must be one of {', '.join(known)}, got {value!r}")


def once(what: str, given: Iterable[str]) -> None:
    """Refuse a word that is given twice: it would be worked on, and counted, twice."""
    seen: set[str] = set()
    for word in given:
        if word in seen:
            raise UsageError(f"{what} {word!r} is given twice")
        seen.add(word)


def seeded(seed: int) -> None:
    """Refuse a seed that a generator does not take."""
    if not 0 <= seed < 1 << 32:
        raise UsageError(f"seed must be 0..{(1 << 32) - 1}, got {seed}")


def stimuli(points: Iterable[registry.Point], level: str, seed: int) -> None:
    """Refuse a level or a seed that is none, and `real` where a unit has no recorded tensors."""
    one_of("level", level, LEVELS)
    seeded(seed)
    for point in points if level == "real" else ():
        need_real(point, seed)


def need_real(point: registry.Point, seed: int) -> None:
    """Refuse a point that no captured tensors are there for, by its name."""
    try:
        point.entry.golden.vectors(point.params, "real", seed)
    except UsageError as error:
        raise UsageError(f"no captured tensors for {point.full_name}: {error}") from None
