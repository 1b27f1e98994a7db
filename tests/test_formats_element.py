"""Element formats: their facts, names and errors, and every code against the scalar reference."""

from fractions import Fraction

import numpy as np
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import (
    BF16,
    E8M0,
    ELEMENT_FORMATS,
    FloatFormat,
    IntFormat,
    Overflow,
    get,
    reference,
    vector,
)

FLOATS = [f for f in ELEMENT_FORMATS.values() if isinstance(f, FloatFormat)]

# name: width, bias, emin, emax, max, smallest, inf code, nan code
FACTS = {
    "fp32": (
        32,
        127,
        -126,
        127,
        float(np.finfo(np.float32).max),
        2.0**-149,
        0x7F800000,
        0x7FC00000,
    ),
    "tf32": (19, 127, -126, 127, (2 - 2.0**-10) * 2.0**127, 2.0**-136, 0x3FC00, 0x3FE00),
    "fp16": (16, 15, -14, 15, 65504.0, 2.0**-24, 0x7C00, 0x7E00),
    "bf16": (16, 127, -126, 127, 255 * 2.0**120, 2.0**-133, 0x7F80, 0x7FC0),
    "fp10_e5m4": (10, 15, -14, 15, 63488.0, 2.0**-18, 0x1F0, 0x1F8),
    "fp10_e6m3": (10, 31, -30, 31, 15 * 2.0**28, 2.0**-33, 0x1F8, 0x1FC),
    "fp8_e5m2": (8, 15, -14, 15, 57344.0, 2.0**-16, 0x7C, 0x7E),
    "fp8_e4m3": (8, 7, -6, 8, 448.0, 2.0**-9, None, 0x7F),
    "fp6_e3m2": (6, 3, -2, 4, 28.0, 2.0**-4, None, None),
    "fp6_e2m3": (6, 1, 0, 2, 7.5, 2.0**-3, None, None),
    "fp4_e2m1": (4, 1, 0, 2, 6.0, 0.5, None, None),
}


@pytest.mark.parametrize("name", FACTS)
def test_facts(name: str) -> None:
    f = get(name)
    assert isinstance(f, FloatFormat)
    width, bias, emin, emax, largest, smallest, inf, nan = FACTS[name]
    assert (f.width, f.bias, f.emin, f.emax) == (width, bias, emin, emax)
    assert (f.max, f.smallest, f.smallest_normal) == (largest, smallest, 2.0**emin)
    assert (f.inf_code, f.nan_code) == (inf, nan)
    assert vector.decode(f, f.max_code) == largest
    assert vector.decode(f, 1) == smallest
    assert f.sign_mask | f.exponent_mask | f.mantissa_mask == (1 << width) - 1
    assert f.sign_mask & f.magnitude_mask == f.exponent_mask & f.mantissa_mask == 0
    if inf is not None:
        assert vector.decode(f, inf) == np.inf
    if nan is not None:
        assert np.isnan(vector.decode(f, nan))


def test_every_float_format_has_facts() -> None:
    assert {f.name for f in FLOATS} == set(FACTS)


def test_fp4_is_the_published_list() -> None:
    values = vector.decode(get("fp4_e2m1"), np.arange(8))
    assert values.tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]


@pytest.mark.parametrize("fmt", [f for f in ELEMENT_FORMATS.values() if f.width <= 16])
def test_every_code_reads_as_the_reference_reads_it(fmt: FloatFormat | IntFormat | E8M0) -> None:
    half = 1 << (fmt.width - 1)
    codes = np.arange(-half, half) if isinstance(fmt, IntFormat) else np.arange(2 * half)
    u = vector.unpack(fmt, codes)
    values = vector.decode(fmt, codes)
    for i, code in enumerate(codes.tolist()):
        number = reference.decode(fmt, code)
        assert (u.is_nan[i], u.is_inf[i]) == (number.special == "nan", number.special == "inf")
        assert u.is_zero[i] == (not number.special and number.magnitude == 0)
        if number.special == "nan":
            assert np.isnan(values[i])
            continue
        assert u.sign[i] == number.sign == np.signbit(values[i]) or code == 0
        if number.special == "inf":
            assert abs(values[i]) == np.inf
            continue
        assert int(u.significand[i]) * Fraction(2) ** int(u.exponent[i]) == number.magnitude
        assert Fraction(abs(float(values[i]))) == number.magnitude


