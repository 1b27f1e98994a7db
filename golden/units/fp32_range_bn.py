"""Range batch normalisation in FP32: every pass of forward and backward.

    d = u + shift
    0 normalise    y = d gain + offset                               an answer a beat
    1 propagate    y = d gain - 0, + offset at the largest position of the chunk,
                       - offset at the least                         an answer a beat
    2 sums         offset += d v      total += v      gain = v       an answer at `last`
    3 statistics   total += v         gain = largest v, shift = -least, and their positions;
                   at the chunk's end offset += gain + shift         an answer a chunk

Beside y, which is offset in answers to sums, an answer has `total`, `largest` and `least`. A chunk
ends at `chunk_last` and at `last`. With mu, R, s, c, K and N of docs/range_bn.md and a = gamma s:

    sum x, K R   statistics v = x; offset = 0, total = 0
    y            normalise  u = x; shift = -mu, gain = a, offset = beta
    gradients    sums       u = x, v = g; shift = -mu, offset = 0, total = 0
    dx           propagate  u = g; shift = -sum(g) / N, gain = a,
                            offset = -a (c / K) s sum(g d); positions before each chunk

Pair 0 of words is shift and gain, pair 1 offset and total, pair 2 the positions of the largest and
of the least value, the low bits of u and v. Positions count beats of values of modes 1 and 3 from
the last load of pair 0, modulo 2^position_bits. A chunk begins after a load and after its end.
Where both positions are equal, the chunk is constant and the offset cancels.

Values are in the order of IEEE 754-2019, 5.10: -0 is less than +0, and NaN lies beyond Inf, so that
a NaN becomes an extreme, and the range NaN. Of equal extremes the first position counts.

See `golden.units.fp32_lanes` for the arithmetic. Source: docs/range_bn.md, which cites the papers.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
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
from narrowgauge.golden.units.range_bn import Layer, chunk_of
from narrowgauge.golden.units.stimuli import blocks as transactions

__all__ = ["Params", "model", "ordered", "output_lengths", "passes", "positions", "vectors"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_WORDS = (("shift", "gain"), ("offset", "total"), ("largest", "least"))


@dataclass(frozen=True, kw_only=True)
class Params(Fp32Lanes):
    """What: position_bits; how: lanes.

    Parameters
    ----------
    position_bits : bits of a position, 4..20
    lanes : channels a beat, 1..256
    """

    position_bits: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 4 <= self.position_bits <= 20:
            raise UsageError(f"position_bits must be 4..20, got {self.position_bits}")

    @property
    def pairs(self) -> int:
        """Pairs of words that can be loaded."""
        return 3

    @property
    def flags(self) -> tuple[Field, ...]:
        """The end of a chunk."""
        return (Field(name="chunk_last", width=1),)

    @property
    def output(self) -> Payload:
        """The answer to a beat, a chunk or a pass."""
        L = self.lanes
        return Payload(
            (
                *self.words("y", "total"),
                Field(name="largest", width=self.position_bits, count=L),
                Field(name="least", width=self.position_bits, count=L),
                Field(name="last", width=1),
            )
        )


def ordered(codes: Ints) -> Ints:
    """Integers in the order of the numbers."""
    return np.where(codes < SIGN, codes, SIGN - 1 - codes)


def positions(params: Params, batch: Batch) -> Ints:
    """The position of each beat of values of modes 1 and 3."""
    made, here, mode = [], 0, 0
    for load, each in zip(batch["load"].tolist(), batch["mode"].tolist(), strict=True):
        made.append(here)
        if load:
            mode = each
            here = 0 if load & 1 else here
        elif mode & 1:
            here = (here + 1) % (1 << params.position_bits)
    return np.array(made, np.int64)


def model(params: Params, batch: Batch) -> Batch:
    """Beats of passes to their answers."""
    beats = params.input.check(batch)
    at = positions(params, beats)
    zero = np.zeros(params.lanes, np.int64)
    word = {name: zero for pair in _WORDS for name in pair}
    mode = 0
    answers: list[Batch] = [params.output.beats(0)]
    for load, part in runs(beats):
        u, v, last = beats["u"][part], beats["v"][part], beats["last"][part]
        if load:
            for number, (first, second) in enumerate(_WORDS):
                mask = (1 << params.position_bits) - 1 if number == 2 else -1
                if load >> number & 1:
                    word |= {first: u[0] & mask, second: v[0] & mask}
            mode = int(beats["mode"][part][0])
            continue
        if mode == 3:
            ends = (beats["chunk_last"][part] | last) == 1
            answers.append(_statistics(word, v, at[part], ends, last))
            continue
        d, ends = add(u, word["shift"]), np.ones_like(last, np.bool_)
        if mode == 2:
            offset, total = (
                accumulate(word["offset"], multiply(v, d)),
                accumulate(word["total"], v),
            )
            word |= {"offset": offset[-1], "total": total[-1], "gain": v[-1]}
            y, ends = offset, last == 1
        else:
            y = add(multiply(word["gain"], d), _offsets(word, mode, at[part][:, None]))
            total = np.broadcast_to(word["total"], u.shape)
        made = {"y": y, "total": total, "last": last}
        made |= {name: np.broadcast_to(word[name], u.shape) for name in _WORDS[2]}
        answers.append({name: each[ends] for name, each in made.items()})
    return join(answers)


def _offsets(word: Batch, mode: int, at: Ints) -> Ints:
    """What is added to the product at a position; -0 leaves it as it is."""
    offset = word["offset"]
    if mode == 0:
        return offset
    top, bottom = at == word["largest"], at == word["least"]
    return np.where(top == bottom, SIGN, np.where(top, offset, offset ^ SIGN))


def _statistics(word: Batch, v: Ints, at: Ints, ends: Bools, last: Ints) -> Batch:
    """The answers to chunks; a chunk without an end leaves its extremes in the words."""
    total = accumulate(word["total"], v)
    order, lane = ordered(v), np.arange(v.shape[1])
    stops = np.flatnonzero(ends) + 1
    starts = np.concatenate([[0], stops]).astype(np.int64)
    rows: list[dict[str, Ints]] = []
    for start, stop in zip(starts, [*stops.tolist(), len(v)], strict=True):
        if start == stop:
            continue
        top = start + order[start:stop].argmax(axis=0)
        bottom = start + order[start:stop].argmin(axis=0)
        word |= {"gain": v[top, lane], "shift": v[bottom, lane] ^ SIGN}
        word |= {"largest": at[top], "least": at[bottom], "total": total[stop - 1]}
        if ends[stop - 1]:
            word["offset"] = add(word["offset"], add(word["gain"], word["shift"]))
            rows.append({"y": word["offset"]} | {n: word[n] for n in ("total", *_WORDS[2])})
    shape = (len(rows), v.shape[1])
    made = {
        name: np.array([row[name] for row in rows], np.int64).reshape(shape)
        for name in ("y", "total", *_WORDS[2])
    }
    return made | {"last": last[ends]}


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
            mode = int(rng.choice([0, 0, 1, 1, 2, 3, 3]))
            made += [some_loads(params, rng, mode, every=not number), *_values(params, rng, mode)]
            count += sum(len(part["last"]) for part in made[-2:])
        made[-1]["last"][-1] = 1
    return join(made)


def _values(params: Params, rng: np.random.Generator, mode: int) -> list[Batch]:
    """Values with chunks of any length; in mode 1 after their positions, if those are any."""
    parts = []
    first = 0
    for _ in range(int(rng.integers(1, 4)) if mode == 1 else 1):
        count = int(rng.integers(1, rng.choice([3, 30])))
        shape = (count, params.lanes)
        some: dict[str, Ints] = {name: values(rng, shape) for name in "uv"}
        some |= {rng.choice(["u", "v"]): np.zeros(shape, np.int64)} if rng.random() < 0.2 else {}
        ends = rng.random(count) < rng.choice([0, 0.1, 0.5, 1])
        # The mode stands in loads; what values have there is not read.
        data = params.input.beats(count, **some, mode=rng.integers(0, 4, count), chunk_last=ends)
        if mode == 1:
            stood = rng.integers(first, first + count, (2, params.lanes))
            # Bits beyond a position are not read.
            stood |= rng.integers(0, 2, stood.shape) << params.position_bits
            parts.append(params.input.beats(1, u=stood[0], v=stood[1], load=4, mode=1))
            first += count
        parts.append(data)
    return parts


def passes(
    params: Params,
    layer: Layer,
    mode: int,
    *,
    u: Ints | None = None,
    v: Ints | None = None,
    largest: Ints | None = None,
    least: Ints | None = None,
    **word: npt.ArrayLike,
) -> list[Batch]:
    """A whole pass over `layer.count` positions: its loads, its values, `last` at the end.

    Parameters
    ----------
    u, v : (positions, lanes), codes
    largest, least : (chunks, lanes), positions for mode 1
    word : shift, gain, offset, total, (lanes,), codes
    """
    loads = params.input.beats(2, load=[1, 2], mode=mode)
    for number, pair in enumerate(_WORDS[:2]):
        for port, name in zip("uv", pair, strict=True):
            loads[port][number] = word.get(name, 0)
    starts = np.append(layer.starts(), layer.count)
    ends = np.diff(chunk_of(layer, np.arange(layer.count + 1)))
    given = {name: port for name, port in (("u", u), ("v", v)) if port is not None}
    data = params.input.beats(layer.count, **given, chunk_last=ends)
    data["last"][-1] = 1
    if largest is None or least is None:
        return [loads, data]
    made = [loads]
    for k in range(layer.chunks):
        made.append(params.input.beats(1, u=largest[k], v=least[k], load=4, mode=mode))
        made.append({name: each[starts[k] : starts[k + 1]] for name, each in data.items()})
    return made


def _layer(params: Params, x: Ints, g: Ints) -> list[Batch]:
    """All passes of a layer with gamma = 1 and beta = 0."""
    layer = Layer(count=len(x), chunks=8)
    count, chunks = np.float32(layer.count), np.float32(layer.chunks)
    c = np.float32(1 / np.sqrt(2 * np.log(layer.count / layer.chunks)))
    with np.errstate(all="ignore"):
        first = passes(params, layer, 3, v=x)
        found = model(params, join(first))
        shift = code_of(-value_of(found["total"][-1]) / count)
        gain = 1 / (c * value_of(found["y"][-1]) / chunks + np.float32(1e-5))
        words = {"shift": shift, "gain": code_of(gain)}
        second = passes(params, layer, 0, u=x, **words)
        third = passes(params, layer, 2, u=x, v=g, shift=shift)
        sums = model(params, join(third))
        patch = -gain * gain * (c / chunks) * value_of(sums["y"][-1])
        fourth = passes(
            params,
            layer,
            1,
            u=g,
            largest=found["largest"],
            least=found["least"],
            shift=code_of(-value_of(sums["total"][-1]) / count),
            gain=code_of(gain),
            offset=code_of(patch),
        )
    return [*first, *second, *third, *fourth]
