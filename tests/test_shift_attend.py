"""shift_attend: its golden model against fractions, a softmax before it, its parameters."""

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import MXOpal, quantize
from narrowgauge.golden.units import log2_softmax, shift_attend
from narrowgauge.golden.units.scores import from_bf16, rows_of, to_bf16
from narrowgauge.golden.units.shift_attend import Params

NAN = 0x7FC0
LARGEST = Fraction(255, 128) * Fraction(2) ** 127


def bf16_of(value: Fraction) -> int:
    """RNE with subnormals; too large is infinite."""
    sign = 0x8000 if value < 0 else 0
    magnitude = abs(value)
    if magnitude == 0:
        return 0
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    quantum = Fraction(2) ** (max(exponent, -126) - 7)
    units = round(magnitude / quantum) * quantum
    if units > LARGEST:
        return sign | 0x7F80
    return sign | int(to_bf16(np.array([float(units)]))[0])


def value_of(code: int) -> Fraction:
    return Fraction(float(from_bf16(np.array([code]))[0]))


def by_fractions(p: Params, beats: dict[str, Any]) -> list[int]:
    """One row, its beats as lists."""
    lanes = [Fraction(0)] * p.lanes
    total, nan = Fraction(0), any(beats["nan"])
    unit = Fraction(1, 1 << p.fraction)
    for i, zero in enumerate(beats["zero"]):
        if zero:
            continue
        scale, reference = beats["scale"][i], beats["reference"][i]
        nan = nan or scale > reference or 255 in (scale, reference)
        share = Fraction(1, 1 << beats["code"][i])
        total += share
        factor = share * Fraction(2) ** (scale - reference) / (1 << (p.v_bits - 2))
        for e, v in enumerate(beats["v"][i]):
            lanes[e] += math.trunc(v * factor / unit) * unit
    if nan or total >= 1 << p.sum_bits:
        return [NAN] * p.lanes
    weight = Fraction(2) ** (beats["reference"][-1] - 127)
    result = [bf16_of(x * weight) for x in lanes]
    if p.renormalise and total:
        factor = value_of(bf16_of(1 / value_of(bf16_of(total))))
        # A negative sum that was rounded to zero keeps its sign.
        finite = [x & 0x7FFF != 0x7F80 for x in result]
        result = [
            x & 0x8000 | bf16_of(value_of(x & 0x7FFF) * factor) if fine else x
            for x, fine in zip(result, finite, strict=True)
        ]
    return result


@pytest.mark.parametrize(
    "params",
    [
        Params(lanes=4, length=64),
        Params(lanes=2, bits=3, v_bits=5, length=64, renormalise=True),
        Params(lanes=3, bits=5, v_bits=8, fraction=24, renormalise=True),
        Params(lanes=2, v_bits=3, fraction=1, length=2),
    ],
    ids=str,
)
def test_model_against_fractions(params: Params) -> None:
    batch = shift_attend.vectors(params, "smoke", 5)
    result = shift_attend.model(params, batch)["result"]
    rows = rows_of(batch["last"])
    assert len(result) == len(rows.starts) > 100
    for i, (start, size) in enumerate(zip(rows.starts, rows.lengths, strict=True)):
        beats = {name: array[start : start + size].tolist() for name, array in batch.items()}
        assert result[i].tolist() == by_fractions(params, beats), i
    assert 0.05 < (result == NAN).mean() < 0.5


def test_every_sum_has_its_reciprocal() -> None:
    params = Params(renormalise=True)
    total = np.arange(1, 1 << 16)
    got = shift_attend.reciprocal(params, total)
    for t in (1, 2, 3, 0x7FFF, 0x8000, 0x8001, 0xFF7F, 0xFF80, 0xFFFF, *range(999, 65536, 997)):
        assert got[t - 1] == bf16_of(1 / value_of(bf16_of(Fraction(t, 1 << 15))))


@pytest.mark.parametrize(("renormalise", "most"), [(False, 0.24), (True, 0.15)])
def test_attention_times_v(renormalise: bool, most: float) -> None:
    """Scores and V in, heads out, against exact softmax and unrounded V."""
    rng = np.random.default_rng(2)
    rows, keys, width = 16, 256, 32
    scores = from_bf16(to_bf16(rng.standard_normal((rows, keys)) * 3))
    v = rng.standard_normal((keys, width))
    softmax = log2_softmax.Params()
    last = np.tile((np.arange(keys) == keys - 1).astype(np.int64), rows)
    x = to_bf16(scores).reshape(-1)
    codes = log2_softmax.model(softmax, {"x": x, "mask": np.zeros_like(x), "last": last})
    block = quantize(to_bf16(v).astype(np.uint16), MXOpal(k=width, n=0, b=7), axis=1)
    scale = block.scales[:, 0].astype(np.int64)
    params = Params(lanes=width, renormalise=renormalise)
    batch = codes | {
        "v": np.tile(block.codes[:, 0].astype(np.int64), (rows, 1)),
        "scale": np.tile(scale, rows),
        "reference": np.full(rows * keys, scale.max()),
    }
    made = from_bf16(shift_attend.model(params, batch)["result"])
    exact = np.exp(scores - scores.max(axis=1, keepdims=True))
    want = exact / exact.sum(axis=1, keepdims=True) @ v
    assert np.linalg.norm(made - want) / np.linalg.norm(want) < most


@pytest.mark.parametrize("bits", [3, 4, 5])
@pytest.mark.parametrize("length", [64, 1024])
def test_codes_of_the_softmax_never_overflow(bits: int, length: int) -> None:
    """The row sums that `sum_bits` is made for: flat rows and steep ones, whole and short."""
    params = Params(bits=bits, length=length)
    softmax = log2_softmax.Params(bits=bits, length=length)
    batch = log2_softmax.vectors(softmax, "smoke", 4)
    codes = log2_softmax.model(softmax, batch)
    live = (codes["zero"] == 0) & (codes["nan"] == 0)
    starts = rows_of(codes["last"]).starts
    sums = np.add.reduceat(np.where(live, 2.0 ** -codes["code"], 0), starts)
    assert sums.max() < 1.7 + length / 2**params.sum_fraction <= 2**params.sum_bits


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"bits": 6}, "bits must be 3..5, got 6"),
        ({"v_bits": 2}, "v_bits must be 3..8, got 2"),
        ({"lanes": 1}, "lanes must be 2..256, got 1"),
        ({"length": 100}, "length must be a power of two, 2..4096, got 100"),
        ({"fraction": 4}, "fraction must be 5..24, got 4"),
    ],
)
def test_parameters(values: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=rf"^{re.escape(text)}$"):
        Params(**values)
