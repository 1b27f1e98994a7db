"""Coverage of `fp32_bn_constants`: modes, numbers in and out, exact quotients and roots."""

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.fp32_bn_constants import Params, divide, root
from narrowgauge.golden.units.fp32_lanes import add, multiply
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as stream_claims
from narrowgauge.verify.units.dot import Bins
from narrowgauge.verify.units.fp32_lanes import number_bins

__all__ = ["claims", "coverage"]


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake: how long a beat takes depends on its numbers."""
    return stream_claims(params, HANDSHAKE)


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat."""
    mode = batch["mode"]
    bins: Bins = {f"mode_{each}": mode == each for each in range(4)}
    for name in ("x", "y", "a", "s", "n"):
        for key, hit in number_bins(name, batch[name][:, None]).items():
            read = {"y": mode >= 2, "a": mode >= 1, "s": mode >= 2}.get(name, mode >= 0)
            bins[key] = hit & read
    for name in ("first", "second"):
        bins |= number_bins(f"answer_{name}", outputs[name][:, None])
    share = divide(batch["x"], batch["n"])
    variance = add(share, np.full_like(share, params.epsilon_code))
    bins |= number_bins("share", share[:, None])
    bins |= {
        "root_exact": (mode == 1) & (multiply(root(variance), root(variance)) == variance),
        "root_of_negative": (mode == 1) & (variance > 1 << 31),
        "share_exact": multiply(share, batch["n"]) == batch["x"],
    }
    if params.epsilon_code < 1 << 23:
        bins["root_of_subnormal"] = (mode == 1) & (variance > 0) & (variance < 1 << 23)
    return bins
