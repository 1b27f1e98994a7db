"""FB12, FB16, FB24: boxes cut out by loops, the rule in fractions, with frexp, and by gfloat."""

import itertools
import math
from fractions import Fraction
from typing import Any

import gfloat
import numpy as np
import numpy.typing as npt
import pytest
from gfloat import Domain, FormatInfo, RoundMode

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import (
    BFP,
    FB12,
    FB16,
    FB24,
    BoxBFP,
    BoxTensor,
    Rounding,
    bf16_codes,
    bf16_values,
    dequantize_boxes,
    get_block,
    get_box,
    quantize_boxes,
    zero_setting,
)

F32 = npt.NDArray[np.float32]
SMALL = [
    BoxBFP(bits=4, group=(4, 3, 3)),
    BoxBFP(bits=8, group=(2, 3, 3)),
    BoxBFP(bits=16, group=(5,)),
    BoxBFP(bits=4, group=(2, 3)),
    BoxBFP(bits=8, group=(3, 2, 2, 1)),
]


def spread(seed: int, shape: tuple[int, ...], octaves: float = 6) -> F32:
    """Values of many magnitudes, zeros among them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * 2.0 ** rng.uniform(-octaves, octaves, shape)
    return np.where(rng.random(shape) < 0.1, 0, x).astype(np.float32)


def plain_boxes(x: npt.NDArray[Any], group: tuple[int, ...]) -> dict[tuple[int, ...], list[Any]]:
    """Index of a box -> its elements, None where the tensor ends."""
    sizes = (1,) * (x.ndim - len(group)) + group
    counts = [math.ceil(n / g) for n, g in zip(x.shape, sizes, strict=True)]
    boxes = {}
    for box in itertools.product(*map(range, counts)):
        found = []
        for inside in itertools.product(*map(range, sizes)):
            at = tuple(b * g + i for b, g, i in zip(box, sizes, inside, strict=True))
            there = all(a < n for a, n in zip(at, x.shape, strict=True))
            found.append(x[at].item() if there else None)
        boxes[box] = found
    return boxes


def exponent(value: float) -> int:
    """Exponent field of a finite float32, 0 where it is zero or subnormal."""
    if not value:
        return 0
    return max(math.frexp(abs(value))[1] - 1 + 127, 0)


def truncated(values: list[float], bits: int) -> tuple[list[int], int, int]:
    """Codes, field and elements set to zero, in fractions."""
    field = max(1, *map(exponent, values))
    step = Fraction(2) ** (field - 127 - (bits - 1))
    codes = [int(Fraction(v) / step) for v in values]
    gone = sum(exponent(v) > 0 and field - exponent(v) + 1 > bits for v in values)
    return codes, field, gone


@pytest.mark.parametrize("fmt", SMALL, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("shape", [(2, 5, 7, 4), (3, 4, 3, 6)])
def test_boxes_and_truncation_in_fractions(fmt: BoxBFP, shape: tuple[int, ...]) -> None:
    x = spread(1, shape)
    t = quantize_boxes(x, fmt)
    back, gone = dequantize_boxes(t, np.float64), zero_setting(x, fmt)
    boxes = plain_boxes(x, fmt.group)
    assert t.boxes == gone.shape == tuple(max(axis) + 1 for axis in zip(*boxes, strict=True))
    for number, (box, values) in enumerate(boxes.items()):
        codes, field, zeroed = truncated([v or 0.0 for v in values], fmt.bits)
        assert t.rows.codes[number, 0].tolist() == codes
        assert t.scales[box] == field
        assert gone[box] == zeroed
    step = np.ldexp(1.0, fmt.join(np.repeat(t.rows.scales, t.rows.fmt.k, 1), shape) - 126 - 1)
    assert (np.abs(x) >= np.abs(back)).all()
    assert (np.abs(x - back) < step * 2.0 ** (1 - fmt.bits)).all()


@pytest.mark.parametrize("fmt", [FB12, FB16, FB24], ids=lambda fmt: fmt.name)
def test_as_the_authors_convert(fmt: BoxBFP) -> None:
    """Their rule for whole tensors, with frexp: shift by M - e, cut off, flush."""
    x = spread(2, (2, 48, 6, 9))
    x[0, :24, :3, :3] = 0
    c, h, w = fmt.group
    tiles = x.reshape(2, 48 // c, c, 6 // h, h, 9 // w, w)
    fraction, power = np.frexp(np.abs(tiles))
    power = np.where(tiles == 0, -1000, power)
    most = power.max(axis=(2, 4, 6), keepdims=True)
    shift = most - power
    kept = np.floor(np.ldexp(fraction.astype(np.float64), fmt.bits - shift))
    kept[shift + 1 > fmt.bits] = 0
    want = np.sign(tiles) * np.ldexp(kept, most - fmt.bits)
    assert np.array_equal(dequantize_boxes(quantize_boxes(x, fmt)), want.reshape(x.shape))
    flushed = (shift + 1 > fmt.bits) & (tiles != 0)
    assert np.array_equal(zero_setting(x, fmt), flushed.sum(axis=(2, 4, 6)))
    assert zero_setting(x, fmt).sum() > 0


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize(
    ("rounding", "mode"),
    [(Rounding.RTZ, RoundMode.TowardZero), (Rounding.RNE, RoundMode.TiesToEven)],
)
def test_magnitudes_are_gfloats(bits: int, rounding: Rounding, mode: RoundMode) -> None:
    """A fixed-point format of gfloat, saturating, for elements over the group's power of two."""
    element = FormatInfo(
        name=f"sign_and_{bits}",
        k=bits + 1,
        precision=bits + 1,
        bias=1,
        is_signed=True,
        domain=Domain.Finite,
        has_nz=False,
        num_high_nans=0,
        has_subnormals=True,
        is_twos_complement=True,
    )
    fmt = BoxBFP(bits=bits, group=(3, 2), rounding=rounding)
    x = spread(3, (9, 8))
    x[0, :3] = np.float32([1.99999, 1.0, 2.0**-bits])
    rows = fmt.split(x).astype(np.float64)
    scale = np.ldexp(1.0, np.frexp(np.abs(rows).max(axis=1, keepdims=True))[1] - 1)
    unit = element.smallest * 2 ** (bits - 1)
    want = gfloat.round_ndarray(element, rows / scale * unit, mode, sat=True) / unit
    # A two's complement has one more below, which symmetric codes clip to.
    want = np.maximum(want, -(2 - 2.0 ** (1 - bits))) * scale
    got = fmt.split(dequantize_boxes(quantize_boxes(x, fmt), np.float64))
    assert np.array_equal(got, want)


