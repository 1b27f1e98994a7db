"""What a claim about a design is, what settles it, and what comes of that.

A claim knows how it is settled: `Claim.settle` takes the written design and gives a `Proof`. An
engine is a sub-class. A claim that takes long may be cut into `parts` that are settled apart, in
any order and in any process; `merge` makes one proof of theirs.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from narrowgauge.golden.errors import MismatchError
from narrowgauge.hdl.emit import Emitted

__all__ = ["Claim", "Context", "Counterexample", "Proof", "Status", "Stopwatch", "merge"]

Status = Literal["proved", "refuted", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Counterexample:
    """What refutes a claim.

    Parameters
    ----------
    text : lines that show it decoded, field by field
    batch : the transactions that show it (field -> integers, first axis the transaction), which
        `narrowgauge verify --input` replays; empty where no batch alone shows it
    file : where the batch was written as .npz; empty where it was not
    """

    text: str
    batch: dict[str, list[Any]] = field(default_factory=dict)
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How a claim was settled.

    Parameters
    ----------
    claim, method, size : the claim's own words
    status : "unknown" is no success: no engine came to an end in its time
    seconds : of work, all parts together
    reason : why it is unknown, or what the engine has to say; may be empty
    """

    claim: str
    method: str
    size: str
    status: Status
    seconds: float
    counterexample: Counterexample | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; `counterexample` is None or a dict."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a claim is settled with.

    Parameters
    ----------
    name : `unit/point` and its overrides, as the command line takes them
    design : the design as RTLIL, with AXI4-Stream ports (`hdl.emit`), latency and interval
    params : the golden model's parameters, with the payloads `input` and `output`
    golden : the golden model's module
    folder : a folder to work in; what is left there may be found again by a later call
    limit : seconds that one part of a claim may take
    part : which part of the claim is asked for, 0..`Claim.parts` - 1
    """

    name: str
    design: Emitted
    params: Any
    golden: ModuleType
    folder: Path
    limit: float = 600.0
    part: int = 0


@dataclass(frozen=True, kw_only=True)
class Claim(ABC):
    """A statement about a design, and the engine that settles it.

    Parameters
    ----------
    claim : the statement, in a few words: "RTL = IEEE 754 sum, rounded once"
    method : the engine and the specification: "exhaustive, gates against exact fractions"
    size : exactly what is covered: "all 2^16 inputs"
    long : takes more than about a minute, so that it is settled at level `full` alone
    parts : how many pieces it is settled in
    """

    claim: str
    method: str
    size: str
    long: bool = False
    parts: int = 1

    @abstractmethod
    def settle(self, context: Context) -> Proof:
        """Settle the part `context.part`; engines define it.

        A design that the engine cannot take is a `NarrowgaugeError`; time that runs out gives the
        status "unknown".
        """

    def proof(
        self,
        status: Status,
        seconds: float,
        *,
        counterexample: Counterexample | None = None,
        reason: str = "",
    ) -> Proof:
        """A proof in the claim's words; a refutation must have its counterexample."""
        if (status == "refuted") != (counterexample is not None):
            raise MismatchError(f"{self.claim}: {status} does not go with its counterexample")
        return Proof(
            claim=self.claim,
            method=self.method,
            size=self.size,
            status=status,
            seconds=seconds,
            counterexample=counterexample,
            reason=reason,
        )


def merge(claim: Claim, parts: Sequence[Proof]) -> Proof:
    """The proof of a claim from those of all its parts."""
    if len(parts) != claim.parts:
        raise MismatchError(f"{claim.claim}: {len(parts)} of {claim.parts} parts were settled")
    seconds = sum(part.seconds for part in parts)
    for status in ("refuted", "unknown"):
        for part in parts:
            if part.status == status:
                return claim.proof(
                    part.status, seconds, counterexample=part.counterexample, reason=part.reason
                )
    return claim.proof("proved", seconds, reason=parts[0].reason)


class Stopwatch:
    """Wall seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._start
