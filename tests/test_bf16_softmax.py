"""bf16_softmax: its golden model against exact softmax and against scalar arithmetic."""

import re
import struct

import numpy as np
import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.units import bf16_softmax
from narrowgauge.golden.units.bf16_softmax import Params
from narrowgauge.golden.units.scores import from_bf16, rows_of


def fp32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def by_scalars(codes: list[int], mask: list[int]) -> list[int] | None:
    """One row with the host's floats, where a double holds every step before its rounding."""
    parts: list[tuple[int, int] | None] = []
    for code, masked in zip(codes, mask, strict=True):
        if masked or code == 0xFF80:
            parts.append(None)
            continue
        if code & 0x7F80 == 0x7F80:
            return None
        value = float(from_bf16(np.array([code]))[0])
        magnitude = min(abs(value), 127.5) * 94548 / 65536
        t = int(np.floor(magnitude * 256 + 0.5))
        whole, fraction = divmod(-t if value < 0 else t, 256)
        parts.append((whole, round(128 * 2 ** (fraction / 256))))
    largest, total = -256, 0.0
    for part in parts:
        if part is None:
            continue
        grown = max(largest, part[0])
        moved = total * 2.0 ** (largest - grown)
        moved = moved if moved >= 2.0**-126 else 0.0
        term = part[1] / 128 * 2.0 ** (part[0] - grown)
        total = fp32(moved + (term if term >= 2.0**-126 else 0.0))
        largest = grown
    made = []
    for part in parts:
        if part is None:
            made.append(0)
            continue
        mantissa, exponent = np.frexp(total)
        divisor = int(mantissa * 65536)
        share = part[1] * (((1 << 27) - 1) // divisor)
        size = share.bit_length()
        rounded = round(share / 2 ** (size - 8)) * 2 ** (size - 8)
        # total = s 2^(exponent - 1), share = e q with e 2^7 and q 2^12 too large.
        result = rounded * 2.0 ** (part[0] - largest - (int(exponent) - 1) - 19)
        bits = struct.unpack("<I", struct.pack("<f", result))[0] if result >= 2.0**-126 else 0
        assert bits & 0xFFFF == 0
        made.append(bits >> 16)
    return made


def test_model_against_scalars() -> None:
    params = Params(length=32)
    batch = bf16_softmax.vectors(params, "smoke", 3)
    answers = bf16_softmax.model(params, batch)
    rows, given = rows_of(batch["last"]), rows_of(answers["last"])
    compared = 0
    for i in range(len(rows.starts)):
        taken = slice(rows.starts[i], rows.starts[i] + rows.lengths[i])
        part = slice(given.starts[i], given.starts[i] + given.lengths[i])
        got = answers["p"][part].tolist()
        long = rows.lengths[i] > params.length
        want = (
            None if long else by_scalars(batch["x"][taken].tolist(), batch["mask"][taken].tolist())
        )
        if want is None:
            assert set(got) == {0x7FC0}
            assert len(got) == min(rows.lengths[i], params.length)
        else:
            assert got == want, i
            compared += 1
    assert compared > 100


def test_exponential_within_an_ulp() -> None:
    x = np.arange(1 << 16)
    x = x[(x & 0x7FFF) < 0x4300]
    integer, mantissa = bf16_softmax.exponentials(Params(), x)
    exact = from_bf16(x) * np.log2(np.e)
    ulp = 2.0 ** (np.floor(exact) - 7)
    made = (1 + mantissa / 128) * 2.0 ** integer.astype(float)
    assert (np.abs(made - 2.0**exact) / ulp).max() < 0.9


def test_probabilities_of_real_scores() -> None:
    params = Params()
    batch = bf16_softmax.vectors(params, "real", 0)
    p = from_bf16(bf16_softmax.model(params, batch)["p"])
    rows = rows_of(batch["last"])
    scores = np.where(batch["mask"] == 1, -np.inf, from_bf16(batch["x"]))
    for start, size in zip(rows.starts, rows.lengths, strict=True):
        part = scores[start : start + size]
        exact = np.exp(part - part.max())
        exact /= exact.sum()
        ulp = 2.0 ** (np.floor(np.log2(np.maximum(exact, 2.0**-126))) - 7)
        assert (np.abs(p[start : start + size] - exact) / ulp).max() < 2.3


@pytest.mark.parametrize("length", [1, 3, 8192])
def test_parameters(length: int) -> None:
    text = f"length must be a power of two, 2..4096, got {length}"
    with pytest.raises(UsageError, match=rf"^{re.escape(text)}$"):
        Params(length=length)
