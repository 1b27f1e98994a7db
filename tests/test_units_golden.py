"""The dot products' golden models against scalar arithmetic on fractions, written apart."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from narrowgauge import registry
from narrowgauge.golden import samples
from narrowgauge.golden.formats import MXOpal, bf16_values, dequantize, get, quantize
from narrowgauge.golden.payload import Batch

NAN = "nan"
Special = str | float | Fraction


def bf16(code: int) -> tuple[Special, int]:
    """Value, and exponent with field 0 counted as 1."""
    sign, field, mantissa = -1 if code >> 15 else 1, (code >> 7) & 0xFF, code & 0x7F
    if field == 255:
        return (NAN if mantissa else sign * math.inf), 255 - 127
    hidden = 128 if field else 0
    exponent = max(field, 1) - 127
    return sign * Fraction(hidden + mantissa) * Fraction(2) ** (exponent - 7), exponent


def times(a: Special, b: Special) -> Special:
    """Product of two, either of them NaN or infinite."""
    if NAN in (a, b) or (a == 0 and b in (math.inf, -math.inf)):
        return NAN
    if b == 0 and a in (math.inf, -math.inf):
        return NAN
    if isinstance(a, float) or isinstance(b, float):
        return math.inf if (a > 0) == (b > 0) else -math.inf  # type: ignore[operator]
    assert isinstance(a, Fraction)
    return a * b


def total(terms: list[Special]) -> Special:
    """Sum of values that may be NaN or infinite."""
    if NAN in terms or (math.inf in terms and -math.inf in terms):
        return NAN
    for infinity in (math.inf, -math.inf):
        if infinity in terms:
            return infinity
    return sum((t for t in terms if isinstance(t, Fraction)), Fraction(0))


def to_fp32(value: Special) -> np.float32:
    """Rounded to nearest even, once."""
    if value == NAN:
        return np.float32(np.nan)
    if isinstance(value, float):
        return np.float32(value)
    assert isinstance(value, Fraction)
    if value == 0:
        return np.float32(0)
    magnitude = abs(value)
    top = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    top -= magnitude < Fraction(2) ** top
    unit = Fraction(2) ** max(top - 23, -149)
    # round() of a Fraction is half to even.
    rounded = round(magnitude / unit) * unit
    result = math.inf if rounded >= Fraction(2) ** 128 else float(rounded)
    return np.float32(math.copysign(result, value))


def cut(value: Fraction, unit: Fraction, *, towards_zero: bool) -> Fraction:
    """The multiple of `unit` next to `value`."""
    steps = value / unit
    return (math.trunc(steps) if towards_zero else math.floor(steps)) * unit


def mx_term(p: Any, b: Batch, i: int) -> np.float32:
    """One block of `mx_dot`, weights read as w / 2**(w_bits - 2)."""
    a, w = b["a"][i].tolist(), b["w"][i].tolist()
    a_scale, w_scale = int(b["a_scale"][i]), int(b["w_scale"][i])
    parts = [bf16(c) for c in b["outliers"][i].tolist()] if p.n else []
    reference = max([a_scale - 127, *(exponent for _, exponent in parts)])
    unit = Fraction(2) ** (reference - p.fraction)
    weight = [Fraction(c, 1 << (p.w_bits - 2)) for c in w]
    exact = sum(Fraction(x, 1 << (p.a_bits - 2)) * y for x, y in zip(a, weight, strict=True))
    terms: list[Special] = [cut(exact * Fraction(2) ** (a_scale - 127), unit, towards_zero=False)]
    for j, (value, _) in enumerate(parts):
        product = times(value, weight[int(b["positions"][i, j])])
        whole = isinstance(product, Fraction)
        terms.append(cut(product, unit, towards_zero=True) if whole else product)  # type: ignore
    if 255 in (a_scale, w_scale):
        terms.append(NAN)
    value = total(terms)
    return to_fp32(value * Fraction(2) ** (w_scale - 127) if isinstance(value, Fraction) else value)


def bf16_term(p: Any, b: Batch, i: int) -> np.float32:
    """One beat of `bf16_dot`."""
    pairs = [
        (bf16(x), bf16(y)) for x, y in zip(b["a"][i].tolist(), b["b"][i].tolist(), strict=True)
    ]
    reference = max(x[1] + y[1] for x, y in pairs)
    unit = Fraction(2) ** (reference - p.fraction)
    products = [times(x[0], y[0]) for x, y in pairs]
    return to_fp32(
        total([cut(t, unit, towards_zero=True) if isinstance(t, Fraction) else t for t in products])
    )


def results(term: Any, p: Any, batch: Batch) -> np.ndarray:
    """Terms added in order by IEEE single-precision hardware."""
    made, acc = [], np.float32(0)
    with np.errstate(all="ignore"):
        for i, last in enumerate(batch["last"].tolist()):
            acc = np.float32(acc + term(p, batch, i))
            if last:
                made.append(acc)
                acc = np.float32(0)
    return np.array(made, np.float32)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("mx_dot/w4a4_l128", {}),
        ("mx_dot/w3a5_l128", {"k": 32, "lanes": 32, "fraction": 10}),
        ("mx_dot/w4a7_l128", {"k": 16, "lanes": 16, "n": 7, "fraction": 30}),
        ("mx_dot/w4a4_n0_l128", {}),
        ("bf16_dot/l32", {}),
        ("bf16_dot/l32", {"lanes": 8, "fraction": 14}),
    ],
)
def test_against_fractions(name: str, overrides: dict[str, int]) -> None:
    point = registry.points(name, **overrides)[0]
    golden, p = point.entry.golden, point.params
    batch = golden.vectors(p, "smoke", 11)
    got = golden.model(p, batch)["result"].astype(np.uint32).view(np.float32)
    want = results(mx_term if name.startswith("mx") else bf16_term, p, batch)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    finite = ~np.isnan(want)
    assert finite.sum() > len(want) / 3
    assert np.array_equal(got[finite].view(np.uint32), want[finite].view(np.uint32))


def test_nan_results_are_canonical() -> None:
    point = registry.points("mx_dot/w4a4_l128")[0]
    batch = point.entry.golden.vectors(point.params, "smoke", 5)
    codes = point.entry.golden.model(point.params, batch)["result"]
    assert set(codes[(codes & 0x7FFFFFFF) > 0x7F800000].tolist()) == {get("fp32").nan_code}


def test_real_dot_products_are_as_exact_as_single_precision() -> None:
    # Quantised operands, multiplied in float64: what remains is the window and FP32 alone.
    point = registry.points("mx_dot/w4a4_l128")[0]
    sample = samples.load()
    for name, activations in sample.activations.items():
        a = quantize(activations[:8], MXOpal(b=4), axis=1)
        w = quantize(sample.weights[name][:8], MXOpal(b=4, n=0), axis=1)
        blocks = a.scales.shape[1]
        last = np.zeros((8, blocks), np.int64)
        last[:, -1] = 1
        batch = {
            "a": a.codes.reshape(-1, 128),
            "a_scale": a.scales.reshape(-1),
            "outliers": a.outliers.reshape(-1, 4),
            "positions": a.positions.reshape(-1, 4),
            "w": w.codes.reshape(-1, 128),
            "w_scale": w.scales.reshape(-1),
            "last": last.reshape(-1),
        }
        codes = point.entry.golden.model(point.params, batch)["result"]
        got = codes.astype(np.uint32).view(np.float32).astype(np.float64)
        x, y = dequantize(a).astype(np.float64), dequantize(w).astype(np.float64)
        size = (np.abs(x) * np.abs(y)).sum(axis=1)
        assert np.all(np.abs(got - (x * y).sum(axis=1)) <= size * 2.0**-23)


def test_real_vectors_are_quantised_activations() -> None:
    point = registry.points("mx_quantize/opal4_l8")[0]
    batch = point.entry.golden.vectors(point.params, "real", 0)
    made = point.entry.golden.model(point.params, batch)
    read = made["codes"] * np.exp2(made["scale"] - 127.0 - 2)[:, None]
    np.put_along_axis(
        read, made["positions"], bf16_values(made["outliers"].astype(np.uint16)), axis=1
    )
    exact = bf16_values(batch["x"].astype(np.uint16)).astype(np.float64)
    step = np.exp2(made["scale"] - 127.0 - 2)[:, None]
    # Half a step, but for the elements that the clip takes: up to a quarter of the scale.
    assert np.all(np.abs(read - exact) <= step)
    assert np.mean(np.abs(read - exact) <= step / 2) > 0.98
