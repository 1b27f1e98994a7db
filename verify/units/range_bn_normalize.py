"""Coverage of `range_bn_normalize`: shifts, clips, signs, loads, what the blocks become."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.range_bn_normalize import Params, sources
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as stream_claims
from narrowgauge.verify.units.dot import Bins, per_dot

__all__ = ["claims", "coverage"]


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake: beats that load are not answered."""
    return stream_claims(params, HANDSHAKE)


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat of the input."""
    fmt, p = params.format, params
    load = batch["load"] == 1
    address, source = sources(p, batch)
    codes, fields = batch["codes"], np.repeat(batch["scales"], p.group, axis=1)
    live = ~load[:, None] & (fields < fmt.nan_field) & (codes != 0)
    exponent, gain = batch["exponent"][source], batch["gain"][source]
    right = exponent - np.maximum(fields, 1)
    window, size = p.arithmetic.product, p.precision + fmt.mantissa_bits
    product = np.abs(codes * gain)
    live &= gain != 0
    place = product * 2.0 ** (window - size - right)

    def answered(hit: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Of some part of an answer, at the beat that it answers."""
        return per_dot(~load, np.logical_or.reduce(hit, axis=1))

    out, scales = outputs["codes"], outputs["scales"]
    ones = (1 << fmt.mantissa_bits) - 1
    bins = {
        "load": load,
        "load_again": load & (np.concatenate([[False], ~load[:-1]])),
        "at_top": (live & (right == 0)).any(axis=1),
        "above_but_fits": (live & (right < 0) & (place < 1 << window)).any(axis=1),
        "too_large": (live & (place >= 1 << window)).any(axis=1),
        "far_above": (live & (right < -size)).any(axis=1),
        "cut_off": (live & (place != np.floor(place))).any(axis=1),
        "vanishes": (live & (place < 1)).any(axis=1),
        "gain_zero": (~load[:, None] & (gain == 0)).any(axis=1),
        "gain_negative": (live & (gain < 0)).any(axis=1),
        "nan": (~load[:, None] & (fields == fmt.nan_field)).any(axis=1),
        "zero": (~load[:, None] & (codes == 0)).any(axis=1),
        "deepest": address == p.depth - 1,
        "answer_zero": answered(out == 0),
        "answer_clipped": answered(np.abs(out) == ones),
        "answer_subnormal": answered(scales == 1),
        "answer_largest": answered(scales == fmt.nan_field - 1),
        "answer_nan": answered(scales == fmt.nan_field),
        "last": ~load & (batch["last"] == 1),
    }
    return {name: np.asarray(hit, np.bool_) for name, hit in bins.items()}
