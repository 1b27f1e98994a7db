"""MX-OPAL and OCP MX: every rule by a hand-made block, and the kernel against the reference."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import (
    BF16,
    BlockTensor,
    MXOpal,
    OcpMX,
    Rounding,
    bf16_codes,
    bf16_values,
    dequantize,
    get,
    get_block,
    kernel,
    quantize,
    reference,
)

PLAIN = (Rounding.RNE, Rounding.RNA, Rounding.RTZ)
OCP = ["mxfp8_e5m2", "mxfp8_e4m3", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4_e2m1", "mxint8"]
NAN, INF = 0x7FC1, 0x7F80


def bf16(*values: float) -> npt.NDArray[np.uint16]:
    return bf16_codes(np.array(values, np.float32))


def opal(x: npt.NDArray[np.uint16], **parameters: Any) -> BlockTensor:
    return quantize(x, MXOpal(k=len(x), **parameters), axis=0)


def mixture(k: int) -> npt.NDArray[np.uint16]:
    """Blocks of every scale, of any bits, of tiny numbers, with ties, with few NaN and Inf."""
    rng = np.random.default_rng(31)
    spread = rng.standard_normal((24, k)) * 2.0 ** rng.integers(-132, 125, (24, 1))
    heavy = rng.standard_t(2, (12, k))
    tiny = rng.integers(0, 2, (24, k)) << 15 | rng.integers(0, 1200, (24, k))
    anything = rng.integers(0, 65536, (24, k))
    finite = anything & 0xBFFF
    tied = rng.choice([0x3F80, 0xBF80, 0x3F81, 0, 0x8000], (12, k))
    rare = np.where(rng.random((24, k)) < 1.5 / k, rng.choice([NAN, INF, 0xFF80], (24, k)), finite)
    codes = [bf16_codes(a.astype(np.float32)) for a in (spread, heavy)]
    return np.concatenate([*codes, tiny, anything, finite, tied, rare]).astype(np.uint16)


OPAL = [MXOpal(k=16, n=2, b=b, rounding=r) for b in range(2, 9) for r in PLAIN] + [
    MXOpal(k=16, n=0, b=5),
    MXOpal(k=2, n=1, b=3),
    MXOpal(k=8, n=7, b=4),
    MXOpal(b=4),
]


@pytest.mark.parametrize("fmt", OPAL, ids=lambda f: f.name)
def test_opal_equals_reference(fmt: MXOpal) -> None:
    blocks = mixture(fmt.k)
    if fmt.k == 128:
        blocks = blocks[::6]
    made = kernel.quantize_blocks(fmt, blocks)
    values = kernel.dequantize_blocks(fmt, made, np.float64)
    for block, codes, scale, outliers, positions, value in zip(
        blocks.tolist(), *(a.tolist() for a in made), values.tolist(), strict=True
    ):
        want = reference.quantize_opal(fmt, block)
        assert want == reference.Block(codes, scale, outliers, positions)
        check_values(reference.dequantize_block(fmt, want), value)


@pytest.mark.parametrize("rounding", PLAIN)
@pytest.mark.parametrize("name", OCP)
def test_ocp_equals_reference(name: str, rounding: Rounding) -> None:
    """From bf16 codes by table, from values, and by the scalar reference: all the same."""
    fmt = get_block(f"{name}_{rounding}")
    assert isinstance(fmt, OcpMX)
    blocks = mixture(32)[::2]
    with np.errstate(invalid="ignore"):
        wide = bf16_values(blocks).astype(np.float64)
    made = kernel.quantize_blocks(fmt, blocks)
    for given in (wide, bf16_values(blocks)):
        again = kernel.quantize_values(fmt, given)
        assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))
    values = kernel.dequantize_blocks(fmt, made, np.float64)
    for block, codes, scale, value in zip(
        blocks.tolist(), made[0].tolist(), made[1].tolist(), values.tolist(), strict=True
    ):
        want = reference.quantize_ocp(fmt, [reference.decode(BF16, c) for c in block])
        assert (want.codes, want.scale) == (codes, scale)
        check_values(reference.dequantize_block(fmt, want), value)


@pytest.mark.parametrize("rounding", PLAIN)
@pytest.mark.parametrize("name", OCP)
def test_ocp_float32_equals_float64(name: str, rounding: Rounding) -> None:
    """The float32 path, on values just beside ties, below bf16's grid and anywhere."""
    fmt = get_block(f"{name}_{rounding}")
    assert isinstance(fmt, OcpMX)
    rng = np.random.default_rng(43)
    ties = np.ldexp(
        rng.integers(-511, 512, (300, 32)).astype(float), rng.integers(-9, 1, (300, 32))
    )
    ties = np.concatenate([ties, ties * (1 + 2.0**-22), ties * (1 - 2.0**-22)])
    tiny = rng.integers(0, 1 << 24, (100, 32)).astype(np.uint32).view(np.float32)
    anything = rng.integers(0, 1 << 32, (300, 32), dtype=np.uint64).astype(np.uint32)
    x = np.concatenate([ties.astype(np.float32), tiny, anything.view(np.float32)])
    with np.errstate(invalid="ignore"):
        wide = x.astype(np.float64)
    fast, exact = kernel.quantize_values(fmt, x), kernel.quantize_values(fmt, wide)
    assert all(np.array_equal(a, b) for a, b in zip(fast, exact, strict=True))


