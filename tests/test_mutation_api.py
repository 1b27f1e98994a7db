"""`mutate` from Python and on the command line: scores, cache, bad input."""

import json
from pathlib import Path

import pytest
from conftest import Run

from narrowgauge import api
from narrowgauge.golden.errors import UsageError
from narrowgauge.mutate import GROUP, measure
from narrowgauge.verify.mutation import group


def test_score_of_a_point_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"build_dir": tmp_path / "sim", "cache": tmp_path / "cache"}
    overrides = {"width": 5}
    (found,) = api.mutate(
        "lzc/w8", count=50, overrides=overrides, output=tmp_path / "out", **places
    )
    assert found.name == "lzc/w8 --set width=5"
    # Every input is tried, so what lives is equivalent.
    assert found.score == 1.0
    assert 40 <= len(found.outcomes) <= 50
    stored = json.loads((tmp_path / "out" / "lzc_w8_width5.json").read_text())
    assert stored == found.to_json()

    def again(**_: object) -> None:
        raise AssertionError("a group was tried again")

    monkeypatch.setattr(group, "run", again)
    assert api.mutate("lzc/w8", count=50, overrides=overrides, **places) == [found]
    plain = measure(name="lzc/w8", overrides=overrides, count=50, **places)
    assert plain == found.to_json()
    with pytest.raises(AssertionError, match="a group was tried again"):
        api.mutate("lzc/w8", count=50, seed=2, overrides=overrides, **places)


def test_many_mutants_make_several_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(*, faults: list[object], **_: object) -> list[object]:
        sizes.append(len(faults))
        from narrowgauge.verify.mutation.outcome import Outcome

        return [Outcome(mutation="", fate="value", reason="")] * len(faults)

    monkeypatch.setattr(group, "run", counted)
    (found,) = api.mutate(
        "fp_add/fp8_e5m2", count=450, build_dir=tmp_path / "sim", cache=tmp_path / "cache"
    )
    assert sizes == [GROUP, GROUP, 450 - 2 * GROUP]
    assert len(found.outcomes) == 450


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": "real"}, "level must be smoke or full, got 'real'"),
        ({"seed": -1}, "seed must be 0..1073741823, got -1"),
        ({"count": 0}, "count must be 1..65535, got 0"),
        ({"limit": 0}, "limit must be positive, got 0"),
        ({"build_dir": "a b"}, "Verilator's makefiles take no folder with a space, got 'a b'"),
    ],
)
def test_bad_arguments(
    change: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as raised:
        api.mutate("lzc/w8", **change)
    assert str(raised.value) == message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lzc/w9",), "unit lzc has no point 'w9'"),
        (("lzc/w8", "--count", "0"), "must be at least 1, got '0'"),
        (("lzc/w8", "--count", "70000"), "count must be 1..65535, got 70000"),
        (("lzc/w8", "--least", "101"), "--least must be 0..100, got 101"),
        (("lzc/w8", "--level", "real"), "invalid choice: 'real'"),
    ],
)
def test_bad_words(narrowgauge: Run, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = narrowgauge("mutate", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_command_prints_survivors_and_fails_below_the_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from narrowgauge.cli import main
    from narrowgauge.verify.mutation.outcome import Mutation, Outcome

    outcomes = (
        *[Outcome(mutation="a", fate="value", reason="")] * 9,
        Outcome(mutation="core.sum[3] inverted", fate="survived", reason="an input: x = 0x1"),
    )
    scores = [Mutation(name="lzc/w8", level="smoke", seed=1, outcomes=outcomes)]
    monkeypatch.setattr(api, "mutate", lambda *_, **__: scores)
    assert main(["mutate", "lzc/w8"]) == 1
    text = capsys.readouterr().out
    assert "90.0 %" in text
    assert "survived: lzc/w8: core.sum[3] inverted\n      an input: x = 0x1\n" in text
    assert main(["mutate", "lzc/w8", "--least", "90"]) == 0
