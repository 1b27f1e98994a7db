"""The multiplier: coverage of operand classes, both ways to normalise, rounding; its proofs."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.fp_mul import Params
from narrowgauge.golden.formats import FloatFormat, Overflow, Rounding, vector
from narrowgauge.golden.payload import Batch
from narrowgauge.verify.arith.bins import class_bins, prefixed, reachable, rounding_bins
from narrowgauge.verify.prove.algebra import Product
from narrowgauge.verify.prove.claims import Claim
from narrowgauge.verify.prove.exact import NAN, Grid, Number
from narrowgauge.verify.prove.floats import cpp_code, cpp_value, smt_meets, solvers, tried
from narrowgauge.verify.prove.smt import Case, Smt, Wire
from narrowgauge.verify.prove.wires import Handshake

__all__ = ["claims", "coverage"]


def coverage(params: Params, batch: Batch, outputs: Batch) -> dict[str, npt.NDArray[np.bool_]]:
    """Bins; how a product is rounded is asked apart for normal and for subnormal results."""
    fmt = params.format
    a = vector.unpack(params.a_format, batch["a"])
    b = vector.unpack(params.b_format, batch["b"])
    finite = ~(a.is_inf | a.is_nan | b.is_inf | b.is_nan)
    significand = np.where(finite, a.significand * b.significand, 0)
    exponent = a.exponent + b.exponent
    top = exponent + vector.bit_length(significand) - 1
    some = significand > 0

    result = class_bins(fmt, outputs["o"])
    del result["other_nan"]
    fa, fb = params.a_format, params.b_format
    largest = fa.emax + fb.emax + 1
    least = fa.quantum + fb.quantum
    overflows = largest > fmt.emax
    # Products of short significands may miss the one with all bits set.
    dense = fa.precision + fb.precision >= 2 * fmt.precision - 2
    clamps = params.overflow == Overflow.SATURATE or params.rounding == Rounding.RTZ
    if not (overflows and (dense or clamps)):
        del result["max"]
    if params.overflow == Overflow.SATURATE:
        del result["plus_inf"], result["minus_inf"]
    if least >= fmt.emin:
        del result["subnormal"]
    bins = (
        prefixed("a", class_bins(fa, batch["a"]))
        | prefixed("b", class_bins(fb, batch["b"]))
        | prefixed("result", result)
    )

    small_a = (a.significand < 1 << fa.mantissa_bits) & ~a.is_zero & finite
    small_b = (b.significand < 1 << fb.mantissa_bits) & ~b.is_zero & finite
    bins |= {
        "subnormal_by_normal": small_a & ~small_b & some,
        "normal_by_subnormal": ~small_a & small_b & some,
        "subnormal_by_subnormal": small_a & small_b,
        "infinity_by_zero": a.is_inf & b.is_zero,
        "zero_by_infinity": a.is_zero & b.is_inf,
        "infinity_by_finite": a.is_inf & _nonzero(b),
        "product_below_two": some & (significand < 1 << (fa.mantissa_bits + fb.mantissa_bits + 1)),
        "product_from_two": some & (significand >= 1 << (fa.mantissa_bits + fb.mantissa_bits + 1)),
    }
    if fa.emin + fb.emin < fmt.emin or fa.quantum + fb.emax >= fmt.emin:
        bins["subnormal_gives_normal"] = (small_a | small_b) & (top >= fmt.emin)
    if overflows:
        bins["overflows"] = some & (top > fmt.emax)
    if least < fmt.quantum - 1:
        bins["vanishes"] = some & (top < fmt.quantum - 1)

    rounds = rounding_bins(fmt, significand, exponent, np.zeros_like(significand))
    normal = top >= fmt.emin
    names = list(rounds) if fa.precision + fb.precision > fmt.precision else ["exact"]
    kinds = prefixed("normal", {n: rounds[n] & normal & some for n in names})
    if least < fmt.quantum:
        # A subnormal that carries is the smallest normal value.
        del rounds["carry_to_next_exponent"]
        kinds |= prefixed("subnormal", {n: hit & ~normal for n, hit in rounds.items()})
        if params.rounding != Rounding.RTZ and dense:
            smallest = (outputs["o"] & fmt.magnitude_mask) == 1 << fmt.mantissa_bits
            bins["subnormal_rounds_to_normal"] = ~normal & some & smallest
    return bins | reachable(kinds, params.input, min(fa.precision, fb.precision))


def _nonzero(operand: vector.Unpacked) -> npt.NDArray[np.bool_]:
    """Where an operand is a number other than zero."""
    return ~(operand.is_inf | operand.is_nan | operand.is_zero)


def _product(a: Number | str, b: Number | str) -> Number | str:
    """The exact product."""
    if isinstance(a, str) or isinstance(b, str):
        return NAN
    sign = a[0] ^ b[0]
    if a[1] is None or b[1] is None:
        return NAN if 0 in (a[1], b[1]) else (sign, None)
    return sign, a[1] * b[1]


def claims(params: Params) -> tuple[Claim, ...]:
    """The product by exact fractions, or by the host's arithmetic, in which it is exact."""
    grid = Grid(params.format, params.rounding, params.overflow)
    grid_a, grid_b = Grid(params.a_format), Grid(params.b_format)
    a, b = cpp_value(params.a_format, "a"), cpp_value(params.b_format, "b")
    return (
        *tried(
            params,
            statement="the product, rounded once",
            what="pairs",
            exact=lambda a, b: grid.code(_product(grid_a.value(a), grid_b.value(b))),
            host=f"  return {cpp_code(params, f'{a} * {b}')};",
        ),
        *(_solved(params) if params.input.width > 32 else ()),
        Handshake(),
    )


