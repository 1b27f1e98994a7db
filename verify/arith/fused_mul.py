"""The fused multiplier: coverage of modes, signs and extremes; what is proved of it."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.fused_mul import BITS, FB12, SLOTS, Params, elements, pack
from narrowgauge.golden.payload import Batch
from narrowgauge.verify.prove.claims import Claim, Context, Proof, Stopwatch
from narrowgauge.verify.prove.linear import Sum, Sums, Term
from narrowgauge.verify.prove.wires import Handshake

__all__ = ["claims", "coverage", "same_form"]

_PLACES = ((0,), (1, 2), (3,))
"""Numbers d of the products of each sum of an output."""

_MANY = 8
"""Products of a sum from which on the design counts the negative ones."""


def coverage(params: Params, batch: Batch, outputs: Batch) -> dict[str, npt.NDArray[np.bool_]]:
    """Modes, in each the sums' signs and extremes, and every multiplier by itself."""
    a, b = (batch[name].reshape(-1, params.cells, 4, 2) for name in "ab")
    products = (a[..., [0, 0, 1, 1]] * b[..., [0, 1, 0, 1]]).reshape(len(a), -1)
    alone = (products != 0).sum(axis=1) == 1
    most = (4 * 15**2, 4 * 255**2, 65535**2, 65535**2)
    bins: dict[str, npt.NDArray[np.bool_]] = {}
    for mode, top in enumerate(most):
        hit = batch["mode"] == mode
        bins |= {
            f"mode{mode}": hit,
            f"mode{mode}_zero": hit & (outputs["o"] == 0),
            f"mode{mode}_negative": hit & (outputs["o"] < 0),
        }
        if mode < 3:
            bins[f"mode{mode}_most"] = hit & (outputs["o"] == params.cells * top)
            bins[f"mode{mode}_least"] = hit & (outputs["o"] == -params.cells * top)
        for j in range(products.shape[1]):
            bins[f"mode{mode}_only_{j}"] = hit & alone & (products[:, j] != 0)
    rest = np.abs(outputs["rest"]) == 4 * params.cells * 15**2
    return bins | {f"rest_most_{k}": rest[:, k] for k in range(3)}


@dataclass(frozen=True, kw_only=True)
class _Codes(Claim):
    """The weighted products of the slots that hold a cell's codes add up to products of codes.

    Slots are linear in the bits of a code, so the sum is a bilinear form: it is compared with that
    of the products, coefficient by coefficient.
    """

    claim: str = "slots that hold codes, weighted as each mode says, give the codes' products"
    method: str = "algebra: coefficients of the codes' bits"
    size: str = "all codes of 4, 8 and 16 bits"

    def settle(self, context: Context) -> Proof:
        """Compare the forms of every mode and output."""
        watch = Stopwatch()
        wrong = [
            f"mode {mode}, output {output}"
            for mode in range(4)
            for output in range(4 if mode == FB12 else 1)
            if not same_form(mode, output)
        ]
        if wrong:
            return self.proof("unknown", watch.seconds, reason=", ".join(wrong))
        return self.proof("proved", watch.seconds)


def same_form(mode: int, output: int) -> bool:
    """Whether an output of a mode, as a form in the bits of packed codes, is that of products."""
    bits, depth = BITS[min(mode, 2)], elements(mode)
    # Slots of every code that has one bit: (elements * bits, 4, 2); of FB12, of all rows.
    shape = (2, depth) if mode == FB12 else (depth,)
    size = int(np.prod(shape))
    codes = np.kron(np.eye(size, dtype=np.int64), 1 << np.arange(bits)[:, None])
    words = pack(mode, codes.reshape(-1, *shape), codes.reshape(-1, *shape))
    a, b = (word.reshape(-1, 4, 2) for word in words)
    form = np.zeros((len(a), len(b)), np.int64)
    for out in range(4):
        if mode != FB12 or out == output:
            for d in range(4):
                weight = _weight(mode, out, d)
                form += weight * np.outer(a[:, d, out >> 1], b[:, d, out & 1])
    want = np.zeros((size, size), np.int64)
    for d in range(depth):
        at = (d, d) if mode != FB12 else ((output >> 1) * depth + d, (output & 1) * depth + d)
        want[at] = 1
    powers = 1 << np.arange(bits)
    return bool((form == np.kron(want, np.outer(powers, powers))).all())


