"""Rounding: every neighbour pair, the scalar reference, sticky bits, random words, corners."""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import (
    ELEMENT_FORMATS,
    FloatFormat,
    Format,
    IntFormat,
    Overflow,
    Rounding,
    get,
    reference,
    vector,
)

FLOATS = [f for f in ELEMENT_FORMATS.values() if isinstance(f, FloatFormat)]
NEAREST = (Rounding.RNE, Rounding.RNA)
PLAIN = (*NEAREST, Rounding.RTZ)


def overflows(fmt: Format) -> list[Overflow]:
    finite = isinstance(fmt, IntFormat) or fmt.nan_code is None
    return [Overflow.SATURATE] if finite else list(Overflow)


def to_reference(fmt: Format, value: float, **rules: Any) -> int:
    if np.isnan(value):
        number = reference.NAN
    elif np.isinf(value):
        number = reference.Number(int(value < 0), Fraction(0), "inf")
    else:
        number = reference.Number(int(np.signbit(value)), Fraction(abs(value)))
    return reference.encode(fmt, number, **rules)


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda f: f.name)
def test_between_every_two_neighbours(fmt: FloatFormat) -> None:
    """Exhaustive up to 19 bits: both ends, the middle, and just beside the middle."""
    if fmt.width <= 19:
        low = np.arange(fmt.max_code)
    else:
        corners = [0, fmt.mantissa_mask, fmt.mantissa_mask + 1, fmt.max_code - 1]
        some = np.random.default_rng(3).integers(0, fmt.max_code, 50_000)
        low = np.concatenate([corners, some])
    a, b = vector.decode(fmt, low), vector.decode(fmt, low + 1)
    middle = (a + b) / 2
    even = low + (low & 1)
    for rounding, at_middle in (
        (Rounding.RNE, even),
        (Rounding.RNA, low + 1),
        (Rounding.RTZ, low),
    ):
        above = low if rounding is Rounding.RTZ else low + 1
        cases = [
            (a, low),
            (np.nextafter(middle, 0), low),
            (middle, at_middle),
            (np.nextafter(middle, np.inf), above),
            (np.nextafter(b, 0), above),
        ]
        for overflow in overflows(fmt):
            for values, want in cases:
                rules: dict[str, Any] = {"rounding": rounding, "overflow": overflow}
                assert np.array_equal(vector.encode(fmt, values, **rules), want)
                got = vector.encode(fmt, -values, **rules)
                assert np.array_equal(got, want | fmt.sign_mask)


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda f: f.name)
def test_overflow(fmt: FloatFormat) -> None:
    """The limit is half a step above the largest; a tie there goes to the even code."""
    step = fmt.max - float(vector.decode(fmt, fmt.max_code - 1))
    half, beyond = fmt.max + step / 2, fmt.max + step
    tie_stays = fmt.max_code % 2 == 0
    for overflow in overflows(fmt):
        limit = fmt.overflow_code(overflow)
        sign = fmt.sign_mask if limit != fmt.nan_code else 0
        for rounding, values, codes in (
            (Rounding.RNE, np.nextafter(half, 0), fmt.max_code),
            (Rounding.RNE, half, fmt.max_code if tie_stays else limit),
            (Rounding.RNE, np.nextafter(half, np.inf), limit),
            (Rounding.RNA, np.nextafter(half, 0), fmt.max_code),
            (Rounding.RNA, half, limit),
            (Rounding.RNE, beyond, limit),
            (Rounding.RTZ, np.nextafter(beyond, 0), fmt.max_code),
            (Rounding.RTZ, 1e300, fmt.max_code),
            (Rounding.RTZ, np.inf, limit),
            (Rounding.RNE, 1e300, limit),
            (Rounding.RNE, np.inf, limit),
        ):
            rules: dict[str, Any] = {"rounding": rounding, "overflow": overflow}
            assert vector.encode(fmt, values, **rules) == codes
            if codes == limit:
                assert vector.encode(fmt, -values, **rules) == limit | sign
            assert to_reference(fmt, float(values), **rules) == codes


def test_e4m3_tie_above_448_stays() -> None:
    """480 would be the next code, odd, so 464 is a tie that the even 448 wins."""
    fmt = get("fp8_e4m3")
    codes = vector.encode(fmt, [464.0, 464.1], rounding=Rounding.RNE, overflow=Overflow.NONFINITE)
    assert codes.tolist() == [0x7E, 0x7F]


