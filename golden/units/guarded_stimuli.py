"""Commands for guarded memories: words about their bounds, flips alone and in pairs, scrubs."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith import word_guard
from narrowgauge.golden.formats import get_block, quantize
from narrowgauge.golden.guard_words import Part
from narrowgauge.golden.payload import Batch, Payload, join
from narrowgauge.golden.units.stimuli import blocks as transactions
from narrowgauge.golden.units.stimuli import filled, real_rows

__all__ = ["commands", "words_of"]

Ints = npt.NDArray[np.int64]


class Memory(Protocol):
    """What the commands depend on."""

    @property
    def word(self) -> word_guard.Params:
        """What a word is."""

    @property
    def depth(self) -> int:
        """Words."""

    @property
    def encoded(self) -> bool:
        """Whether they come with their check bits."""

    @property
    def input(self) -> Payload:
        """A command."""


def commands(params: Memory, level: str, seed: int) -> Batch:
    """Groups: bounds, words for all addresses or some, then any commands on these; `last` ends."""
    rng = np.random.default_rng(seed)
    if level == "real":
        return join([_real(params, rows, rng) for _, rows in real_rows(rng, 4)])
    return filled(transactions(level, smoke=2_500), lambda: _group(params, rng))


def _group(params: Memory, rng: np.random.Generator) -> Batch:
    p, guard = params.word, params.word.guard
    # Who scrubs has written all words.
    whole = rng.random() < min(0.7, 16 / params.depth)
    known = rng.permutation(params.depth)[: params.depth if whole else rng.integers(1, 9)]
    source = word_guard.vectors(p, "smoke", int(rng.integers(1 << 30)))
    # Words about bounds that all of them share.
    row = int(rng.integers(len(source["word"])))
    limits = [int(source[name][row]) for name in guard.limits]
    words = source["word"][rng.integers(0, len(source["word"]), 64)]
    for part in guard.parts:
        about = _about(part, guard.limits, limits)
        if about:
            value = np.clip(rng.choice(about, 64) + rng.integers(-2, 3, 64), 0, 255)
            at = slice(part.low, part.low + part.width)
            near = rng.random((64, 1)) < 0.6
            words[:, at] = np.where(near, value[:, None] >> np.arange(part.width) & 1, words[:, at])
    rows: list[tuple[int, int, Ints]] = []

    def put(op: int, address: int, data: Ints | None = None) -> None:
        made = np.zeros(guard.stored_bits, np.int64)
        if data is not None:
            made[: len(data)] = data
        rows.append((op, address, made))

    def write(address: int) -> None:
        data = rng.integers(0, 2, guard.stored_bits)
        word = words[rng.integers(64)]
        data[: guard.word_bits] = word
        put(1, address, guard.encode(word[None])[0] if params.encoded else data)

    for i in rng.permutation(len(limits)):
        put(4, int(i), limits[i] >> np.arange(8) & 1)
    for address in known.tolist():
        write(address)
    code = [*guard.covered, *range(guard.word_bits, guard.stored_bits)]
    for _ in range(int(rng.integers(1, 60))):
        address = int(rng.choice(known))
        op = int(rng.choice([0, 0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 7]))
        if op == 3 and (not whole or rng.random() < 0.3):
            op = 2
        if op == 1:
            write(address)
        elif op == 2:
            data = np.zeros(guard.stored_bits, np.int64)
            places = code if code and rng.random() < 0.7 else range(guard.stored_bits)
            data[rng.choice(places, rng.choice([1, 1, 1, 2, 3]))] = 1
            put(2, address, data)
            if rng.random() < 0.5:
                put(0, address)
        elif op == 4:
            number = int(rng.integers(params.depth))
            bound = limits[number] if number < len(limits) else int(rng.integers(256))
            put(4, number, bound >> np.arange(8) & 1)
        else:
            put(op, address, rng.integers(0, 2, guard.stored_bits))
        if op == 3:
            # Commands that may go while it runs: on words from the first one up.
            for low in range(int(rng.integers(0, 6))):
                if rng.random() < 0.7:
                    write(low // 2)
                put(0, low // 2)
    end = int(rng.choice([0, 0, 1, 2, 4, 5]))
    put(end, int(rng.choice(known)) if end != 4 else int(known[0]), None)
    return _batch(params, rows)


def _about(part: Part, names: tuple[str, ...], limits: list[int]) -> list[int]:
    prefix = {"scale": "", "exponent": "exponent_"}.get(part.name)
    ends = [f"{prefix}{end}" for end in ("low", "high")]
    return [value for name, value in zip(names, limits, strict=True) if name in ends]


def _batch(params: Memory, rows: list[tuple[int, int, Ints]]) -> Batch:
    last = np.zeros(len(rows), np.int64)
    last[-1] = 1
    return params.input.beats(
        len(rows),
        op=[op for op, _, _ in rows],
        address=[address for _, address, _ in rows],
        data=np.array([data for _, _, data in rows]),
        last=last,
    )


def words_of(params: word_guard.Params, rows: npt.NDArray[np.generic]) -> Ints:
    """Words of a tensor, (words, word_bits), whole ones only.

    Parameters
    ----------
    rows : float32, or uint16 that are bf16 codes, (rows, columns); blocks run along rows
    """
    fmt, guard = get_block(params.format), params.guard
    batch = quantize(rows, fmt, axis=1).batch()
    fields = [f for f in fmt.payload.fields if params.elements or f.name != "codes"]
    payload = Payload(tuple(fields))
    raw = payload.pack({f.name: batch[f.name] for f in fields})
    bits = np.unpackbits(raw, axis=1, bitorder="little")[:, : payload.width].astype(np.int64)
    count = len(bits) // params.blocks
    return bits[: count * params.blocks].reshape(count, guard.word_bits)


def _real(params: Memory, weights: npt.NDArray[np.uint16], rng: np.random.Generator) -> Batch:
    """A layer's words with their own bounds: written, flipped once, read, scrubbed, read."""
    guard = params.word.guard
    words = words_of(params.word, weights)[: params.depth]
    found = guard.bounds(words)
    rows: list[tuple[int, int, Ints]] = []
    for i, name in enumerate(guard.limits):
        value = np.resize(int(np.asarray(getattr(found, name)).max()) >> np.arange(8) & 1, 8)
        rows.append((4, i, np.pad(value, (0, guard.stored_bits - 8))))
    order = np.arange(params.depth)
    coded = guard.encode(words).astype(np.int64)
    for address in order.tolist():
        rows.append((1, address, coded[address % len(words)]))
    for address in order.tolist():
        data = np.zeros(guard.stored_bits, np.int64)
        data[rng.integers(0, guard.stored_bits, rng.choice([1, 1, 1, 2]))] = 1
        rows += [(2, address, data), (0, address, np.zeros_like(data))]
    none = np.zeros(guard.stored_bits, np.int64)
    rows += [(3, 0, none), *[(0, address, none) for address in order.tolist()], (5, 0, none)]
    return _batch(params, rows)
