"""Which precision each pass of each layer has while a net is trained: fixed, or by what is lost.

| setting | forward | dX | dW |
| --- | --- | --- | --- |
| `fb24`, `fb16`, `fb12` | so | so | so |
| `mixed` | FB12 | FB24 | FB12 |
| `mixed_dw` | FB12 | FB12 | FB24 |
| `dynamic` | | | one step up or down an interval, by `golden.precision` |

A pass of a layer is an entry of the controller; both operands have its mode and are reported to it.
The share of elements that alignment set to zero is that of all elements of an interval. Where
windows are gathered, elements are those of the windows, with the zeros beyond the picture.

Source: Noh et al., "FlexBlock: A Flexible DNN Training Accelerator with Multi-Mode Block Floating
Point Support", IEEE Trans. Computers 2023, for the settings and the controller.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from narrowgauge.golden.errors import UsageError, check_limits
from narrowgauge.golden.formats import BFP, Rounding
from narrowgauge.golden.precision import MODES, DynamicPrecision
from narrowgauge.golden.training.groups import RANDOM_BITS, Grouped, group
from narrowgauge.golden.training.products import PASSES

__all__ = ["SETTINGS", "Arithmetic", "Entry", "Precision"]

SETTINGS: dict[str, tuple[int, int, int] | None] = {
    "fb24": (2, 2, 2),
    "fb16": (1, 1, 1),
    "fb12": (0, 0, 0),
    "mixed": (0, 2, 0),
    "mixed_dw": (0, 0, 2),
    "dynamic": None,
}
"""Modes of forward, dX and dW; None is the controller's."""

_BITS = (4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How tensors are converted and products summed.

    Parameters
    ----------
    groups : elements of a group in FB12, FB16 and FB24
    rounding : `rtz` as the authors', `rne`, or `stochastic`
    seed : of the words of stochastic rounding
    ordered : whether sums have the bits of `bfp_pe`, or torch's FP32
    """

    groups: tuple[int, int, int] = (216, 108, 54)
    rounding: Rounding = Rounding.RTZ
    seed: int = 0
    ordered: bool = False
    generator: torch.Generator = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        known = (Rounding.RTZ, Rounding.RNE, Rounding.STOCHASTIC)
        if self.rounding not in known:
            raise UsageError(
                f"rounding must be one of {', '.join(known)}, got {str(self.rounding)!r}"
            )
        if len(self.groups) != len(_BITS):
            raise UsageError(f"groups must be three sizes, got {self.groups}")
        for mode in range(len(_BITS)):
            _ = self.format(mode)
        object.__setattr__(self, "generator", torch.Generator().manual_seed(self.seed))

    def format(self, mode: int) -> BFP:
        """The format of a mode, 0..2."""
        return BFP(
            exponent_bits=8,
            mantissa_bits=_BITS[mode],
            k=self.groups[mode],
            rounding=Rounding(self.rounding),
        )

    def convert(self, mode: int, values: torch.Tensor, axis: int, count: bool) -> Grouped:
        """A tensor in groups of a mode along an axis."""
        words = None
        if self.rounding is Rounding.STOCHASTIC:
            words = torch.randint(
                1 << RANDOM_BITS, values.shape, generator=self.generator, dtype=torch.int32
            )
        return group(self.format(mode), values, axis, words=words, count=count)


@dataclass(kw_only=True, eq=False)
class Entry:
    """One pass of one layer: its mode, and what its operands lost since they were last reported.

    Parameters
    ----------
    arithmetic : shared by all
    mode : 0..2
    counting : whether losses are counted
    """

    arithmetic: Arithmetic
    mode: int = 2
    counting: bool = False
    zeroed: int = 0
    elements: int = 0

    def convert(self, values: torch.Tensor, axis: int) -> Grouped:
        """An operand in groups along an axis."""
        made = self.arithmetic.convert(self.mode, values, axis, self.counting)
        if made.zeroed is not None:
            self.zeroed += made.zeroed
            self.elements += values.numel()
        return made


@dataclass(kw_only=True, eq=False)
class Precision:
    """The modes of a net's passes, step by step.

    Parameters
    ----------
    layers : names
    setting : of `SETTINGS`
    arithmetic : of all passes
    interval : steps after which shares are noted and `dynamic` decides
    every : losses are counted in one of so many steps, from the first of an interval
    lower, upper : thresholds of the share
    start : mode in which `dynamic` begins

    Attributes
    ----------
    entries : by layer, forward, dX and dW
    history : a row an interval: its modes and shares, in the order of the entries
    """

    layers: tuple[str, ...]
    setting: str
    arithmetic: Arithmetic
    interval: int = 20
    every: int = 4
    lower: float = 0.1
    upper: float = 0.2
    start: int = 2
    entries: dict[str, tuple[Entry, Entry, Entry]] = field(init=False)
    history: list[dict[str, list[Any]]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.setting not in SETTINGS:
            raise UsageError(f"no precision {self.setting!r}; precisions: {', '.join(SETTINGS)}")
        if not self.layers:
            raise UsageError("there is no layer whose precision could be set")
        check_limits(self, interval=(1, 1 << 20), every=(1, 1 << 20))
        self._control = DynamicPrecision(
            entries=len(PASSES) * len(self.layers),
            lower=self.lower,
            upper=self.upper,
            fraction_bits=16,
            start=self.start,
        )
        fixed = SETTINGS[self.setting]
        modes = (self.start,) * 3 if fixed is None else fixed
        self.entries = {}
        for name in self.layers:
            one, two, three = (Entry(arithmetic=self.arithmetic, mode=mode) for mode in modes)
            self.entries[name] = (one, two, three)
        self._steps = 0

    @property
    def flat(self) -> list[Entry]:
        """All entries, in the order of the layers and of `PASSES`."""
        return [entry for passes in self.entries.values() for entry in passes]

    def begin(self) -> None:
        """A step of the training begins."""
        counting = self._steps % self.interval % self.every == 0
        for entry in self.flat:
            entry.counting = counting

    def end(self) -> None:
        """A step of the training is done: report it, and end the interval where it does."""
        entries = self.flat
        self._control.report(
            range(len(entries)), [e.zeroed for e in entries], [e.elements for e in entries]
        )
        for entry in entries:
            entry.zeroed = entry.elements = 0
            # Evaluation is not counted.
            entry.counting = False
        self._steps += 1
        if self._steps % self.interval:
            return
        self.history.append(
            {
                "modes": [entry.mode for entry in entries],
                "shares": [round(float(share), 5) for share in self._control.shares],
            }
        )
        modes = self._control.end()
        if SETTINGS[self.setting] is None:
            for entry, mode in zip(entries, modes.tolist(), strict=True):
                entry.mode = mode

    def to_json(self) -> dict[str, Any]:
        """Layers, passes, names of modes and the history."""
        return {
            "layers": list(self.layers),
            "passes": list(PASSES),
            "modes": list(MODES),
            "interval": self.interval,
            "history": self.history,
        }
