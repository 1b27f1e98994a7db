"""Random programs for `flexblock_core`, and one that goes through every error."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores import flexblock_packets as host
from narrowgauge.golden.cores.flexblock_machine import Machine
from narrowgauge.golden.cores.flexblock_packets import Load, Opcode, Run, Side
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["Program", "cut"]

Ints = npt.NDArray[np.int64]

_EDGES = (0, 1, 2, 253, 254, 255)
_BEATS = 120
"""Most beats of a random RUN."""


def cut(part: Batch, count: int) -> Batch:
    """The first beats of a packet."""
    made = {name: values[:count].copy() for name, values in part.items()}
    made["last"][-1] = 1
    return made


class Program:
    """A program that grows packet by packet; the model runs beside it, and tells what may come.

    Parameters
    ----------
    params : of the core
    rng : what everything is drawn from

    Attributes
    ----------
    work : beats of packets and of answers, so far
    """

    def __init__(self, params: "Params", rng: np.random.Generator) -> None:
        self.p, self.rng = params, rng
        self.machine = Machine(params)
        self.parts: list[Batch] = []
        self.work = 0
        self.centre = int(rng.choice([127, 127, 40, 60, 190, 250]))

    def program(self, size: int) -> list[Batch]:
        """Packets of about so many beats, after the words that they read."""
        self.fill()
        start = self.work
        while self.work - start < size:
            kind = self.rng.random()
            if kind < 0.05:
                self.send(self.illegal())
            elif kind < 0.07:
                self.send(host.made(self.p, self.head(opcode=Opcode.NOP), self.garbage(0, 3)))
            elif kind < 0.25:
                self.load()
            else:
                self.run()
        return self.parts

    def tour(self) -> list[Batch]:
        """Each way in which a command can fail, and a RUN that goes well after it."""
        p = self.p
        self.fill()
        well = host.packet(p, Run(mode=1, a=0, b=0, beats=2, group=1))
        load = self.words(Load(side=Side.B, address=0, words=2 * p.load, after=True))
        bad = [self.illegal(kind) for kind in range(9)]
        bad += [cut(well, count + 1) for count in range(p.run_beats)]
        bad += [self.longer(well), cut(load, 1), cut(load, 2), self.longer(load)]
        for part in bad:
            self.send(part)
            self.send(well)
        last = p.pes * p.b_depth - 1
        for run in (
            Run(mode=2, a=p.a_depth - 1, b=0, beats=2, group=1),
            Run(mode=2, a=0, b=last, beats=2, group=2),
            Run(mode=2, a=0, b=p.b_depth, beats=1, group=1, shared=False),
            Run(mode=2, a=0, b=0, beats=1, group=1, columns=(1, 2), column_steps=(0, -1)),
            Run(mode=0, a=0, b=0, beats=1, group=1, hold=True),
            Run(mode=2, a=0, b=0, beats=1, group=1, columns=(2, 2), add=True, hold=True),
            Run(mode=0, a=0, b=0, beats=1, group=1, add=True),
        ):
            self.send(host.packet(p, run))
            self.send(well)
        for hold in (True, False):
            run = Run(
                mode=1, a=0, b=0, beats=1, group=1, columns=(3, p.sums), hold=hold, add=not hold
            )
            if p.sums <= 2 << p.address_bits:
                self.send(host.packet(p, run))
        return self.parts

    # -- packets --------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        """Whether something happens that does so in this share of cases."""
        return bool(self.rng.random() < share)

    def send(self, part: Batch) -> None:
        """A packet."""
        answer = self.machine.packet(part)
        self.parts.append(part)
        self.work += len(part["last"]) + len(answer["last"])

    def head(self, **fields: int) -> Ints:
        """A header."""
        return host.header(self.p, **fields)

    def garbage(self, least: int, most: int) -> Ints:
        """Words of any bits."""
        size = self.p.input["word"].count
        assert size is not None
        return self.rng.integers(0, 256, (int(self.rng.integers(least, most + 1)), size))

    def longer(self, part: Batch) -> Batch:
        """A packet with beats that it should not have."""
        return host.made(self.p, part["word"], self.garbage(1, 3))

    def spoiled(self, part: Batch) -> Batch:
        """A packet, in some cut or with more beats than it should have."""
        kind = self.rng.random()
        if kind < 0.05:
            return cut(part, int(self.rng.integers(1, len(part["last"]))))
        return self.longer(part) if kind < 0.09 else part

    # -- operands -------------------------------------------------------------------------------

    def fill(self) -> None:
        """The first and the last rows of both sides, or all of them.

        A RUN of the program before may still be reading.
        """
        p = self.p
        for side, depth in zip(Side, (p.a_depth, p.b_depth), strict=True):
            some = min(depth // 2, 16)
            for row in (0, depth - some):
                load = Load(side=side, address=row * p.pes, words=some * p.pes, after=True)
                self.send(self.words(load))

    def words(self, load: Load) -> Batch:
        """LOAD of random words."""
        p, rng, count = self.p, self.rng, load.words
        slots = rng.integers(-15, 16, (count, p.word["slots"].count or 1))
        kind = rng.random((count, 1))
        slots = np.where(kind < 0.1, 0, np.where(kind < 0.2, 15, slots))
        slots = np.where(kind > 0.8, slots // 8, slots)
        scales = np.clip(rng.normal(self.centre, 6, (count, 2)).astype(np.int64), 0, 254)
        edge = rng.random((count, 2)) < 0.03
        scales = np.where(edge, rng.choice(_EDGES, (count, 2)), scales)
        part = host.packet(p, load, {"slots": slots, "scales": scales})
        if self.chance(0.1):
            # Any bits: zeros with a sign too.
            part["word"][1:] = self.garbage(len(part["last"]) - 1, len(part["last"]) - 1)
        return part

    def load(self) -> None:
        """Some words of what is filled."""
        p, rng = self.p, self.rng
        side = Side(int(rng.integers(2)))
        some = min((p.a_depth, p.b_depth)[side] // 2, 16) * p.pes
        start = int(rng.integers(0, some // p.load)) * p.load
        count = int(rng.integers(1, min(some - start, 12) + 1))
        if self.chance(0.3):
            start += ((p.a_depth, p.b_depth)[side] * p.pes) - some
        after = self.machine.overtakes(side, start, count) or self.chance(0.2)
        self.send(
            self.spoiled(self.words(Load(side=side, address=start, words=count, after=after)))
        )

    # -- dot products ---------------------------------------------------------------------------

    def run(self) -> None:
        """A RUN of what is filled."""
        for _ in range(50):
            part = host.packet(self.p, self.any_run())
            try:
                self.send(self.spoiled(part))
            except UsageError:
                # It would read what was never written.
                continue
            return
        self.send(host.packet(self.p, Run(mode=0, a=0, b=0, beats=1, group=1)))

    def any_run(self) -> Run:
        """Counts and steps that mostly stay in the memories."""
        p, rng = self.p, self.rng
        mode = int(rng.integers(0, 4))
        shared = self.chance(0.6)
        some = min(p.b_depth // 2, 16) * (p.pes if shared else 1)

        def few(most: int) -> int:
            return 1 if self.chance(0.4) else int(rng.integers(1, most + 1))

        whole = p.pe.beats(mode)
        beats = int(rng.integers(1, min(p.a_depth // 2, some, 16) + 1))
        group = whole if self.chance(0.2) else int(rng.integers(1, min(whole, beats) + 1))
        limit = 1 << p.count_bits
        taps, columns = [few(3), few(3)], [few(3), min(few(6), limit)]
        if beats * taps[0] * taps[1] > min(16, p.a_depth // 2):
            taps = [1, 1]
        if beats * taps[0] * taps[1] * columns[0] * columns[1] > _BEATS:
            columns[0] = 1
        steps = [int(rng.integers(-2, 4)) for _ in range(4)]
        if self.chance(0.3):
            steps[1], steps[3] = beats, beats * taps[1]
        a = int(rng.integers(0, 3))
        b = int(rng.integers(0, some))
        if self.chance(0.06):
            a = p.a_depth - 1
        elif self.chance(0.06):
            b = p.pes * p.b_depth - 1
        keep = 15 if self.chance(0.6) else int(rng.integers(1, 16))
        add, hold = self.chance(0.25), self.chance(0.3)
        return Run(
            mode=mode,
            shared=shared,
            a=a,
            b=b,
            beats=beats,
            group=group,
            taps=(taps[0], taps[1]),
            tap_steps=(steps[0], steps[1]),
            columns=(columns[0], columns[1]),
            column_steps=(steps[2], steps[3]),
            keep=keep,
            add=add,
            hold=hold,
        )

    def illegal(self, kind: int | None = None) -> Batch:
        """A command that is refused."""
        p, rng = self.p, self.rng
        side = int(rng.integers(2))
        size = (p.a_depth, p.b_depth)[side] * p.pes
        mode = int(rng.integers(0, 4))
        load: dict[str, int] = {"opcode": Opcode.LOAD, "side": side}
        run = {"opcode": Opcode.RUN, "mode": mode, "shared": int(rng.integers(2)), "keep": 15}
        heads = [
            {"opcode": int(rng.integers(3, 16))},
            load,
            {**load, "address": size, "words": p.load},
            {**load, "address": size - p.load, "words": p.load + 1},
            {**load, "words": size + 1},
            {**load, "address": (1 << 20) - p.load, "words": (1 << 20) - 1},
            {**load, "address": 1, "words": 1} if p.load > 1 else load,
            {**run, "mode": 0, "keep": 0},
            run,
        ]
        if kind is None:
            kind = int(rng.integers(len(heads)))
        data = self.garbage(0, 3)
        if kind >= 7:
            # Longer than the sums have room for, where the field has such numbers.
            group = p.pe.beats(mode) if kind == 8 else 0
            if group >> p.group_bits:
                return self.illegal(0)
            fields = host.descriptor(p, Run(mode=mode, a=0, b=0, beats=1, group=group + 1))
            data = host.packet(p, Run(mode=0, a=0, b=0, beats=1, group=1))["word"][1:]
            raw = p.run.pack(p.run.beats(1, **fields)).astype(np.int64)
            data = np.pad(raw, ((0, 0), (0, data.size - raw.shape[1]))).reshape(data.shape)
            if self.chance(0.2):
                data = np.concatenate([data, self.garbage(1, 2)])
        return host.made(p, self.head(**heads[kind]), data)
