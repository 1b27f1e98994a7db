"""What has a stream at both ends: units, and combinational components wrapped for the bench."""

from typing import Protocol

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from narrowgauge.golden.payload import Payload
from narrowgauge.hdl.payload import layout

__all__ = ["Combinational", "Ports", "StreamUnit"]


class Ports(Protocol):
    """What a unit's parameters say of its streams."""

    @property
    def input(self) -> Payload:
        """One beat of `i`."""

    @property
    def output(self) -> Payload:
        """One beat of `o`."""


class StreamUnit(wiring.Component):
    """A unit between two streams.

    Parameters
    ----------
    params : the golden model's parameters

    Ports
    -----
    i : stream of `params.input`
    o : stream of `params.output`
    """

    def __init__(self, params: Ports) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(layout(params.input))),
                "o": Out(stream.Signature(layout(params.output))),
            }
        )


class Combinational(wiring.Component):
    """A component without state between two streams: valid and ready pass straight through.

    Parameters
    ----------
    core : component with one input port a field of `input` and one output port a field of `output`

    Ports
    -----
    i : stream of `input`
    o : stream of `output`
    """

    latency = 0
    interval = 1

    def __init__(self, core: wiring.Component, input: Payload, output: Payload) -> None:
        self._core = core
        self._input = input
        self._output = output
        super().__init__(
            {
                "i": In(stream.Signature(layout(input))),
                "o": Out(stream.Signature(layout(output))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect every port by the name of its field."""
        m = Module()
        m.submodules.core = self._core
        for field in self._input.fields:
            m.d.comb += getattr(self._core, field.name).eq(self.i.payload[field.name])
        for field in self._output.fields:
            m.d.comb += self.o.payload[field.name].eq(getattr(self._core, field.name))
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        return m
