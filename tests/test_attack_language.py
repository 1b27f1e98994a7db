"""The attack on language models, on a small one drawn at random; and SmolLM2's where it is."""

from typing import Any

import numpy as np
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.samples.llama import Llama, Shape

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from narrowgauge.golden.training.attack import language, llama  # noqa: E402

torch.set_num_threads(1)

SHAPE = Shape(blocks=3, width=16, heads=4, kv_heads=2, rope_base=1e4, epsilon=1e-5)
TOKENS, VOCABULARY = 6, 40


def tensors(seed: int = 1) -> Any:
    """Tensors of a model drawn at random, by name."""
    rng = np.random.default_rng(seed)
    rows = {"attn_k": 8, "attn_v": 8, "ffn_gate": 24, "ffn_up": 24}
    made = {"token_embd.weight": 0.8 * rng.standard_normal((VOCABULARY, 16)),
            "output_norm.weight": 2 + rng.random(16)}  # fmt: skip
    for block in range(SHAPE.blocks):
        for name in llama.MATRICES:
            columns = 24 if name == "ffn_down" else 16
            made[f"blk.{block}.{name}.weight"] = (
                rng.standard_normal((rows.get(name, 16), columns)) / columns**0.5
            )
        for name in ("attn_norm", "ffn_norm"):
            made[f"blk.{block}.{name}.weight"] = 1 + rng.random(16)
    return made.__getitem__


def model(blocks: tuple[int, ...] = (0, 2)) -> Any:
    return llama.make(SHAPE, tensors(), TOKENS, blocks)


def windows(count: int, seed: int = 3) -> np.ndarray:
    """Likely tokens of the model itself, so that its perplexity is below a guess."""
    golden = Llama(SHAPE, tensors(), precision="float64")
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, VOCABULARY, count)
    made = [np.append(s, golden.greedy(np.array([s]), TOKENS - 1)) for s in starts]
    return np.array(made, np.int64)


def test_the_model_is_llama() -> None:
    ids = np.random.default_rng(2).integers(0, VOCABULARY, (2, TOKENS))
    golden = Llama(SHAPE, tensors(), precision="float64")
    want = np.stack([golden.logits(row) for row in ids])
    net = model()
    with torch.no_grad():
        found = net(torch.from_numpy(ids).reshape(-1)).numpy().reshape(want.shape)
    assert np.allclose(found, want, rtol=1e-4, atol=1e-4)
    losses = np.concatenate([golden.losses(row) for row in ids])
    value = language.perplexity(net, torch.from_numpy(ids))
    assert value == pytest.approx(np.exp(losses.mean()), rel=1e-4)
    with pytest.raises(UsageError, match=r"blocks must be 0\.\.2, got 3"):
        model((3,))


def test_states_go_to_the_statistics() -> None:
    net = model()
    text = torch.from_numpy(windows(8)).reshape(-1)
    recorded = language.statistics(net, text)
    assert [len(each) for each in recorded] == [16] * 7
    start = net[0](torch.arange(TOKENS))
    x, distances = language.distill_states(net, start, recorded, 40, 0.02)
    assert x.shape == start.shape
    assert len(distances) == 41
    assert distances[-1] < 0.3 * distances[0]


@pytest.mark.parametrize("batch", language.BATCHES)
def test_a_run(batch: str) -> None:
    """Exponents fall at once; integers not; only in blocks that are attacked."""
    plan = language.LanguagePlan(fmt="mxint8", batch=batch, windows=2, budget=4)
    found = language.run(model(), plan, windows(8), windows(4, 5))
    assert found["clean"] < 0.5 * VOCABULARY
    assert found["to_chance"] == 1
    assert (found["flips"][0]["field"], found["flips"][0]["place"]) == ("scale", 7)
    assert found["flips"][0]["tensor"].split(".")[0] in ("1", "3")
    assert bool(found["distances"]) == (batch == "distilled")
    plan = language.LanguagePlan(fmt="int8", batch=batch, windows=2, budget=3)
    found = language.run(model(), plan, windows(8), windows(4, 5))
    assert found["flips"][-1]["perplexity"] > found["clean"]
    assert {flip["field"] for flip in found["flips"]} <= {"top", "element"}


def test_impossible() -> None:
    with pytest.raises(UsageError, match="no batch 'wiki'; batches: random, distilled, text"):
        language.LanguagePlan(fmt="int8", batch="wiki")
    with pytest.raises(UsageError, match="budget must be at least 1, got 0"):
        language.LanguagePlan(fmt="int8", batch="text", budget=0)
    plan = language.LanguagePlan(fmt="int8", batch="text", windows=9)
    with pytest.raises(UsageError, match="windows must be at most 8, got 9"):
        language.run(model(), plan, windows(8), windows(1))
