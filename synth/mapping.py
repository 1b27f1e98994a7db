"""The logic of a design mapped again by ABC alone, as often as asked, over one front end.

The logic between registers, memories and ports leaves the flat design as BLIF; what ABC writes
comes back as cells of the library in its place. Registers keep their cells.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from narrowgauge.golden.errors import MissingToolError
from narrowgauge.synth import liberty
from narrowgauge.synth.boundary import register
from narrowgauge.synth.gates import Gates, build
from narrowgauge.synth.library import Library
from narrowgauge.synth.netlist import SynthesisError
from narrowgauge.synth.nldm import tables
from narrowgauge.synth.origin import SIMPLE
from narrowgauge.synth.repair import repair

__all__ = ["Mapper", "buffer"]

_DELAY = re.compile(r"WireLoad = .*Delay = *([\d.]+) ps")
_NET = re.compile(r"n(\d+)")
_CONSTANTS = {"0": "0", "1": "1", "x": "0", "z": "0"}


def _abc() -> str:
    found = find_spec("pyosys")
    if found is None or not found.submodule_search_locations:
        raise MissingToolError("mapping needs ABC: pip install narrowgauge[synth]")
    return str(Path(found.submodule_search_locations[0]) / "yosys-abc")


def buffer(library: Library) -> str | None:
    """The smallest buffer, or None."""
    found = [
        (cell.area, cell.name)
        for cell in library.cells.values()
        if len(cell.inputs) == 1
        and not cell.sequential
        and liberty.truth_table(cell.outputs[0][1], cell.inputs) == 0b10
    ]
    return min(found)[1] if found else None


class Mapper:
    """One design in a folder of its own, in which ABC runs.

    Parameters
    ----------
    folder : empty, and the caller's to remove
    document, top : JSON of the flat design in simple gates and flip-flops of the library
    library : the cells to map to

    The inputs of the logic are driven by the library's smallest buffer, its outputs loaded with one
    flip-flop, so that ABC neither loads a register without end nor takes its slew for nothing.
    """

    def __init__(
        self, folder: Path, document: Mapping[str, Any], top: str, library: Library
    ) -> None:
        self._folder, self._top, self._library = folder, top, library
        self._module = document["modules"][top]
        self._abc = _abc()
        (folder / "cells.lib").write_text(library.text, encoding="utf-8")
        (folder / "design.blif").write_text(_to_blif(self._module), encoding="utf-8")
        cell = library.cells[register(library)]
        data = next(p for p in cell.inputs if p in re.findall(r"\w+", cell.next_state))
        pin = tables(library).cell(cell.name).pins[data]
        drive = buffer(library)
        lines = [f"set_driving_cell {drive}"] if drive else []
        lines.append(f"set_load {max(pin.rise, pin.fall):.6f}")
        (folder / "ports.constr").write_text("\n".join([*lines, ""]), encoding="utf-8")

    def run(self, commands: Sequence[str]) -> list[float]:
        """Run ABC from the folder, library and ports read; the delay of each `stime`, in ps."""
        script = ["read_lib -w cells.lib", "read_constr ports.constr", *commands, 'echo "all done"']
        (self._folder / "script.abc").write_text("\n".join(script) + "\n", encoding="utf-8")
        done = subprocess.run(
            [self._abc, "-f", "script.abc"],
            cwd=self._folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        log = done.stdout + done.stderr
        if done.returncode or not log.rstrip().endswith("all done"):
            last = next((x for x in reversed(log.splitlines()) if "rror" in x), "it ended early")
            raise SynthesisError(f"{self._top}: ABC: {last.strip()}")
        return [float(text) for text in _DELAY.findall(log)]

    def document(self, file: str) -> dict[str, Any]:
        """The design with the mapped logic of a BLIF file of the folder, and its buffer trees."""
        text = (self._folder / file).read_text(encoding="utf-8")
        mapped = {"modules": {self._top: _from_blif(self._module, text)}}
        return repair(mapped, self._top, self._library)

    def gates(self, file: str) -> Gates:
        """The same as a graph."""
        return build(self.document(file), self._top, self._library)


def _to_blif(module: Mapping[str, Any]) -> str:
    """The simple gates of a module; net k is `nk`."""
    logic = [c for c in module["cells"].values() if c["type"] in SIMPLE]
    others = [c for c in module["cells"].values() if c["type"] not in SIMPLE]
    driven = {c["connections"]["Y"][0] for c in logic}
    read = {c["connections"][p][0] for c in logic for p in SIMPLE[c["type"]].inputs}
    inputs = sorted(b for b in read - driven if b not in _CONSTANTS)
    taken = {b for c in others for bits in c["connections"].values() for b in bits}
    for port in module["ports"].values():
        taken.update(port["bits"] if port["direction"] == "output" else ())
    lines = [
        ".model logic",
        " ".join([".inputs", *(f"n{b}" for b in inputs)]),
        " ".join([".outputs", *(f"n{b}" for b in sorted(taken & driven))]),
        *(line for b, v in _CONSTANTS.items() for line in [f".names n{b}", *["1"] * int(v)]),
    ]
    rows = {kind: list(_rows(kind)) for kind in {c["type"] for c in logic}}
    for cell in logic:
        pins = [*SIMPLE[cell["type"]].inputs, "Y"]
        nets = " ".join(f"n{cell['connections'][pin][0]}" for pin in pins)
        lines += [f".names {nets}", *rows[cell["type"]]]
    return "\n".join([*lines, ".end", ""])


def _rows(kind: str) -> Iterator[str]:
    """The rows of a simple gate's truth table in which it is true."""
    cell = SIMPLE[kind]
    table = liberty.truth_table(cell.outputs[0][1], cell.inputs)
    for case in range(1 << len(cell.inputs)):
        if table >> case & 1:
            yield "".join(str(case >> pin & 1) for pin in range(len(cell.inputs))) + " 1"