def samples(fmt: Format) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(11)
    top = 8 if isinstance(fmt, IntFormat) else fmt.emax
    spread = rng.standard_normal(250) * 2.0 ** rng.integers(-top - 12, top + 3, 250)
    ties = np.ldexp(rng.integers(-64, 65, 250).astype(float), rng.integers(-top - 8, top, 250))
    corners = [0.0, -0.0, np.inf, -np.inf, 5e-324, -5e-324, 1.7e308, 1.0, 1.5, 2.5, -3.5]
    return np.concatenate([spread, ties, corners])


@pytest.mark.parametrize("fmt", ELEMENT_FORMATS.values(), ids=lambda f: f.name)
@pytest.mark.parametrize("rounding", Rounding)
def test_encode_equals_reference(fmt: Format, rounding: Rounding) -> None:
    values = samples(fmt)
    words = np.random.default_rng(5).integers(0, 1 << 6, values.shape)
    stochastic = rounding is Rounding.STOCHASTIC
    for overflow in overflows(fmt):
        rules: dict[str, Any] = {"rounding": rounding, "overflow": overflow}
        extra: dict[str, Any] = {"random": words, "random_bits": 6} if stochastic else {}
        got = vector.encode(fmt, values, **rules, **extra).tolist()
        for value, word, code in zip(values.tolist(), words.tolist(), got, strict=True):
            bits = {"random": word, "random_bits": 6} if stochastic else {}
            want = to_reference(fmt, value, **rules, **bits)
            assert code == want, (fmt.name, value, rounding, overflow)


@pytest.mark.parametrize(
    ("source", "name"),
    [("bf16", "fp8_e4m3"), ("bf16", "fp10_e6m3"), ("fp16", "fp8_e5m2"), ("fp16", "int8")],
)
def test_every_16_bit_input_equals_reference(source: str, name: str) -> None:
    """All positive and negative inputs, one rounding rule after the other along the codes."""
    fmt = get(name)
    codes = np.arange(65536)
    values = vector.decode(get(source), codes)
    codes, values = codes[~np.isnan(values)], values[~np.isnan(values)]
    for i, rounding in enumerate(PLAIN):
        part = values[i::3]
        rules: dict[str, Any] = {"rounding": rounding, "overflow": Overflow.SATURATE}
        got = vector.encode(fmt, part, **rules).tolist()
        assert got == [to_reference(fmt, v, **rules) for v in part.tolist()]


@pytest.mark.parametrize("name", ["fp32", "fp16", "fp8_e4m3", "fp4_e2m1", "int6", "e8m0", "bf16"])
@pytest.mark.parametrize("rounding", Rounding)
def test_round_pack_equals_reference(name: str, rounding: Rounding) -> None:
    """Significands of any length up to 62 bits, subnormal and overflowing results, sticky."""
    fmt = get(name)
    rng = np.random.default_rng(13)
    count, bits = 400, 5
    length = rng.integers(0, 63, count)
    significand = rng.integers(0, 1 << 62, count) >> (62 - length)
    top = 8 if isinstance(fmt, IntFormat) else fmt.emax
    exponent = rng.integers(-top - 30, top + 4, count) - length
    sign = rng.integers(0, 2, count)
    words = rng.integers(0, 1 << bits, count) if rounding is Rounding.STOCHASTIC else None
    needed = {Rounding.RTZ: 0, Rounding.STOCHASTIC: bits}.get(rounding, 1)
    sticky = np.zeros(count, np.bool_)
    for i in range(count):
        value = int(significand[i]) * Fraction(2) ** int(exponent[i])
        step = reference._step(fmt, value)
        sticky[i] = rng.integers(2) and step >= Fraction(2) ** (int(exponent[i]) + needed)
    assert set(sticky.tolist()) == {False, True}
    got = vector.round_pack(
        fmt,
        sign,
        significand,
        exponent,
        rounding=rounding,
        overflow=Overflow.SATURATE,
        sticky=sticky,
        random=words,
        random_bits=None if words is None else bits,
    )
    for i in range(count):
        for fraction in (Fraction(1, 1 << 70), Fraction(1, 2), 1 - Fraction(1, 1 << 70)):
            value = int(significand[i]) + (fraction if sticky[i] else 0)
            want = reference.encode(
                fmt,
                reference.Number(int(sign[i]), value * Fraction(2) ** int(exponent[i])),
                rounding=rounding,
                overflow=Overflow.SATURATE,
                random=0 if words is None else int(words[i]),
                random_bits=0 if words is None else bits,
            )
            assert got[i] == want


