"""Batch normalisation in FP32, conventional: two-pass variance; every pass of forward and backward.

    d = u + shift
    0 transform   y = d gain + (v slope + offset)                      an answer a beat
    2 sums        products += d v       offset += v       y = products an answer at `last`
    3 squares     products += d d       offset += v       y = products an answer at `last`

Beside y an answer has `total`, the offset. With s = 1 / sqrt(var + eps) and a = gamma s:

    sum x        squares    u = 0, v = x; shift = 0, offset = 0
    variance     squares    u = x, v = 0; shift = -mean
    y            transform  u = x, v = 0; shift = -mean, gain = a, slope = -0, offset = beta
    gradients    sums       u = x, v = g; shift = -mean, offset = 0
    dx           transform  u = x, v = g; shift = -mean, gain = -a s^2 sum(g d) / N,
                                          slope = a, offset = -a sum(g) / N

that is dx = d b + (a g + e), two products and three additions an element. Pair 0 of words is shift
and gain, pair 1 offset and slope. Any load makes products +0; sums leave their last v as gain.
Mode 1 is mode 0 with d d in place of d gain; no pass needs it.

See `golden.units.fp32_lanes` for the arithmetic. Source: Ioffe and Szegedy, "Batch normalization",
ICML 2015.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.payload import Batch, Field, Payload, join
from narrowgauge.golden.units.fp32_lanes import (
    SIGN,
    Fp32Lanes,
    accumulate,
    add,
    code_of,
    multiply,
    output_lengths,
    real_tensors,
    runs,
    some_loads,
    value_of,
    values,
)
from narrowgauge.golden.units.stimuli import blocks as transactions

__all__ = ["Params", "model", "output_lengths", "passes", "vectors"]

Ints = npt.NDArray[np.int64]
_WORDS = (("shift", "gain"), ("offset", "slope"))


@dataclass(frozen=True, kw_only=True)
class Params(Fp32Lanes):
    """How: lanes, channels a beat, 1..256."""

    @property
    def output(self) -> Payload:
        """The answer to a beat, or to a pass."""
        return Payload((*self.words("y", "total"), Field(name="last", width=1)))


def model(params: Params, batch: Batch) -> Batch:
    """Beats of passes to their answers."""
    beats = params.input.check(batch)
    zero = np.zeros(params.lanes, np.int64)
    word = {name: zero for pair in _WORDS for name in pair}
    products, mode = zero, 0
    answers: list[Batch] = [params.output.beats(0)]
    for load, part in runs(beats):
        u, v, last = beats["u"][part], beats["v"][part], beats["last"][part]
        if load:
            for number, (first, second) in enumerate(_WORDS):
                if load >> number & 1:
                    word |= {first: u[0], second: v[0]}
            products, mode = zero, int(beats["mode"][part][0])
            continue
        d = add(u, word["shift"])
        made = multiply([word["gain"], d, v, d][mode], d)
        if mode < 2:
            y = add(made, add(multiply(v, word["slope"]), word["offset"]))
        else:
            y = accumulate(products, made)
            products = y[-1]
        total = np.broadcast_to(word["offset"], u.shape)
        if mode >= 2:
            total = accumulate(word["offset"], v)
            word["offset"] = total[-1]
        if mode == 2:
            word["gain"] = v[-1]
        ends = (last == 1) | (mode < 2)
        answers.append({"y": y[ends], "total": total[ends], "last": last[ends]})
    return join(answers)


def vectors(params: Params, level: str, seed: int) -> Batch:
    """Groups of passes, of which the last one ends with `last`; others are cut short by a load."""
    rng = np.random.default_rng(seed)
    if level == "real":
        return join([p for x, g in real_tensors(params.lanes) for p in _layer(params, x, g)])
    size = transactions(level, smoke=4_000)
    made: list[Batch] = []
    count = 0
    while count < size:
        for number in range(int(rng.choice([1, 1, 1, 2, 3]))):
            mode = int(rng.choice([0, 0, 1, 2, 2, 3, 3]))
            made += [some_loads(params, rng, mode, every=not number), _values(params, rng)]
            count += sum(len(part["last"]) for part in made[-2:])
        made[-1]["last"][-1] = 1
    return join(made)


def _values(params: Params, rng: np.random.Generator) -> Batch:
    count = int(rng.integers(1, rng.choice([3, 30])))
    shape = (count, params.lanes)
    some: dict[str, Ints] = {name: values(rng, shape) for name in "uv"}
    some |= {rng.choice(["u", "v"]): np.zeros(shape, np.int64)} if rng.random() < 0.2 else {}
    # The mode stands in loads; what values have there is not read.
    return params.input.beats(count, **some, mode=rng.integers(0, 4, count))


def passes(params: Params, u: Ints, v: Ints, mode: int, **word: npt.ArrayLike) -> list[Batch]:
    """A whole pass: its loads, and its values with `last` at the end."""
    loads = params.input.beats(2, load=[1, 2], mode=mode)
    for number, pair in enumerate(_WORDS):
        for port, name in zip("uv", pair, strict=True):
            loads[port][number] = word.get(name, 0)
    data = params.input.beats(max(len(u), len(v)), u=u, v=v)
    data["last"][-1] = 1
    return [loads, data]


def _layer(params: Params, x: Ints, g: Ints) -> list[Batch]:
    """All passes of a layer with gamma = 1 and beta = 0."""
    count = np.float32(len(x))
    none = np.zeros((1, params.lanes), np.int64)

    def answered(part: list[Batch]) -> tuple[npt.NDArray[np.float32], ...]:
        found = model(params, join(part))
        return value_of(found["total"][-1]), value_of(found["y"][-1])

    with np.errstate(all="ignore"):
        first = passes(params, none, x, 3)
        mean = answered(first)[0] / count
        shift = code_of(-mean)
        second = passes(params, x, none, 3, shift=shift)
        gain = 1 / np.sqrt(answered(second)[1] / count + np.float32(1e-5))
        third = passes(params, x, none, 0, shift=shift, gain=code_of(gain), slope=SIGN)
        fourth = passes(params, x, g, 2, shift=shift)
        total, product = answered(fourth)
        factor = -gain * gain * gain * product / count
        offset = code_of(-gain * total / count)
        words = {"shift": shift, "gain": code_of(factor), "offset": offset, "slope": code_of(gain)}
        fifth = passes(params, x, g, 0, **words)
    return [*first, *second, *third, *fourth, *fifth]