@pytest.mark.parametrize("name", ["fp32", "tf32", "ieee_e11m50", "ieee_e3m8"])
def test_wide_codes_read_as_the_reference_reads_them(name: str) -> None:
    f = get(name)
    assert isinstance(f, FloatFormat)
    rng = np.random.default_rng(7)
    corners = [0, 1, f.mantissa_mask, f.mantissa_mask + 1, f.max_code, f.max_code + 1, f.sign_mask]
    codes = np.concatenate([corners, rng.integers(0, 1 << f.width, 3000)])
    values = vector.decode(f, codes)
    for code, value in zip(codes.tolist(), values.tolist(), strict=True):
        number = reference.decode(f, code)
        if number.special:
            assert np.isnan(value) if number.special == "nan" else abs(value) == np.inf
        else:
            assert Fraction(value) == (-1) ** number.sign * number.magnitude


def test_negative_zero_keeps_its_sign() -> None:
    for f in FLOATS:
        value = vector.decode(f, f.sign_mask)
        assert (value, np.signbit(value)) == (0, True)
        u = vector.unpack(f, f.sign_mask)
        assert (u.sign, u.is_zero, u.significand) == (1, True, 0)


def test_e8m0() -> None:
    e8m0 = get("e8m0")
    assert isinstance(e8m0, E8M0)
    values = vector.decode(e8m0, [0, 127, 254, 255])
    assert values[:3].tolist() == [2.0**-127, 1.0, 2.0**127]
    assert np.isnan(values[3])
    assert (e8m0.max, e8m0.smallest) == (2.0**127, 2.0**-127)


def test_integers() -> None:
    full, symmetric = get("int8"), get("int8_symmetric")
    assert isinstance(full, IntFormat)
    assert isinstance(symmetric, IntFormat)
    assert (full.min, full.max, symmetric.min, symmetric.max) == (-128, 127, -127, 127)
    assert vector.decode(symmetric, [-128, 5]).tolist() == [-128.0, 5.0]


def test_names() -> None:
    assert all(get(name).name == name for name in ELEMENT_FORMATS)
    assert {f"int{w}" for w in range(2, 17)} <= set(ELEMENT_FORMATS)
    assert get("ieee_e8m7") == FloatFormat.ieee(8, 7) == get("bf16") == BF16
    assert FloatFormat.ieee(4, 3) != get("fp8_e4m3")
    assert get("ieee_e6m9").name == "ieee_e6m9"


@pytest.mark.parametrize("name", ["fp9", "", "e4m3", "int1", "int17", "BF16", "ieee_e5"])
def test_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(
        UsageError, match=f"^no format {name!r}; formats: fp32, .*fp4_e2m1, .*int16"
    ):
        get(name)


@pytest.mark.parametrize(
    ("exponent", "mantissa", "message"),
    [
        (1, 3, "exponent bits must be 2..11, got 1"),
        (12, 3, "exponent bits must be 2..11, got 12"),
        (5, 0, "mantissa bits must be 1..52, got 0"),
        (5, 53, "mantissa bits must be 1..52, got 53"),
        (11, 51, "a float format must have at most 62 bits, got 63"),
    ],
)
def test_impossible_sizes(exponent: int, mantissa: int, message: str) -> None:
    with pytest.raises(UsageError) as error:
        FloatFormat.ieee(exponent, mantissa)
    assert str(error.value) == message


def test_impossible_integers_and_specials() -> None:
    with pytest.raises(UsageError, match=r"^width of an integer format must be 2..32, got 1$"):
        IntFormat(name="x", width=1)
    with pytest.raises(UsageError, match=r"^specials must be ieee, nan or none, got 'all'$"):
        FloatFormat(name="x", exponent_bits=4, mantissa_bits=3, specials="all")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "codes", "message"),
    [
        ("bf16", [0, 65536], "codes of bf16 lie in 0..65535, got 65536"),
        ("fp4_e2m1", [-1], "codes of fp4_e2m1 lie in 0..15, got -1"),
        ("int4", [8], "codes of int4 lie in -8..7, got 8"),
        ("int4_symmetric", [-9], "codes of int4_symmetric lie in -8..7, got -9"),
        ("e8m0", [256], "codes of e8m0 lie in 0..255, got 256"),
        ("bf16", [1.0], "codes of bf16 must be integers, got float64"),
    ],
)
def test_codes_out_of_range(name: str, codes: list[int], message: str) -> None:
    with pytest.raises(UsageError) as error:
        vector.decode(get(name), codes)
    assert str(error.value) == message


def test_overflow_code() -> None:
    codes = {f.name: f.overflow_code(Overflow.NONFINITE) for f in FLOATS if f.specials != "none"}
    assert (codes["fp8_e5m2"], codes["fp8_e4m3"], codes["bf16"]) == (0x7C, 0x7F, 0x7F80)
    message = "^format fp4_e2m1 has no Inf and no NaN: overflow must saturate$"
    fp4 = get("fp4_e2m1")
    assert isinstance(fp4, FloatFormat)
    with pytest.raises(UsageError, match=message):
        fp4.overflow_code(Overflow.NONFINITE)
