"""Weights as words: made, read back, flipped, and the effect of every bit at once."""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge.golden.attack import (
    FIELDS,
    IntSteps,
    Layout,
    Plan,
    WeightMemory,
    effects,
    get_weights,
)
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import dequantize, quantize

F64 = npt.NDArray[np.float64]

INTEGERS = ("int4", "int6", "int8", "int4_channel", "int8_channel")
BLOCKS = (
    *("mx_opal4_k16_n2", "mx_opal5_k8_n3", "mx_opal3_k8_n0", "mx_opal4", "mxint8", "mxfp4_e2m1"),
    *("mxfp8_e4m3", "bfp_e8m4_k16", "bfp_e8m8_k5", "bfp_e5m5_k4"),
)
SHAPE = (3, 2, 3, 3)


def weights(shape: tuple[int, ...] = SHAPE, seed: int = 1) -> npt.NDArray[np.float32]:
    """Normal values, one channel far larger, some zeros."""
    made = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    made[0] *= 8
    made.reshape(-1)[::7] = 0
    return made


def same(a: npt.ArrayLike, b: npt.ArrayLike) -> bool:
    """Equal, NaN to NaN."""
    return bool(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True))


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("word_bits", [64, 13])
def test_blocks_are_read_back(name: str, word_bits: int) -> None:
    w = weights()
    fmt = get_weights(name)
    memory = WeightMemory.encode(w, fmt, word_bits=word_bits)
    made = quantize(w.reshape(3, 18), fmt, axis=1)  # type: ignore[arg-type]
    assert same(memory.values(), dequantize(made, np.float64).reshape(SHAPE))
    assert same(memory.floats(), dequantize(made).reshape(SHAPE))
    # The words are the bytes that a tensor is stored as, cut anew.
    tight = np.unpackbits(made.pack_tight(), bitorder="little")[: made.bits]
    bits = np.unpackbits(memory.words, axis=1, bitorder="little", count=word_bits).reshape(-1)
    assert np.array_equal(bits[: made.bits], tight)
    assert memory.layout.words == -(-made.bits // word_bits)
    assert not bits[made.bits :].any()
    again = WeightMemory(memory.layout, memory.words)
    assert same(again.values(), memory.values())
    if name.startswith("mx_opal"):
        assert same(WeightMemory.encode(w, fmt, reading="add").values(), memory.values())


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_against_fractions(name: str) -> None:
    w = weights()
    fmt = get_weights(name)
    assert isinstance(fmt, IntSteps)
    memory = WeightMemory.encode(w, fmt)
    limit = 2 ** (fmt.bits - 1) - 1
    for row in range(3):
        most = np.abs(w if not fmt.by_channel else w[row]).max()
        step = np.float32(most / np.float32(limit))
        for value, found in zip(w[row].reshape(-1), memory.values()[row].reshape(-1), strict=True):
            code = round(Fraction(float(value)) / Fraction(float(step)))
            assert Fraction(float(found)) == max(-limit, min(limit, code)) * Fraction(float(step))
    zeros = WeightMemory.encode(np.zeros((2, 3), np.float32), fmt)
    assert not zeros.values().any()
    assert zeros.steps is not None
    assert zeros.steps.tolist() == [1, 1]


def test_the_published_flip() -> None:
    """-102 becomes 26 by the top bit of 8, as in MobileNetV2's first convolution."""
    w = np.array([[-102, 127, 1]], np.float32)
    memory = WeightMemory.encode(w, get_weights("int8"), word_bits=16)
    flip = memory.flip(0, 7)
    assert (flip.place.field, flip.place.block, flip.place.bit) == ("top", 0, 7)
    assert (flip.before, flip.after) == (-102, 26)
    assert flip.weights.tolist() == [0]
    assert (flip.old[0], flip.new[0]) == (-102, 26)
    # The most negative code is never made, but read.
    assert memory.flip(1, 7).after == -127
    assert memory.flip(1, 0).after == -128
    assert memory.values().tolist() == [[26, 127, -128]]


def test_integers_take_no_nan() -> None:
    with pytest.raises(UsageError, match="weights in int4 must be finite, got NaN or Inf"):
        WeightMemory.encode(np.array([[1, np.nan]], np.float32), get_weights("int4"))


def words_of(name: str) -> WeightMemory:
    """16 lanes a row with two outliers: 0 and 3 of the first row."""
    w = np.full((2, 16), 0.25, np.float32)
    w[0, 3], w[0, 0], w[0, 5] = 32, -8, 1.5
    return WeightMemory.encode(w, get_weights(name), word_bits=16 * 4 + 8 + 2 * 16 + 2 * 4)


def test_fields_of_opal() -> None:
    memory = words_of("mx_opal4_k16_n2")
    layout = memory.layout
    assert (layout.words, layout.width) == (2, 112)
    where = [layout.place(0, bit) for bit in (0, 3, 7, 64, 71, 72, 87, 88, 103, 104, 108, 111)]
    assert [(p.field, p.index, p.bit) for p in where] == [
        ("element", 0, 0), ("top", 0, 3), ("top", 1, 3), ("scale", 0, 0), ("scale", 0, 7),
        ("outlier", 0, 0), ("outlier", 0, 15), ("outlier", 1, 0), ("outlier", 1, 15),
        ("position", 0, 0), ("position", 1, 0), ("position", 1, 3),
    ]  # fmt: skip
    counts = np.bincount(layout.fields, minlength=len(FIELDS))
    assert counts.tolist() == [32, 96, 16, 64, 16, 0]


def test_an_outlier_moves() -> None:
    """From lane 3 to lane 1, and what was below it comes up; then onto the other's lane."""
    memory = words_of("mx_opal4_k16_n2")
    flip = memory.flip(0, 104 + 1)
    assert (flip.before, flip.after) == (3, 1)
    assert flip.weights.tolist() == [1, 3]
    assert flip.old.tolist() == [0.25, 32]
    assert flip.new.tolist() == [32, 0]
    memory.flip(0, 104)
    # Slot 1 holds -8 at lane 0, and lies over slot 0.
    assert memory.values()[0, :4].tolist() == [-8, 0.25, 0.25, 0]
    added = WeightMemory(memory.layout, memory.words, reading="add")
    assert added.values()[0, :4].tolist() == [24, 0.25, 0.25, 0]
    moved = added.flip(0, 104 + 1)
    assert (moved.weights.tolist(), moved.new.tolist()) == ([0, 2], [-8, 32.25])


@pytest.mark.parametrize(
    ("name", "bit", "scale"),
    [("bfp_e8m4_k16", 87, 2.0**128), ("mxint8", 32 * 8 + 7, 2.0**128), ("bfp_e8m4_k16", 80, 0.5)],
)
def test_a_shared_exponent(name: str, bit: int, scale: float) -> None:
    """Bit 7 of 126 is 2^128; the whole block and nothing else moves."""
    w = np.linspace(0.6, 0.9, 64, dtype=np.float32).reshape(2, 32)
    memory = WeightMemory.encode(w, get_weights(name), word_bits=get_weights(name).payload.width)
    before = memory.values()
    if bit == 80:
        memory.flip(0, 80)  # 126 to 127, and the other way around below
        before = memory.values()
    flip = memory.flip(0, bit)
    assert flip.place.field == "scale"
    assert len(flip.weights) == get_weights(name).k
    assert same(flip.new, before.reshape(-1)[flip.weights] * scale)
    rest = np.setdiff1d(np.arange(64), flip.weights)
    assert same(memory.values().reshape(-1)[rest], before.reshape(-1)[rest])


def test_a_scale_that_is_not_a_number() -> None:
    w = np.full((1, 16), 1.0, np.float32)
    memory = WeightMemory.encode(w, get_weights("bfp_e8m4_k16"), word_bits=88)
    flip = memory.flip(0, 87)
    assert (flip.before, flip.after) == (127, 255)
    assert np.isnan(memory.values()).all()
    assert np.isnan(memory.floats()).all()


READINGS = (
    *((name, "replace") for name in (*INTEGERS, *BLOCKS)),
    *((name, "add") for name in BLOCKS if name.startswith("mx_opal")),
)


@pytest.mark.parametrize(("name", "reading"), READINGS)
def test_effects_against_flips(name: str, reading: str) -> None:
    """Every bit's score and size, before and after other flips, by flipping each in turn."""
    rng = np.random.default_rng(5)
    memory = WeightMemory.encode(
        weights((2, 2, 3, 2)),
        get_weights(name),
        word_bits=23,
        reading=reading,  # type: ignore[arg-type]
    )
    layout = memory.layout
    gradient = rng.normal(size=layout.shape)
    for damage in (0, 12):
        for address in rng.choice(layout.bits, damage, replace=False):
            memory.flip(*divmod(int(address), 23))
        found = effects(memory, gradient)
        kept = memory.values()
        for address in range(layout.bits):
            flip = memory.flip(*divmod(address, 23))
            with np.errstate(invalid="ignore"):
                change = flip.new - flip.old
                score = (change * gradient.reshape(-1)[flip.weights]).sum()
            if not np.isfinite(change).all():
                assert np.isnan(found.largest[address]), (address, flip)
                assert not np.isfinite(found.score[address]), (address, flip)
            else:
                # A sum of outlier and element is rounded; the effects have the change itself.
                near = 2.0**-50 * np.abs(kept[np.isfinite(kept)]).max() * (reading == "add")
                most = np.abs(change).max(initial=0)
                assert found.largest[address] == pytest.approx(most, rel=0, abs=near), flip
                assert found.score[address] == pytest.approx(score, rel=1e-9, abs=8 * near + 1e-12)
            assert FIELDS[layout.fields[address]] == flip.place.field
            if flip.place.field == "padding":
                assert not len(flip.weights)
            memory.flip(*divmod(address, 23))
            assert same(memory.values(), kept)


def test_a_flip_is_what_the_words_say() -> None:
    """Reading words that another hand has flipped gives the values that `flip` gives."""
    for name in (*INTEGERS, *BLOCKS):
        memory = WeightMemory.encode(weights(), get_weights(name), word_bits=32)
        words = memory.words
        rng = np.random.default_rng(3)
        for address in rng.choice(memory.layout.bits, 40, replace=False):
            word, bit = divmod(int(address), 32)
            memory.flip(word, bit)
            words[word, bit // 8] ^= 1 << (bit % 8)
        assert np.array_equal(words, memory.words)
        read = WeightMemory(memory.layout, words, memory.steps)
        assert same(read.values(), memory.values())
        assert memory.word(3) == int.from_bytes(words[3].tobytes(), "little")


def test_what_does_not_fit() -> None:
    layout = Layout(fmt=get_weights("mxint8"), shape=(2, 32), word_bits=60)
    good = np.zeros((9, 8), np.uint8)
    assert WeightMemory(layout, good).values().shape == (2, 32)
    with pytest.raises(UsageError, match=r"9 words of 60 bits are uint8 of shape \(9, 8\), got "):
        WeightMemory(layout, good[:8])
    with pytest.raises(UsageError, match=r"9 words of 60 bits .* got int64 of shape \(9, 8\)"):
        WeightMemory(layout, good.astype(np.int64))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="bits beyond the 60 of a word must be 0"):
        WeightMemory(layout, good | np.uint8(128))
    with pytest.raises(UsageError, match=r"steps of mxint8 must be None, got \(2,\)"):
        WeightMemory(layout, good, np.ones(2, np.float32))
    ints = Layout(fmt=get_weights("int8"), shape=(2, 4), word_bits=64)
    with pytest.raises(UsageError, match=r"steps of int8 must be of shape \(2,\), got None"):
        WeightMemory(ints, np.zeros((1, 8), np.uint8))
    with pytest.raises(UsageError, match="reading must be replace or add, got 'or'"):
        WeightMemory(layout, good, reading="or")  # type: ignore[arg-type]
    memory = WeightMemory(layout, good)
    with pytest.raises(UsageError, match=r"word must be 0\.\.8, got 9"):
        memory.flip(9, 0)
    with pytest.raises(UsageError, match=r"bit must be 0\.\.59, got 60"):
        memory.flip(0, 60)
    with pytest.raises(UsageError, match=r"gradient must have shape \(2, 32\), got \(64,\)"):
        effects(memory, np.zeros(64))
    with pytest.raises(UsageError, match=r"word_bits must be 1\.\.4096, got 0"):
        Layout(fmt=get_weights("int8"), shape=(2,), word_bits=0)
    with pytest.raises(UsageError, match=r"shape must have axes of at least 1, got \(0, 3\)"):
        Layout(fmt=get_weights("int8"), shape=(0, 3))
    with pytest.raises(UsageError, match=r"no block format 'int8x'.*or int<bits>\[_channel\]"):
        get_weights("int8x")
    with pytest.raises(UsageError, match=r"bits must be 2\.\.8, got 9"):
        get_weights("int9")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "guess"}, "no method 'guess'; methods: zebra, bfa, random"),
        ({"judge": "me"}, "judge must be test or distilled, got 'me'"),
        ({"budget": 0}, "budget must be at least 1, got 0"),
        ({"bar": 1.5}, "bar must be above 0 and below 1, got 1.5"),
        ({"bound": 0.0}, "bound must be above 0, got 0.0"),
        ({"reading": "or"}, "reading must be replace or add, got 'or'"),
        ({"fields": ()}, "no field was given"),
        ({"fields": ("padding",)}, "no field 'padding'; fields: top, element, scale, outlier, pos"),
        ({"fmt": "int99"}, r"bits must be 2\.\.8, got 99"),
    ],
)
def test_impossible_plans(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan(**{"fmt": "int8", "method": "bfa", **changed})
