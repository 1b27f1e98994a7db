"""Coverage bins that the dot products share: specials, results, lengths."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import BF16, vector
from narrowgauge.golden.payload import Batch

__all__ = ["Bins", "Bools", "Ints", "operand_bins", "per_dot", "result_bins"]

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Bins = dict[str, Bools]


def operand_bins(name: str, codes: Ints) -> Bins:
    """Number classes of bf16 operands, one bool a transaction: at least one operand is of it."""
    u = vector.unpack(BF16, codes)
    field = (codes >> 7) & 0xFF
    classes = {
        "zero": u.is_zero & (u.sign == 0),
        "minus_zero": u.is_zero & (u.sign == 1),
        "subnormal": (field == 0) & ~u.is_zero,
        "largest": (codes & 0x7FFF) == 0x7F7F,
        "plus_inf": u.is_inf & (u.sign == 0),
        "minus_inf": u.is_inf & (u.sign == 1),
        "nan": u.is_nan,
    }
    return {f"{name}_{key}": hit.any(axis=1) for key, hit in classes.items()}


def per_dot(last: Ints | Bools, results: Bools) -> Bools:
    """A bool an answer, as of a dot product, put on the transaction that it answers."""
    hits = np.zeros(len(last), np.bool_)
    hits[np.flatnonzero(last)] = results
    return hits


def result_bins(batch: Batch, outputs: Batch) -> Bins:
    """Classes of the FP32 results, and dot products of one term and of several."""
    code = outputs["result"]
    magnitude = code & 0x7FFFFFFF
    field = magnitude >> 23
    last = batch["last"]
    first = np.concatenate([[1], last[:-1]])
    classes = {
        "zero": magnitude == 0,
        "subnormal": (field == 0) & (magnitude > 0),
        "negative": (code >> 31 == 1) & (field > 0) & (field < 255),
        "inf": magnitude == 0x7F800000,
        "nan": magnitude > 0x7F800000,
    }
    bins = {f"result_{key}": per_dot(last, hit) for key, hit in classes.items()}
    return bins | {
        "single_term": (last == 1) & (first == 1),
        "several_terms": (last == 1) & (first == 0),
    }