def test_round_pack_corners() -> None:
    fmt = get("bf16")
    rules: dict[str, Any] = {"rounding": Rounding.RNE, "overflow": Overflow.NONFINITE}
    extreme = np.iinfo(np.int64)
    cases = [
        ((0, 0, extreme.max, False), 0x0000),
        ((1, 0, extreme.min, False), 0x8000),
        ((0, 1, extreme.max, False), 0x7F80),
        ((1, 1, extreme.max, False), 0xFF80),
        ((0, 1, extreme.min, False), 0x0000),
        ((1, (1 << 62) - 1, extreme.min, False), 0x8000),
        ((0, (1 << 62) - 1, 0, False), 0x5E80),  # the carry runs into the exponent
        ((0, 1, -133, False), 0x0001),
        ((0, 1, -134, False), 0x0000),  # half of the smallest: a tie, to even
        ((0, 3, -134, False), 0x0002),
        ((0, 1, -134, True), 0x0001),  # sticky breaks the tie
        ((0, 0, -134, True), 0x0000),
        ((0, 255, -134, False), 0x0080),  # the largest subnormal plus half becomes normal
        ((0, 511, 119, False), 0x7F80),  # rounds up past the largest
        ((0, 0x181, 0, True), 0x43C1),
        ((0, 0x181, 0, False), 0x43C0),
    ]
    for (sign, significand, exponent, sticky), want in cases:
        got = vector.round_pack(fmt, sign, significand, exponent, sticky=sticky, **rules)
        assert got == want, (sign, significand, exponent, sticky, hex(int(got)))


def test_round_pack_broadcasts() -> None:
    codes = vector.round_pack(
        get("fp16"),
        0,
        [[1], [3]],
        [0, 1, 2],
        rounding=Rounding.RNE,
        overflow=Overflow.SATURATE,
    )
    assert codes.shape == (2, 3)
    assert codes.dtype == np.int64
    assert vector.decode(get("fp16"), codes).tolist() == [[1, 2, 4], [3, 6, 12]]


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp16", "int8"])
def test_stochastic_counts(name: str) -> None:
    """Over all words of r bits the magnitude goes up F times, F the top r discarded bits."""
    fmt = get(name)
    words = np.arange(16)
    low = vector.round_pack(fmt, 0, 9, 0, rounding=Rounding.RTZ, overflow=Overflow.SATURATE)
    step_bits = 3 if name == "fp8_e4m3" else 10 if name == "fp16" else 3
    significand = 9 if isinstance(fmt, IntFormat) else 9 << (step_bits - 3)
    for rest in range(64):
        exact = (significand << 6) | rest
        exponent = -6 if isinstance(fmt, IntFormat) else -6 - (step_bits - 3)
        codes = vector.round_pack(
            fmt,
            0,
            exact,
            exponent,
            rounding=Rounding.STOCHASTIC,
            overflow=Overflow.SATURATE,
            random=words,
            random_bits=4,
        )
        assert codes.sum() - 16 * low == rest >> 2
    zero = vector.encode(
        fmt,
        [1.0, 0.0],
        rounding=Rounding.STOCHASTIC,
        overflow=Overflow.SATURATE,
        random=[15, 15],
        random_bits=4,
    )
    assert vector.decode(fmt, zero).tolist() == [1.0, 0.0]


def test_stochastic_subnormal() -> None:
    """The words meet the bits right below the smallest subnormal."""
    codes = vector.encode(
        get("fp16"),
        np.full(4, 2.0**-26),
        rounding=Rounding.STOCHASTIC,
        overflow=Overflow.SATURATE,
        random=[0, 1, 2, 3],
        random_bits=2,
    )
    assert codes.tolist() == [0, 0, 0, 1]


