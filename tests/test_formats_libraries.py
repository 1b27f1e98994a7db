"""Element and block formats against ml_dtypes and gfloat, and where those differ on purpose.

Differences, each held by a test below:

- ml_dtypes keeps the sign of NaN (E4M3FN 0xFF); ours is the one canonical code.
- ml_dtypes rounds to E8M0 with ties to the larger power, which is our RNA; RNE here and in gfloat
  takes the even byte. Above 2**-127 and below 1.5 * 2**-127, float32's subnormals, ml_dtypes
  gives 2**-126, which is not the nearest.
- gfloat extends E8M0 below 2**-127; here such a value is the smallest scale.
- gfloat's MXINT8 makes -128; here it is clipped to -127, as the standard allows.
- gfloat's `StochasticFastest` is our STOCHASTIC; its `Stochastic` and `StochasticFast` round or
  offset the discarded bits first, and ml_dtypes has no stochastic rounding.
"""

from typing import Any

import gfloat
import gfloat.formats as gf
import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge.golden.formats import (
    FloatFormat,
    IntFormat,
    OcpMX,
    Overflow,
    Rounding,
    bf16_codes,
    bf16_values,
    dequantize,
    get,
    get_block,
    quantize,
    vector,
)

ML = {
    "fp16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "fp8_e5m2": ml_dtypes.float8_e5m2,
    "fp8_e4m3": ml_dtypes.float8_e4m3fn,
    "fp6_e3m2": ml_dtypes.float6_e3m2fn,
    "fp6_e2m3": ml_dtypes.float6_e2m3fn,
    "fp4_e2m1": ml_dtypes.float4_e2m1fn,
    "e8m0": ml_dtypes.float8_e8m0fnu,
}
GF = {
    "fp32": gf.format_info_binary32,
    "fp16": gf.format_info_binary16,
    "bf16": gf.format_info_bfloat16,
    "fp8_e5m2": gf.format_info_ocp_e5m2,
    "fp8_e4m3": gf.format_info_ocp_e4m3,
    "fp6_e3m2": gf.format_info_ocp_e3m2,
    "fp6_e2m3": gf.format_info_ocp_e2m3,
    "fp4_e2m1": gf.format_info_ocp_e2m1,
    "e8m0": gf.format_info_ocp_e8m0,
    "int8": gf.format_info_ocp_int8,
}
GF_MODE = {
    Rounding.RNE: gfloat.RoundMode.TiesToEven,
    Rounding.RTZ: gfloat.RoundMode.TowardZero,
    Rounding.RNA: gfloat.RoundMode.TiesToAway,
    Rounding.STOCHASTIC: gfloat.RoundMode.StochasticFastest,
}
GF_BLOCK = {
    "mxfp8_e5m2": gf.format_info_mxfp8_e5m2,
    "mxfp8_e4m3": gf.format_info_mxfp8_e4m3,
    "mxfp6_e3m2": gf.format_info_mxfp6_e3m2,
    "mxfp6_e2m3": gf.format_info_mxfp6_e2m3,
    "mxfp4_e2m1": gf.format_info_mxfp4_e2m1,
    "mxint8": gf.format_info_mxint8,
}


def same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    """Equal values, signs of zero included, NaN equal to NaN."""
    nan = np.isnan(a) & np.isnan(b)
    return bool(np.all(nan | ((a == b) & (np.signbit(a) == np.signbit(b)))))


def inputs(fmt: Any) -> npt.NDArray[np.float64]:
    """Random values through and beyond the range, short significands (many ties), all corners."""
    rng = np.random.default_rng(17)
    low = -10 if isinstance(fmt, IntFormat) else fmt.emin - 12
    high = 10 if isinstance(fmt, IntFormat) else fmt.emax + 4
    low = max(low, -1000)
    a = rng.standard_normal(20_000) * 2.0 ** rng.integers(low, high, 20_000)
    b = np.ldexp(rng.integers(-4096, 4097, 40_000).astype(float), rng.integers(low, high, 40_000))
    return np.concatenate([a, b, [0.0, -0.0, np.inf, -np.inf]])


