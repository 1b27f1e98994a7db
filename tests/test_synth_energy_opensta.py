"""Power tables against OpenSTA, as far as Debian's 2.0.17 goes: without activity from simulation.

It knows states by chance alone, one half for every pin, so what it reports of a netlist at rest is
the mean over the states.
"""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from narrowgauge.synth import liberty, library
from narrowgauge.synth.power import power

pytestmark = pytest.mark.skipif(shutil.which("sta") is None, reason="OpenSTA is not installed")

KINDS = ("AOI21_X1", "DFF_X1", "MUX2_X1", "NAND2_X1", "XOR2_X1")

NETLIST = """
module top (clk, a, b, c, o);
  input clk, a, b, c; output o; wire d, q, x, y, m;
  DFF_X1 p (.D(a), .CK(clk), .Q(q));
  NAND2_X1 n (.A1(a), .A2(b), .ZN(d));
  XOR2_X1 e (.A(q), .B(d), .Z(x));
  AOI21_X1 f (.A(x), .B1(a), .B2(c), .ZN(y));
  MUX2_X1 g (.A(x), .B(y), .S(b), .Z(o));
endmodule
"""


def _reported(folder: Path) -> dict[str, list[float]]:
    """Instance -> internal, switching and leakage power in W, nothing but the clock moving."""
    tree = library.load("nangate45").tree
    used = [g for g in tree.groups if g.kind not in ("cell", "wire_load") or g.name in KINDS]
    (folder / "cells.lib").write_text(liberty.write(replace(tree, groups=used)))
    (folder / "top.v").write_text(NETLIST)
    script = [
        "read_liberty cells.lib",
        "read_verilog top.v",
        "link_design top",
        "create_clock -name clk -period 10 [get_ports clk]",
        "set_power_activity -input -activity 0.0 -duty 0.5",
        "report_power -instances [get_cells *] -digits 8",
        "exit",
    ]
    (folder / "run.tcl").write_text("\n".join(script))
    done = subprocess.run(
        ["sta", "-no_splash", "-exit", "run.tcl"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    number = r"(-?\d\.\d+e[+-]\d+)"
    rows = re.findall(rf"^ *{number} +{number} +{number} +{number} +(\w+)$", done.stdout, re.M)
    return {row[4]: [float(word) for word in row[:3]] for row in rows}


def test_leakage_and_clock(tmp_path: Path) -> None:
    """Leakage of every cell to seven digits, and what the clock's pin draws in a cycle to four."""
    reported = _reported(tmp_path)
    drawn = power(library.load("nangate45"))
    kinds = dict(re.findall(r"^  (\w+_X1) (\w) ", NETLIST, re.M))
    assert len(reported) == len(kinds) == 5
    for kind, name in kinds.items():
        _, _, leakage = reported[name]
        assert drawn.cell(kind).leakage.mean() * 1e-9 == pytest.approx(leakage, rel=1e-6)
    cell = drawn.cell("DFF_X1")
    clock = cell.variables.index("CK")
    at_rest = cell.lookup(None)[clock]
    slews = np.zeros((1, 2))  # the clock is ideal
    energies = [float(cell.events[i].energy(slews, 0.0)[0]) for i in at_rest if i >= 0]
    # Half of the states are after a rise, half after a fall; a cycle has one of each.
    femtojoules = 2 * sum(energies) / len(at_rest)
    internal, switching, _ = reported["p"]
    assert switching == 0.0
    assert femtojoules == pytest.approx(internal * 10e-9 * 1e15, rel=1e-4)