def test_nan() -> None:
    rules: dict[str, Any] = {"rounding": Rounding.RNE, "overflow": Overflow.SATURATE}
    minus_nan = np.copysign(np.nan, -1)
    for fmt in ELEMENT_FORMATS.values():
        if isinstance(fmt, IntFormat) or fmt.nan_code is None:
            with pytest.raises(UsageError, match=f"^format {fmt.name} has no NaN$"):
                vector.encode(fmt, [1.0, np.nan], **rules)
        else:
            assert vector.encode(fmt, [np.nan, minus_nan], **rules).tolist() == [fmt.nan_code] * 2


def test_e8m0_range() -> None:
    values = [0.0, -0.0, 2.0**-140, 2.0**-127, 3.0, 6.0, 2.0**128, np.inf, -1.0, -np.inf, np.nan]
    fmt = get("e8m0")
    codes = vector.encode(fmt, values, rounding=Rounding.RNE, overflow=Overflow.SATURATE)
    assert codes.tolist() == [0, 0, 0, 0, 128, 130, 254, 254, 255, 255, 255]
    codes = vector.encode(fmt, [2.0**128, np.inf], rounding=Rounding.RNE, overflow="nonfinite")
    assert codes.tolist() == [255, 255]


def test_integers_saturate() -> None:
    values = [127.5, 1e30, -128.5, -1e30, np.inf, -np.inf, -127.5, 0.5, -0.5, 1.5]
    rules: dict[str, Any] = {"rounding": Rounding.RNE, "overflow": Overflow.SATURATE}
    full = vector.encode(get("int8"), values, **rules).tolist()
    assert full == [127, 127, -128, -128, 127, -128, -128, 0, 0, 2]
    symmetric = vector.encode(get("int8_symmetric"), values, **rules).tolist()
    assert symmetric == [127, 127, -127, -127, 127, -127, -127, 0, 0, 2]


def test_bit_length() -> None:
    values = [0, 1, 2, 3, 255, 256, (1 << 53) - 1, 1 << 53, (1 << 62) - 1]
    assert vector.bit_length(values).tolist() == [v.bit_length() for v in values]


def test_empty() -> None:
    codes = vector.encode(
        get("bf16"), np.zeros((0, 3)), rounding=Rounding.RNE, overflow=Overflow.SATURATE
    )
    assert codes.shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"significand": -1}, "significand must be 0..2**62-1, got -1..-1"),
        ({"significand": 1 << 62}, f"significand must be 0..2**62-1, got {1 << 62}..{1 << 62}"),
        ({"sign": 2}, "sign must be 0 or 1, got 2..2"),
        (
            {"sticky": True},
            "sticky needs a significand with 1 or more bits below the last one kept",
        ),
        (
            {"rounding": "stochastic", "random": 0, "random_bits": 4, "sticky": True},
            "sticky needs a significand with 4 or more bits below the last one kept",
        ),
        ({"rounding": "stochastic"}, "stochastic rounding needs random and random_bits"),
        (
            {"rounding": "stochastic", "random": 16, "random_bits": 4},
            "random words must be integers of 4 bits",
        ),
        (
            {"rounding": "stochastic", "random": 0, "random_bits": 33},
            "random_bits must be 1..32, got 33",
        ),
        ({"random": 1}, "random words are for stochastic rounding, not for rne"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"sign": 0, "significand": 5, "exponent": 0, "rounding": "rne"}
    given |= arguments
    with pytest.raises(UsageError) as error:
        vector.round_pack(get("bf16"), overflow=Overflow.SATURATE, **given)
    assert str(error.value) == message


def test_bad_values() -> None:
    rules: dict[str, Any] = {"rounding": Rounding.RNE, "overflow": Overflow.SATURATE}
    with pytest.raises(
        UsageError, match=r"^values must be float64, float32 or float16, got int64$"
    ):
        vector.encode(get("bf16"), [1, 2], **rules)
    message = "^format int8 has no Inf and no NaN: overflow must saturate$"
    with pytest.raises(UsageError, match=message):
        vector.encode(get("int8"), [1.0], rounding=Rounding.RNE, overflow=Overflow.NONFINITE)


def test_rounding_and_overflow_have_no_default() -> None:
    with pytest.raises(TypeError, match="rounding"):
        vector.encode(get("bf16"), [1.0], overflow=Overflow.SATURATE)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="overflow"):
        vector.round_pack(get("bf16"), 0, 1, 0, rounding=Rounding.RNE)  # type: ignore[call-arg]
