"""Payloads: packing and unpacking, limits, and what is refused."""

import numpy as np
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Field, Payload

FIELDS = (
    Field(name="magnitude", width=4, count=3, encoding="sign_magnitude"),
    Field(name="offset", width=5, encoding="signed"),
    Field(name="wide", width=62),
    Field(name="last", width=1),
)
PAYLOAD = Payload(FIELDS)


def batch(beats: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(beats)
    made = {}
    for field in FIELDS:
        low, high = field.limits
        shape = (beats,) if field.count is None else (beats, field.count)
        made[field.name] = rng.integers(low, high + 1, shape)
    return made


@pytest.mark.parametrize("beats", [0, 1, 2047, 2048, 5000])
def test_unpack_reverses_pack(beats: int) -> None:
    values = batch(beats)
    raw = PAYLOAD.pack(values)
    assert raw.shape == (beats, 10)
    for name, array in PAYLOAD.unpack(raw).items():
        assert np.array_equal(array, values[name])


@pytest.mark.parametrize("beats", [0, 1, 3, 2047, 2048, 2049, 5000])
def test_tight_beats_leave_no_bit_between_them(beats: int) -> None:
    values = batch(beats)
    raw = PAYLOAD.pack_tight(values)
    assert raw.shape == (-(-beats * PAYLOAD.width // 8),)
    rows = PAYLOAD.pack(values)
    total = int.from_bytes(raw.tobytes(), "little")
    for i in range(0, beats, 97):
        want = int.from_bytes(rows[i].tobytes(), "little")
        assert total >> i * PAYLOAD.width & (1 << PAYLOAD.width) - 1 == want
    for kept in {beats, beats // 2}:
        for name, array in PAYLOAD.unpack_tight(raw, kept).items():
            assert np.array_equal(array, values[name][:kept])


def test_tight_beats_that_are_not_all_there() -> None:
    raw = PAYLOAD.pack_tight(batch(3))
    with pytest.raises(UsageError, match=r"4 beats are uint8 of shape \(40,\), got \(30,\)"):
        PAYLOAD.unpack_tight(raw, 4)


def test_bits_lie_where_the_fields_say() -> None:
    raw = PAYLOAD.pack(
        {
            "magnitude": np.array([[-1, 7, 0]]),
            "offset": np.array([-16]),
            "wide": np.array([1]),
            "last": np.array([1]),
        }
    )
    word = int.from_bytes(raw[0].tobytes(), "little")
    assert word == 0b1001 | 0b0111 << 4 | 0b10000 << 12 | 1 << 17 | 1 << 79


def test_minus_zero_reads_as_zero() -> None:
    raw = np.zeros((1, 10), np.uint8)
    raw[0, 0] = 0b1000
    assert PAYLOAD.unpack(raw)["magnitude"].tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offset": np.array([16])}, "field offset: 16 is outside -16..15"),
        ({"magnitude": np.array([[0, -8, 0]])}, "field magnitude: -8 is outside -7..7"),
        ({"last": np.array([0.5])}, "field last: dtype must be integer, got float64"),
        ({"offset": np.array([[1]])}, r"field offset: shape must be \(beats\), got \(1, 1\)"),
        ({"offset": np.array([1, 2])}, "field offset: 2 beats, expected 1"),
        ({"other": np.array([1])}, "batch has fields"),
    ],
)
def test_wrong_batches_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PAYLOAD.pack(batch(1) | change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a b", "width": 1}, "field name must be an identifier, got 'a b'"),
        ({"name": "a", "width": 63}, "field a: width must be 1..62, got 63"),
        ({"name": "a", "width": 1, "count": 0}, "field a: count must be at least 1, got 0"),
    ],
)
def test_impossible_fields_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Field(**arguments)  # type: ignore[arg-type]


def test_names_differ() -> None:
    with pytest.raises(UsageError, match="field names must differ"):
        Payload((FIELDS[1], FIELDS[1]))
    with pytest.raises(UsageError, match="no field 'none'; fields are"):
        PAYLOAD["none"]
