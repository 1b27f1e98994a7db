"""The packer of blocks: coverage of fields, rounding and clips; what is proved of it."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.bfp_pack import Params
from narrowgauge.golden.formats import BFP, Rounding
from narrowgauge.golden.payload import Batch
from narrowgauge.verify.prove.claims import Claim
from narrowgauge.verify.prove.smt import Case, Smt
from narrowgauge.verify.prove.wires import Handshake

__all__ = ["claims", "coverage"]

Ints = npt.NDArray[np.int64]


def coverage(params: Params, batch: Batch, outputs: Batch) -> dict[str, npt.NDArray[np.bool_]]:
    """Fields at both ends and beyond, every way to round, clips, and values far apart."""
    value, nan = batch["value"], batch["nan"] == 1
    alt = batch.get("alt", np.zeros(len(nan), np.int64))
    M, bias, nan_field = (
        np.array([getattr(fmt, name) for fmt in params.formats])[alt]
        for name in ("mantissa_bits", "bias", "nan_field")
    )
    unit = batch["unit"][:, None] if params.shared else batch["unit"]
    codes, field = outputs["codes"], outputs["scale"]
    magnitude = np.abs(value)
    own = np.frexp(magnitude.astype(np.float64))[1].astype(np.int64) - 1 + unit + bias[:, None]
    own = np.where(magnitude > 0, own, -(1 << 30))
    largest = own.max(axis=1)
    shift = (field - bias - (M - 1))[:, None] - unit
    right = np.clip(shift, 0, 62)
    rest = magnitude & ((np.int64(1) << right) - 1)
    half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)
    live = (magnitude > 0) & ~nan[:, None] & (own < nan_field[:, None])
    tie = live & (rest == half) & (right > 0) & (shift <= 62)
    odd = (magnitude >> right) & 1 == 1
    ones = np.abs(codes) == (np.int64(1) << M[:, None]) - 1
    bins = {
        "nan": nan,
        "zeros": ~nan & (magnitude == 0).all(axis=1),
        "field_one": ~nan & (largest == 1),
        "subnormal": ~nan & (largest < 1) & (codes != 0).any(axis=1),
        "vanishes": ~nan & (magnitude > 0).any(axis=1) & (codes == 0).all(axis=1),
        "field_top": ~nan & (largest == nan_field - 1),
        "saturates": ~nan & (largest > nan_field - 1),
        "exact": (live & (rest == 0) & (shift >= 0)).any(axis=1),
        "left": (live & (shift < 0)).any(axis=1),
        "tie_even": (tie & ~odd).any(axis=1),
        "tie_odd": (tie & odd).any(axis=1),
        "above_half": (live & (rest > half) & (right > 0)).any(axis=1),
        "below_half": (live & (rest < half) & (rest > 0)).any(axis=1),
        "clipped": (live & ones & (rest >= half) & (right > 0)).any(axis=1),
        "negative": ~nan & (codes < 0).any(axis=1),
        "least": (value == params.input["value"].limits[0]).any(axis=1),
    }
    for i in range(params.k if params.k > 1 else 0):
        others = np.delete(own, i, axis=1).max(axis=1)
        bins[f"largest_{i}"] = ~nan & (own[:, i] > others)
    for number in range(len(params.formats) if len(params.formats) > 1 else 0):
        bins[f"format_{number}"] = ~nan & (alt == number)
    if params.input.width <= 16:
        return {name: hit for name, hit in bins.items() if hit.any()}
    return bins


def claims(params: Params) -> tuple[Claim, ...]:
    """The field is the least that no value exceeds; each code is the nearest on its grid."""
    cases = []
    for number, fmt in enumerate(params.formats):
        # Wide enough for every value on the grid of every other: no shift loses a bit.
        span = fmt.nan_field + (1 << params.unit_bits) + fmt.mantissa_bits + params.width
        size, bits = params.width + 2 * fmt.mantissa_bits + 4, span.bit_length() + 2
        goals = {"field": _field_goal(params, fmt, bits)}
        goals |= {f"code {i}": _code_goal(params, fmt, i, size, bits) for i in range(params.k)}
        for name, goal in goals.items():
            if len(params.formats) == 1:
                cases.append(Case(name=name, goal=goal))
            else:
                only = f"(=> (= alt #b{number}) {goal})"
                cases.append(Case(name=f"{fmt.name} {name}", goal=only))
    return (
        Smt(
            claim="RTL gives the least field that holds all values, and the nearest codes on it",
            method="SMT, bit-vectors: each code by its distance from the value, times two",
            size=f"all 2^{params.input.width} inputs",
            cases=tuple(cases),
            parts=1,
            long=params.width > 12,
        ),
        Handshake(),
    )


def _part(word: str, width: int, index: int) -> str:
    return f"((_ extract {(index + 1) * width - 1} {index * width}) {word})"


def _magnitude(params: Params, index: int) -> str:
    """|value|, one bit wider."""
    wide = f"((_ sign_extend 1) {_part('value', params.width, index)})"
    return f"(ite (bvslt {wide} (_ bv0 {params.width + 1})) (bvneg {wide}) {wide})"


def _number(value: int, bits: int) -> str:
    return f"(_ bv{value % (1 << bits)} {bits})"


def _exponent(params: Params, fmt: BFP, bits: int) -> str:
    """The field less the bias, signed."""
    field = f"((_ zero_extend {bits - params.output['scale'].width}) scale)"
    return f"(bvsub {field} {_number(fmt.bias, bits)})"


def _unit(params: Params, index: int, bits: int) -> str:
    part = "unit" if params.shared else _part("unit", params.unit_bits, index)
    return f"((_ sign_extend {bits - params.unit_bits}) {part})"


def _reaches(params: Params, fmt: BFP, index: int, bits: int, more: int) -> str:
    """|value| 2^unit >= 2^(field - bias + more): some bit at or above that place."""
    exponent = f"(bvadd {_exponent(params, fmt, bits)} {_number(more, bits)})"
    place = f"(bvsub {exponent} {_unit(params, index, bits)})"
    magnitude = _magnitude(params, index)
    rows = []
    for bit in range(params.width + 1):
        here = f"(= ((_ extract {bit} {bit}) {magnitude}) #b1)"
        rows.append(f"(and {here} (bvsge {_number(bit, bits)} {place}))")
    return f"(or {' '.join(rows)})"


def _field_goal(params: Params, fmt: BFP, bits: int) -> str:
    size = params.output["scale"].width
    top = f"(= scale {_number(fmt.nan_field - 1, size)})"
    least = f"(= scale {_number(1, size)})"
    valid = (
        f"(and (bvuge scale {_number(1, size)}) (bvule scale {_number(fmt.nan_field - 1, size)}))"
    )
    above = " ".join(_reaches(params, fmt, i, bits, 1) for i in range(params.k))
    here = " ".join(_reaches(params, fmt, i, bits, 0) for i in range(params.k))
    met = f"(and {valid} (or {top} (not (or false {above}))) (or {least} (or false {here})))"
    nan = f"(= scale {_number(fmt.nan_field, size)})"
    return f"(ite (= nan #b1) {nan} {met})"


def _code_goal(params: Params, fmt: BFP, index: int, size: int, bits: int) -> str:
    """Twice the distance of code and value is at most a step, and the tie goes where it should."""
    M, width = fmt.mantissa_bits, params.width
    room = params.output["codes"].width - 1
    code = _part("codes", room + 1, index)
    quantity = f"((_ extract {room - 1} 0) {code})"
    sign = f"((_ extract {room} {room}) {code})"
    negative = _part("value", width, index)
    negative = f"((_ extract {width - 1} {width - 1}) {negative})"
    some = f"(distinct {quantity} {_number(0, room)})"
    # Without NaN: the sign is the value's where the code is not 0, else plus.
    signed = f"(= {sign} (ite {some} {negative} #b0))"
    magnitude = f"((_ zero_extend {size - width - 1}) {_magnitude(params, index)})"
    least = f"(bvsub {_exponent(params, fmt, bits)} {_number(M - 1, bits)})"
    step = f"(bvsub {least} {_unit(params, index, bits)})"
    cases = []
    # Step below the value's unit: exact, or beyond what the codes hold.
    wide = f"((_ zero_extend {size - room}) {quantity})"
    full = f"(= {quantity} {_number((1 << M) - 1, room)})"
    most = _number((1 << M) - 1, size)
    for left in range(1, M):
        moved = f"(bvshl {magnitude} {_number(left, size)})"
        exact = f"(ite (bvugt {moved} {most}) {full} (= {wide} {moved}))"
        cases.append(f"(=> (= {step} {_number(-left, bits)}) {exact})")
    over = f"(ite (= {magnitude} {_number(0, size)}) (not {some}) {full})"
    cases.append(f"(=> (bvsle {step} {_number(-M, bits)}) {over})")
    limit = width + M + 1
    for right in range(limit):
        nearest = _nearest(params, M, wide, magnitude, right, size)
        cases.append(f"(=> (= {step} {_number(right, bits)}) {nearest})")
    cases.append(f"(=> (bvsge {step} {_number(limit, bits)}) (not {some}))")
    plain = f"(and {signed} {' '.join(cases)})"
    return f"(ite (= nan #b1) (= {code} {_number(0, room + 1)}) {plain})"


def _nearest(params: Params, M: int, code: str, magnitude: str, right: int, size: int) -> str:
    """A code is round(magnitude 2^-right), or the largest where that is beyond."""
    if right > params.width + 1:
        return f"(= {code} {_number(0, size)})"
    quotient = f"(bvlshr {magnitude} {_number(right, size)})"
    rest = f"(bvsub {magnitude} (bvshl {quotient} {_number(right, size)}))"
    half = _number((1 << right) >> 1, size)
    up = {
        Rounding.RTZ: "false",
        Rounding.RNA: f"(bvuge {rest} {half})",
        Rounding.RNE: f"(or (bvugt {rest} {half}) (and (= {rest} {half}) "
        f"(= ((_ extract 0 0) {quotient}) #b1)))",
    }[Rounding(params.rounding)]
    if right == 0:
        up = "false"
    rounded = f"(ite {up} (bvadd {quotient} {_number(1, size)}) {quotient})"
    most = _number((1 << M) - 1, size)
    return f"(= {code} (ite (bvugt {rounded} {most}) {most} {rounded}))"
