"""Fast products of bf16 activations against the golden units, bit for bit."""

import numpy as np
import pytest

from narrowgauge.golden.formats import MXOpal, bf16_codes, quantize
from narrowgauge.golden.llm import bf16, int_weight
from narrowgauge.golden.units.stimuli import SPECIAL_BF16

KINDS = ("normal", "heavy", "wide", "tiny", "huge", "zeros", "cancel", "special")


def tensor(rng: np.random.Generator, rows: int, columns: int, kind: str) -> np.ndarray:
    """bf16 codes of one kind."""
    x = rng.standard_normal((rows, columns))
    if kind == "heavy":
        x *= np.exp2(rng.normal(0, 4, x.shape))
    elif kind == "wide":
        x *= np.exp2(rng.integers(-60, 60, x.shape))
    elif kind == "tiny":
        x *= 2.0 ** -rng.integers(50, 130, (rows, 1))
    elif kind == "huge":
        x *= 2.0 ** rng.integers(50, 125, (rows, 1))
    elif kind == "zeros":
        x[rng.random(x.shape) < 0.95] = 0
        x[::3] = 0
    elif kind == "cancel":
        x[:, 1::2] = x[:, 0::2]
        x[:, 1::4] *= -1
    codes = bf16_codes(x.astype(np.float32))
    if kind == "special":
        hit = rng.random(codes.shape) < 0.002
        codes[hit] = rng.choice(SPECIAL_BF16, int(hit.sum()))
    return codes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", ["normal", "wide", "cancel"])
def test_bf16(kind: str, other: str) -> None:
    rng = np.random.default_rng(len(kind))
    a, b = tensor(rng, 40, 300, kind), tensor(rng, 70, 300, other)
    row, column = np.indices((len(a), len(b))).reshape(2, -1)
    pad = ((0, 0), (0, 84))
    expected = bf16.reference(np.pad(a, pad)[row], np.pad(b, pad)[column]).reshape(len(a), -1)
    np.testing.assert_array_equal(bf16.products(a, b), expected)
    wanted = rng.random(expected.shape) < 0.5
    masked = np.where(wanted, expected, 0)
    np.testing.assert_array_equal(bf16.products(a, b, wanted=wanted), masked)


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_beat_after_others(kind: str) -> None:
    rng = np.random.default_rng(len(kind))
    a, b = tensor(rng, 20, 48, kind), tensor(rng, 70, 48, "heavy")
    start = rng.standard_normal((20, 70)).astype(np.float32)
    row, column = np.indices(start.shape).reshape(2, -1)
    pad = ((0, 0), (0, 80))
    expected = bf16.reference(np.pad(a, pad)[row], np.pad(b, pad)[column], start[row, column])
    made = bf16.products(a, bf16.Side(b), start=start)
    np.testing.assert_array_equal(made, expected.reshape(start.shape))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [3, 4, 7])
def test_int_weight(kind: str, bits: int) -> None:
    rng = np.random.default_rng(len(kind) + bits)
    a = tensor(rng, 30, 384, kind)
    w = quantize(rng.standard_normal((70, 384)), MXOpal(b=bits, n=0), axis=1)
    scales = w.scales.copy()
    scales[::9] = rng.integers(0, 256, scales[::9].shape)
    row, column = np.indices((len(a), len(scales))).reshape(2, -1)
    beats, codes = a.reshape(len(a), -1, 128), w.codes.view(np.int8)
    expected = int_weight.reference(beats[row], codes[column], scales[column], bits)
    made = int_weight.products(a, codes, scales, bits=bits)
    np.testing.assert_array_equal(
        made.view(np.uint32), expected.reshape(made.shape).view(np.uint32)
    )