def test_other_roundings_against_fractions() -> None:
    x = spread(4, (2, 4, 5, 5), 3)
    words = np.random.default_rng(5).integers(0, 256, x.shape)
    for rounding in (Rounding.RNE, Rounding.STOCHASTIC):
        fmt = BoxBFP(bits=4, group=(2, 3, 3), rounding=rounding)
        given: Any = {"random": words, "random_bits": 8} if rounding == "stochastic" else {}
        t = quantize_boxes(x, fmt, **given)
        draws = plain_boxes(words, fmt.group).values()
        for number, (values, drawn) in enumerate(
            zip(plain_boxes(x, fmt.group).values(), draws, strict=True)
        ):
            filled = [v or 0.0 for v in values]
            _, field, _ = truncated(filled, 4)
            for value, word, code in zip(filled, drawn, t.rows.codes[number, 0], strict=True):
                exact = abs(Fraction(value)) / Fraction(2) ** (field - 130)
                if rounding is Rounding.RNE:
                    want = round(exact)
                else:
                    part = int(exact % 1 * 256)
                    want = int(exact) + (part + (word or 0) >= 256)
                assert abs(code) == min(want, 15)


def test_special_values() -> None:
    fmt = BoxBFP(bits=16, group=(4,))
    tiny = 2.0**-149
    x = np.float32(
        [
            [np.nan, 1, 2, 3],
            [np.inf, 1, -1, 0],
            [-0.0, 0, 0, 0],
            [2.0**-126, 2.0**-127, -(2.0**-141), tiny],
            [3.4e38, 2.0**112, 2.0**111, 0],
        ]
    )
    t = quantize_boxes(x, fmt)
    assert t.scales[:, 0].tolist() == [255, 255, 1, 1, 254]
    assert t.rows.codes[2:4, 0].tolist() == [[0] * 4, [1 << 15, 1 << 14, -1, 0]]
    assert t.rows.codes[4, 0].tolist() == [int(x[4, 0].item() / 2.0**112), 1, 0, 0]
    assert zero_setting(x, fmt)[:, 0].tolist() == [0, 0, 0, 0, 1]
    assert np.isnan(dequantize_boxes(t)[:2]).all()


