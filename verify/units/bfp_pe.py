"""Coverage of `bfp_pe`: modes, groups, exponents at their ends, results; its handshake."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.bfp_pe import Params, groups
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as stream_claims
from narrowgauge.verify.units.dot import Bins, per_dot

__all__ = ["claims", "coverage"]

Bools = npt.NDArray[np.bool_]

_INF, _LEAST_NORMAL = 0x7F800000, 1 << 23


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake: dot products are answered once or four times by their modes."""
    return stream_claims(params, HANDSHAKE)


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat of the input."""
    made = groups(params, batch)
    closes = np.asarray((batch["end"] | batch["last"]) == 1)
    length = np.diff(made.ends, prepend=-1)
    whole = np.array([params.beats(mode) for mode in range(3)])[made.mode]
    last = batch["last"][made.ends] == 1
    before = np.concatenate([[True], last[:-1]])
    used = np.ones(made.terms.shape, np.bool_)
    used[:, 1:] = made.four[:, None]
    size = made.terms & 0x7FFFFFFF
    finite = (made.a < 255) & (made.b < 255)

    def some(hit: Bools) -> Bools:
        """An output of the group."""
        return np.asarray((hit & used).any(axis=1))

    of_groups = {
        "one_beat": length == 1,
        "whole": length == whole,
        "too_long": length > whole,
        "wraps": some(made.sums != made.totals),
        "zero": some(made.totals == 0),
        "negative": some(made.totals < 0),
        "rounded": some(np.abs(made.totals) >= 1 << 24),
        "field_0": some(((made.a == 0) | (made.b == 0)) & (made.totals != 0)),
        "field_254": some((made.a == 254) | (made.b == 254)),
        "nan_a": some(made.a == 255),
        "nan_b": some(made.b == 255),
        "term_subnormal": some((size > 0) & (size < _LEAST_NORMAL)),
        "term_vanishes": some((size == 0) & (made.totals != 0) & finite),
        "term_inf": some(size == _INF),
        "first": before,
        "several": ~before,
        "last_without_end": batch["end"][made.ends] == 0,
    }
    if params.modes == 3:
        modes = batch["mode"]
        same = np.concatenate([[True], modes[1:] == modes[:-1]])
        same[1:] |= closes[:-1]
        four = made.four
        after = np.concatenate([[False], four[:-1]])
        of_groups |= {
            "fb12": four,
            "fb16": made.mode == 1,
            "fb24": (made.mode == 2) & (modes[made.ends] == 2),
            "mode3": modes[made.ends] == 3,
            "nan_of_some": some(~finite) & some(finite),
            "mode_changes": np.asarray(~np.logical_and.reduceat(same, made.ends - length + 1)),
            "to_four": four & ~after & ~before,
            "to_one": ~four & after & ~before,
            # The end has to wait for the outputs of the group before.
            "waits_for_outputs": after & (length < 4),
        }
    # Of the results of a dot product, any.
    result = outputs["result"]
    where = np.cumsum(outputs["last"]) - outputs["last"]
    code = result & 0x7FFFFFFF

    def any_of(hit: Bools) -> Bools:
        hits = np.zeros(int(outputs["last"].sum()), np.bool_)
        np.logical_or.at(hits, where, hit)
        return per_dot(batch["last"], hits)

    return {name: per_dot(closes, hit) for name, hit in of_groups.items()} | {
        "result_zero": any_of(result == 0),
        "result_subnormal": any_of((code > 0) & (code < _LEAST_NORMAL)),
        "result_negative": any_of(result > 0x80000000),
        "result_inf": any_of(code == _INF),
        "result_nan": any_of(code > _INF),
    }
