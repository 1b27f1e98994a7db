"""What is asked of `narrowgauge.attack`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from narrowgauge.arguments import once
from narrowgauge.golden.attack import FIELDS, METHODS, GuardPlan, IntSteps, Plan, get_weights
from narrowgauge.golden.errors import UsageError
from narrowgauge.train import NETS as TRAINED

__all__ = ["ALL", "NETS", "PACKAGED", "PHOTOGRAPHS", "Request", "fields_of"]

ALL = "all"
"""Every field of a format."""
PACKAGED = "mobilenet_v2"
"""The net that comes trained, in a package."""
PHOTOGRAPHS = "photographs"
"""Its images, in another."""
NETS = (*TRAINED, PACKAGED)
"""The victims."""


def fields_of(name: str) -> tuple[str, ...]:
    """The fields that a format of weights has."""
    fmt = get_weights(name)
    if isinstance(fmt, IntSteps):
        return FIELDS[:2]
    return FIELDS[:5] if fmt.n else FIELDS[:3]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of `evaluate`.

    Parameters
    ----------
    formats : names that `golden.attack.get_weights` takes
    methods : of `golden.attack.METHODS`
    fields : where flips may lie: `all`, a field of `golden.attack.FIELDS`, or some joined by `+`;
        formats that have none of them are left out
    guards : names of `golden.attack.GuardPlan`, which the attacker knows; none is the search by
        bits. Formats in which one has nothing to guard are left out
    net : the victim, of `NETS`
    data : `digits`, `fashion`, or a folder of MNIST's files; `photographs` of `mobilenet_v2`
    epochs, rate, train_batch, train_seed : of the victim's training
    seeds : how many attacks of each kind, from 1
    tests : test images, from the first
    budget, trials, batch, bound, validation, bar, judge, tried, word_bits, reading : as of
        `golden.attack.Plan`
    """

    formats: Sequence[str] = ("int8",)
    methods: Sequence[str] = ("zebra",)
    fields: Sequence[str] = (ALL,)
    guards: Sequence[str] = ()
    net: str = "mobilenet"
    data: str = "digits"
    epochs: int = 2
    rate: float = 0.3
    train_batch: int = 64
    train_seed: int = 1
    seeds: int = 1
    tests: int = 1000
    budget: int = 40
    trials: int = Plan.trials
    batch: int = Plan.batch
    bound: float = Plan.bound
    validation: int = Plan.validation
    bar: float = Plan.bar
    judge: str = Plan.judge
    tried: int = Plan.tried
    word_bits: int = Plan.word_bits
    reading: str = Plan.reading

    def __post_init__(self) -> None:
        for what in ("formats", "methods", "fields"):
            if not getattr(self, what):
                raise UsageError(f"no {what[:-1]} was given")
            once(what[:-1], getattr(self, what))
        if self.net not in NETS:
            raise UsageError(f"no net {self.net!r}; nets: {', '.join(NETS)}")
        if (self.net == PACKAGED) != (self.data == PHOTOGRAPHS):
            raise UsageError(f"net {PACKAGED} takes data {PHOTOGRAPHS}, and no other net does")
        for name in ("epochs", "train_batch", "seeds", "tests"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.rate < float("inf"):
            raise UsageError(f"rate must be above 0, got {self.rate}")
        for word in self.fields:
            if word != ALL:
                Plan(fmt=self.formats[0], method=METHODS[0], fields=tuple(word.split("+")))
        if self.guards and tuple(self.fields) != (ALL,):
            raise UsageError(f"with a guard fields must be {ALL}, got {', '.join(self.fields)}")
        if not self.plans():
            what = f"a field of {', '.join(self.fields)}"
            if self.guards:
                what = f"anything to guard for {', '.join(self.guards)}"
            raise UsageError(f"none of {', '.join(self.formats)} has {what}")

    def plans(self) -> list[tuple[str, Plan]]:
        """What is run, seed by seed, each with the word for its fields.

        Of words that mean the same fields of a format the first counts.
        """
        kept = {field.name for field in dataclasses.fields(Plan)} & set(self.__dict__) - {"fields"}
        shared = {name: getattr(self, name) for name in kept}
        made = []
        for seed in range(1, self.seeds + 1):
            for fmt in self.formats:
                known = fields_of(fmt)
                done: list[tuple[str, ...]] = [()]
                for word in self.fields:
                    fields = tuple(f for f in known if word == ALL or f in word.split("+"))
                    if fields in done:
                        continue
                    done.append(fields)
                    made += [
                        (word, Plan(fmt=fmt, method=m, fields=fields, seed=seed, guard=g, **shared))
                        for m in self.methods
                        for g in self._guards(fmt)
                    ]
        return made

    def _guards(self, fmt: str) -> list[str | None]:
        """Guards that have something to guard in a format; of those that are the same the first."""
        if not self.guards:
            return [None]
        weights, done = get_weights(fmt), []
        made: list[str | None] = []
        for name in self.guards:
            plan = GuardPlan.of(name)
            if not plan.fits(weights):
                continue
            guard = plan.guard(weights)
            recovery = plan.recovery if guard.check_bits else ""
            same = (guard.word_bits, guard.covered, guard.rule.code, guard.rule.clamp, recovery)
            if same not in done:
                done.append(same)
                made.append(name)
        return made

    def training(self) -> dict[str, Any]:
        """The arguments of the `Plan` of the victim's training."""
        return {
            "net": self.net, "norm": "bn", "seed": self.train_seed, "epochs": self.epochs,
            "batch": self.train_batch, "rate": self.rate,
        }  # fmt: skip