def test_bf16_and_layout() -> None:
    x = spread(6, (2, 30, 7, 5))
    for fmt in (FB12, FB16, FB24):
        t = quantize_boxes(bf16_codes(x), fmt)
        assert np.array_equal(
            t.rows.codes, quantize_boxes(bf16_values(bf16_codes(x)), fmt).rows.codes
        )
        k = math.prod(fmt.group)
        assert t.rows.bits == math.prod(t.boxes) * (k * (fmt.bits + 1) + 8)
        assert t.bits_per_element == t.rows.bits / x.size
        # A group is an integer of these bits, and the groups are one integer.
        whole = int.from_bytes(t.rows.pack_tight().tobytes(), "little")
        width = k * (fmt.bits + 1) + 8
        for number in (0, 1, math.prod(t.boxes) - 1):
            group = whole >> number * width
            assert group >> (width - 8) & 255 == t.rows.scales[number, 0]
            for i in (0, 1, k - 1):
                code = int(t.rows.codes[number, 0, i])
                stored = group >> i * (fmt.bits + 1) & ((2 << fmt.bits) - 1)
                assert stored == abs(code) | (code < 0) << fmt.bits


def test_names() -> None:
    assert get_box("fb12") == FB12
    assert get_box("fb24_g6x3x3") == FB24
    assert get_box("fb16_g54_rne") == BoxBFP(bits=8, group=(54,), rounding=Rounding.RNE)
    assert all(get_box(fmt.name) == fmt for fmt in SMALL)
    assert get_block("fb12") == FB12.block == get_block("bfp_e8m4_k216_rtz")
    assert get_block("fb24_k9_stochastic") == BFP(
        exponent_bits=8, mantissa_bits=16, k=9, rounding=Rounding.STOCHASTIC
    )
    assert [round(f.bits_per_element, 2) for f in (FB12, FB16, FB24)] == [5.04, 9.07, 17.15]


def test_bad_calls() -> None:
    x = np.zeros((3, 4), np.float32)
    for call, message in (
        (lambda: BoxBFP(bits=5, group=(2,)), "bits must be 4, 8 or 16, got 5"),
        (lambda: BoxBFP(bits=4, group=()), "group must be sizes of at least 1, got ()"),
        (lambda: BoxBFP(bits=4, group=(2, 0)), "group must be sizes of at least 1, got (2, 0)"),
        (lambda: BoxBFP(bits=4, group=(300, 300)), "k must be 1..65536, got 90000"),
        (lambda: quantize_boxes(x, FB12), "a tensor of fb12_g24x3x3 has 3 axes, got (3, 4)"),
        (
            lambda: get_box("fb13"),
            "no format 'fb13'; formats: fb12, fb16, fb24, with "
            "[_g<a>x<b>...][_rne|_rna|_stochastic]",
        ),
        (
            lambda: zero_setting(x.astype(np.float64), BoxBFP(bits=4, group=(2,))),
            "x must be float32, or uint16 holding bf16 codes, got float64",
        ),
        (
            lambda: quantize_boxes(x, get_box("fb12_g2_stochastic"), random=np.zeros(3, np.int64)),
            "random must have the shape (3, 4) of x, got (3,)",
        ),
        (
            lambda: BoxTensor(
                fmt=FB12, shape=(24, 3, 3), rows=quantize_boxes(x, get_box("fb12_g2")).rows
            ),
            "rows must be bfp_e8m4_k216_rtz of shape (1, 216) along axis 1, "
            "got bfp_e8m4_k2_rtz of shape (6, 2)",
        ),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert str(caught.value) == message
