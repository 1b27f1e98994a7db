"""Block floating point: every rule by a hand-made block, the arrays against the reference."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import (
    BFP,
    FloatFormat,
    Overflow,
    Rounding,
    bf16_codes,
    dequantize,
    get,
    get_block,
    quantize,
    reference,
    vector,
)
from narrowgauge.golden.formats.bfp import quantize_groups

PLAIN = (Rounding.RNE, Rounding.RNA, Rounding.RTZ)
FORMATS = [
    *(BFP(exponent_bits=5, mantissa_bits=5, k=4, rounding=r) for r in PLAIN),
    *(BFP(exponent_bits=6, mantissa_bits=4, k=8, rounding=r) for r in PLAIN),
    BFP(exponent_bits=8, mantissa_bits=8, k=3, rounding=Rounding.RTZ),
    BFP(exponent_bits=8, mantissa_bits=16, k=2),
    BFP(exponent_bits=2, mantissa_bits=2, k=1),
]


def number(value: float) -> reference.Number:
    """A float as the reference takes it."""
    sign = int(math.copysign(1, value) < 0)
    if not math.isfinite(value):
        return reference.Number(sign, Fraction(0), "nan" if math.isnan(value) else "inf")
    return reference.Number(sign, abs(Fraction(value)))


def mixture(fmt: BFP) -> npt.NDArray[np.float64]:
    """Blocks around every exponent of a format, with ties, zeros, extremes and specials."""
    rng = np.random.default_rng(61)
    rows, k = 60, fmt.k
    spread = rng.standard_normal((rows, k)) * np.ldexp(
        1.0, rng.integers(-fmt.bias - 20, fmt.bias + 8, (rows, 1))
    )
    uneven = rng.standard_normal((rows, k)) * np.ldexp(1.0, rng.integers(-9, 9, (rows, k)))
    # Halves of the last place, and the values around the power of two above.
    ties = rng.integers(-4 << fmt.mantissa_bits, 4 << fmt.mantissa_bits, (rows, k)) / 4.0
    full = (2.0**fmt.mantissa_bits - rng.integers(0, 5, (rows, k)) / 4) * rng.choice([1, -1], k)
    zeros = rng.choice([0.0, -0.0], (2, k))
    rare = np.where(rng.random((rows, k)) < 0.3 / k, rng.choice([np.nan, np.inf, -np.inf]), spread)
    return np.concatenate([spread, uneven, ties, full, zeros, rare])


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
def test_equals_reference(fmt: BFP) -> None:
    x = mixture(fmt)
    t = quantize(x, fmt, axis=1)
    back = dequantize(t, np.float64)
    for row, codes, scale, values in zip(
        x.tolist(), t.codes[:, 0].tolist(), t.scales[:, 0].tolist(), back.tolist(), strict=True
    ):
        want = reference.quantize_bfp(fmt, [number(value) for value in row])
        assert want == reference.Block(codes, scale, [], [])
        for each, value in zip(reference.dequantize_block(fmt, want), values, strict=True):
            assert (
                math.isnan(value)
                if each.special
                else value == float(-each.magnitude if each.sign else each.magnitude)
            )
    assert np.array_equal(dequantize(t), back.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("bits", [1, 4, 24])
def test_stochastic_equals_reference(bits: int) -> None:
    fmt = BFP(exponent_bits=5, mantissa_bits=5, k=4, rounding=Rounding.STOCHASTIC)
    x = mixture(fmt)
    words = np.random.default_rng(62).integers(0, 1 << bits, x.shape)
    t = quantize(x, fmt, axis=1, random=words, random_bits=bits)
    for row, given, codes, scale in zip(
        x.tolist(), words.tolist(), t.codes[:, 0].tolist(), t.scales[:, 0].tolist(), strict=True
    ):
        numbers = [number(value) for value in row]
        want = reference.quantize_bfp(fmt, numbers, given, bits)
        assert want == reference.Block(codes, scale, [], [])


def test_stochastic_has_no_bias() -> None:
    fmt = BFP(exponent_bits=5, mantissa_bits=5, k=2, rounding=Rounding.STOCHASTIC)
    x = np.tile([1.0, 0.3], (65536, 1))
    words = np.arange(65536)[:, None].repeat(2, axis=1)
    t = quantize(x, fmt, axis=1, random=words, random_bits=16)
    assert dequantize(t, np.float64)[:, 1].mean() == pytest.approx(0.3, abs=2**-20)


def by_hand(values: list[float], **changed: Any) -> tuple[list[int], int]:
    fmt = BFP(**{"exponent_bits": 5, "mantissa_bits": 5, "k": len(values), **changed})
    t = quantize(np.array(values), fmt, axis=0)
    return t.codes[0].tolist(), int(t.scales[0])


def test_rules_by_hand() -> None:
    # E = 0: steps of 1/16.
    assert by_hand([1.0, -0.5, 1 / 16, 1 / 32]) == ([16, -8, 1, 0], 15)
    assert by_hand([1.0, 3 / 32]) == ([16, 2], 15)
    assert by_hand([1.0, 3 / 32], rounding=Rounding.RTZ) == ([16, 1], 15)
    assert by_hand([1.0, 1 / 32], rounding=Rounding.RNA) == ([16, 1], 15)
    # The largest rounds up to 2**m and is clipped; the exponent stays.
    assert by_hand([-1.99, 1.0]) == ([-31, 16], 15)
    # Nothing, and less than half of the smallest.
    assert by_hand([0.0, -0.0]) == ([0, 0], 1)
    assert by_hand([2.0**-18, 2.0**-19, 2.0**-14]) == ([1, 0, 16], 1)
    # Too large: the block saturates at the largest exponent, small elements keep their value.
    assert by_hand([1e9, 2048.0]) == ([31, 1], 30)
    assert by_hand([np.inf, 1.0]) == ([0, 0], 31)
    assert by_hand([np.nan, 1.0]) == ([0, 0], 31)


def test_field_zero_reads_as_one() -> None:
    fmt = BFP(exponent_bits=5, mantissa_bits=5, k=1)
    assert reference.dequantize_block(fmt, reference.Block([3], 0, [], [])) == [
        reference.Number(0, Fraction(3, 1 << 18))
    ]
    t = quantize(np.array([2.0**-18]), fmt, axis=0)
    t.scales[0] = 0
    assert dequantize(t).tolist() == [2.0**-18]


@pytest.mark.parametrize(("name", "e", "m"), [("fp10_e5m4", 5, 5), ("fp10_e6m3", 6, 4)])
@pytest.mark.parametrize("rounding", PLAIN)
def test_one_element_is_its_float_format(name: str, e: int, m: int, rounding: Rounding) -> None:
    """With k = 1 the values are those of the float format, but where that rounds up to 2**m."""
    float_format = get(name)
    assert isinstance(float_format, FloatFormat)
    fmt = BFP(exponent_bits=e, mantissa_bits=m, k=1, rounding=rounding)
    x = np.random.default_rng(63).standard_normal(4000) * np.ldexp(
        1.0, np.random.default_rng(64).integers(-40, 40, 4000)
    )
    codes = vector.encode(float_format, x, rounding=rounding, overflow=Overflow.SATURATE)
    floats = vector.decode(float_format, codes)
    blocks = dequantize(quantize(x[:, None], fmt, axis=1), np.float64)[:, 0]
    fraction, exponent = np.frexp(np.abs(x))
    clipped = (np.ldexp(fraction, m) > 2**m - 1) & (exponent >= 2 - fmt.bias)
    assert np.array_equal(blocks[~clipped], floats[~clipped])
    assert (np.abs(blocks[clipped]) <= np.abs(floats[clipped])).all()


def test_exact_integers_give_what_floats_give() -> None:
    """Wide sums are rounded once: 40-bit integers, as a datapath holds them."""
    rng = np.random.default_rng(65)
    fmt = BFP(exponent_bits=6, mantissa_bits=4, k=4)
    x = rng.integers(-(1 << 40), 1 << 40, (500, 4)) >> rng.integers(0, 40, (500, 4))
    codes, fields = quantize_groups(fmt, x < 0, np.abs(x), -33)
    t = quantize(np.ldexp(x.astype(np.float64), -33), fmt, axis=1)
    assert np.array_equal(codes, t.codes[:, 0])
    assert np.array_equal(fields, t.scales[:, 0])


@pytest.mark.parametrize("rounding", [Rounding.RTZ, Rounding.RNE])
@pytest.mark.parametrize(("e", "m", "k"), [(2, 2, 1), (2, 16, 3), (5, 4, 1), (8, 4, 3), (8, 16, 2)])
def test_one_multiplication_gives_what_integers_give(
    e: int, m: int, k: int, rounding: Rounding
) -> None:
    """Floats of all magnitudes: `quantize` scales them, `quantize_groups` shifts significands."""
    rng = np.random.default_rng(68)
    fmt = BFP(exponent_bits=e, mantissa_bits=m, k=k, rounding=rounding)
    x = rng.standard_normal((6000, k)) * np.ldexp(1.0, rng.integers(-20, 3, (6000, k)))
    x *= np.ldexp(1.0, rng.integers(-160, 140, (6000, 1)))
    ties = rng.integers(-1000, 1000, (2000, k)) * np.ldexp(1.0, rng.integers(-12, 5, (2000, 1)))
    ends = np.array([[5e-324] * k, [1e308] * k, [-2.2e-308] * k, [0.0] * k])
    x = np.concatenate([x, ties, ends])
    fraction, power = np.frexp(np.abs(x))
    significand = np.ldexp(fraction, 53).astype(np.int64)
    codes, fields = quantize_groups(fmt, np.signbit(x), significand, power - 53)
    t = quantize(x, fmt, axis=1)
    assert np.array_equal(codes, t.codes[:, 0])
    assert np.array_equal(fields, t.scales[:, 0])


@pytest.mark.parametrize(("m", "k"), [(5, 4), (5, 8), (5, 16), (4, 4), (4, 8), (4, 16)])
def test_clip_costs_less_than_the_next_exponent(m: int, k: int) -> None:
    """One element loses up to one step where the other rule doubles the steps of all."""
    x = np.random.default_rng(67).standard_normal((200_000, k))
    fmt = BFP(exponent_bits=8, mantissa_bits=m, k=k)
    clipped = dequantize(quantize(x, fmt, axis=1), np.float64)
    largest = np.abs(x).max(axis=1, keepdims=True)
    step = np.ldexp(1.0, np.frexp(largest)[1] - m)
    step = np.where(np.rint(largest / step) == 1 << m, 2 * step, step)
    raised = np.rint(x / step) * step
    assert ((clipped - x) ** 2).sum() < ((raised - x) ** 2).sum()


def test_inputs_names_and_layout() -> None:
    fmt = get_block("bfp_e5m5_k4")
    assert fmt == BFP(exponent_bits=5, mantissa_bits=5, k=4)
    assert all(get_block(f.name) == f for f in FORMATS)
    x = np.random.default_rng(66).standard_normal((3, 10)).astype(np.float32)
    t = quantize(bf16_codes(x), fmt, axis=1)
    assert t.bits == 9 * (4 * 6 + 5)
    assert fmt.bits_per_element == fmt.bits_per_element_packed == 7.25
    raw = fmt.payload.unpack(t.pack())
    assert np.array_equal(raw["codes"], t.codes.reshape(-1, 4))
    assert np.array_equal(raw["scale"], t.scales.reshape(-1))
    wide = quantize(x, BFP(exponent_bits=8, mantissa_bits=16, k=5), axis=1)
    assert wide.codes.dtype == np.int32
    assert np.abs(dequantize(wide) - x).max() <= 2.0**-14


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"exponent_bits": 9}, "exponent_bits must be 2..8, got 9"),
        ({"mantissa_bits": 1}, "mantissa_bits must be 2..16, got 1"),
        ({"k": 0}, "k must be 1..65536, got 0"),
        ({"rounding": "up"}, "rounding must be rne, rtz, rna, stochastic, got 'up'"),
    ],
)
def test_impossible(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        BFP(**{"exponent_bits": 5, "mantissa_bits": 5, "k": 4, **changed})
    assert str(caught.value) == message


def test_bad_calls() -> None:
    fmt = BFP(exponent_bits=5, mantissa_bits=5, k=4)
    x = np.zeros((2, 4), np.float32)
    words = np.zeros((2, 4), np.int64)
    for given, block, message in (
        ({"random": words, "random_bits": 8}, fmt, "stochastic rounding, not for rne"),
        ({"random": words[0]}, fmt, "must have the shape (2, 4) of x, got (4,)"),
        ({"random_bits": 8}, get_block("mxint8"), "not for mxint8"),
        ({}, get_block("bfp_e5m5_k4_stochastic"), "needs random and random_bits"),
    ):
        with pytest.raises(UsageError) as caught:
            quantize(x, block, axis=1, **given)
        assert message in str(caught.value)
    with pytest.raises(UsageError, match=r"must be \(\.\.\., 4\), got \(3,\)"):
        quantize_groups(fmt, 0, np.zeros(3, np.int64), 0)
    with pytest.raises(UsageError, match=r"no block format 'bfp_e5m5'; .*bfp_e<e>m<m>_k<k>"):
        get_block("bfp_e5m5")
