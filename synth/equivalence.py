"""Formal equivalence of two netlists of one design, by ABC's `cec`.

Registers and memories are cut points: each register, known by its name, becomes an input and an
output, so that what is proved is that every next state, every memory port and every output is the
same function of inputs and states in both. For designs in which both sides have the same registers
that is sequential equivalence, from any state.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from narrowgauge.golden.errors import MissingToolError
from narrowgauge.synth import liberty
from narrowgauge.synth.gates import HIGH, LOW, Gates, build
from narrowgauge.synth.library import Library
from narrowgauge.synth.netlist import SynthesisError
from narrowgauge.synth.origin import SIMPLE

__all__ = ["Equivalence", "plain", "prove"]

_PLAIN = """
import sys
import pyosys.libyosys as ys
design = ys.Design()
for command in (
    "read_rtlil design.il",
    f"hierarchy -check -top {sys.argv[1]}",
    "proc",
    "flatten -noscopeinfo",
    "setattr -unset init w:*",
    "techmap",
    "simplemap",
    "opt_clean",
    "write_json plain.json",
):
    design.run_pass("tee -q " + command)
"""


_GRACE = 10
"""Seconds that ABC gets beyond its limit."""


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """The verdict: functions compared, inputs that they have, and why where it is unknown."""

    status: Literal["proved", "refuted", "unknown"]
    compared: int
    inputs: int
    reason: str


def plain(rtlil: str, top: str, library: Library) -> Gates:
    """A combinational design in simple gates straight from its RTLIL.

    No optimisation, Booth recoding or sharing takes part, so that a fault of theirs shows.
    """
    with tempfile.TemporaryDirectory(prefix="narrowgauge-") as name:
        folder = Path(name)
        (folder / "design.il").write_text(rtlil, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-P", "-c", _PLAIN, top],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
            raise SynthesisError(f"{top}: Yosys: {lines[-1]}")
        document = json.loads((folder / "plain.json").read_text(encoding="utf-8"))
    return simple(document, top, library)


def simple(document: Mapping[str, Any], top: str, library: Library) -> Gates:
    """A JSON netlist in Yosys' simple gates, and flip-flops of the library."""
    return build(document, top, replace(library, cells={**library.cells, **SIMPLE}))


def prove(first: Gates, second: Gates, *, seconds: int = 300) -> Equivalence:
    """Whether two netlists with the same ports, registers and memories are the same.

    Raises
    ------
    SynthesisError : the two do not have the same ports, registers or memories
    MissingToolError : pyosys, which brings ABC, is not installed
    """
    spec = importlib.util.find_spec("pyosys")
    if spec is None or not spec.submodule_search_locations:
        raise MissingToolError("equivalence needs ABC: pip install narrowgauge[synth]")
    abc = Path(next(iter(spec.submodule_search_locations))) / "yosys-abc"
    sides = [_Cut(gates) for gates in (first, second)]
    for what in ("inputs", "outputs"):
        one, other = (set(getattr(side, what)) for side in sides)
        if one != other:
            odd = sorted(one ^ other)[0]
            raise SynthesisError(f"{first.top}: {odd} is in one of the netlists only")
    outputs = sorted(sides[0].outputs)
    inputs = sorted(sides[0].inputs)
    if not outputs:
        raise SynthesisError(f"{first.top}: nothing to compare")
    with tempfile.TemporaryDirectory(prefix="narrowgauge-") as name:
        folder = Path(name)
        for side, file in zip(sides, ("first.blif", "second.blif"), strict=True):
            text = "\n".join(side.blif(inputs, outputs)) + "\n"
            (folder / file).write_text(text, encoding="ascii")
        script = (
            "read_blif first.blif; strash; write_aiger first.aig; "
            "read_blif second.blif; strash; write_aiger second.aig; "
            # &cec took 61 s for a dot product that this does in 3.5.
            f"cec -n -T {seconds} first.aig second.aig"
        )
        try:
            done = subprocess.run(
                [str(abc), "-c", script],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds + _GRACE,
            )
            log = (done.stdout + done.stderr).strip()
        except subprocess.TimeoutExpired:
            # ABC looks at its limit between steps, of which one may take minutes.
            log = f"no answer within {seconds} s"
    status: Literal["proved", "refuted", "unknown"] = "unknown"
    if "Networks are equivalent" in log:
        status = "proved"
    elif "NOT EQUIVALENT" in log.upper():
        status = "refuted"
    reason = "" if status != "unknown" or not log else log.splitlines()[-1].strip()
    return Equivalence(status=status, compared=len(outputs), inputs=len(inputs), reason=reason)


