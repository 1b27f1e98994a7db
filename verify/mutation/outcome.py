"""What became of mutants, one by one, and the score that follows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from narrowgauge.golden.errors import MismatchError

__all__ = ["Mutation", "Outcome"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One mutant.

    Parameters
    ----------
    mutation : what is wrong, and where
    fate : "value", "protocol", "stuck", "timing" or "crash" for what noticed it, "equivalent" where
        it was proved to change nothing, "survived" otherwise
    reason : the bench's first line, the proof's method, or why it is no equivalent
    """

    mutation: str
    fate: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """The score of one point.

    Parameters
    ----------
    name : `unit/point`, with its overrides
    level, seed : which vectors; the seed also picks the mutants
    outcomes : one a mutant
    """

    name: str
    level: str
    seed: int
    outcomes: tuple[Outcome, ...]

    def __post_init__(self) -> None:
        if not self.outcomes:
            raise MismatchError(f"{self.name}: no mutants were tried")

    @property
    def kills(self) -> dict[str, int]:
        """What noticed mutants -> how many."""
        counts = Counter(each.fate for each in self.outcomes)
        return {fate: counts[fate] for fate in sorted(counts) if fate not in _ALIVE}

    @property
    def killed(self) -> int:
        """Mutants that the bench noticed."""
        return sum(self.kills.values())

    @property
    def equivalents(self) -> tuple[Outcome, ...]:
        """Mutants proved to change nothing."""
        return tuple(each for each in self.outcomes if each.fate == "equivalent")

    @property
    def survivors(self) -> tuple[Outcome, ...]:
        """Mutants that neither the bench noticed nor a proof excused."""
        return tuple(each for each in self.outcomes if each.fate == "survived")

    @property
    def score(self) -> float:
        """Killed of those that are not proved equivalent; 0 where all of them are."""
        real = len(self.outcomes) - len(self.equivalents)
        return self.killed / real if real else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values: the score, how mutants were killed, and the others one by one."""
        return {
            "name": self.name,
            "level": self.level,
            "seed": self.seed,
            "mutants": len(self.outcomes),
            "killed": self.killed,
            "kills": self.kills,
            "equivalent": len(self.equivalents),
            "equivalents": _listed(self.equivalents),
            "survivors": _listed(self.survivors),
            "score": self.score,
        }


_ALIVE = ("equivalent", "survived")


def _listed(outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    return [{"mutation": each.mutation, "reason": each.reason} for each in outcomes]
