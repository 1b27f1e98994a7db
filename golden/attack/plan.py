"""What an attack is: the weights' format, what is searched with, and when it ends.

| method | the batch that losses are taken of | flips |
| --- | --- | --- |
| `zebra` | distilled from the net itself; again and again from the clean net | searched |
| `bfa` | images of the training set | searched |
| `random` | none | drawn over all bits alike |

An attack has succeeded when the accuracy is at most `bar`, which is a little above chance. Who
judges is part of the plan: `test` counts flips until the test images are at the bar, for all
methods alike; `distilled` ends when the distilled validation images are, all that an attacker
without data can see. Both accuracies are recorded after every step.

Repetition (`zebra`): each further trial may take one flip less than the best so far, and gets a
batch of its own; it ends after `trials`, or at `enough` flips.
"""

from dataclasses import dataclass

from narrowgauge.golden.attack.layout import FIELDS, WeightFormat, get_weights
from narrowgauge.golden.attack.steps import IntSteps
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.guard import KINDS, RECOVERIES, Guard

__all__ = ["METHODS", "GuardPlan", "Plan"]

METHODS = ("zebra", "bfa", "random")
"""See the module."""


@dataclass(frozen=True, kw_only=True)
class GuardPlan:
    """A guard of every memory, by name `<kind>[:<blocks>][:<recovery>]`.

    Parameters
    ----------
    kind, recovery : as of `golden.guard.Guard`
    blocks : of a guarded word; None is one, of integers on a step 64 codes
    """

    kind: str
    blocks: int | None = None
    recovery: str = "zero"

    @classmethod
    def of(cls, name: str) -> "GuardPlan":
        """The guard of a name."""
        kind, *rest = name.split(":")
        blocks = int(rest.pop(0)) if rest and rest[0].isdecimal() else None
        recovery = rest.pop(0) if rest else "zero"
        if kind not in KINDS:
            raise UsageError(f"no guard {kind!r}; guards: {', '.join(KINDS)}")
        if blocks == 0:
            raise UsageError(f"blocks of a guarded word must be at least 1, got {name!r}")
        if rest or recovery not in RECOVERIES:
            raise UsageError(f"a guard is <kind>[:<blocks>][:{'|'.join(RECOVERIES)}], got {name!r}")
        return cls(kind=kind, blocks=blocks, recovery=recovery)

    def blocks_of(self, fmt: WeightFormat) -> int:
        """Blocks of a guarded word."""
        return self.blocks or (_CODES if isinstance(fmt, IntSteps) else 1)

    def guard(self, fmt: WeightFormat) -> Guard:
        """The guard of a format's words; a `UsageError` where there is nothing to guard."""
        made = Guard.of(self.kind, fmt.payload, blocks=self.blocks_of(fmt), recovery=self.recovery)
        if self.kind != "none" and not made.check_bits and isinstance(fmt, IntSteps):
            raise UsageError(f"{self.kind} has nothing to guard in {fmt.name}")
        return made

    def fits(self, fmt: WeightFormat) -> bool:
        """Whether there is something to guard, or the guard is none."""
        try:
            self.guard(fmt)
        except UsageError:
            return False
        return True


_CODES = 64
"""Integers of a guarded word."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One attack.

    Parameters
    ----------
    fmt : name of a format of weights (`golden.attack.get_weights`)
    method : of `METHODS`
    fields : where flips may lie
    seed : of images, labels, and bits drawn
    budget : most flips of a trial; of `random` 1000 times as many
    trials : of `zebra`
    enough : flips that need no further trial
    batch : images that flips are searched with
    bound : of the distillation of that batch
    validation : distilled images that judge
    validation_steps : most steps of their distillation
    bar : accuracy that counts as chance
    judge : `test` or `distilled`
    tried : bits of a layer that are tried at each step
    word_bits, reading : of the memories; with a guard, words are as it has them
    guard : name of a `GuardPlan` that the attacker knows and searches around; None is no guard,
        and the search by bits
    """

    fmt: str
    method: str
    fields: tuple[str, ...] = FIELDS[:-1]
    seed: int = 1
    budget: int = 100
    trials: int = 1
    enough: int = 1
    batch: int = 64
    bound: float = 2.0
    validation: int = 200
    validation_steps: int = 100
    bar: float = 0.11
    judge: str = "test"
    tried: int = 4
    word_bits: int = 64
    reading: str = "replace"
    guard: str | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"no method {self.method!r}; methods: {', '.join(METHODS)}")
        for name, words in (("judge", ("test", "distilled")), ("reading", ("replace", "add"))):
            if getattr(self, name) not in words:
                raise UsageError(
                    f"{name} must be {' or '.join(words)}, got {getattr(self, name)!r}"
                )
        for name in (
            *("budget", "trials", "enough", "batch", "validation", "validation_steps", "tried"),
            "word_bits",
        ):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.bar < 1:
            raise UsageError(f"bar must be above 0 and below 1, got {self.bar}")
        if not 0 < self.bound < float("inf"):
            raise UsageError(f"bound must be above 0, got {self.bound}")
        fmt = get_weights(self.fmt)
        if self.guard is not None:
            GuardPlan.of(self.guard).guard(fmt)
            if self.method == "random":
                raise UsageError("random flips take no guard")
        if not self.fields:
            raise UsageError("no field was given")
        for field in self.fields:
            if field not in FIELDS[:-1]:
                raise UsageError(f"no field {field!r}; fields: {', '.join(FIELDS[:-1])}")
