"""Fast matrix products against the golden units, bit for bit."""

import numpy as np
import pytest

from narrowgauge.golden.formats import MXOpal, bf16_codes, quantize
from narrowgauge.golden.llm import opal
from narrowgauge.golden.llm.operand import Operand
from narrowgauge.golden.owq_quantize import quantize as owq


def activations(rng: np.random.Generator, rows: int, columns: int, kind: str) -> np.ndarray:
    """bf16 codes of activations of one kind."""
    x = rng.standard_normal((rows, columns))
    if kind == "heavy":
        x *= np.exp2(rng.normal(0, 4, x.shape))
    elif kind == "massive":
        x[:, ::37] *= 2.0 ** rng.integers(0, 30, (rows, 1))
        x[rows // 2 :] *= 2.0 ** -rng.integers(0, 20, columns)
    elif kind == "tiny":
        x *= 2.0 ** -rng.integers(90, 130, (rows, 1))
    elif kind == "zeros":
        x[rng.random(x.shape) < 0.9] = 0
        x[::3] = 0
    codes = bf16_codes(x.astype(np.float32))
    if kind == "special":
        codes[::2, rng.integers(columns)] = 0x7F80
        codes[1::4, rng.integers(columns)] = 0xFFC1
        codes[1::3, rng.integers(columns, size=8)] = 0xFF80
    return codes


def operand(codes: np.ndarray, bits: int, n: int = 4) -> Operand:
    return Operand.of(quantize(codes, MXOpal(b=bits, n=n), axis=1))


def bits(x: np.ndarray) -> np.ndarray:
    return x.view(np.uint32)


KINDS = ("normal", "heavy", "massive", "tiny", "zeros", "special")


def whole(a: Operand, w: Operand, low: int) -> np.ndarray:
    row, column = np.indices((len(a.codes), len(w.codes))).reshape(2, -1)
    return opal.reference(a, w, low, row, column).reshape(len(a.codes), len(w.codes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("low", [3, 4])
@pytest.mark.parametrize("modes", ["low", "mixed", "high"])
def test_both_sides_with_outliers(kind: str, low: int, modes: str) -> None:
    rng = np.random.default_rng(len(kind) + low)
    a_bits = low if modes == "low" else 2 * low - 1
    w_bits = 2 * low - 1 if modes == "high" else low
    columns = 64 if modes == "high" else 300
    a = operand(activations(rng, 20, columns, kind), a_bits)
    w = operand(activations(rng, 24, columns, "heavy" if kind == "massive" else kind), w_bits)
    np.testing.assert_array_equal(bits(opal.products(a, w, low=low)), bits(whole(a, w, low)))


def of_owq(rng: np.random.Generator, rows: int, columns: int, bits: int) -> Operand:
    made = owq(rng.standard_normal((rows, columns)), None, bits=bits, compensate=False)
    outliers = made.outliers.copy()
    # Weights in columns kept in bf16 may be small, and some slots are empty.
    outliers[::2] -= (rng.integers(0, 14, outliers[::2].shape) << 7).astype(np.uint16)
    outliers[rng.random(outliers.shape) < 0.1] = 0
    return Operand(
        codes=made.codes,
        scales=made.scales,
        outliers=outliers,
        positions=made.positions,
        fraction=bits - 2,
        length=columns,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("low", "high"), [(4, True), (4, False), (3, True)])
def test_weights_with_shared_columns(kind: str, low: int, high: bool) -> None:
    rng = np.random.default_rng(low + len(kind))
    w = of_owq(rng, 40, 300, low)
    a = operand(activations(rng, 32, 300, kind), 2 * low - 1 if high else low)
    np.testing.assert_array_equal(bits(opal.products(a, w, low=low)), bits(whole(a, w, low)))


def test_no_outliers() -> None:
    rng = np.random.default_rng(3)
    a, w = (operand(activations(rng, 9, 200, "heavy"), b, n=0) for b in (4, 7))
    np.testing.assert_array_equal(bits(opal.products(a, w, low=4)), bits(whole(a, w, 4)))
