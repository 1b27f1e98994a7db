"""Coverage of `opal_dot`: modes, lengths, products due, distances on the window, special values."""

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.opal_dot import Params, cycles, due, lengths
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as of_streams
from narrowgauge.verify.units.dot import Bins, Ints, operand_bins, result_bins

__all__ = ["claims", "coverage"]

_RULES = ("accept", "idle", "answer", "count")
"""Rules of transactions that do not ask when an answer comes."""

_MODES = ("low_low", "high_low", "low_high", "high_high")


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """What holds whatever the payload; how long a beat waits depends on it (docs/proofs.md)."""
    return of_streams(params, (*HANDSHAKE, *_RULES))


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a block."""
    mode = batch["a_high"] + 2 * batch["w_high"]
    sent = np.arange(params.k) < batch["size"][:, None]
    int_sum = (batch["a"] * batch["w"] * sent).sum(axis=1)
    most = params.k * ((1 << (params.high - 1)) - 1) ** 2
    changed = np.concatenate([[False], mode[1:] != mode[:-1]])
    beats = lengths(params, batch)
    per_beat = params.lanes >> (batch["a_high"] + batch["w_high"])
    bins: Bins = {
        **{name: mode == i for i, name in enumerate(_MODES)},
        "mode_changes": changed,
        "whole": batch["size"] == params.k,
        "half": batch["size"] == params.k // 2,
        "cut_within_beat": batch["size"] % per_beat != 0,
        "one_beat": beats == 1,
        "several_beats": beats > 1,
        "int_sum_zero": int_sum == 0,
        "int_sum_most": int_sum == most,
        "int_sum_least": int_sum == -most,
        **result_bins(batch, outputs),
    }
    for side in "aw":
        bins[f"{side}_scale_zero"] = batch[f"{side}_scale"] == 0
        bins[f"{side}_scale_nan"] = batch[f"{side}_scale"] == 255
    if not params.n:
        return bins
    bins |= _outlier_bins(params, batch, int_sum)
    stalls = cycles(params, batch) - beats
    bins |= {"no_stall": stalls == 0}
    if params.fp_units < 2 * params.n:
        bins |= {"stall": stalls > 0}
    return bins


def _outlier_bins(params: Params, batch: Batch, int_sum: Ints) -> Bins:
    wanted = dict(zip("aw", due(params, batch), strict=True))
    used, field, top = {}, {}, {}
    bins: Bins = {}
    for side in "aw":
        outliers = batch[f"{side}_outliers"]
        used[side] = outliers & 0x7FFF != 0
        field[side] = np.maximum((outliers >> 7) & 0xFF, 1)
        largest = np.where(used[side], field[side], 0).max(axis=1)
        top[side] = np.maximum(largest, batch[f"{side}_scale"])
        bins |= operand_bins(f"{side}_outlier", outliers)
        bins |= {
            f"{side}_none": ~used[side].any(axis=1),
            f"{side}_all": used[side].all(axis=1),
            f"{side}_empty_between": (~used[side][:, :-1] & used[side][:, 1:]).any(axis=1),
            f"{side}_scale_is_reference": batch[f"{side}_scale"] == top[side],
            f"{side}_first_position": (used[side] & (batch[f"{side}_positions"] == 0)).any(axis=1),
            f"{side}_final_position": (
                used[side] & (batch[f"{side}_positions"] == params.k - 1)
            ).any(axis=1),
        }
        if params.n == 1:
            del bins[f"{side}_empty_between"]
    for side, other in ("aw", "wa"):
        positions = batch[f"{side}_positions"]
        codes = np.take_along_axis(batch[other], positions, axis=1)
        slots = np.take_along_axis(batch[side], positions, axis=1)
        infinite = batch[f"{side}_outliers"] & 0x7FFF == 0x7F80
        same = positions[:, :, None] == batch[f"{other}_positions"][:, None, :]
        paired = (same & used[other][:, None, :]).any(axis=2)
        alone = wanted[side] & ~paired
        apart = (top[side] + top[other] - batch[f"{other}_scale"])[:, None] - field[side]
        twins = positions[:, :, None] == positions[:, None, :]
        twins &= used[side][:, :, None] & used[side][:, None, :]
        bins |= {
            f"{side}_by_code": alone.any(axis=1),
            f"{side}_inf_times_zero": (alone & infinite & (codes == 0)).any(axis=1),
            f"{side}_inf_times_code": (alone & infinite & (codes != 0)).any(axis=1),
            f"{side}_slot_in_use": (used[side] & (slots != 0)).any(axis=1),
            f"{side}_cut_off": (alone & (apart > params.fraction - 14)).any(axis=1),
            f"{side}_beyond_window": (alone & (apart > params.fraction + 2)).any(axis=1),
        }
        if params.n > 1:
            bins[f"{side}_coincide"] = twins.sum(axis=(1, 2)) > used[side].sum(axis=1)
    same = batch["a_positions"][:, :, None] == batch["w_positions"][:, None, :]
    same &= used["a"][:, :, None] & used["w"][:, None, :]
    distance = top["a"] - batch["a_scale"] + top["w"] - batch["w_scale"]
    bins |= {
        "pair": same.any(axis=(1, 2)),
        "no_pair": used["a"].any(axis=1) & used["w"].any(axis=1) & ~same.any(axis=(1, 2)),
        "int_sum_cut_off": (distance > params.fraction - 4) & (int_sum < 0),
        "int_sum_beyond_window": distance > params.fraction + 16,
    }
    if params.n > 1:
        bins["pair_with_several"] = (same.sum(axis=2) > 1).any(axis=1)
    return bins
