"""Guards: every flip and pair of flips of a word against the definition, clamps, recoveries."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from narrowgauge.golden.attack import WeightMemory, get_weights
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import get_block
from narrowgauge.golden.guard import KINDS, Bounds, Guard, Part
from narrowgauge.golden.guard_words import columns, parts_of

SECDED = [kind for kind, rule in KINDS.items() if rule.code == "secded"]
FORMATS = ("mx_opal4_k16_n1", "mx_opal4", "mxint8", "fb16_k108", "bfp_e5m4_k8")


def words_of(name: str, *, blocks: int = 1, seed: int = 1) -> tuple[np.ndarray, Any]:
    """Words of quantised weights, and their format's payload."""
    fmt = get_block(name)
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((6, 2 * blocks * fmt.k)) * 2.0 ** rng.integers(-4, 3, (6, 1))
    memory = WeightMemory.encode(
        rows.astype(np.float32), get_weights(name), word_bits=blocks * fmt.payload.width
    )
    bits = np.unpackbits(memory.words, axis=1, bitorder="little")
    return bits[:, : memory.layout.word_bits], fmt.payload


@pytest.mark.parametrize("bits", [1, 4, 5, 11, 12, 26, 57, 64, 120, 612])
def test_code(bits: int) -> None:
    """Odd columns, all different, unit columns left for check bits: distance four."""
    rows, found = columns(bits)
    every = [*found, *(1 << i for i in range(rows))]
    assert len(set(every)) == bits + rows
    assert all(each.bit_count() % 2 == 1 and each < 1 << rows for each in every)
    assert (1 << (rows - 2)) - (rows - 1) < bits <= (1 << (rows - 1)) - rows or rows == 2
    load = [sum(each >> i & 1 for each in found) for i in range(rows)]
    assert max(load) - min(load) <= max(2, bits // 12)
    known = {64: 8, 57: 7, 612: 11, 8: 5, 1: 3}
    assert rows == known.get(bits, rows)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", list(KINDS))
def test_clean_words_are_left(kind: str, name: str) -> None:
    for blocks, elements in ((1, True), (2, True), (1, False)):
        bits, payload = words_of(name, blocks=blocks)
        whole = Guard.of("none", payload, blocks=blocks)
        keep = [b for p in whole.parts if elements or p.name not in ("top", "element")
                for b in range(p.low, p.low + p.width)]  # fmt: skip
        bits = bits[:, keep]
        guard = Guard.of(kind, payload, blocks=blocks, elements=elements)
        assert guard.word_bits == bits.shape[1]
        stored = guard.encode(bits)
        assert stored.shape[1] == guard.stored_bits == guard.word_bits + guard.check_bits
        found = guard.decode(stored, guard.bounds(bits))
        assert np.array_equal(found.bits, bits)
        assert not found.corrected.any()
        assert not found.detected.any()


@pytest.mark.parametrize("kind", SECDED)
def test_every_flip_and_pair(kind: str) -> None:
    """One flip of the code is taken back, two are detected; elsewhere they stay."""
    bits, payload = words_of("mx_opal4_k16_n1", seed=2)
    guard = Guard.of(kind, payload, recovery="keep")
    bits = bits[:1]
    stored = guard.encode(bits)
    code = {*guard.covered, *range(guard.word_bits, guard.stored_bits)}
    for flips in [*combinations(range(guard.stored_bits), 1),
                  *combinations(range(guard.stored_bits), 2)]:  # fmt: skip
        changed = stored.copy()
        changed[0, list(flips)] ^= 1
        found = guard.decode(changed)
        inside = [each for each in flips if each in code]
        want = bits.copy()
        left = [f for f in flips if f < guard.word_bits and (len(inside) > 1 or f not in inside)]
        want[0, left] ^= 1
        assert found.corrected[0] == (len(inside) == 1)
        assert found.detected[0] == (len(inside) == 2)
        assert np.array_equal(found.bits, want)


def test_three_flips_may_pass_for_one() -> None:
    """An attacker who knows the code needs three: a fourth bit is flipped by the guard itself."""
    guard = Guard.of("secded_scale", get_block("bfp_e5m4_k8").payload)
    word = np.zeros((1, guard.word_bits), np.uint8)
    wrong = passed = 0
    for flips in combinations([*guard.covered, *range(guard.word_bits, guard.stored_bits)], 3):
        changed = guard.encode(word)
        changed[0, list(flips)] ^= 1
        found = guard.decode(changed)
        assert found.corrected[0] != found.detected[0]
        passed += found.corrected[0]
        wrong += bool(found.detected[0])
    assert passed > 0
    assert wrong > 0


def test_parity() -> None:
    bits, payload = words_of("mx_opal4_k16_n1", seed=3)
    guard = Guard.of("parity", payload)
    assert guard.check_bits == 1
    stored = guard.encode(bits[:1])
    assert stored.sum(axis=1)[0] - bits[:1].sum() == bits[:1, list(guard.covered)].sum() % 2
    for bit in range(guard.stored_bits):
        changed = stored.copy()
        changed[0, bit] ^= 1
        found = guard.decode(changed)
        inside = bit in guard.covered or bit >= guard.word_bits
        assert found.detected[0] == inside
        assert not found.corrected[0]
        if inside:
            assert not found.bits.any()
        else:
            assert (found.bits != bits[:1]).sum() == 1
    # Two flips go through.
    stored[0, list(guard.covered[:2])] ^= 1
    assert not guard.decode(stored).detected[0]


@pytest.mark.parametrize("kind", ["clamp", "window"])
def test_clamps(kind: str) -> None:
    payload = get_block("mx_opal4_k16_n1").payload
    guard = Guard.of(kind, payload)
    limits = Bounds(low=100, high=120, middle=110, exponent_low=115, exponent_high=125)
    batch = payload.beats(
        256, scale=np.arange(256), outliers=(np.arange(256) << 7 | 0x8055)[:, None]
    )
    raw = np.unpackbits(payload.pack(batch), axis=1, bitorder="little")[:, : payload.width]
    found = guard.decode(raw, limits)
    packed = np.packbits(found.bits, axis=1, bitorder="little")
    got = payload.unpack(packed)
    low, floor = (100, 115) if kind == "window" else (0, 0)
    assert np.array_equal(got["scale"], np.clip(np.arange(256), low, 120))
    exponent = np.clip(np.arange(256), floor, 125)
    assert np.array_equal(got["outliers"][:, 0], exponent << 7 | 0x8055)
    assert np.array_equal(found.detected, np.arange(256) > 120)
    assert not found.corrected.any()


def test_recoveries() -> None:
    bits, payload = words_of("mx_opal4_k16_n1", seed=4)
    limits = Guard.of("none", payload).bounds(bits)
    scale = payload.unpack(np.packbits(bits, axis=1, bitorder="little"))["scale"]
    assert (limits.low, limits.high) == (scale.min(), scale.max())
    assert limits.middle in scale
    for recovery in ("zero", "middle", "keep"):
        guard = Guard.of("secded_shared_window", payload, recovery=recovery)
        stored = guard.encode(bits)
        top = next(part for part in guard.parts if part.name == "scale").low + 7
        stored[:, [top, top + 2]] ^= 1
        found = guard.decode(stored, limits)
        assert found.detected.all()
        got = payload.unpack(np.packbits(found.bits, axis=1, bitorder="little"))
        codes = payload.unpack(np.packbits(bits, axis=1, bitorder="little"))["codes"]
        if recovery == "zero":
            assert not found.bits.any()
        elif recovery == "middle":
            assert np.array_equal(got["codes"], codes)
            assert (got["scale"] == limits.middle).all()
            assert not got["outliers"].any()
        else:
            assert np.array_equal(got["codes"], codes)
            assert ((got["scale"] >= limits.low) & (got["scale"] <= limits.high)).all()


def test_bounds_leave_zeros_out() -> None:
    fmt = get_block("mxint8")
    batch = fmt.payload.beats(3, codes=np.array([[1], [0], [3]]), scale=[120, 0, 122])
    bits = np.unpackbits(fmt.payload.pack(batch), axis=1, bitorder="little")
    limits = Guard.of("window", fmt.payload).bounds(bits)
    assert (limits.low, limits.high) == (120, 122)
    shared = Guard.of("window", fmt.payload, elements=False).bounds(bits[:, -8:])
    assert (shared.low, shared.high) == (0, 122)


def test_overhead() -> None:
    """Storage beside a word, in check bits."""
    opal = get_block("mx_opal4").payload
    assert Guard.of("secded_scale", opal).check_bits == 7
    assert Guard.of("secded_shared", opal).check_bits == 8
    assert Guard.of("secded", opal).check_bits == 11
    assert Guard.of("secded_shared", opal).overhead == 8 / 612
    assert Guard.of("secded_scale", get_block("mxint8").payload, blocks=8).check_bits == 8
    assert Guard.of("parity", opal).check_bits == 1
    assert Guard.of("window", opal).check_bits == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Guard(kind="crc", parts=()), f"no guard 'crc'; guards: {', '.join(KINDS)}"),
        (lambda: Guard(kind="none", parts=()), "a guarded word must have 1..4096 bits, got 0"),
        (
            lambda: Guard(kind="none", parts=(Part("scale", 1, 8),)),
            "parts must be known and without a gap, got Part(name='scale', low=1, width=8)",
        ),
        (
            lambda: Guard(kind="secded_scale", parts=(Part("element", 0, 8),)),
            "secded_scale has nothing to cover in these words",
        ),
        (
            lambda: Guard(kind="none", parts=(Part("element", 0, 8),), recovery="reset"),
            "recovery must be zero, middle, keep, got 'reset'",
        ),
        (
            lambda: Guard(kind="none", parts=(Part("element", 0, 8),)).encode(
                np.zeros((2, 9), int)
            ),
            "words must be bits of shape (words, 8), got shape (2, 9)",
        ),
        (
            lambda: Guard(kind="none", parts=(Part("element", 0, 1),)).encode(np.array([[2]])),
            "words must be bits, 0 or 1, got 2",
        ),
        (lambda: Bounds(high=256), "high must be 0..255, got 256"),
    ],
)
def test_impossible(call: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == message


def test_parts_are_the_payloads() -> None:
    payload = get_block("mx_opal4_k16_n1").payload
    parts = parts_of(payload, blocks=2)
    assert sum(p.width for p in parts) == 2 * payload.width
    assert next(p for p in parts if p.name == "scale") == Part("scale", 64, 8)
    assert next(p for p in parts if p.name == "exponent") == Part("exponent", 64 + 8 + 7, 8)