def check_values(numbers: list[reference.Number], values: list[float]) -> None:
    for number, value in zip(numbers, values, strict=True):
        if number.special == "nan":
            assert np.isnan(value)
        elif number.special == "inf":
            assert value == (-np.inf if number.sign else np.inf)
        else:
            assert value == (-1) ** number.sign * number.magnitude


@pytest.mark.parametrize("b", range(2, 9))
def test_every_field_and_mantissa(b: int) -> None:
    """Exhaustive: every bf16 magnitude as the block's maximum, itself and a smaller one coded."""
    fmt = MXOpal(k=2, n=0, b=b)
    top = np.arange(0x7F80)
    other = (top * 40503 + 12345) % (top + 1)
    blocks = np.stack([top, other | 0x8000], axis=1).astype(np.uint16)
    codes, scales, _, _ = kernel.quantize_blocks(fmt, blocks)
    assert np.array_equal(scales, top >> 7)
    value = bf16_values(blocks).astype(np.float64)
    unit = np.exp2(scales.astype(np.float64) - 127 - (b - 2))
    limit = 2 ** (b - 1) - 1
    want = np.clip(np.rint(value / unit[:, None]), -limit, limit)
    assert np.array_equal(codes, want)


def test_opal_by_hand() -> None:
    x = bf16(1.0, -6.0, 0.25, 0.1, 8.0, -0.875, 0.0, 1.5)
    t = opal(x, n=2, b=4)
    assert t.outliers.tolist() == [bf16(8.0, -6.0).tolist()]
    assert t.positions.tolist() == [[4, 1]]
    assert t.scales.tolist() == [127]  # 1.5 is the third largest
    assert t.codes.tolist() == [[4, 0, 1, 0, 0, -4, 0, 6]]  # -3.5 ties to -4
    assert dequantize(t).tolist() == [1.0, -6.0, 0.25, 0.0, 8.0, -1.0, 0.0, 1.5]


@pytest.mark.parametrize(
    ("rounding", "codes"),
    [("rne", [4, 0, 2, 2, -2, 7]), ("rna", [4, 1, 2, 3, -3, 7]), ("rtz", [4, 0, 1, 2, -2, 7])],
)
def test_opal_rounding_and_clip(rounding: str, codes: list[int]) -> None:
    x = bf16(1.0, 0.125, 0.375, 0.625, -0.625, 1.9921875, 0, 0)
    t = opal(x, n=0, b=4, rounding=Rounding(rounding))
    assert t.codes[0, :6].tolist() == codes


def test_opal_clip_is_symmetric() -> None:
    for b in range(2, 9):
        t = opal(bf16(1.9921875, -1.9921875), n=0, b=b)
        limit = 2 ** (b - 1) - 1
        assert t.codes.tolist() == [[limit, -limit]]


def test_opal_ties_take_the_lower_index() -> None:
    x = bf16(1.0, -2.0, 2.0, 2.0, -1.0, 2.0, 0.0, 0.0)
    t = opal(x, n=3, b=4)
    assert t.positions.tolist() == [[1, 2, 3]]
    assert t.outliers.tolist() == [bf16(-2.0, 2.0, 2.0).tolist()]
    assert t.scales.tolist() == [128]
    assert t.codes.tolist() == [[2, 0, 0, 0, -2, 4, 0, 0]]


