"""RTLIL and Verilog of a stream component, with AXI4-Stream names on its ports.

The top module has exactly these ports, in this order: `clk`, `rst` (synchronous, active high),
`s_axis_tdata`, `s_axis_tvalid`, `s_axis_tready`, `s_axis_tlast`, then the same with `m_axis_`. What
a component lists in `bus_ports` comes after `rst`.
Fields lie in TDATA as `golden.payload.Payload.pack` puts them, padded to whole bytes: padding is
ignored on input and zero on output. A one-bit field named `last` is carried as TLAST instead, and
TLAST is absent where the payload has no such field.
"""

import os
import re
from dataclasses import dataclass
from typing import Any

from amaranth.back import rtlil as _rtlil
from amaranth.back import verilog as _verilog
from amaranth.hdl import Cat, ClockDomain, Const, Module, Signal, Value
from amaranth.lib import data, wiring

from narrowgauge.golden.errors import UsageError

__all__ = ["Axis", "Emitted", "rtlil", "verilog"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_AWAITED = re.compile(r"^  reg (\\\$auto\$verilog_backend\S+ ) = 0;$", re.MULTILINE)
"""What Yosys has every combinational block read, so that each runs at the beginning."""


def _split(view: data.View) -> tuple[list[Value], Value | None]:
    """The payload's fields that go to TDATA, in order, and the one that goes to TLAST."""
    fields: list[Value] = []
    last: Value | None = None
    for name, field in view.shape():
        value = Value.cast(view)[field.offset : field.offset + field.width]
        if name == "last":
            if field.width != 1:
                raise UsageError(f"field last must be 1 bit to become TLAST, got {field.width}")
            last = value
        else:
            fields.append(value)
    return fields, last


class Axis(wiring.Component):
    """A stream component behind AXI4-Stream ports.

    Parameters
    ----------
    core : component with the streams `i` (in) and `o` (out), payloads being `StructLayout`s, and
        perhaps `bus_ports`, a mapping of names of ports to the members that they show

    Ports
    -----
    clk, rst : the clock and its synchronous, active-high reset
    those of `bus_ports`
    s_axis_tdata, s_axis_tvalid, s_axis_tready, s_axis_tlast : the stream `i`
    m_axis_tdata, m_axis_tvalid, m_axis_tready, m_axis_tlast : the stream `o`
    """

    def __init__(self, core: Any) -> None:
        self._core = core
        members: dict[str, Any] = {"clk": wiring.In(1), "rst": wiring.In(1)}
        self._bus: dict[str, str] = dict(getattr(core, "bus_ports", {}))
        members |= {name: core.signature.members[of] for name, of in self._bus.items()}
        for prefix, stream, into in (("s", core.i, wiring.In), ("m", core.o, wiring.Out)):
            back = wiring.Out if into is wiring.In else wiring.In
            fields, last = _split(stream.payload)
            width = sum(len(field) for field in fields)
            members[f"{prefix}_axis_tdata"] = into(max(8, 8 * -(-width // 8)))
            members[f"{prefix}_axis_tvalid"] = into(1)
            members[f"{prefix}_axis_tready"] = back(1)
            if last is not None:
                members[f"{prefix}_axis_tlast"] = into(1)
        self._order = tuple(members)
        super().__init__(members)

    @property
    def ports(self) -> dict[str, tuple[Signal, None]]:
        """Port name -> (signal, None), in the order of the module header."""
        return {name: (getattr(self, name), None) for name in self._order}

    def elaborate(self, platform: object) -> Module:
        """Rename, split off TLAST, pad."""
        m = Module()
        # The ports are the domain's own signals, so that the module has one name for each.
        m.domains.sync = sync = ClockDomain()
        sync.clk, sync.rst = self.clk, self.rst
        m.submodules.core = core = self._core
        for name, of in self._bus.items():
            outer, inner = getattr(self, name), getattr(core, of)
            into = core.signature.members[of].flow is wiring.In
            m.d.comb += inner.eq(outer) if into else outer.eq(inner)
        fields, last = _split(core.i.payload)
        width = sum(len(field) for field in fields)
        m.d.comb += Cat(*fields).eq(self.s_axis_tdata[:width])
        if last is not None:
            m.d.comb += last.eq(self.s_axis_tlast)
        fields, last = _split(core.o.payload)
        width = sum(len(field) for field in fields)
        padding = Const(0, len(self.m_axis_tdata) - width)
        m.d.comb += self.m_axis_tdata.eq(Cat(*fields, padding))
        if last is not None:
            m.d.comb += self.m_axis_tlast.eq(last)
        m.d.comb += [
            core.i.valid.eq(self.s_axis_tvalid),
            self.s_axis_tready.eq(core.i.ready),
            self.m_axis_tvalid.eq(core.o.valid),
            core.o.ready.eq(self.m_axis_tready),
        ]
        return m


def _top(component: Any, name: str) -> Axis:
    if not _NAME.fullmatch(name):
        raise UsageError(f"module name must be a Verilog identifier, got {name!r}")
    for side in ("i", "o"):
        stream = getattr(component, side, None)
        if stream is None or not isinstance(getattr(stream, "payload", None), data.View):
            raise UsageError(f"{type(component).__name__} has no stream {side!r} with named fields")
        _split(stream.payload)
    return Axis(component)


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """A component that has been written as RTLIL once; it stands in for it from there on.

    Parameters
    ----------
    name : the top module of `text`
    text : what `rtlil` gave
    latency, interval : the component's
    """

    name: str
    text: str
    latency: int | None
    interval: int | None


def rtlil(component: Any, name: str) -> str:
    """RTLIL text of `component` with a top module called `name`; the same text on every run."""
    if isinstance(component, Emitted):
        if component.name != name:
            raise UsageError(f"the design was written as {component.name!r}, got {name!r}")
        return component.text
    top = _top(component, name)
    text = str(_rtlil.convert(top, name, ports=top.ports, emit_src=False))
    # Amaranth numbers ports by its own traversal; the top module comes first in the text. From 1:
    # Yosys takes 0 for "no port" and moves it to the end.
    ids = {port: index for index, port in enumerate(top.ports, 1)}
    start = text.index(f"\nmodule \\{name}\n")
    end = text.index("\nend\n", start)
    body = re.sub(
        r"^(  wire (?:width \d+ )?(?:input|output)) +\d+ +\\(\w+)$",
        lambda match: f"{match[1]} {ids[match[2]]} \\{match[2]}",
        text[start:end],
        flags=re.MULTILINE,
    )
    return text[:start] + body + text[end:]


def verilog(component: Any, name: str, header: str = "") -> str:
    """Verilog-2005 text of `component` with a top module called `name`.

    Every line of `header` becomes a comment line at the top. The text holds no path and no time,
    and is the same on every run.
    """
    text = rtlil(component, name)
    # A Yosys that happens to be on PATH must not change what is emitted.
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    text = _verilog._convert_rtlil_text(text, strip_internal_attrs=True)
    # Read as SystemVerilog, a declaration's value is there before any block waits for a change, so
    # that blocks of registers alone would not run until one of them changes.
    text = _AWAITED.sub(r"  reg \1;\n  initial \1 = 0;", text)
    lines = [f"// {line}".rstrip() for line in header.splitlines()]
    return "".join(f"{line}\n" for line in lines) + text
