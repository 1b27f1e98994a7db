"""Golden models of the components against IEEE hardware, other libraries and exact fractions."""

import importlib
from fractions import Fraction
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from narrowgauge.golden.arith import fp_add, fp_mul, int_to_fp, lzc
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import FloatFormat, Overflow, Rounding, reference, vector
from narrowgauge.golden.payload import Batch

FP32 = {"exp_bits": 8, "man_bits": 23}
FP16 = {"exp_bits": 5, "man_bits": 10}
BF16 = {"exp_bits": 8, "man_bits": 7}
E5M2 = {"exp_bits": 5, "man_bits": 2}
NUMPY = {"fp32": (FP32, np.uint32, np.float32), "fp16": (FP16, np.uint16, np.float16)}
ROUNDINGS = [Rounding.RNE, Rounding.RTZ, Rounding.RNA]


def same(fmt: FloatFormat, got: Any, want: Any) -> None:
    """Equal codes, or NaN where NaN is wanted, and then the canonical one."""
    got, want = np.asarray(got, np.int64), np.asarray(want, np.int64)
    nan = (want & fmt.magnitude_mask) > fmt.exponent_mask
    wrong = np.flatnonzero(np.where(nan, got != fmt.nan_code, got != want))
    assert not len(wrong), [(int(i), hex(int(got[i])), hex(int(want[i]))) for i in wrong[:5]]


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize(("module", "ufunc"), [(fp_add, np.add), (fp_mul, np.multiply)])
def test_numpy_floats(name: str, module: ModuleType, ufunc: np.ufunc) -> None:
    sizes, codes, dtype = NUMPY[name]
    params = module.Params(**sizes)
    batch = module.vectors(params, "full", 3)
    assert len(batch["a"]) >= 100_000
    a, b = (batch[n].astype(codes).view(dtype) for n in "ab")
    with np.errstate(all="ignore"):
        want = ufunc(a, b)
    same(params.format, module.model(params, batch)["o"], want.view(codes))


@pytest.mark.parametrize(
    ("sizes", "dtype"),
    [
        (BF16, ml_dtypes.bfloat16),
        (E5M2, ml_dtypes.float8_e5m2),
        ({"exp_bits": 4, "man_bits": 3}, ml_dtypes.float8_e4m3),
    ],
    ids=["bf16", "e5m2", "e4m3"],
)
@pytest.mark.parametrize("module", [fp_add, fp_mul])
def test_ml_dtypes(sizes: dict[str, int], dtype: Any, module: ModuleType) -> None:
    """Where the exact result is a float32, so that it is rounded once on both sides."""
    params = module.Params(**sizes)
    batch = module.vectors(params, "full", 4)
    fmt = params.format
    codes = np.uint8 if fmt.width == 8 else np.uint16
    with np.errstate(all="ignore"):
        a, b = (batch[n].astype(codes).view(dtype).astype(np.float64) for n in "ab")
        if module is fp_mul:
            error, value = np.zeros(a.shape), a * b
        else:
            # What a sum in float64 leaves out is itself a float64 (Knuth's two-sum).
            value = a + b
            back = value - a
            error = (a - (value - back)) + (b - back)
        # ml_dtypes rounds float64 to float32 on the way.
        fits = ((error == 0) & (value.astype(np.float32) == value)) | ~np.isfinite(value)
        want = value.astype(dtype).view(codes).astype(np.int64)
    assert fits.mean() > 0.6
    same(fmt, module.model(params, batch)["o"][fits], want[fits])