def test_opal_order_in_large_blocks() -> None:
    """Small blocks may come sorted out of a partial sort; these do not."""
    fmt = MXOpal(k=4096, n=300, b=4)
    rng = np.random.default_rng(47)
    blocks = rng.integers(0x3000, 0x3400, (4, fmt.k)).astype(np.uint16)
    blocks[:, ::3] |= 0x8000
    codes, scales, outliers, positions = kernel.quantize_blocks(fmt, blocks)
    magnitude = (blocks & 0x7FFF).astype(np.int64)
    order = np.argsort(-magnitude, axis=1, kind="stable")
    assert np.array_equal(positions, order[:, : fmt.n])
    assert np.array_equal(outliers, np.take_along_axis(blocks, order[:, : fmt.n], axis=1))
    kept = np.take_along_axis(magnitude, order[:, fmt.n : fmt.n + 1], axis=1)
    assert np.array_equal(scales, kept[:, 0] >> 7)
    assert not np.take_along_axis(codes, order[:, : fmt.n], axis=1).any()


def test_opal_all_zero() -> None:
    x = bf16(0.0, -0.0, 0.0, -0.0)
    t = opal(x, n=2, b=4)
    assert (t.scales.tolist(), t.codes.tolist()) == ([0], [[0, 0, 0, 0]])
    assert (t.positions.tolist(), t.outliers.tolist()) == ([[0, 1]], [[0, 0x8000]])
    back = dequantize(t)
    assert back.tolist() == [0, 0, 0, 0]
    # An outlier keeps the sign of its zero; a code has none.
    assert np.signbit(back).tolist() == [False, True, False, False]


def test_opal_outliers_and_zeros_only() -> None:
    t = opal(bf16(0, 5, 0, -3), n=2, b=4)
    assert (t.scales.tolist(), t.codes.tolist()) == ([0], [[0, 0, 0, 0]])
    assert dequantize(t).tolist() == [0, 5, 0, -3]


def test_opal_subnormals() -> None:
    """Field 0 means 2**-127; 0x0040 is exactly that, and 0x0080 (2**-126) has field 1."""
    t = opal(np.array([0x0040, 0x8060, 0x0010, 0x007F], np.uint16), n=0, b=4)
    assert t.scales.tolist() == [0]
    assert t.codes.tolist() == [[4, -6, 1, 7]]  # 0x007F is 1.98 * 2**-127: 7.9, clipped
    expected = np.ldexp([1.0, -1.5, 0.25, 1.75], -127).astype(np.float32)
    assert np.array_equal(dequantize(t), expected)
    t = opal(np.array([0x0080, 0x8040], np.uint16), n=0, b=4)
    assert (t.scales.tolist(), t.codes.tolist()) == ([1], [[4, -2]])


@pytest.mark.parametrize("special", [NAN, INF, 0xFF80, 0xFFFF, 0x7F81])
def test_opal_specials_up_to_n_are_kept(special: int) -> None:
    x = bf16(1.0, -0.5, 1.25, 0.75)
    x[1] = special
    t = opal(x, n=1, b=4)
    assert t.outliers.tolist() == [[special]]
    assert t.positions.tolist() == [[1]]
    assert t.scales.tolist() == [127]
    assert t.codes.tolist() == [[4, 0, 5, 3]]
    back = dequantize(t)
    assert np.array_equal(back, bf16_values(x), equal_nan=True)


def test_opal_specials_beyond_n_make_nan() -> None:
    x = np.array([INF, 0x3F80, NAN, 0xFF80, 0, 0x8001, 0, 0], np.uint16)
    t = opal(x, n=2, b=4)
    assert t.outliers.tolist() == [[NAN, INF]]  # NaN above Inf, then the first of the Infs
    assert t.positions.tolist() == [[2, 0]]
    assert (t.scales.tolist(), t.codes.tolist()) == ([255], [[0] * 8])
    back = dequantize(t)
    assert back[0] == np.inf
    assert np.isnan(back[1:]).all()


