"""`fused_mul`: its golden model against products of codes; what `pack` refuses; its proofs."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from narrowgauge import design, prove, registry
from narrowgauge.golden.arith import fused_mul
from narrowgauge.golden.errors import UsageError
from narrowgauge.verify.arith import fused_mul as bench
from narrowgauge.verify.prove.claims import Context
from narrowgauge.verify.prove.linear import Sums


def _codes(rng: np.random.Generator, mode: int, cells: int) -> np.ndarray:
    most = (1 << (4, 8, 16, 16)[mode]) - 1
    size = cells * (1 if mode > 1 else 4)
    shape = (50, 2, size) if mode == 0 else (50, size)
    made = rng.integers(-most, most + 1, (2, *shape))
    made[:, :2] = np.sign(made[:, :2]) * most
    return made


@pytest.mark.parametrize("cells", [1, 3])
@pytest.mark.parametrize("mode", range(4))
def test_packed_codes_give_their_products(mode: int, cells: int) -> None:
    p = fused_mul.Params(cells=cells)
    a, b = _codes(np.random.default_rng(mode), mode, cells)
    words = fused_mul.pack(mode, a, b)
    got = fused_mul.model(p, {"a": words[0], "b": words[1], "mode": np.full(50, mode)})
    if mode:
        assert (got["o"] == (a * b).sum(axis=-1)).all()
        return
    want = np.einsum("nre,nse->nrs", a, b).reshape(50, 4)
    assert (got["o"] == want[:, 0]).all()
    assert (got["rest"] == want[:, 1:]).all()


def test_what_cannot_be_packed_is_an_error() -> None:
    for mode, shape, text in (
        (1, (3,), r"elements must come in 4s, got shape \(3,\)"),
        (0, (4,), r"elements must come in 4s, got shape \(4,\)"),
        (0, (3, 4), "rows of FB12 must be 2, got 3"),
    ):
        with pytest.raises(UsageError, match=text):
            fused_mul.pack(mode, np.zeros(shape, np.int64), np.zeros(shape, np.int64))
    with pytest.raises(UsageError, match="code 256 is beyond 255"):
        fused_mul.pack(1, np.full(4, -256), np.zeros(4, np.int64))
    with pytest.raises(UsageError, match=r"cells must be 1..64, got 0"):
        fused_mul.Params(cells=0)
    with pytest.raises(UsageError, match="level must be smoke or full, got 'real'"):
        fused_mul.vectors(fused_mul.Params(), "real", 1)


def test_a_broken_design_is_refuted_and_a_wrong_claim_not_proved(tmp_path: Path) -> None:
    (point,) = registry.points("fused_mul/c1")
    context = Context(
        name=point.full_name,
        design=design.emitted(point),
        params=point.params,
        golden=point.entry.golden,
        folder=tmp_path,
    )
    (claim,) = [x for x in prove.claims(point) if isinstance(x, Sums)]
    assert claim.settle(context).status == "proved"
    text = context.design.text
    for kind, other in (("and", "or"), ("xor", "xnor"), ("or", "and")):
        found = list(re.finditer(rf"cell \${kind} ", text))
        assert found
        at = found[len(found) // 2]
        wrong = f"{text[: at.start()]}cell ${other} {text[at.end() :]}"
        proof = claim.settle(replace(context, design=replace(context.design, text=wrong)))
        assert proof.status == "refuted", (kind, proof.reason)
    # With its last term taken away.
    whole = claim.sums[-1]
    terms = (*whole.terms[:-1], replace(whole.terms[-1], factor=-1))
    less = replace(claim, sums=(*claim.sums[:-1], replace(whole, terms=terms)))
    proof = less.settle(context)
    assert proof.status == "unknown"
    assert "coefficients of" in proof.reason
    # A word that cannot hold its sum.
    large = replace(whole, terms=whole.terms * 2)
    proof = replace(claim, sums=(*claim.sums[:-1], large)).settle(context)
    assert "has no room for" in proof.reason


def test_slots_in_another_order_are_not_the_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(bench.same_form(mode, 0) for mode in range(4))
    monkeypatch.setattr(bench, "pack", lambda mode, a, b: fused_mul.pack(mode, a, b[..., ::-1]))
    assert not bench.same_form(fused_mul.FB16, 0)
