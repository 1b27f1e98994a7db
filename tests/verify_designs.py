"""Small stream designs, right and wrong on purpose, with golden models of their own."""

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.payload import Batch, Field, Payload
from narrowgauge.hdl.payload import layout

ADD = SimpleNamespace(
    input=Payload((Field(name="x", width=8, encoding="signed", count=2), Field(name="t", width=3))),
    output=Payload((Field(name="y", width=9, encoding="signed"), Field(name="t", width=3))),
)
SUM = SimpleNamespace(
    input=Payload((Field(name="x", width=8, encoding="signed"), Field(name="last", width=1))),
    output=Payload((Field(name="last", width=1), Field(name="y", width=12, encoding="signed"))),
)


def module(**functions: Any) -> ModuleType:
    """A module made of functions."""
    made = ModuleType("made")
    vars(made).update(functions)
    return made


def _add_vectors(params: Any, level: str, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    return {"x": rng.integers(-128, 128, (300, 2)), "t": np.arange(300) % 8}


ADD_GOLDEN = module(
    vectors=_add_vectors, model=lambda params, batch: {"y": batch["x"].sum(axis=1), "t": batch["t"]}
)
ADD_BENCH = module(
    coverage=lambda params, batch, out: {"negative": out["y"] < 0, "carry": out["y"] > 127}
)


def _sum_vectors(params: Any, level: str, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, 100)
    values = rng.integers(-128, 128, (100, 5))
    return {"x": np.where(np.arange(5) < lengths[:, None], values, 0), "length": lengths}


def _sum_beats(params: Any, batch: Batch) -> Batch:
    used = np.arange(5) < batch["length"][:, None]
    last = np.arange(5) == batch["length"][:, None] - 1
    return {"x": batch["x"][used], "last": last[used].astype(np.int64)}


SUM_GOLDEN = module(
    vectors=_sum_vectors,
    model=lambda params, batch: {
        "last": np.ones(len(batch["x"]), np.int64),
        "y": batch["x"].sum(axis=1),
    },
    input_beats=_sum_beats,
)
SUM_BENCH = module(coverage=lambda params, batch, out: {"long": batch["length"] == 5})


class Adder(wiring.Component):
    """Adds the two elements of `x` and carries `t` along, one register; `fault` breaks it."""

    latency = 1
    interval = 1

    def __init__(self, fault: str = "") -> None:
        self._fault = fault
        if fault == "latency":
            self.latency = 2
        super().__init__(
            {
                "i": In(stream.Signature(layout(ADD.input))),
                "o": Out(stream.Signature(layout(ADD.output))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """One register that moves when its output may."""
        m = Module()
        fault, i, o = self._fault, self.i, self.o
        valid = Signal(init=fault == "loud", reset_less=fault == "reset")
        payload = Signal.like(o.payload)
        count = Signal(4)
        spare = Signal()
        m.d.comb += [o.valid.eq(valid), o.payload.eq(payload), i.ready.eq(o.ready | ~o.valid)]
        with m.If(i.ready):
            m.d.sync += [
                valid.eq(i.valid),
                payload.y.eq(i.payload.x[0] + i.payload.x[1]),
                payload.t.eq(i.payload.t),
            ]
        with m.If(i.valid & i.ready):
            m.d.sync += count.eq(count + 1)
        if fault == "value":
            with m.If(i.ready & (i.payload.x[0] == 77)):
                m.d.sync += payload.y.eq(0)
        elif fault == "drop":
            with m.If(i.ready & (count == 5)):
                m.d.sync += valid.eq(0)
        elif fault == "duplicate":
            with m.If(o.valid & o.ready & (count == 5)):
                m.d.sync += spare.eq(~spare)
                with m.If(~spare):
                    m.d.comb += i.ready.eq(0)
                    m.d.sync += [valid.eq(1), payload.eq(payload), count.eq(count)]
        elif fault == "unstable":
            with m.If(o.valid & ~o.ready):
                m.d.sync += payload.t.eq(payload.t + 1)
        elif fault == "retract":
            m.d.sync += spare.eq(o.valid & ~o.ready)
            m.d.comb += o.valid.eq(valid & ~spare)
            m.d.comb += i.ready.eq((o.ready & o.valid) | ~valid)
        elif fault == "waits":
            m.d.comb += [o.valid.eq(valid & o.ready), i.ready.eq(o.ready | ~valid)]
        elif fault == "interval":
            m.d.sync += spare.eq(~spare)
            m.d.comb += i.ready.eq((o.ready | ~o.valid) & spare)
            with m.If(o.ready & ~i.ready):
                m.d.sync += valid.eq(0)
        elif fault == "swap":
            stash = Signal.like(o.payload)
            with m.If(o.ready | ~o.valid):
                # A beat with tag 3 lets the next one pass, where there is one.
                with m.If(spare & (count[0] | ~i.valid)):
                    m.d.comb += i.ready.eq(0)
                    m.d.sync += [valid.eq(1), payload.eq(stash), spare.eq(0)]
                with m.Elif(i.valid):
                    m.d.sync += count.eq(1)
                    with m.If(~spare & (i.payload.t == 3)):
                        m.d.sync += [valid.eq(0), spare.eq(1), count.eq(0)]
                        m.d.sync += stash.y.eq(i.payload.x[0] + i.payload.x[1])
                        m.d.sync += stash.t.eq(i.payload.t)
        elif fault == "bus":
            m.d.comb += o.payload.y.eq(payload.y ^ i.payload.x[0][0])
        return m


class Summer(wiring.Component):
    """Sums the beats of a transaction and gives the sum after its last; TLAST is always set."""

    latency = 1
    interval = None

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(layout(SUM.input))),
                "o": Out(stream.Signature(layout(SUM.output))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """An accumulator and an output register."""
        m = Module()
        total = Signal(range(-2048, 2048))
        following = Signal.like(total)
        m.d.comb += [
            self.i.ready.eq(self.o.ready | ~self.o.valid),
            following.eq(total + self.i.payload.x),
            self.o.payload.last.eq(self.o.valid),
        ]
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid & self.i.payload.last)
            with m.If(self.i.valid):
                m.d.sync += total.eq(following)
                with m.If(self.i.payload.last):
                    m.d.sync += [self.o.payload.y.eq(following), total.eq(0)]
        return m
