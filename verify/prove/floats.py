"""What the claims about floating-point components share: how one function is settled at its size.

Up to 16 input bits every input is tried against exact fractions, and so is the golden model; up to
32 bits every input is tried against the host's IEEE 754 arithmetic in compiled code; beyond, a
solver is asked, case by case.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from narrowgauge.golden.formats import FloatFormat, Overflow
from narrowgauge.golden.payload import Batch, Payload
from narrowgauge.verify.prove.claims import Claim
from narrowgauge.verify.prove.exhaustive import Exhaustive
from narrowgauge.verify.prove.sliced import Sliced

__all__ = [
    "by_code",
    "cpp_code",
    "cpp_value",
    "smt_meets",
    "smt_value",
    "solvers",
    "tried",
]


def cpp_value(fmt: FloatFormat, code: str) -> str:
    """C++ term: the value of a code."""
    return f"value_of<{fmt.exponent_bits}, {fmt.mantissa_bits}>({code})"


def cpp_code(params: Any, value: str) -> str:
    """C++ term: the code of a value, rounded as `params` say to their format."""
    fmt = params.format
    saturate = str(params.overflow == Overflow.SATURATE).lower()
    sizes = f"{fmt.exponent_bits}, {fmt.mantissa_bits}, {str(params.rounding).upper()}, {saturate}"
    return f"code_of<{sizes}>({value})"


def by_code(payload: Payload, function: Callable[..., int]) -> Callable[[Batch], Batch]:
    """A specification of one result `o` from a function of single integers, one a field."""

    def specification(batch: Batch) -> Batch:
        columns = [batch[field.name].tolist() for field in payload.fields]
        results = [function(*row) for row in zip(*columns, strict=True)]
        return {"o": np.array(results, np.int64)}

    return specification


def tried(
    params: Any, *, statement: str, what: str, exact: Callable[..., int], host: str
) -> tuple[Claim, ...]:
    """Claims settled by trying every input; empty beyond 32 bits.

    Parameters
    ----------
    params : of the component, with `input`
    statement : what the component is claimed to give
    what : the inputs in a word: "pairs"
    exact : the specification, fields of the input to the code `o`, for up to 16 bits
    host : the body of the specification in C++ (`sliced.hpp`), for up to 32
    """
    width = params.input.width
    size = f"all 2^{width} {what}"
    if width <= 16:
        shared: dict[str, Any] = {
            "method": "exhaustive, against exact fractions",
            "size": size,
            "specification": by_code(params.input, exact),
        }
        return (
            Exhaustive(claim=f"RTL gives {statement}", **shared),
            Exhaustive(
                claim=f"the golden model gives {statement}", subject="golden model", **shared
            ),
        )
    if width <= 32:
        words = ", ".join(f"uint32_t {field.name}" for field in params.input.fields)
        text = f"static inline uint32_t specification({words}) {{\n{host}\n}}\n"
        return (
            Sliced(
                claim=f"RTL gives {statement}",
                method="exhaustive, compiled, against the host's IEEE arithmetic",
                size=size,
                specification=text,
                parts=max(1, (1 << width) >> 30),
            ),
        )
    return ()


def smt_value(fmt: FloatFormat, code: str) -> str:
    """SMT-LIB term: the value of a code, in the theory of floating point."""
    return f"((_ to_fp {fmt.exponent_bits} {fmt.precision}) {code})"


def smt_meets(params: Any, result: str) -> str:
    """SMT-LIB term: `o` is the code of a value in the result's format, a NaN the canonical one.

    The value is that of IEEE 754; where `params` saturate, no infinity is met.
    """
    fmt = params.format
    code = f"(= {result} {smt_value(fmt, 'o')})"
    if params.overflow == Overflow.SATURATE:
        largest, least = (f"(_ bv{sign | fmt.max_code} {fmt.width})" for sign in (0, fmt.sign_mask))
        end = f"(= o (ite (fp.isNegative {result}) {least} {largest}))"
        code = f"(ite (fp.isInfinite {result}) {end} {code})"
    return f"(ite (fp.isNaN {result}) (= o (_ bv{fmt.nan_code} {fmt.width})) {code})"


def solvers(*sizes: tuple[int, int]) -> tuple[str, ...]:
    """The solver that takes formats of these exponent bits and precisions.

    bitwuzla takes those of 16, 32 and 64 bits; others it calls experimental, so z3 has them.
    """
    return ("bitwuzla",) if {*sizes} <= {(5, 11), (8, 24), (11, 53)} else ("z3",)
