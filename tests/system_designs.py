"""A core of packets small enough to test what stands around it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Module, Signal

from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.hdl.stream import StreamUnit

__all__ = ["Echo", "EchoParams", "answers", "packets"]


@dataclass(frozen=True, kw_only=True)
class EchoParams:
    """Words of `width` bits."""

    width: int = 40

    @property
    def input(self) -> Payload:
        """One beat."""
        return Payload((Field(name="word", width=self.width), Field(name="last", width=1)))

    @property
    def output(self) -> Payload:
        """One beat."""
        return Payload(
            (
                Field(name="data", width=self.width),
                Field(name="status", width=4),
                Field(name="last", width=1),
            )
        )


class Echo(StreamUnit):
    """Answers a packet with its data plus a running count; opcode 0 is not answered.

    The header's status, bits 7:4, is that of the response. A packet without data is answered by one
    beat of zeros. The count goes on from packet to packet: only a reset brings it back to 0.
    """

    latency = 1
    interval = 1

    def __init__(self, params: EchoParams) -> None:
        super().__init__(params)

    def elaborate(self, platform: object) -> Module:
        """One register behind the input."""
        m = Module()
        inside, silent = Signal(), Signal()
        status, count = Signal(4), Signal(8)
        word, last = self.i.payload.word, self.i.payload.last
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += inside.eq(~last)
            with m.If(~inside):
                m.d.sync += [silent.eq(word[:4] == 0), status.eq(word[4:8])]
                with m.If(last & word[:4].any()):
                    m.d.sync += [
                        self.o.valid.eq(1),
                        self.o.payload.data.eq(0),
                        self.o.payload.status.eq(word[4:8]),
                        self.o.payload.last.eq(1),
                    ]
            with m.Elif(~silent):
                m.d.sync += [
                    count.eq(count + 1),
                    self.o.valid.eq(1),
                    self.o.payload.data.eq(word + count),
                    self.o.payload.status.eq(status),
                    self.o.payload.last.eq(last),
                ]
        return m


def packets(sizes: list[tuple[int, int, int]], seed: int = 0) -> Batch:
    """Packets of (opcode, status, data beats)."""
    rng = np.random.default_rng(seed)
    words: list[npt.NDArray[np.int64]] = []
    lasts: list[npt.NDArray[np.int64]] = []
    for opcode, status, size in sizes:
        words.append(np.concatenate([[opcode | status << 4], rng.integers(0, 1 << 40, size)]))
        lasts.append(np.eye(1 + size, dtype=np.int64)[-1])
    return {"word": np.concatenate(words), "last": np.concatenate(lasts)}


def answers(batch: Batch) -> Batch:
    """What `Echo` says to packets after a reset."""
    made: dict[str, list[Any]] = {"data": [], "status": [], "last": []}
    inside, header, count = False, 0, 0
    for word, last in zip(batch["word"].tolist(), batch["last"].tolist(), strict=True):
        if not inside:
            header = word
            if last and header & 15:
                made["data"].append(0)
                made["status"].append(header >> 4 & 15)
                made["last"].append(1)
        elif header & 15:
            made["data"].append((word + count) % (1 << 40))
            made["status"].append(header >> 4 & 15)
            made["last"].append(last)
            count = (count + 1) % 256
        inside = not last
    return {name: np.array(values, np.int64) for name, values in made.items()}
