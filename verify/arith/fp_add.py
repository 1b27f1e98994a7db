"""The adder: coverage of operand classes, alignment, cancellation and rounding; its proofs."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.fp_add import Params, exact_sum
from narrowgauge.golden.formats import Overflow, Rounding, vector
from narrowgauge.golden.payload import Batch
from narrowgauge.verify.arith.bins import class_bins, prefixed, reachable, rounding_bins
from narrowgauge.verify.prove.claims import Claim
from narrowgauge.verify.prove.exact import NAN, Grid, Number
from narrowgauge.verify.prove.floats import (
    cpp_code,
    cpp_value,
    smt_meets,
    smt_value,
    solvers,
    tried,
)
from narrowgauge.verify.prove.smt import Case, Smt
from narrowgauge.verify.prove.wires import Handshake

__all__ = ["claims", "coverage"]


def coverage(params: Params, batch: Batch, outputs: Batch) -> dict[str, npt.NDArray[np.bool_]]:
    """Bins; a sum is never subnormal and inexact, so rounding is counted on normal sums."""
    fmt = params.format
    a, b = vector.unpack(fmt, batch["a"]), vector.unpack(fmt, batch["b"])
    finite = ~(a.is_inf | a.is_nan | b.is_inf | b.is_nan)
    zero = a.is_zero | b.is_zero
    opposite = a.sign != b.sign
    distance = np.abs(a.exponent - b.exponent)
    _, significand, exponent, sticky = exact_sum(fmt, a, b)
    length = vector.bit_length(significand) + exponent
    top = np.maximum(
        vector.bit_length(a.significand) + a.exponent, vector.bit_length(b.significand) + b.exponent
    )
    lost = np.where(finite & (significand > 0), top - length, 0)

    classes_a, classes_b = class_bins(fmt, batch["a"]), class_bins(fmt, batch["b"])
    result = class_bins(fmt, outputs["o"])
    del result["other_nan"]
    if params.overflow == Overflow.SATURATE:
        del result["plus_inf"], result["minus_inf"]
    bins = prefixed("a", classes_a) | prefixed("b", classes_b) | prefixed("result", result)

    far = fmt.mantissa_bits + 3
    reach = (1 << fmt.exponent_bits) - 3
    for places in range(min(far, reach) + 1):
        bins[f"aligned_by_{places}"] = finite & ~zero & (distance == places)
    if reach > far:
        bins["aligned_beyond"] = finite & ~zero & (distance > far)
    # More than one bit cancels only where the exponents differ by at most one.
    for places in range(1, fmt.mantissa_bits + 1):
        bins[f"cancelled_{places}"] = opposite & finite & ~zero & (lost == places)
    bins |= {
        "cancelled_all": opposite & finite & ~zero & (significand == 0),
        "carried": finite & ~zero & (lost == -1),
        "subnormal_sum_is_normal": finite
        & (a.significand < 1 << fmt.mantissa_bits)
        & (b.significand < 1 << fmt.mantissa_bits)
        & result["normal"],
        "normals_cancel_to_subnormal": finite
        & (a.significand >= 1 << fmt.mantissa_bits)
        & (b.significand >= 1 << fmt.mantissa_bits)
        & result["subnormal"],
        "infinities_cancel": a.is_inf & b.is_inf & opposite,
        "infinities_add": a.is_inf & b.is_inf & ~opposite,
        "zeros_of_both_signs": a.is_zero & b.is_zero & opposite,
        "overflows": finite & (length > fmt.emax + 1),
    }
    rounds = rounding_bins(fmt, np.where(finite, significand, 0), exponent, sticky)
    kinds = prefixed("adds", {n: hit & ~opposite for n, hit in rounds.items()})
    # A difference that carries is one unit below a power of two.
    kinds |= prefixed("subtracts", {n: hit & opposite for n, hit in rounds.items()})
    bins |= reachable(kinds, params.input, fmt.precision)
    if params.rounding == Rounding.RNE and params.overflow == Overflow.NONFINITE:
        bins["rounds_to_infinity"] = finite & (length == fmt.emax + 1) & result["plus_inf"]
    return bins


def _total(a: Number | str, b: Number | str) -> Number | str:
    """The exact sum; one of exactly zero is +0 unless both operands are -0."""
    if isinstance(a, str) or isinstance(b, str):
        return NAN
    if a[1] is None or b[1] is None:
        both = a[1] is None and b[1] is None
        return NAN if both and a[0] != b[0] else (a if a[1] is None else b)
    total = (-1) ** a[0] * a[1] + (-1) ** b[0] * b[1]
    if total:
        return int(total < 0), abs(total)
    return a[0] & b[0] if a[1] == 0 else 0, total


def claims(params: Params) -> tuple[Claim, ...]:
    """The sum by exact fractions, by the host's arithmetic, or by a solver, as the size allows."""
    grid = Grid(params.format, params.rounding, params.overflow)
    a, b = (cpp_value(params.format, name) for name in "ab")
    return (
        *tried(
            params,
            statement="the sum, rounded once",
            what="pairs",
            exact=lambda a, b: grid.code(_total(grid.value(a), grid.value(b))),
            host=f"  return {cpp_code(params, f'sum_to_odd({a}, {b})')};",
        ),
        *([_solved(params)] if params.input.width > 32 else []),
        Handshake(),
    )


def _solved(params: Params) -> Smt:
    """The sum as the theory of floating point has it, a case for each distance of exponents."""
    fmt = params.format
    E, M, W = fmt.exponent_bits, fmt.mantissa_bits, fmt.width
    bits = E + 2

    def number(value: int) -> str:
        return f"(_ bv{value} {bits})"

    def field(code: str) -> str:
        return f"((_ zero_extend 2) ((_ extract {W - 2} {M}) {code}))"

    alike = f"(= ((_ extract {W - 1} {W - 1}) a) ((_ extract {W - 1} {W - 1}) b))"
    operands = f"{smt_value(fmt, 'a')} {smt_value(fmt, 'b')}"
    prelude = f"""
(define-fun apart () (_ BitVec {bits}) (bvsub {field("a")} {field("b")}))
(define-fun back () (_ BitVec {bits}) (bvneg apart))
(define-fun alike () Bool {alike})
(define-fun sum () (_ FloatingPoint {E} {M + 1}) (fp.add {params.rounding.upper()} {operands}))
"""
    goal = smt_meets(params, "sum")
    near = M + 3
    cases = [
        Case("equal exponents, unlike signs", goal, f"(and (= apart {number(0)}) (not alike))"),
        Case("equal exponents, like signs", goal, f"(and (= apart {number(0)}) alike)"),
    ]
    for places in range(1, near + 1):
        apart = f"(or (= apart {number(places)}) (= back {number(places)}))"
        cases.append(Case(f"exponents {places} apart", goal, apart))
    beyond = f"(not (bvule (bvadd apart {number(near)}) {number(2 * near)}))"
    cases.append(Case(f"exponents more than {near} apart", goal, beyond))
    return Smt(
        claim="RTL gives the sum, rounded once",
        method="SMT, against fp.add, by distance of exponents",
        size=f"all 2^{2 * W} pairs",
        long=True,
        parts=len(cases),
        cases=tuple(cases),
        prelude=prelude,
        solvers=solvers((E, M + 1)),
    )
