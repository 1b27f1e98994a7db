"""Where a mapped netlist comes from: RTL names of its nets, and the sub-module of each cell.

Mapping keeps the names of ports and registers alone. So the design before mapping, in simple gates
with all names of the RTL, and the mapped netlist play the same beats, and nets whose values agree
in every cycle of every stream (or disagree in every one) are taken for the same signal. That is a
statement about the beats played, not a proof; a net that never changes matches nothing.

A cell belongs to the module that drives the signal found on its output; one without such a signal
belongs where the first cell that reads it does. The split of a netlist by module is thus as fine as
the signals that mapping has left whole.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from narrowgauge.synth.gates import Gates, build
from narrowgauge.synth.library import Cell, Library
from narrowgauge.synth.simulation import Words
from narrowgauge.synth.stream import Beats, play

__all__ = ["SIMPLE", "Origin", "grouped", "trace"]

_FUNCTIONS = {
    "BUF": "A",
    "NOT": "!A",
    "AND": "A & B",
    "NAND": "!(A & B)",
    "OR": "A | B",
    "NOR": "!(A | B)",
    "XOR": "A ^ B",
    "XNOR": "!(A ^ B)",
    "ANDNOT": "A & !B",
    "ORNOT": "A | !B",
    "MUX": "(A & !S) | (B & S)",
    "NMUX": "!((A & !S) | (B & S))",
}

SIMPLE: Mapping[str, Cell] = {
    f"$_{name}_": Cell(
        name=f"$_{name}_",
        area=0.0,
        inputs=tuple(sorted(set(re.findall("[ABS]", function)))),
        outputs=(("Y", function),),
    )
    for name, function in _FUNCTIONS.items()
}
"""Yosys' simple gates, as cells."""

_INSTANCE = re.compile(r"^  cell \\(\S+) \\(\S+)$", re.M)
_OUTPUT = re.compile(r"^  wire (?:width \d+ )?output +\d+ +(?:signed +)?\\(\S+)$", re.M)
_MODULE = re.compile(r"^module \\(\S+)$(.*?)^end$", re.M | re.S)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What is known of a mapped netlist.

    Attributes
    ----------
    labels : net -> the RTL signal that it carries, with `~` where it is inverted
    paths : for each cell of `Gates.cells`, the dotted path of its module below the unit; "" is the
        unit's own logic
    matched : cells whose own output was found in the RTL
    """

    labels: Mapping[int, str]
    paths: tuple[str, ...]
    matched: int


class _Signature:
    """Two hashes a net: of its values and of their complement."""

    def __init__(self, nets: int) -> None:
        self.plain = np.zeros(nets, np.uint64)
        self.inverse = np.zeros(nets, np.uint64)
        self.changed = np.zeros(nets, bool)
        self._multiplier = np.uint64(0x9E37_79B9_7F4A_7C15)

    def __call__(self, before: Words, after: Words, active: Words) -> None:
        """Take in one cycle, as an observer of `play`."""
        self.changed |= ((before ^ after) & active).any(axis=1)
        for word in range(after.shape[1]):
            for kept, value in ((self.plain, after[:, word]), (self.inverse, ~after[:, word])):
                mixed = (kept ^ (value & active[word])) * self._multiplier
                kept[:] = mixed ^ (mixed >> np.uint64(29))


def trace(
    rtl: Mapping[str, Any],
    mapped: Gates,
    rtlil: str,
    beats: Beats,
    *,
    streams: int = 64,
    limit: int | None = None,
) -> Origin:
    """Find the RTL's names in a mapped netlist.

    Parameters
    ----------
    rtl : JSON netlist of the design in simple gates, as `flow.netlists` gives it
    mapped : the mapped netlist
    rtlil : the design's text, for the ports of its modules
    beats : played through both; the more they exercise, the fewer signals are confused
    streams, limit : see `synth.stream.play`
    """
    library: Library = mapped.library
    whole = replace(library, cells={**library.cells, **SIMPLE})
    simple = build(rtl, mapped.top, whole)
    first, second = _Signature(simple.nets), _Signature(mapped.nets)
    for gates, signature in ((simple, first), (mapped, second)):
        play(gates, beats, streams=streams, warm_up=0, seed=None, observer=signature, limit=limit)
    names, modules = _names(rtl["modules"][mapped.top], simple, rtlil, mapped.top)
    home = _inherit(simple, modules)
    known: dict[int, tuple[int, bool]] = {}
    by_name = sorted(np.flatnonzero(first.changed).tolist(), key=lambda net: net not in names)
    for net in by_name:
        known.setdefault(int(first.plain[net]), (net, False))
        known.setdefault(int(first.inverse[net]), (net, True))
    labels: dict[int, str] = {}
    paths: dict[int, str] = {}
    # What only inverts an input of the unit belongs to its reader.
    ports = {net for nets in simple.inputs.values() for net in nets}
    for net in np.flatnonzero(second.changed).tolist():
        found = known.get(int(second.plain[net]))
        if found is not None:
            source, inverted = found
            if source in home and source not in ports:
                paths[net] = home[source]
            if source in names:
                labels[net] = f"{'~' if inverted else ''}{names[source]}"
    labels = {net: _below(name) for net, name in mapped.names.items()} | labels
    settled = _inherit(mapped, paths)
    outputs = list(_outputs(mapped))
    return Origin(
        labels=labels,
        paths=tuple(next((settled[n] for n in nets if n in settled), "") for nets in outputs),
        matched=sum(any(net in paths for net in nets) for nets in outputs),
    )


def grouped(path: str) -> str:
    """The path with numbered siblings taken together: `lane3.add` becomes `lane.add`."""
    return re.sub(r"\d+(?=\.|$)", "", path)


def _outputs(gates: Gates) -> Iterator[list[int]]:
    """Output nets of each cell."""
    for cell in gates.cells:
        outputs = gates.library.cells[cell.kind].outputs
        yield [cell.pins[pin] for pin, _ in outputs if pin in cell.pins]


def _below(name: str) -> str:
    """A flat name below the unit: without the wrappers' instances, which are called `core`."""
    while name.startswith("core."):
        name = name.removeprefix("core.")
    return name


