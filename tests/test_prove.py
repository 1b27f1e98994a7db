"""The proving of arithmetic: each engine proves what is so, and refutes a design that is broken."""

import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge import api, design, prove
from narrowgauge.golden.arith import fp_add
from narrowgauge.golden.errors import NarrowgaugeError, UsageError
from narrowgauge.golden.formats import Overflow, Rounding
from narrowgauge.registry import ENTRIES, points
from narrowgauge.verify import runner
from narrowgauge.verify.prove.algebra import Product
from narrowgauge.verify.prove.claims import Claim, Context
from narrowgauge.verify.prove.exact import Grid
from narrowgauge.verify.prove.exhaustive import Exhaustive
from narrowgauge.verify.prove.gates import gates
from narrowgauge.verify.prove.sliced import Sliced
from narrowgauge.verify.prove.smt import Case, Smt
from narrowgauge.verify.prove.wires import Handshake

MODES = [(r, o) for r in (Rounding.RNE, Rounding.RTZ, Rounding.RNA) for o in Overflow]
Make = Callable[..., tuple[Context, tuple[Claim, ...]]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """The context of a point, and what is claimed of it."""

    def made(name: str, **overrides: Any) -> tuple[Context, tuple[Claim, ...]]:
        (point,) = points(name, **overrides)
        context = Context(
            name=point.full_name,
            design=design.emitted(point),
            params=point.params,
            golden=point.entry.golden,
            folder=tmp_path,
        )
        return context, prove.claims(point)

    return made


def broken(context: Context, old: str = "cell $and ", new: str = "cell $or ") -> Context:
    """The same with the first cell of a kind made another."""
    text = context.design.text
    assert old in text
    return replace(context, design=replace(context.design, text=text.replace(old, new, 1)))


def test_every_point_of_arith_has_claims() -> None:
    for point in api.points():
        if point.entry.layer != "arith":
            continue
        stated = prove.claims(point)
        # Of a guard the claims are those of its code, for all words and the flips that they name.
        guard = point.entry.name == "word_guard"
        own = ("flip", "leave within") if guard else ("RTL",)
        assert any(word in claim.claim for claim in stated for word in own), point.full_name
        assert any(isinstance(claim, Handshake) for claim in stated)
        words = [(claim.claim, claim.method, claim.size) for claim in stated]
        assert len(set(words)) == len(words)
        bits = point.params.guard.word_bits if guard else point.params.input.width
        # All inputs, or all that hold codes.
        sizes = [claim.size for claim in stated]
        assert any(f"2^{bits}" in s or s.startswith("all codes of ") for s in sizes), sizes


@pytest.mark.parametrize("name", ["lzc/w8", "fp_add/fp8_e5m2", "fp_mul/fp8_e5m2"])
def test_small_points_are_proved_and_broken_ones_refuted(name: str, make: Make) -> None:
    context, stated = make(name)
    assert [claim.settle(context).status for claim in stated] == ["proved"] * len(stated)
    found = [claim.settle(broken(context)) for claim in stated]
    (refuted,) = [proof for proof in found if proof.status == "refuted"]
    assert refuted.claim.startswith("RTL")
    shown = refuted.counterexample
    assert shown is not None
    assert "expected" in shown.text
    assert set(shown.batch) == {field.name for field in context.params.input.fields}


def test_a_counterexample_is_decoded_and_replayed(make: Make, tmp_path: Path) -> None:
    context, (claim, *_) = make("fp_add/fp8_e5m2")
    proof = claim.settle(broken(context))
    assert proof.counterexample is not None
    assert proof.counterexample.text.startswith("a = 0x08 (0.0001220703125), b = 0x00 (0.0)")
    assert "o: expected 0x08 (0.0001220703125), got 0x" in proof.counterexample.text
    batch = {name: np.array(values) for name, values in proof.counterexample.batch.items()}
    (entry,) = [entry for entry in ENTRIES if entry.name == "fp_add"]
    for component, passes in ((context.design, True), (broken(context).design, False)):
        result = runner.verify(
            name="fp_add/fp8_e5m2",
            component=component,
            golden=context.golden,
            bench=entry.bench,
            params=context.params,
            build_dir=tmp_path / "run",
            given=batch,
        )
        assert result.passed == passes, result.failure
        assert result.transactions == 1
    assert result.mismatch is not None
    assert "a = 0x08 (0.0001220703125), b = 0x00 (0.0)" in result.mismatch
    assert "--input FILE.npz" in result.mismatch


def test_a_golden_model_that_is_wrong_is_refuted(make: Make) -> None:
    context, stated = make("fp_add/fp8_e5m2")

    def model(params: fp_add.Params, batch: dict[str, Any]) -> dict[str, Any]:
        o = fp_add.model(params, batch)["o"].copy()
        o[(batch["a"] == 3) & (batch["b"] == 5)] ^= 1
        return {"o": o}

    wrong = replace(context, golden=types.SimpleNamespace(model=model))  # type: ignore[arg-type]
    (proof,) = [p for c in stated if (p := c.settle(wrong)).status == "refuted"]
    assert proof.counterexample is not None
    assert proof.counterexample.batch == {"a": [3], "b": [5]}
    assert "golden model" in proof.counterexample.text


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_every_mode_is_proved_by_trying(rounding: str, overflow: str, make: Make) -> None:
    # 14 bits by exact fractions, 18 by the host's arithmetic: the same component.
    modes = {"rounding": rounding, "overflow": overflow}
    for sizes, engine in (((3, 3), Exhaustive), ((4, 4), Sliced)):
        context, stated = make("fp_add/fp16", exp_bits=sizes[0], man_bits=sizes[1], **modes)
        assert isinstance(stated[0], engine)
        assert stated[0].settle(context).status == "proved"


def test_the_compiled_search_finds_what_is_wrong(make: Make) -> None:
    context, (claim, *_) = make("fp_mul/fp16", exp_bits=4, man_bits=4)
    assert isinstance(claim, Sliced)
    for part in range(2):
        assert replace(claim, parts=2).settle(replace(context, part=part)).status == "proved"
    proof = claim.settle(broken(context, "cell $xor ", "cell $or "))
    assert proof.status == "refuted"
    assert proof.counterexample is not None
    a, b = (proof.counterexample.batch[name][0] for name in "ab")
    (point,) = points("fp_mul/fp16", exp_bits=4, man_bits=4)
    want = int(point.entry.golden.model(point.params, {"a": [a], "b": [b]})["o"][0])
    assert f"expected {want:#05x}" in proof.counterexample.text


def test_the_compiled_search_needs_a_specification_that_compiles(make: Make) -> None:
    context, (claim, *_) = make("fp_mul/fp16", exp_bits=4, man_bits=4)
    with pytest.raises(NarrowgaugeError, match=r"cannot compile the proof: .*error"):
        replace(claim, specification="nonsense").settle(context)  # type: ignore[call-arg]


@pytest.mark.parametrize("solver", ["bitwuzla", "cvc5", "z3"])
def test_solvers_prove_and_refute(solver: str, make: Make) -> None:
    context, (claim, *_) = make("lzc/w32")
    assert isinstance(claim, Smt)
    asked = replace(claim, solvers=(solver,))
    assert asked.settle(context).status == "proved"
    proof = asked.settle(broken(context, "cell $not ", "cell $pos "))
    assert proof.status == "refuted"
    assert proof.counterexample is not None
    assert "count: expected" in proof.counterexample.text


def test_solvers_with_floating_point(make: Make) -> None:
    context, (claim, *_) = make("int_to_fp/int27_scaled_fp32")
    proof = claim.settle(broken(context))
    assert proof.status == "refuted"
    assert proof.counterexample is not None
    assert set(proof.counterexample.batch) == {"i", "scale"}


def test_cases_that_leave_inputs_out_are_found(make: Make) -> None:
    context, (claim, *_) = make("lzc/w32")
    assert isinstance(claim, Smt)
    goal = claim.cases[0].goal
    halves = [Case("odd", goal, "(= ((_ extract 0 0) word) #b1)")]
    with pytest.raises(NarrowgaugeError, match="the cases leave inputs out"):
        replace(claim, cases=(*halves, *halves)).settle(context)


def test_a_specification_that_the_golden_model_misses_is_an_error(make: Make) -> None:
    context, (claim, *_) = make("lzc/w32")
    assert isinstance(claim, Smt)
    with pytest.raises(NarrowgaugeError, match="the golden model does not meet the specification"):
        replace(claim, cases=(Case("all", "(= zero #b1)"),)).settle(context)


def test_data_that_reaches_the_handshake_is_found(make: Make) -> None:
    context, stated = make("lzc/w8")
    (claim,) = [claim for claim in stated if isinstance(claim, Handshake)]
    text = context.design.text
    start = text.index("module \\lzc_w8\n")
    for old, new, words in (
        ("connect \\s_axis_tready \\m_axis_tready", "connect \\s_axis_tready 1'1", "is not"),
        (
            "connect \\s_axis_tready \\m_axis_tready",
            "connect \\s_axis_tready \\s_axis_tdata [0]",
            "depends on s_axis_tdata",
        ),
    ):
        assert old in text[start:], text[start:][:3000]
        changed = text[:start] + text[start:].replace(old, new, 1)
        proof = claim.settle(replace(context, design=replace(context.design, text=changed)))
        assert proof.status == "refuted"
        assert proof.counterexample is not None
        assert words in proof.counterexample.text


def test_a_design_with_state_is_no_gates() -> None:
    (point,) = points("mx_quantize/mxfp4_l8")
    made = design.emitted(point)
    with pytest.raises(NarrowgaugeError, match="is no simple gate"):
        gates(made.text, made.name)


def test_exact_rounding_by_its_definition() -> None:
    (point,) = points("fp_add/fp8_e5m2")
    grid = Grid(point.params.format)
    values = [grid.value(code) for code in range(256)]
    assert all(grid.code(value) == code for code, value in enumerate(values) if value != "nan")
    assert {grid.code(value) for value in values if value == "nan"} == {0x7E}
    with pytest.raises(UsageError, match="at most 16 bits"):
        Grid(points("fp_add/fp32")[0].params.format).value(1)


def test_a_wide_multiplier_is_proved_and_refuted(make: Make) -> None:
    context, stated = make("fp_mul/fp32")
    product = next(claim for claim in stated if isinstance(claim, Product))
    assert product.settle(context).status == "proved"
    text = context.design.text
    adder = text.index("\\product_20_")
    cell = text.index("cell $and ", text.index("connect \\Y \\product_20_"))
    assert adder < cell
    for where in (cell, text.rindex("cell $and ", 0, cell)):
        changed = text[:where] + text[where:].replace("cell $and ", "cell $or ", 1)
        wrong = replace(context, design=replace(context.design, text=changed))
        proof = product.settle(wrong)
        assert proof.status == "refuted", proof.reason
        assert proof.counterexample is not None
        assert proof.counterexample.text.startswith("a = 0x")


def test_a_wire_that_is_cut_does_not_refute_by_itself(make: Make) -> None:
    context, stated = make("fp_mul/fp32")
    (claim,) = [claim for claim in stated if isinstance(claim, Smt)]
    cases = (Case("any product", claim.cases[0].goal),)
    # Without what is known of a product, the solver takes one that cannot be.
    start = claim.prelude.index("(assert")
    loose = claim.prelude[:start] + claim.prelude[claim.prelude.index("(define-fun power") :]
    proof = replace(claim, cases=cases, prelude=loose).settle(context)
    assert proof.status == "unknown"
    assert "a value that the wire cannot have" in proof.reason


@pytest.mark.parametrize("encoding", ["signed", "sign_magnitude", "unsigned"])
def test_every_encoding_of_integers_is_proved(encoding: str, make: Make) -> None:
    # The zero with a sign is where a compiler that takes liberties shows.
    small = {"exp_bits": 4, "man_bits": 3, "scale_width": 6, "encoding": encoding}
    context, (claim, *_) = make("int_to_fp/int16_bf16", int_width=12, **small)
    assert isinstance(claim, Sliced)
    assert claim.settle(context).status == "proved"