def _weight(mode: int, output: int, d: int) -> int:
    """What a product counts in output 0, or in its own of FB12."""
    within = 4 * ((output >> 1) + (output & 1)) if mode != FB12 else 0
    return 1 << (within + (8 * ((d >> 1) + (d & 1)) if mode >= 2 else 0))


def _sums(params: Params) -> tuple[Sum, ...]:
    """The words of the design, from products to outputs."""
    made = [
        Sum(word="wide", terms=(Term(1, (("mode", 1, 1),)),)),
        # The OR of both bits, modulo 2.
        Sum(
            word="fused",
            terms=tuple(
                Term(1, tuple(("mode", i, 1) for i in bits)) for bits in ((0,), (1,), (0, 1))
            ),
        ),
    ]
    for output in range(4):
        for place, numbers in enumerate(_PLACES):
            terms, negatives = [], []
            for cell in range(params.cells):
                for d in numbers:
                    name = f"cell{cell}_{d}_{output}"
                    product, negative = f"{name}_product", f"{name}_negative"
                    a, b = (5 * (SLOTS * cell + 2 * d + x) for x in (output >> 1, output & 1))
                    signs = (Term(1, (("a", a + 4, 1),)), Term(1, (("b", b + 4, 1),)))
                    factors = Term(1, (("a", a, 4), ("b", b, 4)))
                    made += [
                        Sum(word=negative, terms=signs),
                        Sum(word=product, terms=(factors,), tree=product),
                    ]
                    terms.append(Term(1, (product,), negative))
                    negatives.append(Term(1, (negative,)))
            name = f"sum{output}_{place}"
            total = Sum(word=name, terms=tuple(terms), tree=name, signed=True)
            if len(terms) >= _MANY:
                # Complements have 255 too much each, their number has it taken away.
                count = f"{name}_negatives"
                made.append(Sum(word=count, terms=tuple(negatives), tree=count))
                total = replace(total, zero=(255, count))
            made.append(total)
    whole: list[Term] = []
    for place in range(3):
        name = f"middle{place}"
        middle = tuple(Term(1, (f"sum{output}_{place}",)) for output in (1, 2))
        made.append(Sum(word=name, terms=middle, tree=name, signed=True))
        terms = [
            Term(1, (f"sum0_{place}",)),
            Term(16, (name, "fused")),
            Term(256, (f"sum3_{place}", "fused")),
        ]
        if place == 0:
            whole += terms
            continue
        name = f"block{place}"
        made.append(Sum(word=name, terms=tuple(terms), tree=name, signed=True))
        whole += [Term(1, (name,)), Term((1 << 8 * place) - 1, (name, "wide"))]
    made.append(Sum(word="o", terms=tuple(whole), tree="fused_sum", signed=True))
    for output in range(3):
        part = ("rest", output * params.rest_width, params.rest_width)
        terms = [Term(1, (f"sum{1 + output}_{place}",)) for place in range(3)]
        made.append(Sum(word=part, terms=tuple(terms), tree=f"rest{output}", signed=True))
    return tuple(made)


def claims(params: Params) -> tuple[Claim, ...]:
    """Every word up to the weighted sums of slots; and that these are plain products of codes."""
    return (
        Sums(
            claim="RTL gives the sums of the slots' products, weighted as each mode says",
            method="algebra: adders by truth table, what they add as polynomials",
            size=f"all 2^{params.input.width} inputs",
            path="core.core.",
            sums=_sums(params),
        ),
        _Codes(),
        Handshake(),
    )