def _inherit(gates: Gates, known: Mapping[int, str]) -> dict[int, str]:
    """The paths, and for nets without one that of the first cell that reads them."""
    settled = dict(known)
    cells = gates.library.cells
    # Flip-flops first, then logic from the outputs on: readers come before what they read.
    for cell in (*gates.flip_flops, *reversed(gates.logic)):
        record = cells[cell.kind]
        outputs = [cell.pins[pin] for pin, _ in record.outputs if pin in cell.pins]
        path = next((settled[net] for net in outputs if net in settled), None)
        if path is None:
            continue
        for net in outputs:
            settled.setdefault(net, path)
        for pin in record.inputs:
            if pin != record.clock:
                settled.setdefault(cell.pins[pin], path)
    return settled


def _names(
    module: Mapping[str, Any], gates: Gates, rtlil: str, top: str
) -> tuple[dict[int, str], dict[int, str]]:
    """Net -> name below the unit, and net -> path of the module that drives it.

    A net that crosses modules has a name in each. The driver's is the deepest in which it is an
    output port; where there is none, the outermost: below, it is an input.
    """
    outputs = dict(_output_ports(rtlil, top))
    found: dict[int, list[tuple[str, str]]] = {}
    numbers = {bit: net for net, bit in _bits(module, gates)}
    for name, entry in module["netnames"].items():
        if "$" in name.rpartition(".")[2]:
            continue  # signals that the RTL did not name
        for index, bit in enumerate(entry["bits"]):
            if bit in numbers:
                label = f"{name}[{index}]" if len(entry["bits"]) > 1 else name
                found.setdefault(numbers[bit], []).append((name, label))
    labels, paths = {}, {}
    for net, aliases in found.items():
        # A name of the wrapper's ports only where the unit has none.
        names = [name for name, _ in aliases if "." in name] or [name for name, _ in aliases]
        inner = [n for n in names if n.rpartition(".")[2] in outputs.get(_path(n), ())]
        deepest = max(inner, key=lambda name: name.count("."), default=None)
        home = _path(deepest or min(names, key=lambda name: (name.count("."), name)))
        _, label = min((len(label), label) for name, label in aliases if _path(name) == home)
        labels[net] = _below(label)
        paths[net] = _below(home + ".").rstrip(".")
    return labels, paths


def _path(name: str) -> str:
    return name.rpartition(".")[0]


def _bits(module: Mapping[str, Any], gates: Gates) -> Iterator[tuple[int, Any]]:
    """Number of a net in `gates` and its number in the JSON netlist."""
    for name, nets in {**gates.inputs, **gates.outputs}.items():
        yield from zip(nets, module["ports"][name]["bits"], strict=True)
    for cell in gates.cells:
        for pin, net in cell.pins.items():
            yield net, module["cells"][cell.name]["connections"][pin][0]


def _output_ports(rtlil: str, top: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Dotted path of every instance below the top, and the output ports of its module."""
    modules = dict(_MODULE.findall(rtlil))

    def walk(module: str, path: str) -> Iterator[tuple[str, frozenset[str]]]:
        body = modules.get(module, "")
        if path:
            yield path, frozenset(_OUTPUT.findall(body))
        for kind, name in _INSTANCE.findall(body):
            yield from walk(kind, f"{path}.{name}" if path else name)

    return walk(top, "")
