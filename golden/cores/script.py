"""What random programs of all cores share: packets cut and overrun, garbage, refused commands."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from narrowgauge.golden.cores import packets
from narrowgauge.golden.cores.packets import Header, Opcode
from narrowgauge.golden.payload import Batch, join

__all__ = ["Script"]


class Script(ABC):
    """Random programs, one after the other.

    Parameters
    ----------
    params : of the core
    rng : what everything is drawn from
    positions : of the longest attention

    Attributes
    ----------
    held : the vectors that are loaded, the oldest first, as the core's own script tells them apart
    """

    def __init__(self, params: Any, rng: np.random.Generator, positions: int) -> None:
        self.p, self.rng, self.positions = params, rng, positions
        self.held: list[Any] = []

    @abstractmethod
    def any(self) -> Batch:
        """Any packet."""

    @abstractmethod
    def ending(self, vector: Any) -> int:
        """Beats of the packet that releases a vector, at most."""

    @abstractmethod
    def release(self) -> Batch:
        """The packet that releases the oldest vector."""

    @abstractmethod
    def fits_head(self) -> bool:
        """Whether the oldest vector is one that ATTEND of the widest head takes."""

    def packets(self, size: int) -> list[Batch]:
        """The packets of one program of `size` beats at most, which leaves nothing loaded."""
        parts: list[Batch] = []
        room = size
        while True:
            before = list(self.held)
            part = self.any()
            room -= len(part["last"])
            if room < sum(self.ending(vector) for vector in self.held):
                self.held = before
                break
            parts.append(part)
        while self.held:
            parts.append(self.release())
        return parts

    def chance(self, of: float) -> bool:
        """True with that probability."""
        return bool(self.rng.random() < of)

    def garbage(self, header: Header, count: int) -> Batch:
        """A header and beats that nobody should read."""
        data = {}
        for field in self.p.input.fields:
            shape = (count,) if field.count is None else (count, field.count)
            data[field.name] = self.rng.integers(0, 1 << field.width, shape)
        return packets.packet(self.p.input, header, data if count else None)

    def odd(self) -> Batch:
        """NOPs, some of several beats."""
        count = int(self.rng.choice([0, 0, 0, 1, 5]))
        return self.garbage(Header(opcode=Opcode.NOP, length=3, rows=2), count)

    def disorder(self) -> Batch:
        """A legal command that cannot be carried out now."""
        some, release = int(self.rng.integers(0, 5)), int(self.rng.integers(2))
        if len(self.held) == 2:
            return self.garbage(Header(opcode=Opcode.LOAD, length=1), some)
        if not self.held and self.chance(0.5):
            return self.garbage(Header(opcode=Opcode.MATVEC, rows=1, release=release), some)
        length = self.p.head - self.fits_head()
        header = Header(opcode=Opcode.ATTEND, rows=1, length=length, release=release)
        return self.garbage(header, some)

    def spoiled(self, made: Batch, vector: Any = None) -> Batch:
        """The packet as it is, or cut, or longer than it should be.

        `vector` is what it loads where it is whole.
        """
        count = len(made["last"]) - 1
        kind = self.rng.random()
        if kind < 0.12:
            keep = int(self.rng.integers(0, count))
            made = {name: values[: keep + 1].copy() for name, values in made.items()}
            made["last"][-1] = 1
        elif kind < 0.2:
            more = self.garbage(Header(opcode=Opcode.NOP), int(self.rng.integers(1, 4)))
            made = join([made, {name: values[1:] for name, values in more.items()}])
            made["last"][count] = 0
        elif vector is not None:
            self.held.append(vector)
        return made

    def used(self, made: Batch, release: bool) -> Batch:
        """A packet that has used the oldest vector, which is released unless no data beat came."""
        if release and len(made["last"]) > 1:
            self.held.pop(0)
        return made
