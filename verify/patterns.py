"""The ways in which a bench stalls the streams of a design.

Every pattern runs in the same build and the same simulator process. A pattern stalls the source
(idle cycles), the sink (backpressure) or both, and sees the first `PREFIX` beats or so of the
vectors; the last one, `throughput`, sees them all at full speed.
"""

from dataclasses import asdict, dataclass
from typing import Any

from narrowgauge.verify.harness import SINKS, SOURCES

__all__ = ["ISOLATED", "PATTERNS", "PREFIX", "Pattern", "plan"]

PREFIX = {"smoke": 400, "full": 4000, "real": 1000}
"""Level -> input beats that the stalling patterns see, at least one transaction."""

ISOLATED = 12
"""Transactions that are sent one by one to measure latency."""


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A named pair of stalls; with `reset` the first half is cut off by a reset, then rerun."""

    name: str
    source: str
    sink: str
    reset: bool = False


PATTERNS = (
    Pattern(name="isolated", source="isolated", sink="always"),
    Pattern(name="idle", source="random", sink="always"),
    Pattern(name="backpressure", source="always", sink="random"),
    Pattern(name="both", source="random", sink="random"),
    Pattern(name="bursty", source="bursty", sink="bursty"),
    Pattern(name="stalls", source="stalls", sink="stalls"),
    # The source fills what it can while nothing leaves.
    Pattern(name="blocked", source="always", sink="stalls"),
    Pattern(name="patient", source="always", sink="patient"),
    Pattern(name="reset", source="random", sink="random", reset=True),
    Pattern(name="throughput", source="always", sink="always"),
)


def plan(ends_in: list[int], ends_out: list[int], level: str, seed: int) -> list[dict[str, Any]]:
    """The runs of one simulation, as the bench reads them.

    `ends_in` and `ends_out` are the running counts of beats at the end of each transaction. A
    pattern with `reset` becomes two runs: one that is cut off, and one that must be as from fresh.
    """
    count = len(ends_in)
    prefix = max(1, sum(1 for end in ends_in if end <= PREFIX[level]))
    runs = []
    for index, pattern in enumerate(PATTERNS):
        transactions = prefix
        if pattern.name == "isolated":
            transactions = min(ISOLATED, count)
        elif pattern.name == "throughput":
            transactions = count
        run = asdict(pattern) | {
            "source": SOURCES[pattern.source],
            "sink": SINKS[pattern.sink],
            # Neither the seed nor its complement may be 0, where the generators would stay.
            "seed": (seed * 1009 + index * 7919 + 1) % 0x7FFFFFFF + 1,
            "transactions": transactions,
            "beats_in": ends_in[transactions - 1],
            "beats_out": ends_out[transactions - 1],
            "abort_after": 0,
        }
        if pattern.reset:
            # An odd place, so that a transaction of several beats is cut in the middle.
            cut = max(1, (2 * ends_in[transactions - 1] // 3) | 1)
            runs.append(run | {"abort_after": min(cut, ends_in[transactions - 1])})
        runs.append(run)
    return runs
