"""`word_guard`: its codes' proofs, and what they say of a broken matrix and a broken decoder."""

import importlib
import inspect
import types
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from narrowgauge import design, prove, registry
from narrowgauge.golden.arith import word_guard
from narrowgauge.golden.errors import UsageError
from narrowgauge.hdl.emit import Emitted
from narrowgauge.registry import Point
from narrowgauge.verify.arith import word_guard as bench
from narrowgauge.verify.prove.claims import Context, Proof
from narrowgauge.verify.prove.parity import Parity


def settled(point: Point, emitted: Emitted, folder: Path) -> Proof:
    """The claim about the code."""
    (claim,) = [x for x in bench.claims(point.params) if isinstance(x, Parity)]
    context = Context(
        name=point.full_name,
        design=emitted,
        params=point.params,
        golden=point.entry.golden,
        folder=folder,
    )
    return claim.settle(context)


def broken(monkeypatch: pytest.MonkeyPatch, point: Point, old: str, new: str) -> Emitted:
    """The point's RTL with a change of the codec's source."""
    source = importlib.import_module("narrowgauge.hdl.arith.guard_code")
    text = inspect.getsource(source)
    assert text.count(old) == 1
    changed = types.ModuleType(source.__name__)
    exec(compile(text.replace(old, new), "changed", "exec"), vars(changed))
    owner = importlib.import_module("narrowgauge.hdl.arith.word_guard")
    for name in ("Decoder", "checks"):
        monkeypatch.setattr(owner, name, vars(changed)[name])
    return design.emitted(point)


def test_every_kind_is_claimed() -> None:
    for point in registry.points("word_guard"):
        kinds = [type(claim).__name__ for claim in prove.claims(point)]
        assert "Handshake" in kinds
        assert ("Parity" in kinds) == (point.params.guard.rule.code == "secded")
        assert {"Parity", "Smt"} & set(kinds)


def test_a_broken_matrix_is_refuted(tmp_path: Path) -> None:
    """Golden model and RTL agree on a code with two equal columns: only the proof can tell."""
    (point,) = registry.points("word_guard/opal4")
    guard = point.params.guard
    bits, columns = guard.check_bits, list(guard.columns)
    assert settled(point, design.emitted(point), tmp_path).status == "proved"
    for place, column in ((3, columns[9]), (5, 1 << 2), (7, 0), (4, columns[0] ^ columns[1])):
        wrong = [*columns[:place], column, *columns[place + 1 :]]
        params = word_guard.Params(**registry.find("word_guard").points["opal4"])
        params.guard.__dict__["_code"] = (bits, tuple(wrong))
        changed = Point(entry=point.entry, name="opal4", params=params)
        proof = settled(changed, design.emitted(changed), tmp_path)
        assert proof.status == "refuted"
        assert proof.counterexample is not None
        assert "add up to" in proof.counterexample.text
        flips = np.array(proof.counterexample.batch["flips"])
        assert 1 <= flips.sum() <= 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # A row of the encoder and the decoder, alike; then the decoder alone.
        ("if column >> i & 1)", "if column >> i & 1 and (i or bit != guard.covered[0]))"),
        ("checks(p, stored[:size]) ^", "checks(p, stored[:size] & ~1) ^"),
        ("syndrome.any() & ~self.corrected", "syndrome.any()"),
        ("flip.eq(Cat(syndrome == column", "flip.eq(Cat(syndrome == column ^ (column == 7)"),
        ("stored[bit] ^ at[bit]", "stored[bit] | at[bit]"),
        ("wrong | above", "wrong"),
        ("value > high", "value >= high"),
    ],
)
def test_a_broken_codec_is_refuted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    (point,) = registry.points("word_guard/opal4")
    proof = settled(point, broken(monkeypatch, point, old, new), tmp_path)
    assert proof.status == "refuted", proof.reason
    assert proof.counterexample is not None


def test_whole_claims_hold_for_small_codes() -> None:
    """All words, flips and pairs of the small point, by the golden model."""
    (point,) = registry.points("word_guard/e5m2_k1")
    p, guard = point.params, point.params.guard
    words = np.arange(1 << guard.word_bits)[:, None] >> np.arange(guard.word_bits) & 1
    code = [*guard.covered, *range(guard.word_bits, guard.stored_bits)]
    for count in (0, 1, 2):
        for places in combinations(code, count):
            flips = np.zeros((len(words), guard.stored_bits), np.int64)
            flips[:, list(places)] = 1
            out = word_guard.model(p, {"word": words, "flips": flips})
            assert (out["corrected"] == (count == 1)).all()
            assert (out["detected"] == (count == 2)).all()
            assert np.array_equal(out["o"], words if count < 2 else 0 * words)


def test_impossible() -> None:
    with pytest.raises(UsageError, match=r"blocks must be 1..64, got 0"):
        word_guard.Params(blocks=0)
    with pytest.raises(UsageError, match="level must be smoke or full, got 'real'"):
        word_guard.vectors(word_guard.Params(), "real", 1)
    with pytest.raises(UsageError, match="no block format 'fp8'"):
        word_guard.Params(format="fp8")
