"""Small stream designs that keep the rules, and can be broken in the ways that streams break."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from verify_designs import module

from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.hdl.payload import layout

__all__ = ["ECHO", "ECHO_GOLDEN", "GOLDEN", "PARAMS", "Pair", "Pipe"]

PARAMS = SimpleNamespace(
    input=Payload((Field(name="x", width=4, count=2), Field(name="last", width=1))),
    output=Payload((Field(name="y", width=10),)),
)


def _vectors(params: Any, level: str, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    last = rng.integers(0, 2, 200)
    last[-1] = 1
    return {"x": rng.integers(0, 16, (200, 2)), "last": last}


def _model(params: Any, batch: Batch) -> Batch:
    ends = np.flatnonzero(batch["last"]) + 1
    products = batch["x"].prod(axis=1)
    sums = [part.sum() for part in np.split(products, ends[:-1])]
    return {"y": np.array(sums) % 1024}


GOLDEN = module(vectors=_vectors, model=_model)


class Pipe(wiring.Component):
    """Sums x0 * x1 up to `last`: a register of the product, one of the sum; `fault` breaks it."""

    latency = 2
    interval = 1

    def __init__(self, fault: str = "") -> None:
        self._fault = fault
        super().__init__(
            {
                "i": In(stream.Signature(layout(PARAMS.input))),
                "o": Out(stream.Signature(layout(PARAMS.output))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Two stages that a waiting result halts."""
        m = Module()
        i, o, fault = self.i, self.o, self._fault
        run, done, valid, last = Signal(), Signal(), Signal(), Signal()
        fresh = Signal(init=1)
        product = Signal(8, reset_less=True)
        total = Signal(10, reset_less=True)
        m.d.comb += [
            run.eq(~done | o.ready),
            i.ready.eq(run),
            o.valid.eq(done),
            o.payload.y.eq(total),
        ]
        with m.If(run):
            m.d.sync += [valid.eq(i.valid), last.eq(i.payload.last), done.eq(valid & last)]
        # A register that takes the next beat while the one that it holds cannot move on.
        with m.If(run if fault != "overwrite" else 1):
            m.d.sync += product.eq(i.payload.x[0] * i.payload.x[1])
        moves = {"leak": run, "double": valid}.get(fault, run & valid)
        before = total if fault == "uncleared" else Mux(fresh, 0, total)
        with m.If(moves):
            m.d.sync += total.eq(before + product)
        with m.If(run & valid):
            m.d.sync += fresh.eq(last)
        if fault == "forget":
            # An idle cycle within a transaction starts the sum anew.
            with m.If(run & ~valid):
                m.d.sync += fresh.eq(1)
        return m


def _words(params: Any, level: str, seed: int) -> Batch:
    return {"x": np.random.default_rng(seed).integers(0, 256, 200)}


ECHO = SimpleNamespace(
    input=Payload((Field(name="x", width=8),)), output=Payload((Field(name="y", width=8),))
)
ECHO_GOLDEN = module(vectors=_words, model=lambda params, batch: {"y": batch["x"]})


class Pair(wiring.Component):
    """Room for two beats before the output's register; `fault` "lifo" takes the younger first."""

    latency = 2
    interval = 1

    def __init__(self, fault: str = "") -> None:
        self._fault = fault
        super().__init__(
            {
                "i": In(stream.Signature(layout(ECHO.input))),
                "o": Out(stream.Signature(layout(ECHO.output))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Places 0 (the older) and 1."""
        m = Module()
        count, done = Signal(range(3)), Signal()
        places = [Signal(8, name=f"place{i}", reset_less=True) for i in range(2)]
        out = Signal(8, reset_less=True)
        push, pop, room = Signal(), Signal(), Signal(range(3))
        m.d.comb += [
            self.i.ready.eq(count != 2),
            push.eq(self.i.valid & self.i.ready),
            pop.eq((count != 0) & (~done | self.o.ready)),
            room.eq(count - pop),
            self.o.valid.eq(done),
            self.o.payload.y.eq(out),
        ]
        m.d.sync += count.eq(room + push)
        with m.If(pop):
            m.d.sync += done.eq(1)
            if self._fault == "lifo":
                m.d.sync += out.eq(Mux(count == 2, places[1], places[0]))
            else:
                m.d.sync += [out.eq(places[0]), places[0].eq(places[1])]
        with m.Elif(self.o.ready):
            m.d.sync += done.eq(0)
        with m.If(push):
            with m.If(room == 0):
                m.d.sync += places[0].eq(self.i.payload.x)
            with m.Else():
                m.d.sync += places[1].eq(self.i.payload.x)
        return m
