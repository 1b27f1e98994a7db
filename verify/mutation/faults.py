"""Mutants of a design: which faults there are, and all of a group in one Verilog file.

Yosys's `mutate` inverts or ties one bit of one cell port, or lets another bit of the port invert
it. The design is flattened first, so a fault is named by its path in the hierarchy. Each mutant of
a group is switched on by its number on a new input of the design, 0 being the design as it is, so
that a group takes one compilation.

Left out are faults of clocks (a simulation by cycles cannot tell what they do), of the initial
contents of memories (silicon has none), and of the enable and resets that a cell of a memory's
asynchronous read port has only in Yosys.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from narrowgauge.golden.errors import NarrowgaugeError, UsageError
from narrowgauge.verify.prove import yosys

__all__ = ["SELECT", "SELECT_BITS", "Fault", "every", "flat", "sample", "switched"]

SELECT = "mutsel"
"""The input that switches mutants."""

SELECT_BITS = 16

_ALL = 1 << 30

_MODES = {
    "inv": "inverted",
    "const0": "tied to 0",
    "const1": "tied to 1",
    "cnot0": "inverted while bit {ctrl} is 0",
    "cnot1": "inverted while bit {ctrl} is 1",
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One mutant.

    Parameters
    ----------
    command : the options of Yosys's `mutate` that make it, on the flattened design
    cell : type and name of the cell, for a reader
    """

    command: str
    cell: str

    def _option(self, name: str) -> str | None:
        found = re.search(rf" -{name} (\S+)", f" {self.command}")
        return None if found is None else found[1]

    @property
    def text(self) -> str:
        """What is wrong, and where: signal, cell and port by their paths in the hierarchy."""
        mode = self._option("mode") or ""
        what = _MODES.get(mode, mode).format(ctrl=self._option("ctrlbit"))
        place = f"{self.cell} port {self._option('port')}[{self._option('portbit')}]"
        wire = self._option("wire")
        if wire is not None:
            place = f"{wire}[{self._option('wirebit')}] at {place}"
        return f"{place} {what}"


def flat(rtlil: str, folder: Path) -> str:
    """The design in one module, processes as cells, as RTLIL text; needs pyosys."""
    (folder / "in.il").write_text(rtlil)
    yosys.run(
        [
            "read_rtlil in.il",
            "hierarchy -auto-top",
            "proc",
            "flatten -noscopeinfo",
            "opt_clean",
            "write_rtlil flat.il",
        ],
        folder,
    )
    return (folder / "flat.il").read_text()


def _path(name: str) -> str:
    """A cell's name as Yosys escapes it, as a dotted path."""
    return re.sub(r"^\$flatten", "", name).replace("\\", "")


def every(flat_rtlil: str, folder: Path) -> list[Fault]:
    """Every fault of a flattened design that Yosys knows, in its order."""
    cells = re.findall(r"^  cell (\S+) (\S+)$", flat_rtlil, re.MULTILINE)
    types = {name: kind for kind, name in cells}
    blocks = re.findall(r"^  cell \$memrd\S* (\S+)\n(.*?)^  end$", flat_rtlil, re.M | re.S)
    unclocked = re.compile(r"\\CLK_ENABLE (1'0|0)$", re.MULTILINE)
    asynchronous = {name for name, text in blocks if unclocked.search(text)}
    (folder / "flat.il").write_text(flat_rtlil)
    # All of them: asked for a number just below, Yosys's own choice may never come to its end.
    body = "select -set body t:* t:$meminit* %d"
    yosys.run(["read_rtlil flat.il", body, f"mutate -list {_ALL} -o faults.ys @body"], folder)
    found: list[Fault] = []
    for line in (folder / "faults.ys").read_text().splitlines():
        command = line.removeprefix("mutate ").strip()
        port = re.search(r" -port (\S+)", command)
        name = re.search(r" -cell (\S+)", command)
        if port is None or name is None:
            raise NarrowgaugeError(f"cannot read the mutation {line!r}")
        here = port[1].lstrip("\\")
        nothing = name[1] in asynchronous and here in ("EN", "ARST", "SRST")
        if not here.endswith("CLK") and not nothing:
            found.append(Fault(command=command, cell=f"{types[name[1]]} {_path(name[1])}"))
    return found


def sample(flat_rtlil: str, count: int, seed: int, folder: Path) -> list[Fault]:
    """`count` different faults, spread over cells and over bits; fewer where there are fewer.

    Every other one is of the next cell in a random order, the rest of the next bit of a port, each
    of a random kind. `seed` (0 or more) picks them. Raises `UsageError` for a design with nothing
    to mutate.
    """
    if not 1 <= count < 1 << SELECT_BITS:
        raise UsageError(f"count of mutants must be 1..{(1 << SELECT_BITS) - 1}, got {count}")
    if seed < 0:
        raise UsageError(f"mutation seed must be 0 or more, got {seed}")
    left: dict[tuple[str, str], list[Fault]] = {}
    for fault in every(flat_rtlil, folder):
        bit = re.sub(r"-mode \S+ | -(ctrlbit|wire|wirebit) \S+", "", fault.command)
        left.setdefault((fault.cell, bit), []).append(fault)
    if not left:
        raise UsageError("the design has nothing to mutate")
    rng = Random(seed)
    places = sorted(left)
    cells: dict[str, list[tuple[str, str]]] = {}
    for place in rng.sample(places, len(places)):
        cells.setdefault(place[0], []).append(place)
    order = sorted(cells)
    rng.shuffle(order)
    rng.shuffle(places)
    chosen: list[Fault] = []
    turn = 0
    while left and len(chosen) < count:
        if turn % 2:
            place = places[turn // 2 % len(places)]
        else:
            cell = cells[order[turn // 2 % len(order)]]
            place = cell[turn // 2 // len(order) % len(cell)]
        turn += 1
        if place in left:
            faults = left[place]
            chosen.append(faults.pop(rng.randrange(len(faults))))
            if not faults:
                del left[place]
    return chosen


def switched(flat_rtlil: str, faults: Sequence[Fault], folder: Path) -> str:
    """Verilog of the design with all the faults, fault k while the input `SELECT` is k + 1."""
    (folder / "flat.il").write_text(flat_rtlil)
    yosys.run(
        [
            "read_rtlil flat.il",
            *(
                f"mutate {fault.command} -ctrl {SELECT} {SELECT_BITS} {number}"
                for number, fault in enumerate(faults, 1)
            ),
            "opt_clean",
            "write_verilog -noattr mutants.v",
        ],
        folder,
    )
    return (folder / "mutants.v").read_text()