@pytest.mark.parametrize("name", ML)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # signalling NaN
def test_ml_dtypes_reads_every_code_alike(name: str) -> None:
    fmt = get(name)
    codes = np.arange(1 << fmt.width)
    raw = codes.astype(np.uint16 if fmt.width == 16 else np.uint8)
    assert same(vector.decode(fmt, codes), raw.view(ML[name]).astype(np.float64))


@pytest.mark.parametrize("name", ML)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_ml_dtypes_rounds_alike(name: str) -> None:
    """To nearest even, from float32 and from every bf16 and fp16 code."""
    fmt = get(name)
    assert not isinstance(fmt, IntFormat)
    finite = fmt.nan_code is None
    every = [vector.decode(get(n), np.arange(65536)) for n in ("bf16", "fp16")]
    values = np.concatenate([inputs(fmt), *every]).astype(np.float32)
    values = values[~np.isnan(values)]
    if finite:
        values = values[np.isfinite(values)]
    if name == "e8m0":
        values = values[(values > 0) & np.isfinite(values)]
        values = values[(values <= 2.0**-127) | (values >= 1.5 * 2.0**-127)]
    got = vector.encode(
        fmt,
        values,
        rounding=Rounding.RNA if name == "e8m0" else Rounding.RNE,
        overflow=Overflow.SATURATE if finite else Overflow.NONFINITE,
    )
    theirs = values.astype(ML[name])
    want = theirs.view(np.uint16 if fmt.width == 16 else np.uint8).astype(np.int64)
    if name == "fp8_e4m3":
        want = np.where(want == 0xFF, 0x7F, want)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("name", GF)
def test_gfloat_has_the_same_facts(name: str) -> None:
    fmt, info = get(name), GF[name]
    assert info.k == fmt.width
    if isinstance(fmt, FloatFormat):
        assert (info.bias, info.emax, info.max) == (fmt.bias, fmt.emax, fmt.max)
        assert info.precision == fmt.precision
        assert info.code_of_max == fmt.max_code
        assert (info.num_nans > 0) == (fmt.nan_code is not None)
        if fmt.inf_code is not None:
            assert info.code_of_posinf == fmt.inf_code


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("name", GF)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # gfloat's own inf * 0
def test_gfloat_rounds_alike(name: str, rounding: Rounding, overflow: Overflow) -> None:
    fmt = get(name)
    values = inputs(fmt)
    unit = 2.0**6 if name == "int8" else 1.0  # gfloat's int8 is MXINT8's element
    if name == "e8m0":
        values = np.abs(values)
        values = values[values >= 2.0**-127]
    extra: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    if rounding is Rounding.STOCHASTIC:
        words = np.random.default_rng(19).integers(0, 1 << 7, values.shape)
        extra = {"random": words, "random_bits": 7}
        theirs = {"srbits": words, "srnumbits": 7}

    def ours() -> npt.NDArray[np.float64]:
        codes = vector.encode(fmt, values, rounding=rounding, overflow=overflow, **extra)
        return vector.decode(fmt, codes)

    finite = isinstance(fmt, IntFormat) or fmt.nan_code is None
    if finite and overflow is Overflow.NONFINITE:
        with pytest.raises(ValueError, match="overflow must saturate"):
            ours()
        with pytest.raises(ValueError, match="No Infs or NaNs"):
            gfloat.round_ndarray(GF[name], values, GF_MODE[rounding], False, **theirs)
        return
    want = gfloat.round_ndarray(
        GF[name], values / unit, GF_MODE[rounding], overflow is Overflow.SATURATE, **theirs
    )
    got = ours() / unit
    if isinstance(fmt, IntFormat):
        got, want = got + 0.0, want + 0.0  # integers have one zero
    if overflow is Overflow.NONFINITE and fmt.name in ("fp8_e4m3", "e8m0"):
        nan = np.isnan(got)
        assert np.array_equal(nan, np.isnan(want))
        got, want = got[~nan], want[~nan]
    assert same(got, want)