def _from_blif(module: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The module with mapped logic; an output that ABC ties or joins to another net is replaced."""
    others = {n: c for n, c in module["cells"].items() if c["type"] not in SIMPLE}
    bits = [b for c in module["cells"].values() for each in c["connections"].values() for b in each]
    bits += [b for p in module["ports"].values() for b in p["bits"]]
    fresh = max(b for b in bits if isinstance(b, int)) + 1
    numbers: dict[str, Any] = {}
    logic: dict[str, Any] = {}
    same: dict[Any, Any] = {}

    def net(name: str) -> Any:
        if name not in numbers:
            given = _NET.fullmatch(name)
            numbers[name] = int(given.group(1)) if given else fresh + len(numbers)
        return numbers[name]

    lines = text.replace("\\\n", " ").splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        words = line.split()
        if words[:1] == [".gate"]:
            pins = {p: [net(name)] for p, name in (word.split("=") for word in words[2:])}
            if words[1] in ("_const0_", "_const1_"):
                same |= {bits[0]: words[1][-2] for bits in pins.values()}
            else:
                logic[f"$logic${len(logic)}"] = {"type": words[1], "connections": pins}
        elif words[:1] == [".names"] and len(words) == 2:
            same[net(words[1])] = "1" if following.split() == ["1"] else "0"
        elif words[:1] == [".names"]:
            if len(words) != 3 or following.split() != ["1", "1"]:
                raise SynthesisError(f"ABC left a gate without a cell: {line} {following}")
            same[net(words[2])] = net(words[1])
    for bit in same:
        while same[bit] in same:
            same[bit] = same[same[bit]]

    def settled(listed: Sequence[Any]) -> list[Any]:
        return [same.get(bit, bit) for bit in listed]

    cells = {**others, **logic} if same else others
    cells = {
        name: {**c, "connections": {p: settled(b) for p, b in c["connections"].items()}}
        for name, c in cells.items()
    }
    return {
        "ports": {n: {**p, "bits": settled(p["bits"])} for n, p in module["ports"].items()},
        "cells": cells if same else {**cells, **logic},
        "netnames": {n: {**e, "bits": settled(e["bits"])} for n, e in module["netnames"].items()},
    }
