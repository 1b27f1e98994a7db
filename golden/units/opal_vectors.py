"""Vectors of `opal_dot`: random blocks in every mode, corners, directed blocks, real tensors."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import MXOpal, Rounding, quantize
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.stimuli import (
    SPECIAL_BF16,
    blocks,
    ends,
    random_bf16,
    real_rows,
)

if TYPE_CHECKING:
    from narrowgauge.golden.units.opal_dot import Params

__all__ = ["make"]

Ints = npt.NDArray[np.int64]


def make(params: "Params", level: str, seed: int) -> Batch:
    """The vectors of a level: smoke, full or real."""
    rng = np.random.default_rng(seed)
    if level == "real":
        return _real(params, rng)
    count = blocks(level, smoke=800)
    last = ends(rng, count)
    # Whole dot products whose results are subnormal.
    tiny = (rng.random(count) < 0.08)[np.cumsum(last) - last]
    size = np.full(count, params.k)
    short = rng.random(count) < 0.25
    size[short] = rng.integers(1, params.k + 1, int(short.sum()))
    half = rng.random(count) < 0.1
    size[half] = params.k // 2
    batch: Batch = {}
    for side, spread in (("a", 12), ("w", 6)):
        batch |= _side(params, rng, side, size, tiny, spread)
    if params.n:
        _together(params, rng, batch, size)
        for side in "aw":
            valid = rng.random(count) < 0.6
            codes, positions = batch[side], batch[f"{side}_positions"]
            kept = np.where(valid[:, None], 0, np.take_along_axis(codes, positions, axis=1))
            np.put_along_axis(codes, positions, kept, axis=1)
    batch |= {"size": size, "last": last}
    _directed(params, rng, batch)
    return {field.name: batch[field.name] for field in params.block.fields}


def _tops(params: "Params", high: Ints) -> Ints:
    return (1 << (np.where(high == 1, params.high, params.low) - 1)) - 1


def _side(
    params: "Params", rng: np.random.Generator, side: str, size: Ints, tiny: Ints, spread: int
) -> Batch:
    """Codes, mode, scale and slots of one side."""
    count, k, n = len(size), params.k, params.n
    high = rng.integers(0, 2, count)
    top = _tops(params, high)[:, None]
    codes = rng.integers(-top, top + 1, (count, k))
    # Extremes: the sums that need every bit, and the ones that leave a single code.
    extreme = rng.random(count) < 0.1
    codes[extreme] = (top * rng.choice([-1, 1], (count, 1)))[extreme]
    sparse = rng.random(count) < 0.15
    codes[sparse] *= rng.random((int(sparse.sum()), k)) < 2 / k
    mean = np.where(tiny, 55, 120)
    scale = np.clip(rng.normal(mean, spread).astype(np.int64), 0, 254)
    corner = (rng.random(count) < 0.06) & (tiny == 0)
    scale[corner] = rng.choice([0, 1, 2, 126, 127, 128, 253, 254, 255], int(corner.sum()))
    made: Batch = {side: codes, f"{side}_high": high, f"{side}_scale": scale}
    if not n:
        return made
    shape = (count, n)
    # Distances from the scale that fall on, inside and beyond the window.
    reach = np.where(rng.random(count) < 0.5, 8, params.fraction + 12)[:, None]
    outliers = random_bf16(rng, np.clip(scale[:, None] + rng.integers(-4, reach, shape), 0, 254))
    corner = rng.random(shape) < 0.02
    outliers[corner] = rng.choice(SPECIAL_BF16, int(corner.sum()))
    outliers[rng.random(shape) < 0.15] &= 0x8000
    outliers[rng.random(count) < 0.25] &= 0x8000
    positions = np.argsort(rng.random((count, k)), axis=1)[:, :n]
    # Shorter blocks and clusters: positions may then coincide.
    span = np.where(rng.random(count) < 0.3, np.minimum(size, max(4, params.lanes // 4)), size)
    start = rng.integers(0, size - span + 1)
    positions = start[:, None] + positions % span[:, None]
    same = rng.random(count) < 0.05
    positions[same] = positions[same][:, :1]
    # Pairs that cancel, so that what the window keeps below them decides.
    if n > 1:
        pairs = rng.random(count) < 0.1
        outliers[pairs, 1] = outliers[pairs, 0] ^ 0x8000
        codes[pairs, positions[pairs, 1]] = codes[pairs, positions[pairs, 0]]
    return made | {f"{side}_outliers": outliers, f"{side}_positions": positions}


def _together(params: "Params", rng: np.random.Generator, batch: Batch, size: Ints) -> None:
    """Outliers of both sides at one position, in any slots; and all of them in one beat."""
    count = len(size)
    a, w = batch["a_positions"], batch["w_positions"]
    shared = rng.random((count, params.n)) < np.where(rng.random(count) < 0.4, 0.5, 0.0)[:, None]
    chosen = np.take_along_axis(a, rng.integers(0, params.n, (count, params.n)), axis=1)
    w[:] = np.where(shared, chosen, w)
    near = rng.random(count) < 0.15
    per_beat = (params.lanes >> (batch["a_high"] + batch["w_high"]))[:, None]
    beat = a[:, :1] // per_beat * per_beat
    for positions in (a, w):
        moved = np.minimum(beat + positions % per_beat, size[:, None] - 1)
        positions[near] = moved[near]


def _directed(params: "Params", rng: np.random.Generator, batch: Batch) -> None:
    """What random blocks hardly meet, written over some of them."""
    count, k, n = len(batch["last"]), params.k, params.n
    a, w = batch["a"], batch["w"]
    # Sums that are a power of two and nothing else, for the carries of a negation.
    few = np.flatnonzero(rng.random(count) < 0.1)
    chosen = np.arange(k) < (1 << rng.integers(0, k.bit_length(), (len(few), 1)))
    bits = {side: np.where(batch[f"{side}_high"] == 1, params.high, params.low) for side in "aw"}
    a[few] = rng.permuted(chosen, axis=1) << rng.integers(0, bits["a"][few] - 1)[:, None]
    w[few] = (rng.choice([-1, 1], len(few)) << rng.integers(0, bits["w"][few] - 1))[:, None]
    if n:
        for side in "aw":
            batch[f"{side}_outliers"][few] = 0
        # One outlier at any distance above the INT sum, on either side.
        alone = np.flatnonzero(rng.random(count) < 0.15)
        for side in "aw":
            batch[f"{side}_outliers"][alone] = 0
        for side, rows in (("a", alone[::2]), ("w", alone[1::2])):
            field = batch[f"{side}_scale"][rows] + rng.integers(0, params.fraction + 4, len(rows))
            outliers = batch[f"{side}_outliers"]
            outliers[rows, rng.integers(0, n, len(rows))] = random_bf16(rng, np.clip(field, 1, 254))
        _infinite(params, rng, batch)
    # Blocks that take back the one before, but for a code at most: few bits are left.
    for row in np.flatnonzero((rng.random(count - 1) < 0.2) & (batch["last"][:-1] == 0)) + 1:
        for name, field in batch.items():
            if name != "last":
                field[row] = field[row - 1]
        w[row] = -w[row]
        if n:
            batch["w_outliers"][row] ^= 0x8000
        top = int(_tops(params, batch["w_high"][row : row + 1])[0])
        w[row, rng.integers(k)] = rng.integers(-top, top + 1)
    # The least and the most that a sum can be.
    full = rng.permutation(count)[: min(8, count)]
    batch["size"][full] = k
    for side in "aw":
        batch[f"{side}_high"][full] = 1
        batch[side][full] = (1 << (params.high - 1)) - 1
    w[full[1::2]] *= -1


def _infinite(params: "Params", rng: np.random.Generator, batch: Batch) -> None:
    """One infinite outlier a block, in any slot of either side, half of them at a code of 0."""
    count, n = len(batch["last"]), params.n
    hot = rng.permutation(count)[: min(16 * n, count // 16)]
    number = np.arange(len(hot))
    for side, other in (("a", "w"), ("w", "a")):
        batch[f"{side}_outliers"][hot] &= 0xBFFF
        rows, i = hot[number % 2 == (side == "w")], number[number % 2 == (side == "w")] // 2
        slot = i // 4 % n
        batch[f"{side}_outliers"][rows, slot] = np.resize([0x7F80, 0xFF80], len(rows))
        at = batch[f"{side}_positions"][rows, slot]
        batch[other][rows, at] = np.resize([0, 0, 1, -1], len(rows))
        batch[f"{other}_outliers"][rows[i % 3 > 0]] = 0


def _real(params: "Params", rng: np.random.Generator) -> Batch:
    """Captured tensors: activations (low, high) by weights, and activations by activations (high).

    The last are what Q K^T meets: outliers on both sides.
    """
    parts: list[Batch] = []
    for activations, weights in real_rows(rng, 4):
        for w_rows, a_high, w_high, w_n in (
            (weights, 0, 0, 0),
            (weights, 1, 0, 0),
            (np.roll(activations, 1, axis=0), 1, 1, params.n),
        ):
            sides: dict[str, Batch] = {}
            for side, rows, high, n in (
                ("a", activations, a_high, params.n),
                ("w", w_rows, w_high, w_n),
            ):
                bits = params.high if high else params.low
                fmt = MXOpal(k=params.k, n=n, b=bits, rounding=Rounding.RNE)
                q = quantize(rows, fmt, axis=1)
                sides[side] = {
                    side: q.codes.astype(np.int64),
                    f"{side}_high": np.full(q.scales.shape, high),
                    f"{side}_scale": q.scales.astype(np.int64),
                }
                if params.n:
                    shape = (*q.scales.shape, params.n)
                    sides[side] |= {
                        f"{side}_outliers": _slots(q.outliers, shape),
                        f"{side}_positions": _slots(q.positions, shape),
                    }
            # Every row of `a` by the row of `w` with its number.
            count = sides["a"]["a_scale"].size
            last = np.zeros(sides["a"]["a_scale"].shape, np.int64)
            last[:, -1] = 1
            part = {"size": np.full(count, params.k), "last": last.ravel()}
            for values in (*sides["a"].items(), *sides["w"].items()):
                name, array = values
                part[name] = array.reshape(count, *array.shape[2:])
            parts.append(part)
    names = [field.name for field in params.block.fields]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _slots(values: "npt.NDArray[np.uint16] | None", shape: tuple[int, ...]) -> Ints:
    """What a quantiser gives for the slots; empty slots where the format has none."""
    if values is None or not values.shape[-1]:
        return np.zeros(shape, np.int64)
    return values.astype(np.int64)
