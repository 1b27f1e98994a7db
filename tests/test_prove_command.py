"""`narrowgauge prove`: levels, what is kept, counterexamples in files, exit codes."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Run

from narrowgauge import cli, prove
from narrowgauge.golden.errors import MismatchError, UsageError
from narrowgauge.registry import Point
from narrowgauge.verify.prove.claims import Claim, Context, Counterexample, Proof, Status, merge


@dataclass(frozen=True, kw_only=True)
class Said(Claim):
    """A claim that settles as told, and writes down that it was."""

    method: str = "told"
    size: str = "nothing"
    status: Status = "proved"
    log: Path

    def settle(self, context: Context) -> Proof:
        with self.log.open("a") as file:
            file.write(f"{self.claim} {context.part}\n")
        if self.status == "refuted":
            shown = Counterexample(text="word = 0x05 (5)", batch={"word": [5]})
            return self.proof("refuted", 0.5, counterexample=shown)
        return self.proof(self.status, 0.5, reason="out of time" * (self.status == "unknown"))


@pytest.fixture
def stated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Claim]:
    """The claims of every point, in place of its own; calls go to a log."""
    listed: list[Claim] = []

    def claims(point: Point) -> tuple[Claim, ...]:
        return tuple(listed)

    monkeypatch.setattr(prove, "claims", claims)
    monkeypatch.chdir(tmp_path)
    return listed


def settled(tmp_path: Path) -> list[str]:
    """What was settled since the last call."""
    log = tmp_path / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def test_what_is_proved_is_kept_part_by_part(stated: list[Claim], tmp_path: Path) -> None:
    stated.append(Said(claim="A", parts=3, log=tmp_path / "log"))
    (result,) = prove.prove("lzc/w8")
    assert [(p.status, p.seconds) for p in result.proofs] == [("proved", 1.5)]
    assert settled(tmp_path) == ["A 0", "A 1", "A 2"]
    (again,) = prove.prove("lzc/w8")
    assert again == result
    assert settled(tmp_path) == []
    # One part lost, one made anew.
    next(iter(Path("build/cache/proofs").glob("*.json"))).unlink()
    assert prove.prove("lzc/w8") == [result]
    assert len(settled(tmp_path)) == 1
    prove.prove("lzc/w24")
    assert len(settled(tmp_path)) == 3


def test_long_claims_wait_for_level_full(stated: list[Claim], tmp_path: Path) -> None:
    log = tmp_path / "log"
    stated += [Said(claim="A", log=log), Said(claim="B", long=True, parts=2, log=log)]
    (result,) = prove.prove("lzc/w8")
    assert [p.claim for p in result.proofs] == ["A"]
    assert [c.claim for c in result.not_run] == ["B"]
    assert result.passed
    (result,) = prove.prove("lzc/w8", level="full")
    assert [p.claim for p in result.proofs] == ["A", "B"]
    assert not result.not_run
    settled(tmp_path)
    # Once proved, it is shown at any level.
    (result,) = prove.prove("lzc/w8")
    assert [p.claim for p in result.proofs] == ["A", "B"]
    assert settled(tmp_path) == []


@pytest.mark.parametrize("status", ["refuted", "unknown"])
def test_neither_refuted_nor_unknown_is_success_or_kept(
    status: Status, stated: list[Claim], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    stated += [Said(claim="A", log=log), Said(claim="B", status=status, log=log)]
    for _ in range(2):
        (result,) = prove.prove("lzc/w8")
        assert not result.passed
        assert "B 0" in settled(tmp_path)
    # The command line with one process at a time, in this one.
    options = cli.parser().parse_args(["prove", "lzc/w8", "-q"])
    options.jobs = None
    assert options.run(options) == 1
    text = capsys.readouterr().out
    assert f"FAIL  lzc/w8: B: {status}" in text
    if status == "refuted":
        assert "word = 0x05 (5)" in text
        file = "build/prove/lzc_w8_counterexample_1.npz"
        assert f"again: narrowgauge verify lzc/w8 --input {file}" in text
        with np.load(file) as arrays:
            assert arrays["word"].tolist() == [5]
    else:
        assert "out of time" in text


def test_nothing_proved_is_no_success(stated: list[Claim]) -> None:
    (result,) = prove.prove("lzc/w8")
    assert not result.passed


def test_parts_are_merged(tmp_path: Path) -> None:
    claim = Said(claim="A", parts=2, log=tmp_path / "log")
    good = replace(claim, parts=1).proof("proved", 1.0)
    bad = claim.proof("refuted", 2.0, counterexample=Counterexample(text="x"))
    slow = claim.proof("unknown", 3.0, reason="out of time")
    assert merge(claim, [good, good]).status == "proved"
    assert merge(claim, [slow, bad]).status == "refuted"
    unknown = merge(claim, [good, slow])
    assert (unknown.status, unknown.seconds, unknown.reason) == ("unknown", 4.0, "out of time")
    with pytest.raises(MismatchError, match="1 of 2 parts were settled"):
        merge(claim, [good])
    with pytest.raises(MismatchError, match="refuted does not go"):
        claim.proof("refuted", 1.0)


def test_bad_requests() -> None:
    with pytest.raises(UsageError, match="level must be one of smoke, full, got 'real'"):
        prove.prove("lzc/w8", level="real")
    with pytest.raises(UsageError, match="limit must be above 0 s, got 0"):
        prove.prove("lzc/w8", limit=0)


def test_the_command_and_the_replay(narrowgauge: Run, tmp_path: Path) -> None:
    done = narrowgauge("prove", "lzc/w8", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["name"] == "lzc/w8"
    assert {claim["status"] for claim in result["claims"]} == {"proved"}
    assert result["claims"][0]["size"] == "all 2^8 inputs"
    text = narrowgauge("prove", "lzc/w8", "-q").stdout
    assert "RTL counts the leading zeros" in text
    np.savez(tmp_path / "batch.npz", word=np.array([0, 5, 255]))
    done = narrowgauge("verify", "lzc/w8", "--input", "batch.npz", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["transactions"] == 3
    for arrays, words in (
        ({"word": np.array([256])}, "field word: 256 is outside 0..255"),
        ({"wort": np.array([1])}, "batch has fields ['wort']"),
    ):
        np.savez(tmp_path / "bad.npz", **arrays)
        done = narrowgauge("verify", "lzc/w8", "--input", "bad.npz")
        assert done.returncode == 2
        assert words in done.stderr
