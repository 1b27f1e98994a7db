"""What one verification run found."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Result"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The verdict of one run, and what it rests on.

    Parameters
    ----------
    name : the design, `unit/point`
    passed : True only where every pattern ran, every beat was compared and every check held
    level, seed : which vectors
    simulator : name and version
    transactions : transactions in the vectors
    beats_in, beats_out : beats accepted and beats compared, over all patterns
    cycles : simulated clock cycles outside reset, over all patterns
    patterns : names of the patterns that ran to their end
    latency, interval : as measured; None where the run did not get so far, or cannot tell
    bins : coverage bin -> transactions that hit it
    missing : bins that no transaction hit
    mismatch : the first wrong beat, decoded, over several lines; None where there is none
    failure : why the run failed, one line a reason; "" where it passed
    seconds : wall time, building included
    """

    name: str
    passed: bool
    level: str
    seed: int
    simulator: str
    transactions: int
    beats_in: int
    beats_out: int
    cycles: int
    patterns: tuple[str, ...]
    latency: int | None
    interval: float | None
    bins: dict[str, int]
    missing: tuple[str, ...]
    mismatch: str | None
    failure: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The same as plain lists and dicts."""
        return asdict(self) | {"patterns": list(self.patterns), "missing": list(self.missing)}
