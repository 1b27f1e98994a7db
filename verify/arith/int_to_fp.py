"""The conversion from integer: coverage of the range's ends and of rounding; its proofs."""

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.int_to_fp import Params
from narrowgauge.golden.formats import Overflow, Rounding
from narrowgauge.golden.payload import Batch
from narrowgauge.verify.arith.bins import class_bins, prefixed, reachable, rounding_bins
from narrowgauge.verify.prove.claims import Claim
from narrowgauge.verify.prove.exact import Grid
from narrowgauge.verify.prove.floats import cpp_code, smt_meets, solvers, tried
from narrowgauge.verify.prove.smt import Case, Smt
from narrowgauge.verify.prove.wires import Handshake

__all__ = ["claims", "coverage"]


def coverage(params: Params, batch: Batch, outputs: Batch) -> dict[str, npt.NDArray[np.bool_]]:
    """Bins that the widths make reachable; infinity and subnormals need a wide enough `scale`."""
    fmt, value, code = params.format, batch["i"], outputs["o"]
    low, high = params.input["i"].limits
    least, most = params.input["scale"].limits if params.scale_width else (0, 0)
    bins = {
        "least": value == low,
        "most": value == high,
        "one": value == 1,
        "power_of_two": (value > 0) & ((value & (value - 1)) == 0),
    }
    if low < 0:
        bins["minus_one"] = value == -1
    scale = batch.get("scale", np.zeros_like(value))
    rounded = rounding_bins(fmt, np.abs(value), scale, np.zeros_like(value))
    under = least < fmt.quantum
    if not (under or high.bit_length() > fmt.precision):
        rounded = {"exact": rounded["exact"]}
    bins |= reachable(prefixed("rounds", rounded), params.input, fmt.precision)
    result = class_bins(fmt, code)
    reached = ["plus_zero", "normal"]
    if under:
        reached += ["minus_zero"] * (low < 0)
    if least < fmt.emin:
        reached += ["subnormal"]
    # The largest value is exceeded by any wider integer on the right scale.
    if most + high.bit_length() > fmt.emax + 1 and high.bit_length() > 1:
        if params.rounding == Rounding.RTZ or params.overflow == Overflow.SATURATE:
            reached += ["max"]
        else:
            reached += ["plus_inf", "minus_inf"] if low < 0 else ["plus_inf"]
    if params.scale_width:
        bins["scale_least"], bins["scale_most"] = scale == least, scale == most
        bins["scale_zero"] = scale == 0
    bins |= prefixed("result", {name: result[name] for name in reached})
    return bins


def claims(params: Params) -> tuple[Claim, ...]:
    """The value by exact fractions, by the host's arithmetic, or by a solver, by size."""
    grid = Grid(params.format, params.rounding, params.overflow)
    width = params.int_width

    def exact(i: int, scale: int = 0) -> int:
        return grid.code((int(i < 0), abs(i) * Fraction(2) ** scale))

    mask, pad = (1 << (width - 1)) - 1, max(0, 32 - width)
    value = {
        "signed": f"double(int32_t(i << {pad}) >> {pad})",
        "sign_magnitude": f"(i >> {width - 1} ? -double(i & {mask}u) : double(i)) + 0.0",
        "unsigned": "double(i)",
    }[params.encoding]
    if params.scale_width:
        pad = 32 - params.scale_width
        value = f"({value}) * power_of_two(int32_t(scale << {pad}) >> {pad})"
    statement = "i * 2^scale, rounded once" if params.scale_width else "i, rounded once"
    return (
        *tried(
            params,
            statement=statement,
            what="inputs",
            exact=exact,
            host=f"  return {cpp_code(params, value)};",
        ),
        *([_solved(params, statement)] if params.input.width > 32 else []),
        Handshake(),
    )


def _solved(params: Params, statement: str) -> Smt:
    """The integer as a wide floating-point number, scaled there without error, rounded once."""
    width, fmt = params.int_width, params.format
    # Double holds 53 bits and these scales without error.
    E, precision = (11, 53) if width <= 53 and params.scale_width <= 10 else (14, 64)
    sort = f"(_ FloatingPoint {E} {precision})"
    if params.encoding == "signed":
        value = f"((_ to_fp {E} {precision}) RNE i)"
    else:
        value = f"((_ to_fp_unsigned {E} {precision}) RNE i)"
    if params.encoding == "sign_magnitude":
        plain = f"((_ to_fp_unsigned {E} {precision}) RNE ((_ extract {width - 2} 0) i))"
        sign = f"(= ((_ extract {width - 1} {width - 1}) i) #b1)"
        value = f"(ite (and {sign} (not (fp.isZero {plain}))) (fp.neg {plain}) {plain})"
    if params.scale_width:
        scale = f"((_ sign_extend {E - params.scale_width}) scale)"
        biased = f"(bvadd {scale} (_ bv{(1 << (E - 1)) - 1} {E}))"
        value = f"(fp.mul RNE {value} (fp #b0 {biased} (_ bv0 {precision - 1})))"
    narrow = f"(_ to_fp {fmt.exponent_bits} {fmt.precision})"
    prelude = f"""
(define-fun exact () {sort} {value})
(define-fun rounded () (_ FloatingPoint {fmt.exponent_bits} {fmt.precision})
  ({narrow} {params.rounding.upper()} exact))
"""
    return Smt(
        claim=f"RTL gives {statement}",
        method=f"SMT, exact in a format of {precision} bits, then to_fp",
        size=f"all 2^{params.input.width} inputs",
        cases=(Case("all", smt_meets(params, "rounded")),),
        prelude=prelude,
        solvers=solvers((E, precision), (fmt.exponent_bits, fmt.precision)),
    )
