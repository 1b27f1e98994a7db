"""Matrix products with the bits of `units.opal_dot`: GEMM where nothing is cut off, else exactly.

A block's total is the exact sum of its products less what the window cuts off. The exact sum comes
from a GEMM: of the values but the weights' outliers in float32 where 24 bits hold every partial
sum, in float64 elsewhere; the weights' outliers, few columns of a block, in float64. What is cut
off is taken away where depths (`operand`) say that something may be: products of weights'
outliers (towards zero), of activations' outliers, and the INT sum (towards minus infinity). The
difference is exact in float64 and its cast to float32 the one rounding of the block. Rows that
this does not cover (`Operand.bad`) are answered by the golden model itself.
"""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.llm.operand import Operand, power
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units import opal_dot

__all__ = ["blocks_of", "products", "reference"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_TILE = 64
"""Weight rows at a time: a tile of results stays in a core's cache."""
_ORDINARY = 15
"""Depth up to which a row of activations counts as ordinary."""
_NAN = np.uint32(0x7FC00000)


def blocks_of(a: Operand, w: Operand, low: int, rows: Ints, columns: Ints) -> Batch:
    """The transactions of `units.opal_dot` for pairs of rows, in order, shapes (pairs,)."""
    pairs, (_, blocks, k) = len(rows), a.codes.shape
    count = pairs * blocks
    batch: Batch = {}
    for side, operand, chosen in (("a", a, rows), ("w", w, columns)):
        high = operand.fraction + 2 > low
        batch[side] = operand.codes[chosen].reshape(count, k).astype(np.int64)
        batch[f"{side}_high"] = np.full(count, int(high), np.int64)
        batch[f"{side}_scale"] = operand.scales[chosen].reshape(count).astype(np.int64)
        slots = operand.outliers.shape[2]
        batch[f"{side}_outliers"] = operand.outliers[chosen].reshape(count, slots).astype(np.int64)
        batch[f"{side}_positions"] = (
            operand.positions[chosen].reshape(count, slots).astype(np.int64)
        )
    batch["size"] = np.tile(np.minimum(k, a.length - k * np.arange(blocks)), pairs)
    batch["last"] = np.tile(np.arange(blocks) == blocks - 1, pairs).astype(np.int64)
    return batch


def reference(a: Operand, w: Operand, low: int, rows: Ints, columns: Ints) -> F32:
    """The results of pairs of rows by the golden model, (pairs,); NaN is the canonical one."""
    k, n = a.codes.shape[2], a.outliers.shape[2]
    params = opal_dot.Params(k=k, n=n, low=low, lanes=4)
    made = [np.zeros(0, np.float32)]
    step = max(1, (1 << 20) // (a.codes.shape[1] * k))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        batch = blocks_of(a, w, low, rows[part], columns[part])
        if not n:
            batch = {name: v for name, v in batch.items() if v.ndim == 1 or v.shape[1]}
        code = opal_dot.model(params, batch)["result"]
        made.append(code.astype(np.uint32).view(np.float32))
    return np.concatenate(made)


def _check(a: Operand, w: Operand, low: int) -> None:
    if a.codes.shape[1:] != w.codes.shape[1:] or a.length != w.length:
        raise UsageError(
            f"operands must have the same blocks, got {a.codes.shape[1:]} and {w.codes.shape[1:]}"
        )
    if a.outliers.shape[2] != w.outliers.shape[2]:
        raise UsageError(
            f"operands must have the same slots, "
            f"got {a.outliers.shape[2]} and {w.outliers.shape[2]}"
        )
    for operand in (a, w):
        if operand.fraction + 2 not in (low, 2 * low - 1):
            raise UsageError(f"codes must have {low} or {2 * low - 1} bits")


def products(a: Operand, w: Operand, *, low: int) -> F32:
    """Dot products of all rows of a with all rows of w, (rows of a, rows of w), float32.

    Parameters
    ----------
    a, w : operands of the same blocks and slots; codes of `low` or 2 low - 1 bits
    low : bits of the low width, as of `opal_dot`

    Equal in every bit to `opal_dot` with 23 fraction bits; NaN is 0x7FC00000.
    """
    _check(a, w, low)
    bad_a, bad_w = a.bad | _too_deep(a, w), w.bad
    result = np.zeros((len(a.codes), len(w.codes)), np.float32)
    good = np.flatnonzero(~bad_a)
    part = a if len(good) == len(bad_a) else a.rows(good)
    if len(good):
        total = result if part is a else np.zeros((len(good), len(w.codes)), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for block in range(a.codes.shape[1]):
                _add_block(part, w, block, total)
        if part is not a:
            result[good] = total
    if bad_a.any() or bad_w.any():
        row, column = np.nonzero(bad_a[:, None] | bad_w)
        result[row, column] = reference(a, w, low, row, column)
    result.view(np.uint32)[np.isnan(result)] = _NAN
    return result


def _too_deep(a: Operand, w: Operand) -> npt.NDArray[np.bool_]:
    """Rows of a for which float64 might not hold a block's sum with w exactly."""
    k = a.codes.shape[2]
    deepest = w.depth[~w.bad].max(axis=0, initial=-99)
    # Σ|a| in units of 2^top: k elements below 2^(1 - distance) and the outliers below 2.
    size = 2.0 * a.outliers.shape[2] + 2.0 * k * power(a.scales - a.top)
    bits = a.depth + deepest + np.ceil(np.log2(size)) + 1
    return np.asarray((bits > 53).any(axis=1))


def _size(a: Operand, block: int) -> int:
    return min(a.codes.shape[2], a.length - block * a.codes.shape[2])


def _wide(a: Operand, w: Operand, block: int) -> npt.NDArray[np.bool_]:
    """Rows whose sum with the INT codes of w 24 bits might not hold, or that lie deep."""
    k = _size(a, block)
    limit = (1 << (a.fraction + 1)) - 1
    deep = a.depth[:, block]
    distance = (a.top - a.scales)[:, block]
    # Σ|a| in units of the last bit, 2^-depth below the top.
    units = k * limit * power(np.minimum(deep - distance - a.fraction, 60))
    units = units + 2.0 * a.outliers.shape[2] * power(np.minimum(deep, 60))
    most = float(np.abs(w.codes[:, block]).max(initial=0))
    return np.asarray((units * most >= 1 << 24) | (deep > _ORDINARY))


def _add_block(a: Operand, w: Operand, block: int, total: F32) -> None:
    """Add one block's rounded totals."""
    size = _size(a, block)
    wide = _wide(a, w, block)
    if len(w.columns[block]) > 16:
        # Outliers all over the block: float64 for all.
        wide = np.ones_like(wide)
    if not wide.all():
        rows = np.flatnonzero(~wide) if wide.any() else slice(None)
        values = a.values(block, rows)[:, :size]
        if wide.any():
            part = np.zeros((len(values), total.shape[1]), np.float32)
            _add_narrow(a, w, block, rows, values, part)
            total[rows] += part
        else:
            _add_narrow(a, w, block, rows, values, total)
    if wide.any():
        rows = np.flatnonzero(wide)
        values = a.values(block, rows)[:, :size]
        sums = values @ w.values(block, slice(None))[:, :size].T
        _cut_slots(a, w, block, rows, values, slice(None), sums)
        _cut_rows(a, w, block, rows, w.integers(block, slice(None))[:, :size], sums)
        total[rows] += sums.astype(np.float32)


def _add_narrow(
    a: Operand, w: Operand, block: int, rows: Ints | slice, values: F64, total: F32
) -> None:
    """Add the rounded totals of rows that float32 serves, a tile of weight rows at a time."""
    size, columns, outliers = values.shape[1], w.columns[block], w.column_values[block]
    narrow, few = values.astype(np.float32), np.ascontiguousarray(values[:, columns])
    shape = (len(values), _TILE)
    exact, sums, rounded = np.empty(shape, np.float32), np.empty(shape), np.empty(shape, np.float32)
    for start in range(0, len(w.codes), _TILE):
        part = slice(start, min(start + _TILE, len(w.codes)))
        if part.stop - start < _TILE:
            shape = (len(values), part.stop - start)
            exact, sums = np.empty(shape, np.float32), np.empty(shape)
            rounded = np.empty(shape, np.float32)
        np.matmul(narrow, w.narrow[block][part, :size].T, out=exact)
        if len(columns):
            np.matmul(few, outliers[part].T, out=sums)
            _cut_slots(a, w, block, rows, values, part, sums)
            np.add(sums, exact, out=sums)
            np.copyto(rounded, sums, casting="same_kind")
            total[:, part] += rounded
        else:
            total[:, part] += exact


def _cut_slots(
    a: Operand,
    w: Operand,
    block: int,
    rows: Ints | slice,
    values: F64,
    part: slice,
    sums: F64,
) -> None:
    """Take away what the window cuts off of the products of the weights' outliers."""
    deepest = int(a.depth[rows, block].max(initial=-99))
    flagged = w.slot_depth[part, block] + deepest > 23
    if not flagged.any():
        return
    first = part.start or 0
    unit_a = power(a.top[rows, block] - 127)[:, None]
    for slot in range(flagged.shape[1]):
        which = np.flatnonzero(flagged[:, slot])
        if not len(which):
            continue
        at = which + first
        unit_w = power(w.top[at, block] - 127 - 23)
        x = values[:, w.positions[at, block, slot]] / unit_a
        x *= w.slot_values[at, block, slot] / unit_w
        x -= np.trunc(x)
        x *= unit_a
        x *= unit_w
        sums[:, which] -= x


def _cut_rows(a: Operand, w: Operand, block: int, rows: Ints, integers: F64, sums: F64) -> None:
    """Take away what the window cuts off of the INT sum and of the activations' outliers."""
    top_w = w.top[:, block]
    deepest = int(w.int_depth[:, block].max(initial=-99))
    unit_w = power(top_w - 127 - 23)
    scaled = integers / unit_w[:, None]
    k = a.codes.shape[2]
    which = np.flatnonzero(a.int_depth[rows, block] + deepest > 23)
    if len(which):
        unit = power(a.top[rows[which], block] - 127)[:, None]
        x = (a.integers(block, rows[which])[:, : scaled.shape[1]] / unit) @ scaled.T
        x -= np.floor(x)
        sums[which] -= x * unit * unit_w
    for slot in range(a.slot_depth.shape[2]):
        which = np.flatnonzero(a.slot_depth[rows, block, slot] + deepest > 23)
        if not len(which):
            continue
        chosen = rows[which]
        unit = power(a.top[chosen, block] - 127)[:, None]
        place = np.minimum(a.positions[chosen, block, slot], k - 1)
        x = a.slot_values[chosen, block, slot][:, None] / unit * scaled[:, place].T
        x -= np.trunc(x)
        sums[which] -= x * unit * unit_w
