"""The leading-zero count: coverage of every count and of the word 0; what is proved of it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.lzc import Params
from narrowgauge.golden.payload import Batch
from narrowgauge.verify.prove.claims import Claim
from narrowgauge.verify.prove.exhaustive import MOST_BITS, Exhaustive
from narrowgauge.verify.prove.smt import Case, Smt
from narrowgauge.verify.prove.wires import Handshake

__all__ = ["claims", "coverage", "specification"]


def coverage(params: Params, batch: Batch, outputs: Batch) -> dict[str, npt.NDArray[np.bool_]]:
    """A bin for each place of the first one, one for none."""
    bins = {
        f"count_{n}": (outputs["count"] == n) & (outputs["zero"] == 0) for n in range(params.width)
    }
    bins["zero"] = batch["word"] == 0
    bins["ones"] = batch["word"] == (1 << params.width) - 1
    return bins


def specification(params: Params, batch: Batch) -> Batch:
    """The count n is the one for which the word, shifted right by width - 1 - n places, is 1."""
    word = batch["word"]
    count = np.full(word.shape, params.width - 1, np.int64)
    for n in range(params.width):
        count[(word >> (params.width - 1 - n)) == 1] = n
    return {"count": count, "zero": (word == 0).astype(np.int64)}


def claims(params: Params) -> tuple[Claim, ...]:
    """RTL and golden model are the definition; beyond 24 bits the RTL, by a solver."""
    width = params.width
    if width <= MOST_BITS:
        shared: dict[str, Any] = {
            "method": "exhaustive, against word >> (width - 1 - count) == 1",
            "size": f"all 2^{width} inputs",
            "specification": lambda batch: specification(params, batch),
        }
        return (
            Exhaustive(claim="RTL counts the leading zeros", **shared),
            Exhaustive(
                claim="the golden model counts the leading zeros", subject="golden model", **shared
            ),
            Handshake(),
        )
    size = params.output["count"].width
    definition = f"(= (bvlshr word (bvsub (_ bv{width - 1} {width}) wide)) (_ bv1 {width}))"
    extended = f"((_ zero_extend {width - size}) count)"
    zero = f"(= word (_ bv0 {width}))"
    return (
        Smt(
            claim="RTL counts the leading zeros",
            method="SMT, bit-vectors, against word >> (width - 1 - count) == 1",
            size=f"all 2^{width} inputs",
            solvers=("bitwuzla", "cvc5"),
            cases=(
                Case(
                    name="all",
                    goal=f"(let ((wide {extended})) (and (= zero (ite {zero} #b1 #b0)) (ite {zero} "
                    f"(= count (_ bv{width - 1} {size})) {definition})))",
                ),
            ),
        ),
        Handshake(),
    )