def test_opal_n_zero_is_plain_mxint() -> None:
    rng = np.random.default_rng(37)
    x = rng.standard_normal(32 * 50).astype(np.float32)
    a = quantize(bf16_codes(x), MXOpal(k=32, n=0, b=8), axis=0)
    b = quantize(bf16_codes(x), get_block("mxint8"), axis=0)
    assert np.array_equal(a.codes, b.codes)
    assert np.array_equal(a.scales, b.scales)
    assert a.outliers.shape == (50, 0)
    assert np.array_equal(dequantize(a), dequantize(b))


def test_most_negative_code_reads_as_its_integer() -> None:
    for fmt, want in ((get_block("mxint8"), -2.0), (MXOpal(k=2, n=0, b=4), -2.0)):
        codes = np.zeros((1, fmt.k), np.int8)
        codes[0, 0] = -(1 << (fmt.element.width - 1))
        none = np.zeros((1, 0), np.uint16)
        t = BlockTensor(
            fmt=fmt,
            shape=(fmt.k,),
            axis=0,
            codes=codes,
            scales=np.array([127], np.uint8),
            outliers=none,
            positions=none,
        )
        assert dequantize(t)[0] == want


@pytest.mark.parametrize("name", OCP)
def test_ocp_zero_block(name: str) -> None:
    fmt = get_block(name)
    t = quantize(np.array([0.0, -0.0] * 16, np.float32), fmt, axis=0)
    assert t.scales.tolist() == [0]
    back = dequantize(t)
    assert not back.any()
    assert np.signbit(back[1]) == (name != "mxint8")


@pytest.mark.parametrize("name", OCP)
def test_ocp_scale(name: str) -> None:
    """floor(log2 max) - emax, clamped to a byte of 0 below."""
    fmt = get_block(name)
    assert isinstance(fmt, OcpMX)
    for value, exponent in ((1.0, 0), (1.99, 0), (0.3, -2), (2.0**-120, -120), (3e38, 127)):
        x = np.full(32, 0.0, np.float32)
        x[7] = -value
        t = quantize(x, fmt, axis=0)
        assert t.scales.tolist() == [max(exponent - fmt.emax, -127) + 127]
        assert np.isclose(dequantize(t)[7], -value, rtol=0.25)
    x[7] = 1e-45
    assert quantize(x, fmt, axis=0).scales.tolist() == [0]


def test_ocp_elements_saturate() -> None:
    x = np.zeros(32, np.float32)
    x[:3] = [7.9, -7.9, 6.9]
    t = quantize(x, get_block("mxfp4_e2m1"), axis=0)
    assert (t.scales.tolist(), t.codes[0, :3].tolist()) == ([127], [7, 15, 7])
    x[:3] = [511.0, -480.0, 3.0]
    t = quantize(x, get_block("mxfp8_e4m3"), axis=0)
    assert dequantize(t)[:3].tolist() == [448.0, -448.0, 3.0]


def test_ocp_float64_beyond_float32_saturates() -> None:
    x = np.zeros(32)
    x[0] = -1e300
    t = quantize(x, get_block("mxint8"), axis=0)
    assert (t.scales.tolist(), t.codes[0, 0]) == ([254], -127)


@pytest.mark.parametrize("name", OCP)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_ocp_specials(name: str, special: float) -> None:
    x = np.linspace(-1, 1, 32, dtype=np.float32)
    x[5] = special
    for given in (x, bf16_codes(x), x.astype(np.float64)):
        t = quantize(given, get_block(name), axis=0)
        back = dequantize(t)
        if name.startswith("mxfp8"):
            assert t.scales[0] != 255
            assert np.isfinite(np.delete(back, 5)).all()
            kept = name == "mxfp8_e5m2"
            assert back[5] == special if kept and np.isinf(special) else np.isnan(back[5])
        else:
            assert (t.scales.tolist(), t.codes.any()) == ([255], False)
            assert np.isnan(back).all()


def test_ocp_only_specials() -> None:
    t = quantize(np.full(32, -np.inf, np.float32), get_block("mxfp8_e5m2"), axis=0)
    assert t.scales.tolist() == [0]
    assert (dequantize(t) == -np.inf).all()


def test_large_scale_of_foreign_blocks() -> None:
    """A scale that no float32 tensor gives: Inf in float32, exact in float64."""
    none = np.zeros((1, 0), np.uint16)
    t = BlockTensor(
        fmt=get_block("mxfp8_e5m2"),
        shape=(32,),
        axis=0,
        codes=np.full((1, 32), 0x7B, np.uint8),
        scales=np.array([254], np.uint8),
        outliers=none,
        positions=none,
    )
    assert dequantize(t)[0] == np.inf
    assert dequantize(t, np.float64)[0] == 57344 * 2.0**127


