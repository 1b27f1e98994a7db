"""Coverage that the FP32 baselines of batch normalisation share: classes of numbers, loads."""

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.fp32_lanes import FP32
from narrowgauge.verify.units.dot import Bins, Bools, Ints, per_dot

__all__ = ["answer_bins", "beat_bins", "modes_of", "number_bins"]

_INF = FP32.exponent_mask


def modes_of(batch: Batch) -> Ints:
    """The mode that each beat of values is in; of loads, the one that they set."""
    load = batch["load"] != 0
    latest = np.maximum.accumulate(np.where(load, np.arange(len(load)), 0))
    return batch["mode"][latest]


def number_bins(name: str, codes: Ints) -> Bins:
    """Classes of codes (beats, lanes), one bool a beat: at least one is of it."""
    magnitude = codes & FP32.magnitude_mask
    classes = {
        "zero": codes == 0,
        "minus_zero": codes == FP32.sign_mask,
        "subnormal": (magnitude > 0) & (magnitude < 1 << 23),
        "negative": (codes >= FP32.sign_mask) & (magnitude < _INF),
        "inf": magnitude == _INF,
        "nan": magnitude > _INF,
    }
    return {f"{name}_{key}": np.logical_or.reduce(hit, axis=1) for key, hit in classes.items()}


def beat_bins(batch: Batch, pairs: int) -> Bins:
    """What beats bring, and in which order."""
    loads, mode = batch["load"] != 0, modes_of(batch)
    data, last = ~loads, batch["last"] == 1
    before = np.concatenate([[True], loads[:-1]])
    after = np.concatenate([loads[1:], [True]])
    bins = {f"load_{pair}": batch["load"] >> pair & 1 == 1 for pair in range(pairs)}
    bins |= {f"mode_{each}": data & (mode == each) for each in range(4)}
    for name in "uv":
        found = number_bins(name, batch[name])
        bins |= {key: data & hit for key, hit in found.items()}
    return bins | {
        "load_several": (batch["load"] & (batch["load"] - 1)) != 0,
        "cut_short": data & after & ~last,
        "one_beat": data & before & last,
        "last": data & last,
        "mode_beside_values": data & (batch["mode"] != mode),
    }


def answer_bins(answered: Bools, outputs: Batch, *names: str) -> Bins:
    """Classes of answers, on the beats that they answer."""
    bins: Bins = {}
    for name in names:
        for key, hit in number_bins(f"answer_{name}", outputs[name]).items():
            bins[key] = per_dot(answered, hit)
    return bins
