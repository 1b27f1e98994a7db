"""Whole tensors: axes, padding, input types, storage, errors, and the SQNR helper."""

import math
from typing import Any

import numpy as np
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import (
    BF16,
    BlockTensor,
    MXOpal,
    Overflow,
    Rounding,
    bf16_codes,
    bf16_values,
    dequantize,
    get_block,
    quantize,
    sqnr_db,
    vector,
)

RNG = np.random.default_rng(41)
FORMATS = ["mx_opal4_k16_n2", "mx_opal5_k16_n0", "mxfp4_e2m1", "mxint8"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_axis(name: str, axis: int) -> None:
    """Quantising along an axis is quantising each line along it."""
    fmt = get_block(name)
    x = RNG.standard_normal((3, 40, 5)).astype(np.float32)
    t = quantize(x, fmt, axis=axis)
    blocks = -(-x.shape[axis] // fmt.k)
    rest = tuple(np.delete(x.shape, axis).tolist())
    assert t.axis == axis % 3
    assert t.codes.shape == (*rest, blocks, fmt.k)
    assert t.scales.shape == (*rest, blocks)
    assert t.outliers.shape == t.positions.shape == (*rest, blocks, fmt.n)
    back = dequantize(t)
    assert back.shape == x.shape
    assert back.flags.c_contiguous
    lines = np.moveaxis(x, axis, -1)
    for index in np.ndindex(rest):
        line = quantize(lines[index].copy(), fmt, axis=0)
        assert np.array_equal(line.codes, t.codes[index])
        assert np.array_equal(dequantize(line), np.moveaxis(back, axis, -1)[index])


@pytest.mark.parametrize("name", FORMATS)
def test_padding(name: str) -> None:
    """The last block is filled with zeros, which cost storage and do not come back."""
    fmt = get_block(name)
    x = RNG.standard_normal((2, fmt.k + 3)).astype(np.float32)
    t = quantize(x, fmt, axis=1)
    padded = quantize(np.pad(x, ((0, 0), (0, fmt.k - 3))), fmt, axis=1)
    assert np.array_equal(t.codes, padded.codes)
    assert np.array_equal(t.positions, padded.positions)
    assert dequantize(t).shape == (2, fmt.k + 3)
    assert np.array_equal(dequantize(t), dequantize(padded)[:, : fmt.k + 3])
    assert t.blocks == 4
    assert t.bits == 4 * fmt.payload.width
    assert t.bits_per_element == pytest.approx(fmt.bits_per_element * 2 * fmt.k / (fmt.k + 3))
    assert t.pack().shape == (4, -(-fmt.payload.width // 8))


def test_padding_never_displaces_an_outlier() -> None:
    x = np.array([0.0, 1.0, 0.0], np.float32)
    t = quantize(x, MXOpal(k=8, n=4, b=4), axis=0)
    assert t.positions.tolist() == [[1, 0, 2, 3]]
    assert dequantize(t).tolist() == [0, 1, 0]


def test_empty() -> None:
    for shape, axis in (((0,), 0), ((3, 0), 1), ((0, 5), 1)):
        t = quantize(np.zeros(shape, np.float32), MXOpal(k=4, n=1, b=4), axis=axis)
        assert t.bits == 0
        assert dequantize(t).shape == shape


def test_input_types() -> None:
    """Floats are rounded to bf16, nearest even; uint16 is bf16 codes."""
    fmt = MXOpal(k=32, n=2, b=4)
    x = RNG.standard_normal(320).astype(np.float32)
    x[:4] = [np.inf, np.nan, -0.0, 3.4e38]
    want = quantize(bf16_codes(x), fmt, axis=0)
    for given in (x, x.astype(np.float64), x[::-1].copy()[::-1]):
        got = quantize(given, fmt, axis=0)
        assert np.array_equal(got.codes, want.codes)
        assert np.array_equal(got.outliers, want.outliers)
    listed = quantize([1.0, 2.0], fmt, axis=0)
    assert dequantize(listed).tolist() == [1.0, 2.0]


def test_float64_rounds_to_bf16_once() -> None:
    """1 + 2**-8 + 2**-40 is above the tie, which a detour by float32 would lose."""
    x = np.array([1 + 2.0**-8 + 2.0**-40])
    assert bf16_codes(x).tolist() == [0x3F81]
    assert bf16_codes(x.astype(np.float32)).tolist() == [0x3F80]


def test_bf16_codes_equal_the_encoder() -> None:
    bits = RNG.integers(0, 1 << 32, 100_000, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    with np.errstate(invalid="ignore"):
        wide = x.astype(np.float64)
    want = vector.encode(BF16, wide, rounding=Rounding.RNE, overflow=Overflow.NONFINITE)
    assert np.array_equal(bf16_codes(x), want)
    every = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(bf16_values(every).view(np.uint32) >> 16, every)
    assert bf16_codes(np.float32(1.0)) == 0x3F80


def test_chunks_do_not_show() -> None:
    """More elements than one pass takes, against the same blocks one by one."""
    fmt = MXOpal(b=4)
    x = bf16_codes(RNG.standard_normal((1100, 128)).astype(np.float32))
    whole = quantize(x, fmt, axis=1)
    for row in (0, 511, 512, 513, 1099):
        one = quantize(x[row], fmt, axis=0)
        assert np.array_equal(one.codes, whole.codes[row])
        assert np.array_equal(one.positions, whole.positions[row])


def test_dequantized_dtype() -> None:
    t = quantize(np.ones(32, np.float32), get_block("mxfp8_e4m3"), axis=0)
    assert dequantize(t).dtype == np.float32
    assert dequantize(t, np.float64).dtype == np.float64
    with pytest.raises(UsageError, match=r"^dtype must be float32 or float64, got <class 'int'>$"):
        dequantize(t, int)  # type: ignore[arg-type]


def test_quantising_twice_changes_nothing() -> None:
    """Values are fixed points. (Not with outliers: a code may round to above an outlier.)"""
    x = RNG.standard_t(3, (20, 128)).astype(np.float32)
    for name in ("mx_opal4_n0", "mx_opal7_n0", "mxfp6_e3m2", "mxfp8_e5m2"):
        once = dequantize(quantize(x, get_block(name), axis=1))
        assert np.array_equal(dequantize(quantize(once, get_block(name), axis=1)), once)


@pytest.mark.parametrize(
    ("x", "axis", "message"),
    [
        (
            np.zeros(4, np.int64),
            0,
            "x must be float32, float64, or uint16 holding bf16 codes, got int64",
        ),
        (
            np.zeros(4, np.float16),
            0,
            "x must be float32, float64, or uint16 holding bf16 codes, got float16",
        ),
        (np.float32(1), 0, "x must have at least one axis, got a scalar"),
        (np.zeros((2, 2), np.float32), 2, "axis must be -2..1, got 2"),
        (np.zeros((2, 2), np.float32), -3, "axis must be -2..1, got -3"),
    ],
)
def test_bad_tensors(x: Any, axis: int, message: str) -> None:
    with pytest.raises(UsageError) as error:
        quantize(x, MXOpal(b=4), axis=axis)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("axis", 1, "axis must be 0..0, got 1"),
        (
            "scales",
            np.zeros(3, np.uint8),
            "scales must be uint8 of shape (2,), got uint8 of shape (3,)",
        ),
        (
            "codes",
            np.zeros((2, 4), np.uint8),
            "codes must be int8 of shape (2, 4), got uint8 of shape (2, 4)",
        ),
        ("codes", np.full((2, 4), 8, np.int8), "codes of mx_opal4_k4_n1 lie in -8..7, got 8..8"),
        ("positions", np.full((2, 1), 4, np.uint16), "positions must be below k=4, got 4"),
    ],
)
def test_bad_parts(field: str, value: Any, message: str) -> None:
    good: dict[str, Any] = {
        "fmt": MXOpal(k=4, n=1, b=4),
        "shape": (7,),
        "axis": 0,
        "codes": np.zeros((2, 4), np.int8),
        "scales": np.zeros(2, np.uint8),
        "outliers": np.zeros((2, 1), np.uint16),
        "positions": np.zeros((2, 1), np.uint16),
    }
    assert BlockTensor(**good).blocks == 2
    with pytest.raises(UsageError) as error:
        BlockTensor(**{**good, field: value})
    assert str(error.value) == message


def test_sqnr() -> None:
    r = np.array([3.0, 4.0])
    assert sqnr_db(r, r) == math.inf
    assert sqnr_db(r, [3.0, 4.5]) == pytest.approx(20.0)
    assert sqnr_db([0.0, 0.0], [1.0, 0.0]) == -math.inf
    for a, b in ((r, [1.0]), ([], [])):
        with pytest.raises(UsageError, match=r"^sqnr_db needs two arrays of one shape"):
            sqnr_db(a, b)
    with pytest.raises(UsageError, match=r"^sqnr_db needs finite values, got Inf or NaN$"):
        sqnr_db(r, [1.0, np.nan])


def test_outliers_pay() -> None:
    """On heavy-tailed data four outliers raise the SQNR of 4-bit codes, as the paper is about."""
    x = RNG.standard_t(2, (64, 128)).astype(np.float32)
    quality = [
        sqnr_db(x, dequantize(quantize(x, get_block(name), axis=1)))
        for name in ("mx_opal4_n0", "mx_opal4", "mx_opal5", "mx_opal8")
    ]
    assert quality == sorted(quality)
    assert quality[1] > quality[0] + 6
