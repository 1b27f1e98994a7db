"""Coverage of `guarded_memory`: every command on every kind of word, scrubs, counters."""

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.guarded_memory import Params, trace
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as stream_claims
from narrowgauge.verify.units.dot import Bins

__all__ = ["claims", "coverage"]


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake: a command is answered or not by what it is."""
    return stream_claims(params, HANDSHAKE)


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a command."""
    at, guard = trace(params, batch), params.word.guard
    found = guard.decode(at.raw, at.bounds(guard.limits))
    op, last, address = batch["op"], batch["last"] == 1, batch["address"]
    follows = np.zeros(len(op), np.bool_)
    follows[1:] = (address[1:] == address[:-1]) & ~last[:-1]
    before = np.concatenate([[-1], op[:-1]])
    most = (1 << params.count_bits) - 1
    counters = np.zeros((2, len(op)), np.int64)
    counters[0, at.answered], counters[1, at.answered] = (
        outputs[name] for name in ("corrections", "detections")
    )
    bins = {f"op_{i}": op == i for i in range(8)}
    bins |= {f"last_{name}": last & (op == i) for i, name in enumerate(("read", "write", "flip"))}
    bins |= {
        "last_bound": last & (op == 4),
        "last_count": last & (op > 4),
        "read_after_write": (op == 0) & (before == 1) & follows,
        "read_after_flip": (op == 0) & (before == 2) & follows,
        "flip_after_flip": (op == 2) & (before == 2) & follows,
        "read_after_scrub": (op == 0) & (before == 3),
        "write_after_scrub": (op == 1) & (before == 3),
        "scrub_after_scrub": (op == 3) & (before == 3),
        "bound_after_read": (op == 4) & (before == 0),
        "no_bound": (op == 4) & (address >= len(guard.limits)),
        "first_word": at.answered & (address == 0),
        "final_word": at.answered & (address == params.depth - 1),
        "clean": at.answered & ~found.corrected & ~found.detected,
        "counts_none": at.answered & (counters == 0).all(axis=0),
    }
    if guard.rule.code == "secded":
        bins |= {
            "corrected": at.answered & found.corrected,
            "scrub_corrects": at.scrubbed[:, 0] > 0,
            "corrections": counters[0] > 1,
        }
    if guard.rule.code != "none" or guard.rule.clamp != "none":
        bins |= {
            "detected": at.answered & found.detected,
            "scrub_detects": at.scrubbed[:, 1] > 0,
            "detections": counters[1] > 1,
        }
        if params.count_bits < 4:
            bins["detections_most"] = counters[1] == most
    return {name: np.asarray(hit, np.bool_) for name, hit in bins.items()}
