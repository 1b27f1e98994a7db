"""The words that a guard takes: their parts, the code's columns, and what a memory's bounds are.

A word is one block of a format, or a few end to end, each as `fmt.payload` lays it out; of words
without elements what their blocks share. Its bits have parts:

| part | bits |
| --- | --- |
| `top` | the top bit of an element: of two's complement the most significant, else the sign |
| `element` | its other bits |
| `scale` | the scale or exponent that a block shares |
| `exponent` | the eight exponent bits of an outlier in bf16 |
| `sign` | its sign |
| `outlier` | its mantissa |
| `position` | its index |

SEC-DED is Hsiao's: every bit has a column of its own, an odd number of ones of `check_bits`; check
bit i has column 2^i, and is the parity of the bits whose column has bit i. The syndrome is the
check bits as they should be, exclusive-or what is stored: 0 is right, a column is that bit's flip.

Columns: weight 3 first, then 5, and so on. All of a weight are taken in ascending order while they
are needed; of the last weight, one after the other, that whose rows have the fewest ones so far,
added up, the least such number. The bits of a word take them in order.

Source: Hsiao, "A Class of Optimal Minimum Odd-weight-column SEC-DED Codes", IBM J. Res. Dev. 1970.
The order of the columns is this project's.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Payload

__all__ = [
    "BOUNDS",
    "KINDS",
    "PARTS",
    "SHARED",
    "Bits",
    "Bounds",
    "Part",
    "Rule",
    "columns",
    "field_of",
    "parts_of",
    "spread",
]

Bits = npt.NDArray[np.uint8]
"""0 and 1, (words, bits)."""

Limit = int | npt.NDArray[np.int64]

BOUNDS = ("low", "high", "middle", "exponent_low", "exponent_high")
"""Fields of `Bounds`."""

SHARED = ("scale", "exponent", "sign", "outlier", "position")
"""Parts that a block's elements share."""

PARTS = ("top", "element", *SHARED)
"""All parts."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a kind is: its code, the parts that it covers, and its clamp."""

    code: str = "none"
    over: tuple[str, ...] = ()
    clamp: str = "none"


KINDS = {
    "none": Rule(),
    "clamp": Rule(clamp="clamp"),
    "window": Rule(clamp="window"),
    "parity": Rule(code="parity", over=("scale", "exponent", "top")),
    "secded_scale": Rule(code="secded", over=("scale", "exponent")),
    "secded_scale_window": Rule(code="secded", over=("scale", "exponent"), clamp="window"),
    "secded_sign_window": Rule(code="secded", over=("scale", "exponent", "sign"), clamp="window"),
    "secded_place_window": Rule(
        code="secded", over=("scale", "exponent", "sign", "position"), clamp="window"
    ),
    "secded_shared": Rule(code="secded", over=SHARED),
    "secded_shared_window": Rule(code="secded", over=SHARED, clamp="window"),
    "secded_top_window": Rule(code="secded", over=("top", *SHARED), clamp="window"),
    "secded": Rule(code="secded", over=PARTS),
}
"""See `golden.guard`."""


@dataclass(frozen=True)
class Part:
    """Bits `low` to `low + width - 1` of a word; `name` as the module lists them."""

    name: str
    low: int
    width: int


def parts_of(payload: Payload, *, blocks: int = 1, elements: bool = True) -> tuple[Part, ...]:
    """The parts of words of `blocks` blocks, in order of their bits.

    Parameters
    ----------
    payload : of a block: `codes`, and what it shares: `scale`, `outliers`, `positions`
    elements : whether words hold the codes too
    """
    made: list[Part] = []
    low = 0

    def add(name: str, width: int) -> None:
        nonlocal low
        if width:
            made.append(Part(name, low, width))
            low += width

    for _ in range(blocks):
        for field in payload.fields:
            for _ in range(field.count or 1):
                if field.name == "codes":
                    if elements:
                        add("element", field.width - 1)
                        add("top", 1)
                elif field.name == "outliers":
                    add("outlier", 7)
                    add("exponent", 8)
                    add("sign", 1)
                else:
                    add({"scale": "scale", "positions": "position"}[field.name], field.width)
    return tuple(made)


def columns(bits: int) -> tuple[int, tuple[int, ...]]:
    """Check bits of a SEC-DED code over `bits` bits, and the column of each of these."""
    rows = 2
    while (1 << (rows - 1)) - rows < bits:
        rows += 1
    found: list[int] = []
    load = np.zeros(rows, np.int64)
    for weight in range(3, rows + 1, 2):
        numbers = sorted(sum(1 << i for i in each) for each in combinations(range(rows), weight))
        ones = np.array(numbers)[:, None] >> np.arange(rows) & 1
        left = bits - len(found)
        if left >= len(numbers):
            found += numbers
            load += ones.sum(axis=0)
            continue
        free = np.ones(len(numbers), np.bool_)
        for _ in range(left):
            cost = np.where(free, ones @ load, np.iinfo(np.int64).max)
            at = int(cost.argmin())
            free[at] = False
            load += ones[at]
            found.append(numbers[at])
        break
    return rows, tuple(found)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What clamps and `middle` need of a memory, set when it is loaded.

    Each is an integer, 0..255, or one for each word, (words,).

    Parameters
    ----------
    low, high : least and largest scale
    middle : its median
    exponent_low, exponent_high : least and largest exponent of an outlier
    """

    low: Limit = 0
    high: Limit = 255
    middle: Limit = 0
    exponent_low: Limit = 0
    exponent_high: Limit = 255

    def __post_init__(self) -> None:
        for name in BOUNDS:
            value = np.asarray(getattr(self, name))
            if value.size and not 0 <= value.min() <= value.max() <= 255:
                bad = int(value.min() if value.min() < 0 else value.max())
                raise UsageError(f"{name} must be 0..255, got {bad}")

    def at(self, words: npt.NDArray[np.bool_]) -> "Bounds":
        """Those of some of the words."""
        made = {name: getattr(self, name) for name in BOUNDS}
        return Bounds(**{n: v if np.ndim(v) == 0 else v[words] for n, v in made.items()})


def field_of(bits: Bits, part: Part) -> npt.NDArray[np.int64]:
    """The integers in a part of words, (words,)."""
    value = np.zeros(len(bits), np.int64)
    for i in range(part.width):
        value |= bits[:, part.low + i].astype(np.int64) << i
    return value


def spread(value: npt.ArrayLike, width: int) -> Bits:
    """Integers to the bits of a part, (words, width); of one integer (1, width)."""
    number = np.atleast_1d(np.asarray(value, np.int64))
    return (number[:, None] >> np.arange(width) & 1).astype(np.uint8)
