"""The guarded word: coverage of flips, bounds and recoveries; what is proved of its codes.

The claims know no columns: they speak of a word, of what is flipped of it, and of how many of these
flips lie where the code is. The columns of wide codes are those that the RTL is found to compute.
"""

import numpy as np

from narrowgauge.golden.arith.word_guard import Params
from narrowgauge.golden.guard_words import field_of
from narrowgauge.golden.payload import Batch
from narrowgauge.verify.arith.bins import Bins
from narrowgauge.verify.prove.claims import Claim
from narrowgauge.verify.prove.parity import Parity
from narrowgauge.verify.prove.smt import Case, Smt
from narrowgauge.verify.prove.wires import Handshake

__all__ = ["claims", "coverage"]

_FEW = 16
"""Bits of a code that a solver does as a whole as well."""


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Every bit flipped alone; pairs and more, seen and unseen; fields about their bounds."""
    guard, flips = params.guard, batch["flips"]
    count = flips.sum(axis=1)
    bins = {f"only_{i}": (count == 1) & (flips[:, i] == 1) for i in range(guard.stored_bits)}
    bins |= {"none": count == 0, "two": count == 2, "three": count == 3, "many": count > 4}
    corrected, detected = outputs["corrected"] == 1, outputs["detected"] == 1
    bins["clean"] = ~corrected & ~detected
    if guard.check_bits:
        code = [*guard.covered, *range(guard.word_bits, guard.stored_bits)]
        inside = flips[:, code].sum(axis=1)
        bins["wrong_zero"] = detected & (inside > 1) & (outputs["o"] == 0).all(axis=1)
        bins["outside_alone"] = (count > 0) & (inside == 0)
        if guard.recovery != "zero":
            del bins["wrong_zero"]
        if len(guard.covered) == guard.word_bits:
            del bins["outside_alone"]
    if guard.rule.code == "secded":
        bins |= {
            "corrected": corrected,
            "corrected_check": corrected
            & (inside == 1)
            & (flips[:, guard.word_bits :].any(axis=1)),
            "three_pass": corrected & (inside == 3),
            "three_detected": detected & ~corrected & (inside == 3),
            "four_detected": detected & ~corrected & (inside == 4),
        }
    elif guard.rule.code == "parity":
        bins["two_pass"] = ~detected & (inside == 2)
    word = batch["word"].astype(np.uint8)
    for part in guard.parts:
        prefix = {"scale": "", "exponent": "exponent_"}.get(part.name)
        if prefix is None or guard.rule.clamp == "none":
            continue
        value, quiet = field_of(word, part), count == 0
        high, name = batch[f"{prefix}high"], f"{part.name}_{part.low}"
        bins |= {
            f"{name}_above": quiet & (value == high + 1),
            f"{name}_at_high": quiet & (value == high),
        }
        if guard.rule.clamp == "window":
            low = batch[f"{prefix}low"]
            bins |= {
                f"{name}_below": quiet & (value == low - 1) & (low <= high),
                f"{name}_at_low": quiet & (value == low) & (low < high),
                f"{name}_wrong_way": quiet & (low > high),
            }
    return bins


def _slice(word: str, low: int, width: int) -> str:
    return f"((_ extract {low + width - 1} {low}) {word})"


def _joined(parts: list[str]) -> str:
    """Parts of a word, the lowest first."""
    return parts[0] if len(parts) == 1 else f"(concat {' '.join(reversed(parts))})"


def _limit(name: str, width: int) -> str:
    return _slice(name, 0, width)


def _clamped(params: Params, word: str) -> tuple[str, str]:
    """A word with its fields clamped, and whether one was above its bound."""
    guard = params.guard
    made, over = [], ["false", "false"]
    for part in guard.parts:
        value = _slice(word, part.low, part.width)
        prefix = {"scale": "", "exponent": "exponent_"}.get(part.name)
        if prefix is not None and guard.rule.clamp != "none":
            wide = f"((_ zero_extend {8 - part.width}) {value})"
            above, below = f"(bvugt {wide} {prefix}high)", f"(bvult {wide} {prefix}low)"
            over.append(above)
            if guard.rule.clamp == "window":
                value = f"(ite {below} {_limit(f'{prefix}low', part.width)} {value})"
            value = f"(ite {above} {_limit(f'{prefix}high', part.width)} {value})"
        made.append(value)
    return _joined(made), f"(or {' '.join(over)})"


def _recovered(params: Params, word: str) -> str:
    """A word that is known to be wrong, as it reads."""
    guard = params.guard
    if guard.recovery == "keep":
        return _clamped(params, word)[0]
    made = []
    for part in guard.parts:
        value = f"(_ bv0 {part.width})"
        if guard.recovery == "middle" and part.name in ("top", "element"):
            value = _slice(word, part.low, part.width)
        elif guard.recovery == "middle" and part.name == "scale":
            value = _limit("middle", part.width)
        made.append(value)
    return _joined(made)


def _prelude(params: Params) -> str:
    """Flips in the code, with the lowest ones taken off; the word with the other flips; as read."""
    guard = params.guard
    size, stored = guard.word_bits, guard.stored_bits
    code = [*guard.covered, *range(size, stored)]
    outside = ["(_ bv0 1)" if i in set(code) else _slice("flips", i, 1) for i in range(size)]
    lines = [f"(define-fun right () (_ BitVec {size}) (bvxor word {_joined(outside)}))"]
    clamped, above = _clamped(params, "right")
    lines += [
        f"(define-fun clamped () (_ BitVec {size}) {clamped})",
        f"(define-fun above () (_ BitVec 1) (ite {above} #b1 #b0))",
    ]
    if guard.check_bits:
        bits = f"(_ BitVec {len(code)})"
        inside = _joined([_slice("flips", bit, 1) for bit in code])
        lines.append(f"(define-fun flips0 () {bits} {inside})")
        for i in range(2):
            less = f"(bvand flips{i} (bvsub flips{i} (_ bv1 {len(code)})))"
            lines.append(f"(define-fun flips{i + 1} () {bits} {less})")
        raw = f"(bvxor word {_slice('flips', 0, size)})"
        lines.append(f"(define-fun raw () (_ BitVec {size}) {raw})")
        lines.append(f"(define-fun lost () (_ BitVec {size}) {_recovered(params, 'raw')})")
    return "\n".join(lines)


def _cases(params: Params) -> tuple[Case, ...]:
    """By how many flips lie in the code."""
    guard = params.guard
    right = "(= o clamped) (= detected above)"
    if not guard.check_bits:
        return (Case("all", f"(and {right} (= corrected #b0))"),)
    zero = f"(_ bv0 {len(guard.covered) + guard.check_bits})"
    fewer = [f"(= flips{i} {zero})" for i in range(3)]
    wrong = "(and (= o lost) (= corrected #b0) (= detected #b1))"
    cases = [Case("no flip", f"(and {right} (= corrected #b0))", fewer[0])]
    one = f"(and {fewer[1]} (not {fewer[0]}))"
    if guard.rule.code == "parity":
        return (*cases, Case("one flip", wrong, one), Case("more", "true", f"(not {fewer[1]})"))
    return (
        *cases,
        Case("one flip", f"(and {right} (= corrected #b1))", one),
        Case("two flips", wrong, f"(and {fewer[2]} (not {fewer[1]}))"),
        Case("more", "true", f"(not {fewer[2]})"),
    )


def _fixed(params: Params, columns: tuple[int, ...]) -> str:
    """What is stored, with the bit taken back whose column the syndrome is."""
    guard, bits = params.guard, params.guard.check_bits
    code = [*guard.covered, *range(guard.word_bits, guard.stored_bits)]
    places = dict(zip(code, columns, strict=True))
    ones = [
        f"(ite (= syndrome (_ bv{places[i]} {bits})) #b1 #b0)" if i in places else "#b0"
        for i in range(guard.word_bits)
    ]
    some = " ".join(f"(= syndrome (_ bv{column} {bits}))" for column in columns)
    fixed = f"(bvxor word {_slice('flips', 0, guard.word_bits)} {_joined(ones)})"
    clamped, above = _clamped(params, "fixed")
    word = f"(_ BitVec {guard.word_bits})"
    return "\n".join(
        [
            f"(define-fun raw () {word} (bvxor word {_slice('flips', 0, guard.word_bits)}))",
            f"(define-fun fixed () {word} {fixed})",
            f"(define-fun clamped () {word} {clamped})",
            f"(define-fun above () (_ BitVec 1) (ite {above} #b1 #b0))",
            f"(define-fun lost () {word} {_recovered(params, 'raw')})",
            f"(define-fun one () Bool (or false {some}))",
            f"(define-fun none () Bool (= syndrome (_ bv0 {bits})))",
        ]
    )


def _answers(_: tuple[int, ...]) -> tuple[Case, ...]:
    """By what the syndrome is."""
    right = "(= o clamped) (= detected above)"
    return (
        Case("no flip", f"(and {right} (= corrected #b0))", "none"),
        Case("one flip", f"(and {right} (= corrected #b1))", "one"),
        Case(
            "two flips",
            "(and (= o lost) (= corrected #b0) (= detected #b1))",
            "(not (or none one))",
        ),
    )


def claims(params: Params) -> tuple[Claim, ...]:
    """One flip is taken back, two are detected; of a parity one; no code: words are clamped."""
    guard = params.guard
    claim, flips = {
        "none": ("fields leave within their bounds, all else as stored", "any flips"),
        "parity": (
            "one flip in the code is detected, and the word reads as its recovery says",
            "every flip in the code and none, any flips outside",
        ),
        "secded": (
            "one flip in the code is taken back; two are detected, and the word reads as its "
            "recovery says",
            "every flip and pair of flips in the code and none, any flips outside",
        ),
    }[guard.rule.code]
    size = f"all 2^{guard.word_bits} words, {flips}"
    made: list[Claim] = []
    if guard.rule.code == "secded":
        made.append(
            Parity(
                claim=claim,
                method="algebra: parities of the syndrome, their distance; SMT: the decoder",
                size=size,
                syndrome="core.core.syndrome",
                bits=guard.check_bits,
                flips="flips",
                code=(*guard.covered, *range(guard.word_bits, guard.stored_bits)),
                prelude=lambda columns: _fixed(params, columns),
                cases=_answers,
            )
        )
    if guard.rule.code != "secded" or len(guard.covered) <= _FEW:
        made.append(
            Smt(
                claim=f"{claim}{', as a whole' * bool(made)}",
                method="SMT, bit-vectors: words and the number of flips; no column is known",
                size=size,
                prelude=_prelude(params),
                cases=_cases(params),
            )
        )
    return (*made, Handshake())