def test_known_differences() -> None:
    rne: dict[str, Any] = {"rounding": Rounding.RNE, "overflow": Overflow.NONFINITE}
    e8m0 = get("e8m0")
    assert np.float32(6.0).astype(ml_dtypes.float8_e8m0fnu) == 8
    assert vector.decode(e8m0, vector.encode(e8m0, 6.0, **rne)) == 8
    assert np.float32(3.0).astype(ml_dtypes.float8_e8m0fnu) == 4
    assert vector.decode(e8m0, vector.encode(e8m0, 3.0, **rne)) == 2
    barely = np.float32(1.03 * 2.0**-127)
    assert barely.astype(ml_dtypes.float8_e8m0fnu) == 2.0**-126
    assert vector.decode(e8m0, vector.encode(e8m0, barely, **rne)) == 2.0**-127
    assert gfloat.round_float(GF["e8m0"], 3.0) == 2
    assert gfloat.round_float(GF["e8m0"], 2.0**-130) == 2.0**-130
    assert vector.decode(e8m0, vector.encode(e8m0, 2.0**-130, **rne)) == 2.0**-127
    minus_nan = np.array([-np.nan], np.float32).astype(ml_dtypes.float8_e4m3fn)
    assert minus_nan.view(np.uint8).item() == 0xFF
    assert vector.encode(get("fp8_e4m3"), [-np.nan], **rne).item() == 0x7F


@pytest.mark.parametrize("rounding", [Rounding.RNE, Rounding.RNA, Rounding.RTZ])
@pytest.mark.parametrize("name", GF_BLOCK)
def test_gfloat_quantises_blocks_alike(name: str, rounding: Rounding) -> None:
    """Bit-exact values over ordinary, tiny, huge and zero blocks; from bf16 and from float32."""
    fmt = get_block(f"{name}_{rounding}")
    assert isinstance(fmt, OcpMX)
    rng = np.random.default_rng(23)
    x = rng.standard_normal((12, 32)) * 2.0 ** rng.integers(-40, 40, (12, 1))
    x[0] = 0
    x[1, ::2] = 0
    x[2] = 2.0**-126 * rng.standard_normal(32)
    x[3] *= 2.0**80 / np.abs(x[3]).max()
    ties = np.ldexp(rng.integers(-64, 65, (12, 32)).astype(float), rng.integers(-3, 4, (12, 32)))
    blocks = np.concatenate([x, ties]).astype(np.float32)
    for values in (bf16_values(bf16_codes(blocks)), blocks):
        got = dequantize(quantize(values, fmt, axis=1), np.float64)
        for block, ours in zip(values.astype(np.float64), got, strict=True):
            theirs = gfloat.quantize_block(
                GF_BLOCK[name], block, gfloat.compute_scale_amax, GF_MODE[rounding]
            )
            if name == "mxint8":
                unit = 2.0 ** (np.floor(np.log2(np.abs(block).max())) if block.any() else 0)
                theirs = np.maximum(theirs, -127 / 64 * unit)
            assert np.array_equal(ours, theirs)


def test_gfloat_mxint8_differs_at_minus_two() -> None:
    block = np.zeros(32, np.float32)
    block[0] = -1.999
    theirs = gfloat.quantize_block(
        GF_BLOCK["mxint8"], block.astype(np.float64), gfloat.compute_scale_amax
    )
    assert theirs[0] == -2.0
    assert dequantize(quantize(block, get_block("mxint8"), axis=0))[0] == -127 / 64


def test_bf16_of_float32_agrees_with_ml_dtypes() -> None:
    rng = np.random.default_rng(29)
    bits = rng.integers(0, 1 << 32, 300_000, dtype=np.uint64).astype(np.uint32)
    corners = np.array([0x7F7FFFFF, 0x7F7F8000, 0x7F7F7FFF, 0x00008000, 0x80000001], np.uint32)
    x = np.concatenate([bits, corners]).view(np.float32)
    x = x[~np.isnan(x)]
    assert np.array_equal(bf16_codes(x), x.astype(ml_dtypes.bfloat16).view(np.uint16))
