"""Dynamic precision: FB12, FB16 or FB24 for each layer and pass, by its zero-setting error.

    share = elements that alignment set to zero / elements, over an interval
    share < lower: one step down, 16 -> 8 -> 4 bits;   share > upper: one step up;   else none

The two thresholds are the hysteresis. An entry is a pass of a layer, of which both operands have
the same mode and are reported together. Shares and thresholds are fractions of `fraction_bits`
bits, the share cut off, at most all ones: a lower threshold of 0 never steps down, an upper one of
all ones never up. An interval without elements has share 0 and leaves the mode. Where both steps
are due, because the thresholds are the wrong way round, the mode goes up.

The share is that of all elements of the interval. It equals the mean of the steps' shares where
each step has as many elements.

Source: Noh et al., "FlexBlock: A Flexible DNN Training Accelerator with Multi-Mode Block Floating
Point Support", IEEE Trans. Computers 2023, whose simulator averages over an epoch or 500 steps,
with thresholds 0.1 and 0.2 (ImageNet) or 0.6 and 0.8 (CIFAR). Fixed point and corners are ours.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError, check_limits

__all__ = ["MODES", "DynamicPrecision", "decide", "share_of"]

Ints = npt.NDArray[np.int64]

MODES = ("fb12", "fb16", "fb24")
"""Names of the modes 0, 1 and 2."""


def share_of(zeroed: npt.ArrayLike, elements: npt.ArrayLike, fraction_bits: int) -> Ints:
    """min(floor(zeroed 2^f / elements), 2^f - 1), 0 where there are no elements; exact integers.

    Both counts are less than 2^(62 - f).
    """
    a, b = np.asarray(zeroed, np.int64), np.asarray(elements, np.int64)
    share = (a << fraction_bits) // np.maximum(b, 1)
    return np.where(b > 0, np.minimum(share, (1 << fraction_bits) - 1), 0)


def decide(
    mode: npt.ArrayLike,
    zeroed: npt.ArrayLike,
    elements: npt.ArrayLike,
    *,
    lower: npt.ArrayLike,
    upper: npt.ArrayLike,
    fraction_bits: int,
) -> Ints:
    """Modes after an interval; modes 0..2, thresholds in 2^-fraction_bits; arrays broadcast."""
    now, share = np.asarray(mode, np.int64), share_of(zeroed, elements, fraction_bits)
    counted = np.asarray(elements) > 0
    up = counted & (share > np.asarray(upper))
    down = counted & ~up & (share < np.asarray(lower))
    return np.clip(now + up - down, 0, 2)


@dataclass(kw_only=True, eq=False)
class DynamicPrecision:
    """The modes of all passes of a net, as `precision_control` keeps them.

    Parameters
    ----------
    entries : passes of layers
    lower, upper : thresholds, fractions of one; rounded to the grid
    fraction_bits : bits of thresholds and shares, 4..16
    start : mode at the beginning, 0..2

    Attributes
    ----------
    modes : (entries,)
    """

    entries: int
    lower: float
    upper: float
    fraction_bits: int = 8
    start: int = 2
    modes: Ints = field(init=False)
    _zeroed: Ints = field(init=False, repr=False)
    _elements: Ints = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_limits(self, entries=(1, 1 << 20), fraction_bits=(4, 16), start=(0, 2))
        if not 0 <= self.lower <= self.upper <= 1:
            raise UsageError(
                f"thresholds must be 0 <= lower <= upper <= 1, got {self.lower} and {self.upper}"
            )
        self.modes = np.full(self.entries, self.start, np.int64)
        self._zeroed = np.zeros(self.entries, np.int64)
        self._elements = np.zeros(self.entries, np.int64)

    @property
    def thresholds(self) -> tuple[int, int]:
        """Lower and upper as the hardware takes them."""
        most = (1 << self.fraction_bits) - 1
        low, high = (min(round(value * (most + 1)), most) for value in (self.lower, self.upper))
        return low, high

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Zero-setting error of each entry since its interval began."""
        share = share_of(self._zeroed, self._elements, self.fraction_bits)
        return share / float(1 << self.fraction_bits)

    def report(self, entry: npt.ArrayLike, zeroed: npt.ArrayLike, elements: npt.ArrayLike) -> None:
        """Add a tensor's counts to an entry, or those of several tensors to several entries."""
        at, a, b = np.broadcast_arrays(*(np.asarray(x) for x in (entry, zeroed, elements)))
        if at.size and (at.min() < 0 or at.max() >= self.entries):
            raise UsageError(f"entry must be 0..{self.entries - 1}, got {at.min()}..{at.max()}")
        if a.size and (a.min() < 0 or (a > b).any()):
            raise UsageError(f"zeroed must be 0..elements, got {a.tolist()} of {b.tolist()}")
        np.add.at(self._zeroed, at, a)
        np.add.at(self._elements, at, b)

    def end(self, entry: npt.ArrayLike | None = None) -> Ints:
        """End the interval of some entries, or of all, and begin the next; their modes."""
        at = np.arange(self.entries) if entry is None else np.asarray(entry)
        lower, upper = self.thresholds
        self.modes[at] = decide(
            self.modes[at],
            self._zeroed[at],
            self._elements[at],
            lower=lower,
            upper=upper,
            fraction_bits=self.fraction_bits,
        )
        self._zeroed[at] = self._elements[at] = 0
        return self.modes[at]
