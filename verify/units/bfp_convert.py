"""Coverage of `bfp_convert`: numbers, alignment, rounding, groups, modes, counts."""

import numpy as np

from narrowgauge.golden.formats import Rounding, vector
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.bfp_convert import MODE_BITS, Params, groups_of
from narrowgauge.verify.prove.stream import StreamClaim, row_claims
from narrowgauge.verify.units.dot import Bins

__all__ = ["claims", "coverage"]

_LONG = 8
"""Beats of a ring of which only the handshake is proved."""


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake; and what holds for packets of one group, in any mode, whole or cut short.

    Their modes and lengths decide when a beat goes, so the schedule is none of its own. With long
    rings the solver does not find in time how ring and queue hang together.
    """
    if params.depth > _LONG:
        return row_claims({})
    rules = ("answer", "accept", "count", "idle", "origin")
    return row_claims({n: n for n in sorted({1, min(params.beats)})}, rules)


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat of the input, which each is answered."""
    x, scale, codes = batch["x"], outputs["scale"], outputs["codes"]
    at = groups_of(params, batch)
    u = vector.unpack(params.format, x)
    field = x >> params.format.mantissa_bits & 0xFF
    bits = np.array(MODE_BITS)[outputs["mode"]]
    live = scale < 255
    apart = np.where(field > 0, scale[:, None] - field, -1)
    gone = (apart >= bits[:, None]) & live[:, None]
    # Of the code's last place, in bits of the significand.
    drop = scale[:, None] - 127 - (bits[:, None] - 1) - u.exponent
    rest = u.significand & ((np.int64(1) << np.clip(drop, 0, 40)) - 1)
    half = np.int64(1) << np.clip(drop - 1, 0, 40)
    tie = (drop > 0) & (drop <= 40) & (rest == half) & live[:, None]
    whole = u.significand >> np.clip(drop, 0, 62)
    first = np.zeros(len(x), np.bool_)
    first[at.starts] = True
    length = np.array(params.beats)[at.modes]
    cut = np.zeros(len(x), np.bool_)
    cut[at.starts + at.lengths - 1] = at.lengths < length
    most = (1 << bits) - 1
    # Of bf16 a long magnitude has no more bits than its significand.
    widest = most & -1 << np.maximum(bits - params.format.precision, 0)
    number = at.number
    bins = {
        "plus_zero": (u.is_zero & (u.sign == 0)).any(axis=1),
        "minus_zero": (u.is_zero & (u.sign == 1)).any(axis=1),
        "nan": u.is_nan.any(axis=1),
        "plus_inf": (u.is_inf & (u.sign == 0)).any(axis=1),
        "minus_inf": (u.is_inf & (u.sign == 1)).any(axis=1),
        "subnormal": ((field == 0) & (u.significand > 0)).any(axis=1),
        "subnormal_code": ((field == 0) & (codes != 0)).any(axis=1),
        "largest_finite": ((x & params.format.magnitude_mask) == params.format.max_code).any(
            axis=1
        ),
        "scale_least": scale == 1,
        "scale_most": scale == 254,
        "group_without_normal": first & live & ~_any(number, field > 0)[number],
        "good_beat_of_bad_group": ~live & (field < 255).all(axis=1),
        "all_gone": gone.all(axis=1),
        "cut_short": cut,
        "one_beat": first & (outputs["end"] == 1),
        "packet_of_groups": (outputs["end"] == 1) & (batch["last"] == 0),
        "no_zeroed": (batch["last"] == 1) & (outputs["zeroed"] == 0),
        "some_zeroed": (batch["last"] == 1) & (outputs["zeroed"] > 0),
        "mode_3": first & (batch["mode"] == 3),
        "other_mode_inside": ~first & (batch["mode"] != outputs["mode"]),
    }
    if params.count_bits <= 6:
        bins["zeroed_most"] = outputs["zeroed"] == (1 << params.count_bits) - 1
    for mode, name in enumerate(("fb12", "fb16", "fb24")):
        here = outputs["mode"] == mode
        bins |= {
            f"{name}_largest_code": here & (np.abs(codes) == widest[:, None]).any(axis=1),
            f"{name}_negative": here & (codes < 0).any(axis=1),
            f"{name}_at_edge": here & live & (apart == bits[:, None] - 1).any(axis=1),
            f"{name}_just_gone": here & live & (apart == bits[:, None]).any(axis=1),
            f"{name}_far": here & live & (apart > 40).any(axis=1),
            f"{name}_nan": here & ~live,
            f"{name}_after_other": here & first & (np.roll(at.modes, 1)[number] != mode),
        }
        if params.rounding is Rounding.RNE and (params.source == "fp32" or mode < 2):
            bins |= {
                f"{name}_tie_to_even": here & (tie & (whole % 2 == 0)).any(axis=1),
                f"{name}_tie_from_odd": here & (tie & (whole % 2 == 1)).any(axis=1),
                f"{name}_clipped": here
                & ((whole == most[:, None]) & (rest >= half) & (drop > 0)).any(axis=1),
            }
    return {name: np.asarray(hit, np.bool_) for name, hit in bins.items()}


def _any(number: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Whether any element of each group is hit."""
    return np.bincount(number, weights=hits.any(axis=1)) > 0