def exact(op: str, a: reference.Number, b: reference.Number) -> reference.Number | None:
    """Sum or product in fractions; None where it is NaN."""
    if "nan" in (a.special, b.special):
        return None
    sign = a.sign ^ b.sign
    if op == "mul":
        if a.special or b.special:
            zero = (not a.special and a.magnitude == 0) or (not b.special and b.magnitude == 0)
            return None if zero else reference.Number(sign, Fraction(0), "inf")
        return reference.Number(sign, a.magnitude * b.magnitude)
    if a.special and b.special:
        return None if sign else a
    if a.special or b.special:
        return a if a.special else b
    total = (-a.magnitude if a.sign else a.magnitude) + (-b.magnitude if b.sign else b.magnitude)
    negative = total < 0 or (total == 0 and a.sign == b.sign == 1)
    return reference.Number(int(negative), abs(total))


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(
    ("module", "sizes"),
    [
        (fp_add, {"exp_bits": 3, "man_bits": 2}),
        (fp_add, {"exp_bits": 2, "man_bits": 3}),
        (fp_mul, {"exp_bits": 3, "man_bits": 2}),
        (fp_mul, {"exp_bits": 2, "man_bits": 3, "out_exp_bits": 3, "out_man_bits": 1}),
        (fp_mul, {"exp_bits": 3, "man_bits": 1, "b_exp_bits": 2, "b_man_bits": 3}),
    ],
    ids=lambda value: "_".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_all_pairs_in_fractions(
    module: ModuleType, sizes: dict[str, int], rounding: Rounding, overflow: Overflow
) -> None:
    params = module.Params(**sizes, rounding=rounding, overflow=overflow)
    batch = module.vectors(params, "full", 0)
    fa, fb = (
        (params.format, params.format) if module is fp_add else (params.a_format, params.b_format)
    )
    assert len(batch["a"]) == 1 << (fa.width + fb.width)
    fmt, want = params.format, []
    for x, y in zip(batch["a"].tolist(), batch["b"].tolist(), strict=True):
        op = "add" if module is fp_add else "mul"
        number = exact(op, reference.decode(fa, x), reference.decode(fb, y))
        if number is None:
            want.append(fmt.nan_code)
        elif number.special:
            code = fmt.max_code if overflow is Overflow.SATURATE else fmt.inf_code
            want.append((code or 0) | number.sign << (fmt.width - 1))
        else:
            want.append(reference.encode(fmt, number, rounding=rounding, overflow=overflow))
    assert module.model(params, batch)["o"].tolist() == want


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("encoding", ["signed", "sign_magnitude", "unsigned"])
def test_all_integers_in_fractions(encoding: Any, rounding: Rounding, overflow: Overflow) -> None:
    params = int_to_fp.Params(
        int_width=6,
        encoding=encoding,
        exp_bits=3,
        man_bits=2,
        scale_width=5,
        rounding=rounding,
        overflow=overflow,
    )
    batch = int_to_fp.vectors(params, "full", 0)
    want = []
    for value, scale in zip(batch["i"].tolist(), batch["scale"].tolist(), strict=True):
        number = reference.Number(int(value < 0), Fraction(abs(value))).scaled(scale)
        want.append(reference.encode(params.format, number, rounding=rounding, overflow=overflow))
    assert int_to_fp.model(params, batch)["o"].tolist() == want


def test_integers_to_numpy_floats() -> None:
    params = int_to_fp.Params(int_width=32, **FP32)
    batch = int_to_fp.vectors(params, "full", 5)
    want = batch["i"].astype(np.int32).astype(np.float32).view(np.uint32)
    same(params.format, int_to_fp.model(params, batch)["o"], want)


def test_scaled_integers_to_numpy_floats() -> None:
    """A 40-bit integer is exact in float64, and so is its product with a power of two."""
    params = int_to_fp.Params(int_width=40, scale_width=10, **FP32)
    batch = int_to_fp.vectors(params, "full", 6)
    with np.errstate(over="ignore"):
        value = np.ldexp(batch["i"].astype(np.float64), batch["scale"]).astype(np.float32)
    want = np.where(batch["i"] == 0, np.float32(0), value).view(np.uint32)
    same(params.format, int_to_fp.model(params, batch)["o"], want)


@pytest.mark.parametrize("width", [2, 7, 24, 62])
def test_leading_zeros(width: int) -> None:
    params = lzc.Params(width=width)
    batch = lzc.vectors(params, "smoke", 0)
    got = lzc.model(params, batch)
    words = batch["word"].tolist()
    assert got["zero"].tolist() == [int(w == 0) for w in words]
    assert got["count"].tolist() == [width - max(w.bit_length(), 1) for w in words]


@pytest.mark.parametrize(
    ("module", "values", "message"),
    [
        (lzc, {"width": 1}, "width must be 2..62, got 1"),
        (fp_add, {"exp_bits": 9, "man_bits": 3}, "exp_bits must be 2..8, got 9"),
        (fp_add, {**E5M2, "rounding": "up"}, "rounding must be one of rne, rtz, rna, got 'up'"),
        (
            fp_add,
            {**E5M2, "rounding": "stochastic"},
            "rounding must be one of rne, rtz, rna, got 'stochastic'",
        ),
        (
            fp_mul,
            {**E5M2, "overflow": "wrap"},
            "overflow must be one of saturate, nonfinite, got 'wrap'",
        ),
        (fp_mul, {**E5M2, "out_man_bits": 24}, "out_man_bits must be 1..23, got 24"),
        (fp_mul, {**E5M2, "b_exp_bits": 1}, "b_exp_bits must be 2..8, got 1"),
        (int_to_fp, {**E5M2, "int_width": 63}, "int_width must be 2..62, got 63"),
        (
            int_to_fp,
            {**E5M2, "int_width": 8, "scale_width": 1},
            "scale_width must be 0 or 2..12, got 1",
        ),
        (
            int_to_fp,
            {**E5M2, "int_width": 8, "encoding": "gray"},
            "encoding must be signed, sign_magnitude or unsigned, got 'gray'",
        ),
    ],
)
def test_bad_parameters(module: ModuleType, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        module.Params(**values)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "params",
    [
        lzc.Params(width=20),
        fp_add.Params(**FP16),
        fp_mul.Params(**FP16),
        int_to_fp.Params(int_width=20, **FP16),
    ],
    ids=lambda params: type(params).__module__.split(".")[-1],
)
def test_vectors_keep_their_word(params: Any) -> None:
    module = importlib.import_module(type(params).__module__)

    def draw(level: str, seed: int) -> Batch:
        batch: Batch = params.input.check(module.vectors(params, level, seed))
        params.input.pack(batch)
        return batch

    one, two, other = draw("full", 1), draw("full", 1), draw("full", 2)
    assert all(len(column) >= 100_000 for column in one.values())
    assert all(np.array_equal(one[n], two[n]) for n in one)
    assert any(not np.array_equal(one[n], other[n]) for n in one)
    assert all(1_000 <= len(column) <= 10_000 for column in draw("smoke", 1).values())
    with pytest.raises(UsageError, match=r"^level must be smoke or full, got 'real'$"):
        draw("real", 1)


def test_a_sum_far_apart_is_exact() -> None:
    """The smaller operand counts however far below it lies, where rounding looks at it."""
    params = fp_add.Params(**FP32, rounding=Rounding.RTZ)
    fmt = params.format
    one, least = vector.encode(
        fmt, [1.0, -(2.0**-149)], rounding=Rounding.RNE, overflow=Overflow.SATURATE
    ).tolist()
    batch = {"a": np.array([one]), "b": np.array([least])}
    assert fp_add.model(params, batch)["o"].tolist() == [one - 1]
