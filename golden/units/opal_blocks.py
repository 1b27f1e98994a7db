"""Blocks of `opal_dot`, both sides: what is checked, slots taken apart, the products due."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch

if TYPE_CHECKING:
    from narrowgauge.golden.units.opal_dot import Params

__all__ = ["SIDES", "Side", "checked", "due", "matches", "side_of"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SIDES = ("a", "w")
"""The two sides of a product: activations, and weights or keys."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """A side of N blocks: codes as sent, and its slots taken apart.

    Parameters
    ----------
    codes : shape (N, k), 0 from `size` on
    scale, reference : shape (N,); the largest exponent field of scale and slots in use
    positions, used, field : shape (N, n); field 0 counts as 1
    signed : significands with their sign, shape (N, n); not 0 for Inf, whose sign it has
    nan, inf : classes, shape (N, n)
    """

    codes: Ints
    scale: Ints
    reference: Ints
    positions: Ints
    used: Bools
    field: Ints
    signed: Ints
    nan: Bools
    inf: Bools


def checked(params: "Params", batch: Batch) -> Batch:
    """The batch; codes, sizes and positions that no block has are errors."""
    b = params.block.check(batch)
    size = b["size"]
    if size.size and (size.min() < 1 or size.max() > params.k):
        bad = int(size.min() if size.min() < 1 else size.max())
        raise UsageError(f"size must be 1..{params.k}, got {bad}")
    for side in SIDES:
        limit = (1 << (np.where(b[f"{side}_high"] == 1, params.high, params.low) - 1)) - 1
        wide = np.abs(b[side]).max(axis=1) > limit
        if wide.any():
            row = int(np.argmax(wide))
            raise UsageError(
                f"block {row}: a code of {side} is beyond {int(limit[row])}, "
                f"got {int(np.abs(b[side][row]).max())}"
            )
        if params.n:
            used = (b[f"{side}_outliers"] & 0x7FFF) != 0
            beyond = used & (b[f"{side}_positions"] >= size[:, None])
            if beyond.any():
                row, slot = (int(i) for i in np.argwhere(beyond)[0])
                raise UsageError(
                    f"block {row}: an outlier of {side} lies at position "
                    f"{int(b[f'{side}_positions'][row, slot])} of {int(size[row])}"
                )
    return b


def side_of(params: "Params", b: Batch, side: str) -> Side:
    """One side of checked blocks."""
    count = len(b["size"])
    sent = np.arange(params.k) < b["size"][:, None]
    none = np.zeros((count, 0), np.int64)
    outliers = b.get(f"{side}_outliers", none)
    exponent, fraction = (outliers >> 7) & 0xFF, outliers & 0x7F
    used = (outliers & 0x7FFF) != 0
    field = np.maximum(exponent, 1)
    scale = b[f"{side}_scale"]
    significand = fraction | np.where(exponent > 0, 0x80, 0)
    return Side(
        codes=np.where(sent, b[side], 0),
        scale=scale,
        reference=np.maximum(scale, np.where(used, field, 0).max(axis=1, initial=0)),
        positions=b.get(f"{side}_positions", none),
        used=used,
        field=field,
        signed=np.where(outliers >> 15 == 1, -significand, significand),
        nan=(exponent == 255) & (fraction > 0),
        inf=(exponent == 255) & (fraction == 0),
    )


def due(params: "Params", batch: Batch) -> tuple[Bools, Bools]:
    """Which a slots and which w slots have a product due, shape (N, n) each."""
    b = checked(params, batch)
    a, w = (side_of(params, b, side) for side in SIDES)
    return a.used, w.used & ~matches(w, a).any(axis=2)


def matches(one: Side, other: Side) -> Bools:
    """Whether slots of both sides are in use at one position, shape (N, n of one, n of other)."""
    same = one.positions[:, :, None] == other.positions[:, None, :]
    return same & one.used[:, :, None] & other.used[:, None, :]