def _operand(fmt: FloatFormat, name: str) -> str:
    """SMT-LIB: what a code means; `e` is the exponent field, 1 where it is 0."""
    E, M, W = fmt.exponent_bits, fmt.mantissa_bits, fmt.width
    field, fraction = f"((_ extract {W - 2} {M}) {name})", f"((_ extract {M - 1} 0) {name})"
    zero, ones = f"(_ bv0 {E})", f"(_ bv{(1 << E) - 1} {E})"
    return f"""
(define-fun {name}normal () Bool (not (= {field} {zero})))
(define-fun {name}e () (_ BitVec 11)
  ((_ zero_extend {11 - E}) (ite {name}normal {field} (_ bv1 {E}))))
(define-fun {name}significand () (_ BitVec {M + 1}) (concat (ite {name}normal #b1 #b0) {fraction}))
(define-fun {name}nan () Bool (and (= {field} {ones}) (not (= {fraction} (_ bv0 {M})))))
(define-fun {name}inf () Bool (and (= {field} {ones}) (= {fraction} (_ bv0 {M}))))
(define-fun {name}zero () Bool (= {name}significand (_ bv0 {M + 1})))
(define-fun {name}sign () Bool (= ((_ extract {W - 1} {W - 1}) {name}) #b1))
"""


def _solved(params: Params) -> tuple[Claim, ...]:
    """In two steps: the product of the significands, and what becomes of it.

    The second takes the product as any word that meets what holds of every product: it is zero
    where a factor is, and not below the product of the least factors of their kind. It is exact as
    a double, and so is its multiple by a power of two.
    """
    fa, fb, fmt = params.a_format, params.b_format, params.format
    bits = fa.precision + fb.precision
    least = {"a": 1 << fa.mantissa_bits, "b": 1 << fb.mantissa_bits}

    def word(value: int, width: int = bits) -> str:
        return f"(_ bv{value} {width})"

    bias = (1023 - fa.bias - fb.bias - fa.mantissa_bits - fb.mantissa_bits) % (1 << 11)
    sort = f"(_ FloatingPoint {fmt.exponent_bits} {fmt.precision})"
    sizes = f"{fmt.exponent_bits} {fmt.precision}"
    prelude = (
        _operand(fa, "a")
        + _operand(fb, "b")
        + f"""
(assert (= (= product {word(0)}) (or azero bzero)))
(assert (=> (and anormal bnormal) (bvuge product {word(least["a"] * least["b"])})))
(assert (=> (and anormal (not bzero)) (bvuge product {word(least["a"])})))
(assert (=> (and bnormal (not azero)) (bvuge product {word(least["b"])})))
(define-fun power () (_ FloatingPoint 11 53)
  (fp #b0 (bvadd ae be {word(bias, 11)}) {word(0, 52)}))
(define-fun magnitude () (_ FloatingPoint 11 53)
  (fp.mul RNE ((_ to_fp_unsigned 11 53) RNE product) power))
(define-fun negative () Bool (not (= asign bsign)))
(define-fun finite () {sort}
  ((_ to_fp {sizes}) {params.rounding.upper()} (ite negative (fp.neg magnitude) magnitude)))
(define-fun rounded () {sort}
  (ite (or anan bnan (and ainf bzero) (and binf azero)) (_ NaN {sizes})
    (ite (or ainf binf) (ite negative (_ -oo {sizes}) (_ +oo {sizes})) finite)))
"""
    )
    goal = smt_meets(params, "rounded")
    wires = [Wire("product", "core.core.product", bits, cut=True)]
    for name, operand in (("a", fa), ("b", fb)):
        seen = f"seen_{name}"
        wires.append(Wire(seen, f"core.core.{name}_significand", operand.precision))
        goal = f"(and (= {seen} {name}significand) {goal})"
    return (
        Product(
            claim="the product of the significands is exact",
            method="algebra: adders by truth table, rows as polynomials",
            size=f"all 2^{bits} pairs of significands",
            product="core.core.product",
            factors=("core.core.a_significand", "core.core.b_significand"),
        ),
        Smt(
            claim="RTL rounds that product once, with its sign and exponent",
            method="SMT, against to_fp of the exact product",
            size=f"all 2^{fa.width + fb.width} pairs with any product",
            cases=(
                Case("normal operands", goal, "(and anormal bnormal)"),
                Case("a subnormal operand", goal, "(not (and anormal bnormal))"),
            ),
            prelude=prelude,
            wires=tuple(wires),
            solvers=solvers((11, 53), (fmt.exponent_bits, fmt.precision)),
        ),
    )
