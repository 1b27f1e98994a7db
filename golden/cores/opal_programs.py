"""Programs for `opal_core`: random commands with all errors, and real tensors.

Each leaves nothing loaded. Random programs have vectors, rows and positions up to the limits, cuts
at any beat, overruns, illegal headers, commands out of order, NaN and Inf in every operand.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores import opal_packets, packets
from narrowgauge.golden.cores.opal_packets import Rows, row_beats
from narrowgauge.golden.cores.opal_real import real
from narrowgauge.golden.cores.packets import Header, Opcode, Out
from narrowgauge.golden.cores.script import Script
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_codes
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units import mx_quantize
from narrowgauge.golden.units.stimuli import SPECIAL_BF16

if TYPE_CHECKING:
    from narrowgauge.golden.cores.opal_core import Params

__all__ = ["make"]

Ints = npt.NDArray[np.int64]


def make(params: "Params", level: str, seed: int) -> Batch:
    """A batch of programs; see `opal_core.vectors`."""
    if level not in ("smoke", "full", "real"):
        raise UsageError(f"level must be smoke, full or real, got {level!r}")
    rng = np.random.default_rng(seed)
    if level == "real":
        return real(params, rng)
    longest = row_beats(params, params.vector, True, True)
    load = params.vector // params.q_lanes
    positions = params.length if level == "full" else min(params.length, 32)
    attend = positions * (row_beats(params, params.head, True, True) + 1)
    size = 2 * (load + longest + 4) + max(attend, 8 * longest, 100)
    beats = 12_000 if level == "smoke" else 200_000
    count = max(8, beats // size)
    script = _Script(params, rng, positions)
    programs = [packets.program(params.input, script.packets(size), size) for _ in range(count)]
    return packets.batch(programs)


class _Script(Script):
    """Random programs; `held` are (length, high) of the vectors loaded."""

    def __init__(self, params: "Params", rng: np.random.Generator, positions: int) -> None:
        super().__init__(params, rng, positions)
        pool = mx_quantize.vectors(params.quantiser, "smoke", int(rng.integers(1 << 31)))
        self.pool = pool["x"].reshape(-1)

    def beats(self, vector: tuple[int, int], w_high: int) -> int:
        """Beats of a row."""
        return row_beats(self.p, vector[0], bool(vector[1]), bool(w_high))

    def ending(self, vector: tuple[int, int]) -> int:
        """A header and a row of high weights."""
        return 1 + self.beats(vector, 1)

    def release(self) -> Batch:
        """One row of weights."""
        return self.matvec(rows=1, release=True)

    def fits_head(self) -> bool:
        """Of its width, and high."""
        return bool(self.held) and self.held[0] == (self.p.head, 1)

    def any(self) -> Batch:
        """Any packet."""
        kind = self.rng.random()
        if kind < 0.06:
            return self.odd()
        if kind < 0.12:
            return self.illegal()
        if kind < 0.16:
            return self.disorder()
        if kind < 0.28:
            return self.spoiled(self.passed())
        if not self.held or (len(self.held) < 2 and self.chance(0.3)):
            return self.load()
        if self.held[0][1] and self.held[0][0] <= self.p.head and self.chance(0.8):
            return self.attend()
        return self.matvec()

    def illegal(self) -> Batch:
        """A header that is refused whatever went before."""
        p = self.p
        some = int(self.rng.integers(0, 5))
        headers = [
            Header(opcode=int(self.rng.integers(5, 16)), length=1, rows=1),
            Header(opcode=Opcode.LOAD, length=0),
            Header(opcode=Opcode.LOAD, length=p.vector + 1),
            Header(opcode=Opcode.PASS, length=0, out=some % 4),
            Header(opcode=Opcode.MATVEC, rows=0, release=1),
            Header(opcode=Opcode.ATTEND, rows=0, length=p.head, release=1),
            Header(opcode=Opcode.ATTEND, rows=p.length + 1, length=p.head),
            Header(opcode=Opcode.ATTEND, rows=1, length=0),
            Header(opcode=Opcode.ATTEND, rows=1, length=p.head + 1),
        ]
        return self.garbage(headers[self.rng.integers(len(headers))], some)

    def elements(self, length: int) -> Ints:
        """bf16 codes: blocks as the quantiser's, or normal ones, some with specials."""
        if self.chance(0.4):
            start = int(self.rng.integers(0, len(self.pool) - length))
            return self.pool[start : start + length]
        x = self.rng.standard_normal(length) * self.rng.choice([0.05, 1.0, 30.0])
        codes = bf16_codes(x.astype(np.float32)).astype(np.int64)
        if self.chance(0.15):
            at = self.rng.integers(0, length, 2)
            codes[at] = self.rng.choice(SPECIAL_BF16, 2)
        return codes

    def load(self) -> Batch:
        """A vector: of a head, of any length, or the longest."""
        p, rng = self.p, self.rng
        choices = (p.head, int(rng.integers(1, p.vector + 1)), p.vector, p.head, p.k + 1)
        length = min(choices[rng.integers(len(choices))], p.vector)
        high = bool(length <= p.head and self.chance(0.8)) or self.chance(0.5)
        made = opal_packets.load(p, self.elements(length), high=high, plain=self.chance(0.3))
        return self.spoiled(made, (length, int(high)))

    def passed(self) -> Batch:
        """A vector that comes back."""
        p = self.p
        length = int(self.rng.integers(1, 2 * p.k))
        return opal_packets.through(
            p,
            self.elements(length),
            high=self.chance(0.5),
            plain=self.chance(0.3),
            quantise=self.chance(0.6),
        )

    def rows(self, count: int, vector: tuple[int, int], w_high: int) -> Rows:
        """Rows of weights or keys for a vector."""
        p, rng = self.p, self.rng
        blocks = -(-vector[0] // p.k)
        top = (1 << ((p.dot.high if w_high else p.low) - 1)) - 1
        codes = rng.integers(-top, top + 1, (count, blocks, p.k))
        shape = (count, blocks)
        scales = rng.choice([120, 125, 126, 127, 130], shape)
        wild = rng.random(shape) < rng.choice([0, 0, 0.1])
        scales[wild] = rng.choice([0, 1, 90, 200, 254, 255], int(wild.sum()))
        outliers = bf16_codes((rng.standard_normal((*shape, p.n)) * 8).astype(np.float32)).astype(
            np.int64
        )
        special = rng.random(outliers.shape) < rng.choice([0, 0, 0, 0.1])
        outliers[special] = rng.choice(SPECIAL_BF16, int(special.sum()))
        outliers[rng.random(outliers.shape) < rng.choice([0, 0.5, 1, 1])] = 0
        unit = p.lanes >> (vector[1] + w_high)
        sent = row_beats(p, vector[0], bool(vector[1]), bool(w_high)) * unit
        size = np.minimum(sent - np.arange(blocks) * p.k, p.k)
        positions = rng.integers(0, 1 << 20, outliers.shape) % size[:, None]
        # Now and then all in one beat, which takes the longest.
        if self.chance(0.3):
            positions = positions % np.minimum(size, 4)[:, None]
        return Rows(codes=codes, scales=scales, outliers=outliers, positions=positions)

    def matvec(self, rows: int | None = None, release: bool | None = None) -> Batch:
        """Rows with the oldest vector; whole where `rows` is given."""
        p, rng = self.p, self.rng
        vector = self.held[0]
        w_high = int(rng.random() < 0.3)
        most = max(1, max(100, 8 * self.beats(vector, 1)) // self.beats(vector, w_high))
        count = rows or int(rng.integers(1, 1 + most if self.chance(0.2) else 1 + min(most, 12)))
        drop = self.chance(0.5) if release is None else release
        scale = bf16_codes(rng.standard_normal(count).astype(np.float32)).astype(np.int64)
        if self.chance(0.1):
            scale[rng.integers(count)] = rng.choice(SPECIAL_BF16)
        out = Out(int(rng.choice([0, 0, 1, 2, 3])))
        made = opal_packets.matvec(
            p,
            self.rows(count, vector, w_high),
            scale,
            length=vector[0],
            a_high=bool(vector[1]),
            w_high=bool(w_high),
            out=out,
            release=drop,
        )
        if rows is None:
            made = self.spoiled(made)
        return self.used(made, drop)

    def attend(self) -> Batch:
        """Keys and values for the oldest vector."""
        p, rng = self.p, self.rng
        vector = self.held[0]
        count = self.positions if self.chance(0.15) else int(rng.integers(1, 9))
        keys = self.rows(count, vector, 1)
        # Scores about 1, so that codes differ.
        keys = Rows(
            codes=keys.codes,
            scales=np.where(keys.scales == 127, 123, keys.scales),
            outliers=keys.outliers,
            positions=keys.positions,
        )
        top = (1 << (p.dot.high - 1)) - 1
        v = rng.integers(-top, top + 1, (count, vector[0]))
        reference = int(rng.choice([1, 100, 127, 127, 140, 254]))
        v_scale = np.maximum(reference - rng.integers(0, 6, count), 0)
        if self.chance(0.1):
            v_scale[rng.integers(count)] = rng.choice([255, min(reference + 1, 255)])
        drop = self.chance(0.5)
        made = opal_packets.attend(
            p,
            keys,
            v,
            v_scale,
            out=Out(int(rng.choice([0, 0, 1, 2, 3]))),
            release=drop,
            reference=reference,
        )
        return self.used(self.spoiled(made), drop)
