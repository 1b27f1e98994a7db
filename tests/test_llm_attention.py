"""Softmax and attention over whole windows against the golden units, bit for bit."""

import numpy as np
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_codes
from narrowgauge.golden.llm import attention, elementwise
from narrowgauge.golden.units import bf16_softmax, log2_softmax, shift_attend
from narrowgauge.golden.units.stimuli import SPECIAL_BF16


def rows(rng: np.random.Generator, count: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Causal scores of two heads, and their lengths."""
    scores = bf16_codes((rng.standard_normal((2 * count, count)) * spread).astype(np.float32))
    return scores, np.repeat(np.arange(1, count + 1), 2)


def golden(params: log2_softmax.Params, scores: np.ndarray, lengths: np.ndarray) -> dict:
    x = np.concatenate([row[:n] for row, n in zip(scores, lengths, strict=True)])
    last = np.zeros(len(x), np.int64)
    last[np.cumsum(lengths) - 1] = 1
    batch = {"x": x.astype(np.int64), "mask": np.zeros(len(x), np.int64), "last": last}
    return log2_softmax.model(params, batch)


@pytest.mark.parametrize("bits", [3, 4, 5])
@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 40.0])
def test_log2_softmax_and_attention(bits: int, spread: float) -> None:
    rng = np.random.default_rng(bits)
    params = log2_softmax.Params(bits=bits)
    scores, lengths = rows(rng, 48, spread)
    scores[::7, ::3] = 0xFF80
    scores[40, 5] = 0x7F80
    scores[41, 6] = rng.choice(SPECIAL_BF16)
    codes, zero, nan = attention.log2_codes(params, scores, lengths)
    expected = golden(params, scores, lengths)
    inside = np.arange(scores.shape[1]) < lengths[:, None]
    np.testing.assert_array_equal(codes[inside], expected["code"])
    np.testing.assert_array_equal(zero[inside], expected["zero"])
    np.testing.assert_array_equal(np.repeat(nan, lengths), expected["nan"])
    assert nan.any()
    assert zero[~inside].all()

    v = rng.integers(-63, 64, (scores.shape[1], 16))
    for scales in (rng.integers(110, 130, len(v)), rng.integers(0, 256, len(v))):
        scales = scales.astype(np.uint8)
        for renormalise in (False, True):
            attend = shift_attend.Params(bits=bits, lanes=16, renormalise=renormalise)
            made = attention.shifted(attend, codes, zero, nan, v, scales, lengths)
            reference = attention.references(scales, lengths)
            batch = expected | {
                "v": np.concatenate([v[:n] for n in lengths]),
                "scale": np.concatenate([scales[:n] for n in lengths]).astype(np.int64),
                "reference": np.repeat(reference, lengths),
            }
            wanted = shift_attend.model(attend, batch)["result"]
            np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 40.0, 200.0])
def test_bf16_softmax(spread: float) -> None:
    rng = np.random.default_rng(3)
    params = bf16_softmax.Params()
    scores, lengths = rows(rng, 64, spread)
    scores[20:40] = np.sort(scores[20:40].view(np.int16), axis=1).view(np.uint16)
    scores[::7, ::3] = 0xFF80
    scores[100, 5] = 0x7F80
    scores[101, 6] = rng.choice(SPECIAL_BF16)
    x = np.concatenate([row[:n] for row, n in zip(scores, lengths, strict=True)])
    last = np.zeros(len(x), np.int64)
    last[np.cumsum(lengths) - 1] = 1
    batch = {"x": x.astype(np.int64), "mask": np.zeros(len(x), np.int64), "last": last}
    made = attention.softmax(params, scores, lengths)
    inside = np.arange(scores.shape[1]) < lengths[:, None]
    np.testing.assert_array_equal(made[inside], bf16_softmax.model(params, batch)["p"])
    assert not made[~inside].any()


def test_lengths_must_rise() -> None:
    with pytest.raises(UsageError, match=r"lengths must rise and lie in 1\.\.4"):
        attention.log2_codes(log2_softmax.Params(), np.zeros((2, 4), np.uint16), np.array([3, 2]))


def test_tree_sum_is_by_halves() -> None:
    x = np.array([1.0, 2.0**-53, 2.0**-53, 0.0, 2.0**-53])
    assert elementwise.tree_sum(x) == ((x[0] + x[4]) + x[2]) + (x[1] + x[3])
    assert elementwise.tree_sum(np.ones((3, 576))).tolist() == [576.0] * 3


def test_silu_is_far_from_ties() -> None:
    codes = np.arange(0x0200, 0x42C0, dtype=np.uint16)
    for sign in (1, -1):
        g = sign * (codes.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        y = g / (1 + np.exp(-g))
        # Another exp, wrong by some units of float64, rounds to the same bf16.
        low, high = (bf16_codes((y * (1 + e)).astype(np.float32)) for e in (-(2.0**-48), 2.0**-48))
        np.testing.assert_array_equal(low, high)
        one = np.full_like(codes, 0x3F80)
        gate = bf16_codes(g.astype(np.float32))
        np.testing.assert_array_equal(elementwise.gated(gate, one), low)