class _Cut:
    """A netlist with its registers and memories cut: what it reads and what it decides, by name."""

    def __init__(self, gates: Gates) -> None:
        self.gates = gates
        self.inputs: dict[str, tuple[int, str]] = {}
        self.outputs: dict[str, int] = {}
        for name, nets in gates.inputs.items():
            if nets != (gates.clock,):
                self.inputs |= {f"{name}[{i}]": (net, "") for i, net in enumerate(nets)}
        for name, nets in gates.outputs.items():
            self.outputs |= {f"{name}[{i}]": net for i, net in enumerate(nets)}
        for cell in gates.flip_flops:
            known = gates.library.cells[cell.kind]
            if known.next_state not in (known.data[0], f"!{known.data[0]}"):
                raise SynthesisError(f"flip-flop {cell.name} of kind {cell.kind} cannot be cut")
            self.inputs[f"register {cell.name}"] = (-1, cell.name)
            self.outputs[f"register {cell.name}"] = cell.pins[known.data[0]]
        for memory in gates.memories:
            for number, port in enumerate(memory.reads):
                label = f"memory {memory.name} read {number}"
                self.inputs |= {f"{label}[{i}]": (net, "") for i, net in enumerate(port.data)}
                nets = (*port.address, port.enable)
                self.outputs |= {f"{label} address[{i}]": net for i, net in enumerate(nets)}
            for number, write in enumerate(memory.writes):
                label = f"memory {memory.name} write {number}"
                nets = (*write.address, *write.data, *write.enable)
                self.outputs |= {f"{label}[{i}]": net for i, net in enumerate(nets)}

    def blif(self, inputs: list[str], outputs: list[str]) -> Iterator[str]:
        """The logic between the cuts, with inputs and outputs numbered in the given order."""
        cells = self.gates.library.cells
        yield ".model top"
        yield ".inputs " + " ".join(f"i{i}" for i in range(len(inputs)))
        yield ".outputs " + " ".join(f"o{i}" for i in range(len(outputs)))
        yield from (f".names n{LOW}", f".names n{HIGH}", "1")
        registers = {cell.name: cell for cell in self.gates.flip_flops}
        for number, label in enumerate(inputs):
            net, register = self.inputs[label]
            if not register:
                yield from (f".names i{number} n{net}", "1 1")
                continue
            cell = registers[register]
            known = cells[cell.kind]
            # A cell that keeps the inverse of D shows it inverted: the input is what D was.
            kept = known.next_state.startswith("!")
            for pin, function in known.outputs:
                if pin in cell.pins:
                    inverted = kept ^ _inverse(function, known.state)
                    yield from (f".names i{number} n{cell.pins[pin]}", f"{int(not inverted)} 1")
        for cell in self.gates.logic:
            known = cells[cell.kind]
            for pin, function in known.outputs:
                nets = " ".join(f"n{cell.pins[each]}" for each in known.inputs)
                yield f".names {nets} n{cell.pins[pin]}"
                table = liberty.truth_table(function, known.inputs)
                for case in range(1 << len(known.inputs)):
                    if table >> case & 1:
                        yield f"{case:0{len(known.inputs)}b}"[::-1] + " 1"
        for number, label in enumerate(outputs):
            yield from (f".names n{self.outputs[label]} o{number}", "1 1")
        yield ".end"


def _inverse(function: str, state: tuple[str, ...]) -> bool:
    """Whether a function of a flip-flop's state is the inverse of the state."""
    values = dict(zip(state, (True, False), strict=False))
    return not liberty.evaluate(function, values, True)
