"""Programs for the baseline cores: packets, random commands with all errors, and real tensors.

The random programs are made as those of `opal_core`; the real ones do the work of its real ones:
the same tokens and rows of weights, the same keys and values, each in the core's own formats.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden import samples
from narrowgauge.golden.cores import packets
from narrowgauge.golden.cores.baseline import Baseline
from narrowgauge.golden.cores.packets import Header, Opcode
from narrowgauge.golden.cores.script import Script
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_codes
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units.stimuli import SPECIAL_BF16, random_bf16

__all__ = ["attend", "load", "make", "matvec", "through"]

Ints = npt.NDArray[np.int64]

_TOKENS = 8
"""Tokens of each tensor in the real programs."""


def load(params: Baseline, x: npt.ArrayLike) -> Batch:
    """LOAD of a vector of bf16 codes."""
    return packets.load(params.input, params.q_lanes, x)


def through(params: Baseline, x: npt.ArrayLike) -> Batch:
    """PASS of a vector of bf16 codes: back as it is."""
    return packets.through(params.input, params.q_lanes, x, quantise=False)


def matvec(params: Baseline, weights: Batch, rows: int, *, release: bool = True) -> Batch:
    """MATVEC of `rows` rows of weights, as data beats, with the oldest vector."""
    header = Header(opcode=Opcode.MATVEC, rows=rows, release=int(release))
    return packets.packet(params.input, header, weights)


def attend(
    params: Baseline, keys: Batch, values: Batch, rows: int, length: int, *, release: bool = True
) -> Batch:
    """ATTEND of the oldest vector, of `length` elements, to `rows` positions.

    Parameters
    ----------
    keys : data beats of `rows` rows of `length` elements
    values : data beats of `length` rows of `rows` elements, V transposed
    """
    header = Header(opcode=Opcode.ATTEND, rows=rows, length=length, release=int(release))
    return packets.packet(params.input, header, join([keys, values]))


def make(params: Any, level: str, seed: int) -> Batch:
    """A batch of programs."""
    if level not in ("smoke", "full", "real"):
        raise UsageError(f"level must be smoke, full or real, got {level!r}")
    rng = np.random.default_rng(seed)
    if level == "real":
        return _stack(params, _real(params, rng))
    longest = params.beats_of(params.vector)
    positions = params.length if level == "full" else min(params.length, 3 * params.lanes)
    most = positions * params.beats_of(params.head)
    most += params.head * params.beats_of(positions)
    size = 2 * (params.vector // params.q_lanes + longest) + max(most, 8 * longest, 100) + 8
    count = max(8, (12_000 if level == "smoke" else 200_000) // size)
    script = _Script(params, rng, positions)
    return _stack(params, [script.packets(size) for _ in range(count)])


def _stack(params: Baseline, programs: list[list[Batch]]) -> Batch:
    """Programs, filled up to the longest, as a batch."""
    size = max(sum(len(part["last"]) for part in parts) for parts in programs)
    return packets.batch([packets.program(params.input, parts, size) for parts in programs])


class _Script(Script):
    """Random programs; `held` are the lengths of the vectors loaded."""

    def ending(self, vector: int) -> int:
        """A header and a row."""
        return 1 + int(self.p.beats_of(vector))

    def release(self) -> Batch:
        """One row of weights."""
        return self.matvec(whole=True)

    def fits_head(self) -> bool:
        """Of its width."""
        return self.held[:1] == [self.p.head]

    def any(self) -> Batch:
        """Any packet."""
        kind = self.rng.random()
        if kind < 0.06:
            return self.odd()
        if kind < 0.12:
            return self.illegal()
        if kind < 0.16:
            return self.disorder()
        if kind < 0.24:
            x = self.elements(int(self.rng.integers(1, 6 * self.p.q_lanes)))
            return self.spoiled(through(self.p, x))
        if not self.held or (len(self.held) < 2 and self.chance(0.3)):
            return self.load()
        if self.held[0] <= self.p.head and self.chance(0.8):
            return self.attend()
        return self.matvec()

    def illegal(self) -> Batch:
        """A header that is refused whatever went before."""
        p = self.p
        out = int(self.rng.integers(1, 4))
        headers = [
            Header(opcode=int(self.rng.integers(5, 16)), length=1, rows=1),
            Header(opcode=Opcode.LOAD, length=0),
            Header(opcode=Opcode.LOAD, length=p.vector + 1),
            Header(opcode=Opcode.PASS, length=0),
            Header(opcode=Opcode.PASS, length=1, out=out),
            Header(opcode=Opcode.MATVEC, rows=0, release=1),
            Header(opcode=Opcode.MATVEC, rows=1, out=out, release=1),
            Header(opcode=Opcode.ATTEND, rows=0, length=p.head, release=1),
            Header(opcode=Opcode.ATTEND, rows=p.length + 1, length=p.head),
            Header(opcode=Opcode.ATTEND, rows=1, length=0),
            Header(opcode=Opcode.ATTEND, rows=1, length=p.head + 1),
            Header(opcode=Opcode.ATTEND, rows=1, length=p.head, out=out),
        ]
        return self.garbage(headers[self.rng.integers(len(headers))], int(self.rng.integers(0, 5)))

    def elements(self, length: int) -> Ints:
        """bf16 codes: normal ones, or of all exponents, some with specials."""
        if self.chance(0.2):
            return random_bf16(self.rng, self.rng.integers(0, 255, length))
        x = self.rng.standard_normal(length) * self.rng.choice([0.05, 1.0, 30.0])
        codes = bf16_codes(x.astype(np.float32)).astype(np.int64)
        if self.chance(0.1):
            codes[self.rng.integers(0, length, 2)] = self.rng.choice(SPECIAL_BF16, 2)
        return codes

    def load(self) -> Batch:
        """A vector: of a head, of any length, or the longest."""
        p = self.p
        any_length = int(self.rng.integers(1, p.vector + 1))
        length = int(self.rng.choice([p.head, any_length, p.vector, p.head, p.lanes + 1]))
        length = min(length, p.vector)
        return self.spoiled(load(p, self.elements(length)), length)

    def rows(self, count: int, width: int) -> Batch:
        """Data beats of rows, some with anything in them."""
        x = self.rng.standard_normal((count, width)) * self.rng.choice([0.1, 0.3, 1.0])
        made: Batch = self.p.rows(bf16_codes(x.astype(np.float32)))
        self.p.disturb(made, self.rng)
        return made

    def matvec(self, *, whole: bool = False) -> Batch:
        """Rows with the oldest vector; one, whole, that releases it where `whole` is set."""
        longest = 8 * self.p.beats_of(self.p.vector) // self.p.beats_of(self.held[0])
        most = longest if self.chance(0.2) else min(longest, 12)
        count = 1 if whole else int(self.rng.integers(1, 1 + most))
        release = whole or self.chance(0.5)
        made = matvec(self.p, self.rows(count, self.held[0]), count, release=release)
        if not whole:
            made = self.spoiled(made)
        return self.used(made, release)

    def attend(self) -> Batch:
        """Keys and values for the oldest vector."""
        length = self.held[0]
        count = int(self.rng.integers(1, 1 + self.positions if self.chance(0.3) else 9))
        release = self.chance(0.5)
        keys, values = self.rows(count, length), self.rows(length, count)
        made = attend(self.p, keys, values, count, length, release=release)
        return self.used(self.spoiled(made), release)


def _real(params: Any, rng: np.random.Generator) -> list[list[Batch]]:
    """Of each captured tensor some tokens: two passes over weights, attention among the tokens."""
    sample = samples.load()
    programs = []
    for name in sorted(sample.activations):
        tokens = sample.activations[name]
        width = min(tokens.shape[1], params.vector)
        weights = sample.weights[name][:, :width]
        # The sample has fewer rows: they come in turn.
        products = [
            (params.rows(weights[np.arange(count) % len(weights)]), count)
            for count in packets.REAL_ROWS
        ]
        head = tokens[1:, : params.head]
        seen = min(len(head), params.length)
        keys, values = params.rows(head[:seen]), params.rows(head[:seen].T.copy())
        for token in np.sort(rng.permutation(np.arange(1, len(tokens)))[:_TOKENS]):
            parts = []
            for rows, count in products:
                parts.append(load(params, tokens[token, :width]))
                parts.append(matvec(params, rows, count))
            parts.append(load(params, head[token - 1]))
            parts.append(attend(params, keys, values, seen, head.shape[1]))
            programs.append(parts)
    return programs
