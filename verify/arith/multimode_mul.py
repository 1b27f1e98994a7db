"""The multi-mode cell: coverage of modes, signs and extremes; what is proved of it."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.multimode_mul import SUBS, Params, slots
from narrowgauge.golden.payload import Batch
from narrowgauge.verify.prove.claims import Claim
from narrowgauge.verify.prove.smt import Case, Smt
from narrowgauge.verify.prove.wires import Handshake

__all__ = ["claims", "coverage"]

_MODES = {"low_low": (0, 0), "high_low": (1, 0), "low_high": (0, 1), "high_high": (1, 1)}


def coverage(params: Params, batch: Batch, outputs: Batch) -> dict[str, npt.NDArray[np.bool_]]:
    """Modes, and in each the sums' signs and extremes, and every sub-multiplier by itself."""
    top = (1 << params.step) - 1
    products = slots(params.low, batch["a"]) * slots(params.low, batch["w"])
    bins: dict[str, npt.NDArray[np.bool_]] = {}
    for name, (a_high, w_high) in _MODES.items():
        mode = (batch["a_high"] == a_high) & (batch["w_high"] == w_high)
        limits = [(1 << (params.high - 1)) - 1 if high else top for high in (a_high, w_high)]
        most = (SUBS >> (a_high + w_high)) * limits[0] * limits[1]
        bins |= {
            name: mode,
            f"{name}_zero": mode & (outputs["o"] == 0),
            f"{name}_most": mode & (outputs["o"] == most),
            f"{name}_least": mode & (outputs["o"] == -most),
        }
        for j in range(SUBS):
            alone = (products[:, j] != 0) & ((products != 0).sum(axis=1) == 1)
            bins[f"{name}_only_{j}"] = mode & alone
    return bins


def _slot(params: Params, word: str, j: int) -> str:
    return f"((_ extract {(j + 1) * params.low - 1} {j * params.low}) {word})"


def _code(params: Params, word: str, slots_of: tuple[int, ...]) -> str:
    """The signed code that slots hold, lowest first, on the width of the sum."""
    m, width = params.step, params.width
    parts = " ".join(
        f"((_ extract {m - 1} 0) {_slot(params, word, j)})" for j in reversed(slots_of)
    )
    magnitude = f"(concat {parts})" if len(slots_of) > 1 else parts
    wide = f"((_ zero_extend {width - m * len(slots_of)}) {magnitude})"
    sign = f"((_ extract {m} {m}) {_slot(params, word, slots_of[-1])})"
    return f"(ite (= {sign} #b1) (bvneg {wide}) {wide})"


def _case(params: Params, name: str) -> Case:
    """In a mode, words that hold codes give the sum of their products."""
    high = _MODES[name]
    both = high == (1, 1)
    # Slots of each code, and the pairs of slots that hold the same in a word that is packed.
    codes: list[list[tuple[int, ...]]] = []
    packed: list[str] = []
    for word, is_high, other, copies in (
        ("a", high[0], high[1], ((0, 2), (1, 3))),
        ("w", high[1], high[0], ((1, 2), (0, 3))),
    ):
        codes.append(
            [(0, 1)]
            if both
            else [(0, 1), (2, 3)]
            if is_high
            else [(0,), (2,)]
            if other
            else [(0,), (1,), (2,), (3,)]
        )
        if both or (other and not is_high):
            for one, two in copies if both else ((0, 1), (2, 3)):
                packed.append(f"(= {_slot(params, word, one)} {_slot(params, word, two)})")
        m = params.step
        for pair in codes[-1] if is_high else ():
            signs = [f"((_ extract {m} {m}) {_slot(params, word, j)})" for j in pair]
            packed.append(f"(= {' '.join(signs)})")
    total = f"(_ bv0 {params.width})"
    for a, w in zip(*codes, strict=True):
        product = f"(bvmul {_code(params, 'a', a)} {_code(params, 'w', w)})"
        total = f"(bvadd {total} {product})"
    mode = f"(and (= a_high #b{high[0]}) (= w_high #b{high[1]}))"
    goal = f"(=> (and true true {' '.join(packed)}) (= o {total}))"
    return Case(name=name, goal=goal, assume=mode)


def claims(params: Params) -> tuple[Claim, ...]:
    """In each mode the sum of the plain products of signed codes, for all words that hold codes."""
    return (
        Smt(
            claim="RTL is the sum of the plain products of the codes, in each mode",
            method="SMT, bit-vectors, against bvmul of the codes that the words hold",
            size=f"all codes of {params.low} and {params.high} bits, both zeros, in all four modes",
            cases=tuple(_case(params, name) for name in _MODES),
            long=params.low > 3,
        ),
        Handshake(),
    )
