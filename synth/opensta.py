"""The same timing by OpenSTA, where it is installed: a cross-check of `narrowgauge.synth.sta`.

The netlist is written in terms of net and cell numbers, with the registers at the ports as cells of
it, and the library without its wire load model, which OpenSTA would apply by default.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.synth import liberty
from narrowgauge.synth.boundary import register
from narrowgauge.synth.gates import HIGH, LOW, Gates
from narrowgauge.synth.netlist import SynthesisError

__all__ = ["Reported", "analyze", "available", "verilog"]

_GROUPS = {"reg2reg": ("r", "r"), "in2reg": ("i", "r"), "reg2out": ("r", "o"), "in2out": ("i", "o")}
"""Path group -> first letters of the cells that its paths start and end at."""

_POINT = re.compile(r"^.*\s([v^]) (\w+)/\S+ \((\S+)\)$", re.M)
_ARRIVAL = re.compile(r"(-?[\d.]+)\s+data arrival time")
_SETUP = re.compile(r"(-?[\d.]+)\s+-?[\d.]+\s+library setup time")


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One group: its period in ps, and the numbers of the combinational cells on its worst path."""

    period_ps: float
    cells: tuple[int, ...]


def available() -> str | None:
    """The version of the OpenSTA on PATH, or None."""
    if shutil.which("sta") is None:
        return None
    done = subprocess.run(["sta", "-version"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def analyze(gates: Gates) -> dict[str, Reported]:
    """Path group -> what OpenSTA reports for it, with registers at the ports.

    Raises
    ------
    MissingToolError : OpenSTA is not installed
    UsageError : the netlist has memories, which have no cell
    SynthesisError : OpenSTA fails
    """
    if available() is None:
        raise MissingToolError("no OpenSTA on PATH (Debian: apt install opensta)")
    if gates.memories:
        raise UsageError(f"{gates.top}: OpenSTA has no cell for memory {gates.memories[0].name}")
    with tempfile.TemporaryDirectory(prefix="narrowgauge-") as name:
        folder = Path(name)
        (folder / "cells.lib").write_text(_library(gates), encoding="utf-8")
        (folder / "netlist.v").write_text(verilog(gates), encoding="utf-8")
        (folder / "run.tcl").write_text("\n".join(_script(gates)) + "\n", encoding="utf-8")
        done = subprocess.run(
            ["sta", "-no_splash", "-exit", "run.tcl"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    log = done.stdout + done.stderr
    if "narrowgauge: end" not in log or re.search(r"^Error", log, re.M):
        lines = [line for line in log.splitlines() if line.startswith("Error")] or ["no report"]
        raise SynthesisError(f"{gates.top}: OpenSTA: {lines[-1]}")
    return dict(_read(log))


def _read(log: str) -> Iterator[tuple[str, Reported]]:
    for text in log.split("narrowgauge: group ")[1:]:
        arrival = _ARRIVAL.search(text)
        if arrival is None:
            continue
        setup = _SETUP.search(text)
        before = text[: arrival.start()]
        cells = [name for _, name, _ in _POINT.findall(before) if name.startswith("c")]
        period = float(arrival.group(1)) - (float(setup.group(1)) if setup else 0.0)
        numbers = tuple(int(c[1:]) for c in dict.fromkeys(cells))
        yield text.split()[0], Reported(period_ps=1000 * period, cells=numbers)


def _script(gates: Gates) -> list[str]:
    lines = [
        "read_liberty cells.lib",
        "read_verilog netlist.v",
        "link_design top",
        "set_cmd_units -time ns",
        "create_clock -period 10 clk",
    ]
    there = {"r": gates.flip_flops, "i": _inputs(gates), "o": gates.outputs}
    for group, (start, end) in _GROUPS.items():
        if not (there[start] and there[end]):
            continue
        lines += [
            f'puts "narrowgauge: group {group}"',
            f"report_checks -from [get_cells {start}*] -to [get_cells {end}*]"
            " -format full -digits 7",
        ]
    return [*lines, 'puts "narrowgauge: end"']


def _library(gates: Gates) -> str:
    tree = gates.library.tree
    attributes = {k: v for k, v in tree.attributes.items() if "wire_load" not in k}
    return liberty.write(
        replace(tree, attributes=attributes),
        {"wire_load", "wire_load_selection", "internal_power", "leakage_power"},
    )


def _inputs(gates: Gates) -> list[int]:
    """The nets of the input ports but the clock's."""
    return sorted({n for nets in gates.inputs.values() for n in nets if n != gates.clock})


def verilog(gates: Gates) -> str:
    """The netlist as structural Verilog: net k is `nk`, cell k `ck` or, a flip-flop, `rk`.

    Ports are the clock and an input for each register at an input port, `ik`; the registers at the
    output ports are `ok`.
    """
    library = gates.library
    cell = library.cells[register(library)]
    data = next(p for p in cell.inputs if p in re.findall(r"\w+", cell.next_state))
    output = cell.outputs[0][0]
    inputs = _inputs(gates)
    outputs = [n for nets in gates.outputs.values() for n in nets]

    def net(number: int) -> str:
        return {LOW: "1'b0", HIGH: "1'b1", gates.clock: "clk"}.get(number, f"n{number}")

    def instance(kind: str, name: str, pins: dict[str, str]) -> str:
        listed = ", ".join(f".{pin}({value})" for pin, value in pins.items())
        return f"  {kind} {name} ({listed});"

    tied = {pin: "1'b1" for pin in cell.inputs if pin not in (data, cell.clock)}
    lines = [
        f"module top ({', '.join(['clk', *(f'd{n}' for n in inputs)])});",
        "  input clk;",
        *(f"  input d{n};" for n in inputs),
        *(f"  wire n{n};" for n in range(2, gates.nets) if n != gates.clock),
    ]
    for n in inputs:
        pins = {cell.clock: "clk", data: f"d{n}", output: net(n), **tied}
        lines.append(instance(cell.name, f"i{n}", pins))
    for index, one in enumerate(gates.cells):
        letter = "r" if one.sequential else "c"
        pins = {pin: net(number) for pin, number in one.pins.items()}
        lines.append(instance(one.kind, f"{letter}{index}", pins))
    for index, n in enumerate(outputs):
        pins = {cell.clock: "clk", data: net(n), **tied}
        lines.append(instance(cell.name, f"o{index}", pins))
    return "\n".join([*lines, "endmodule", ""])