def test_names() -> None:
    for b in range(2, 9):
        assert get_block(f"mx_opal{b}") == MXOpal(k=128, n=4, b=b, rounding=Rounding.RNE)
    assert get_block("mx_opal3_k64_n0_rna") == MXOpal(k=64, n=0, b=3, rounding=Rounding.RNA)
    assert get_block("mxfp4_e2m1_rtz").rounding is Rounding.RTZ
    formats = [*OPAL, *(get_block(f"{n}{r}") for n in OCP for r in ("", "_rna"))]
    for fmt in formats:
        assert get_block(fmt.name) == fmt
    assert [get_block(n).name for n in OCP] == OCP
    for name in ("mx_opal", "mxfp8", "mxint4", "mx_opal4_n0_k64", "mx_opal4_stochastic"):
        with pytest.raises(
            UsageError, match=f"^no block format '{name}'; block formats: mx_opal<b>"
        ):
            get_block(name)


def test_cost() -> None:
    """Packed, the figures of the literature: 3.69, 4.66, 5.63 and 7.56 bits an element."""
    packed = [MXOpal(b=b).bits_per_element_packed for b in (3, 4, 5, 7)]
    assert packed == [3.6875, 4.65625, 5.625, 7.5625]
    fmt = MXOpal(b=4)
    assert fmt.bits_per_element == 4 + (16 * 4 + 4 * 7 + 8) / 128
    costs = [get_block(n).bits_per_element for n in OCP]
    assert costs == [8.25, 8.25, 6.25, 6.25, 4.25, 8.25]
    assert get_block("mxint8").bits_per_element_packed == 8.25


def test_payload() -> None:
    fmt = MXOpal(k=8, n=2, b=4)
    fields = [(f.name, f.width, f.count, f.encoding) for f in fmt.payload.fields]
    assert fields == [
        ("codes", 4, 8, "sign_magnitude"),
        ("scale", 8, None, "unsigned"),
        ("outliers", 16, 2, "unsigned"),
        ("positions", 3, 2, "unsigned"),
    ]
    for each in (*OPAL, *(get_block(n) for n in OCP)):
        names = [f.name for f in each.payload.fields]
        assert names == ["codes", "scale", "outliers", "positions"][: 4 if each.n else 2]
        for field in each.payload.fields:
            if field.format:
                assert get(field.format).width == field.width
    t = opal(bf16(1.0, -6.0, 0.25, 0.1, 8.0, -0.875, 0.0, 1.5), n=2, b=4)
    word = int.from_bytes(t.pack()[0].tobytes(), "little")
    codes = [4, 0, 1, 0, 0, 12, 0, 6]
    want = sum(c << (4 * i) for i, c in enumerate(codes))
    want |= 127 << 32 | 0x4100 << 40 | 0xC0C0 << 56 | 4 << 72 | 1 << 75
    assert word == want
    back = t.fmt.payload.unpack(t.pack())
    assert all(np.array_equal(back[name], a) for name, a in t.batch().items())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"k": 128, "n": 128, "b": 4}, "n must be less than k=128, got 128"),
        ({"k": 128, "n": -1, "b": 4}, "n must be at least 0, got -1"),
        ({"k": 96, "n": 4, "b": 4}, "k must be a power of two, 2..65536, got 96"),
        ({"k": 1, "n": 0, "b": 4}, "k must be a power of two, 2..65536, got 1"),
        ({"b": 1}, "b must be 2..8, got 1"),
        ({"b": 9}, "b must be 2..8, got 9"),
    ],
)
def test_impossible_opal(parameters: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as error:
        MXOpal(**parameters)
    assert str(error.value) == message


def test_impossible_ocp_and_rounding() -> None:
    with pytest.raises(
        UsageError, match=r"^rounding of a block format must be rne, rna or rtz, got"
    ):
        MXOpal(b=4, rounding=Rounding.STOCHASTIC)
    bf16_format = get("bf16")
    with pytest.raises(UsageError, match=r"^element must be one of fp8_e5m2, .*, got FloatFormat"):
        OcpMX(element=bf16_format)  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        MXOpal(b=4).b = 5  # type: ignore[misc]
