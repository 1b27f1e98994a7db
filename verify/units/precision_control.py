"""Coverage of `precision_control`: steps from every mode, thresholds, shares, sums."""

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.precision_control import Params, sums_of
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as stream_claims
from narrowgauge.verify.units.dot import Bins

__all__ = ["claims", "coverage"]


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake: a report is answered or not by its flags."""
    return stream_claims(params, HANDSHAKE)


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a report."""
    at = sums_of(params, batch)
    end, some = at.end, at.end & (at.elements > 0)
    lower, upper = batch["lower"], batch["upper"]
    below, above = some & (at.share < lower), some & (at.share > upper)
    most = (1 << params.fraction_bits) - 1
    bins = {
        "no_elements": end & (at.elements == 0),
        "share_zero": some & (at.share == 0),
        "share_most": some & (at.share == most) & (at.zeroed < at.elements),
        "all_zeroed": some & (at.zeroed == at.elements),
        "more_than_all": some & (at.zeroed > at.elements),
        "at_lower": some & (at.share == lower) & (lower < upper),
        "at_upper": some & (at.share == upper) & (lower < upper),
        "just_below": some & (at.share == lower - 1) & ~above,
        "just_above": some & (at.share == upper + 1) & ~below,
        "between": some & ~below & ~above,
        "both": below & above,
        "load": batch["load"] == 1,
        "load_3": (batch["load"] == 1) & (batch["mode"] == 3),
        "load_and_end": (batch["load"] == 1) & end,
        "load_inside": (batch["load"] == 0) & (batch["mode"] != at.mode) & end,
        "goes_on": ~end,
        "last_without_end": (batch["last"] == 1) & (batch["end"] == 0),
        "first_entry": batch["entry"] == 0,
        "final_entry": batch["entry"] == params.entries - 1,
        "sum_longer_than_report": at.elements >> params.count_bits > 0,
    }
    for mode in range(3):
        bins[f"down_from_{mode}"] = below & ~above & (at.mode == mode)
        bins[f"up_from_{mode}"] = above & (at.mode == mode)
        bins[f"stays_{mode}"] = some & ~below & ~above & (at.mode == mode)
    return {name: np.asarray(hit, np.bool_) for name, hit in bins.items()}
