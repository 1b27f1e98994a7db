"""The constants of channels in fractions, value by value: what the golden model is held to."""

from fractions import Fraction
from typing import Any

import numpy as np

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.range_bn_constants import Params

__all__ = ["reference"]

TWO = Fraction(2)


def clip(value: Fraction, bits: int) -> int:
    """To nearest, ties to even, and to so many bits of magnitude."""
    return max(1 - (1 << bits), min((1 << bits) - 1, round(value)))


def decoded(code: int, exponent_bits: int, mantissa_bits: int) -> tuple[Fraction, int] | None:
    """A code's value and its exponent, a subnormal's the least; None of NaN and Inf."""
    field = code >> mantissa_bits & (1 << exponent_bits) - 1
    if field == (1 << exponent_bits) - 1:
        return None
    exponent = max(field, 1) - (1 << exponent_bits - 1) + 1
    mantissa = (code & (1 << mantissa_bits) - 1) + (1 << mantissa_bits) * (field > 0)
    sign = -1 if code >> (exponent_bits + mantissa_bits) else 1
    return sign * mantissa * TWO ** (exponent - mantissa_bits), exponent


def floor_log2(value: Fraction) -> int:
    """The exponent of a positive value."""
    made = value.numerator.bit_length() - value.denominator.bit_length()
    return made if value >= TWO**made else made - 1


def one_forward(p: Params, beat: dict[str, int]) -> dict[str, Any]:
    """A channel's own part, in fractions."""
    P, f = p.precision, p.fraction
    unit = TWO ** (max(beat["base"] % 32, 1) - 15 + 1 - p.window)
    deviation = (beat["spread"] * beat["c"] + beat["epsilon"]) * unit
    deviation /= 65536 << beat["chunk_bits"]
    exponent, scale = 40, 0
    if beat["spread"]:
        scale = (1 << P) - 1
        # Of nothing the length is 0, one less than that of the least there is.
        exponent = floor_log2(unit) - 17 - beat["chunk_bits"]
        if deviation:
            exponent = floor_log2(deviation)
            divisor = deviation / TWO**exponent * (1 << P + 2) // 1
            scale = min(scale, (1 << 2 * P + 2) // divisor)
    mean = beat["total"] * beat["inverse"] * unit / TWO ** (beat["shift"] + exponent - f)
    mean = mean if scale else Fraction(0)
    gamma, beta = decoded(beat["gamma"], 5, 4), decoded(beat["beta"], 8, 23)
    bad = gamma is None or beta is None
    gamma, beta = ((Fraction(0), -14), (Fraction(0), -126)) if bad else (gamma, beta)
    assert gamma is not None
    assert beta is not None
    grid = gamma[1]
    if beta[0]:
        grid = max(grid, floor_log2(abs(beta[0])) - 4)
    return {
        "exponent": exponent + 21,
        "scale": int(scale),
        "mean": clip(mean, f + 7),
        "bad": int(bad),
        "unit": grid + 1 - f,
        "slope_unit": gamma[1] + 1 - P - exponent,
        "pair": (gamma[0], beta[0]),
    }


def one_backward(p: Params, beat: dict[str, int]) -> dict[str, int]:
    """A channel of g, in fractions."""
    P, f, window = p.precision, p.fraction, p.gradient_window
    product = beat["moment"] - round(Fraction(beat["total"] * beat["mean"], 1 << window))
    product = wrapped(product if beat["scale"] else 0, f + p.position_bits + 9)
    mean = round(beat["total"] * beat["inverse"] / TWO ** (beat["shift"] - 2))
    mean = wrapped(mean, window + 3 + (window > 15))
    factor = round(Fraction(beat["scale"] * beat["c"], 65536))
    # In quarters of the window's unit, where products have f + 7 bits.
    patch = clip(product * factor * TWO ** (window + 2 - P - f - beat["chunk_bits"]), window + 4)
    step = TWO ** (f + 5 - P - window)
    base = max(beat["base"], 1) - 31
    exact = product * beat["scale"]
    assert abs(exact) < 1 << 53, "not exact in a float64"
    sums = {"dbeta": (beat["total"], base + 1 - window), "dgamma": (exact, base + 1 - P - f)}
    codes = {
        name: int(np.ldexp(np.float64(value), place).astype(np.float32).view(np.uint32))
        for name, (value, place) in sums.items()
    }
    return {
        "offset": -round(beat["slope"] * mean * step),
        "patch": -round(beat["slope"] * patch * step),
        "unit": wrapped(P + beat["slope_unit"] + base - f - 6, 8),
        **codes,
    }


def wrapped(value: int, bits: int) -> int:
    """In two's complement of so many bits."""
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def reference(p: Params, batch: Batch) -> list[dict[str, int]]:
    """The answers, one a beat; a block at a time."""
    names = list(batch)
    columns = zip(*(values.tolist() for values in batch.values()), strict=True)
    rows = [dict(zip(names, row, strict=True)) for row in columns]
    blank = {field.name: 0 for field in p.output.fields}
    answers: list[dict[str, int]] = []
    block: list[dict[str, Any]] = []
    for row in rows:
        if row["backward"] and not block:
            answers.append({**blank, **one_backward(p, row), "last": row["last"]})
            continue
        block.append({**one_forward(p, row), "last": row["last"]})
        if row["last"] or len(block) == p.group:
            unit = max(channel["unit"] for channel in block)
            slope_unit = max(channel["slope_unit"] for channel in block)
            for channel in block:
                gamma, beta = channel.pop("pair")
                e = channel["exponent"] - 21
                s = channel["scale"] / TWO ** (p.precision + e)
                # Products of the gain are in units of the channel's power of two.
                gain = round(gamma * s * TWO ** (p.precision + e - p.fraction) / TWO**unit)
                taken = round(Fraction(gain * channel["mean"], 1 << p.precision))
                channel |= {
                    "gain": gain,
                    "offset": round(beta / TWO**unit) - taken,
                    "slope": round(gamma * s / TWO**slope_unit),
                    "unit": unit,
                    "slope_unit": slope_unit,
                }
                answers.append({**blank, **channel})
            block = []
    return answers
