"""A combinational design as simple gates, and its evaluation on whole arrays of inputs.

Yosys maps the emitted RTLIL to gates of one and two inputs and multiplexers; nothing is optimised
beyond what `opt` does. Evaluation is bit-parallel: a net is an array of 64-bit words, one bit an
input.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import NarrowgaugeError
from narrowgauge.verify.prove.yosys import run

__all__ = ["Gate", "Gates", "gates"]

Words = npt.NDArray[np.uint64]

_KINDS = {
    "$_NOT_": "not",
    "$_BUF_": "buf",
    "$_AND_": "and",
    "$_OR_": "or",
    "$_XOR_": "xor",
    "$_NAND_": "nand",
    "$_NOR_": "nor",
    "$_XNOR_": "xnor",
    "$_ANDNOT_": "andnot",
    "$_ORNOT_": "ornot",
    "$_MUX_": "mux",
}


@dataclass(frozen=True)
class Gate:
    """One gate: its kind, the net that it drives, and its input nets A, B and S as it has them."""

    kind: str
    output: int
    inputs: tuple[int, ...]

    def apply(self, a: Any, b: Any = 0, s: Any = 0) -> Any:
        """What it gives, bit by bit, for integers or arrays of them."""
        match self.kind:
            case "buf":
                return a
            case "not":
                return ~a
            case "and":
                return a & b
            case "or":
                return a | b
            case "xor":
                return a ^ b
            case "nand":
                return ~(a & b)
            case "nor":
                return ~(a | b)
            case "xnor":
                return ~(a ^ b)
            case "andnot":
                return a & ~b
            case "ornot":
                return a | ~b
        # A multiplexer takes B where S is set.
        return a ^ ((a ^ b) & s)


@dataclass(frozen=True, kw_only=True)
class Gates:
    """A design without state.

    Parameters
    ----------
    inputs, outputs : port -> its nets, lowest bit first; nets 0 and 1 are the constants
    gates : in an order in which each comes after those that drive it
    names : wire -> its nets, as far as they are left; hierarchical names have dots
    """

    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    gates: tuple[Gate, ...]
    names: dict[str, tuple[int, ...]]

    def cone(self, outputs: Sequence[int]) -> tuple[Gate, ...]:
        """The gates that some nets depend on, in order."""
        wanted = set(outputs)
        kept = []
        for gate in reversed(self.gates):
            if gate.output in wanted:
                kept.append(gate)
                wanted.update(gate.inputs)
        return tuple(reversed(kept))

    def support(self, outputs: Sequence[int]) -> set[int]:
        """The nets that some nets depend on, themselves included."""
        reached = set(outputs)
        for gate in self.cone(outputs):
            reached.update(gate.inputs)
        return reached

    def evaluate(self, driven: dict[int, Words], outputs: Sequence[int]) -> list[Words]:
        """The words of some nets; `driven` holds those of the inputs they depend on."""
        size = len(next(iter(driven.values())))
        zeros = np.zeros(size, np.uint64)
        values: dict[int, Words] = {0: zeros, 1: ~zeros, **driven}
        cone = self.cone(outputs)
        # A net is dropped after its last use: a wide multiplier has thousands of them.
        last = {net: index for index, gate in enumerate(cone) for net in gate.inputs}
        kept = set(outputs)
        for index, gate in enumerate(cone):
            values[gate.output] = gate.apply(*(values[net] for net in gate.inputs))
            for net in set(gate.inputs):
                if last[net] == index and net not in kept and net > 1:
                    del values[net]
        return [values[net] for net in outputs]


def gates(rtlil: str, top: str, *, optimised: bool = True) -> Gates:
    """The gates of a design given as RTLIL; one with state or a loop is a `NarrowgaugeError`.

    `clk` and `rst` may be among its ports, where nothing depends on them. A design that is not
    optimised keeps all its wires.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.il").write_text(rtlil)
        run(
            [
                "read_rtlil in.il",
                f"hierarchy -top {top}",
                "proc",
                "flatten -noscopeinfo",
                *["opt -full"] * optimised,
                "techmap",
                "simplemap",
                *["opt -full"] * optimised,
                "write_json out.json",
            ],
            folder,
        )
        module = json.loads((folder / "out.json").read_text())["modules"][top]
    return _read(module)


def _read(module: dict[str, Any]) -> Gates:
    numbers: dict[Any, int] = {"0": 0, "1": 1}

    def number(bit: Any) -> int:
        if bit in ("x", "z"):
            raise NarrowgaugeError(f"the design has a bit without a value ({bit})")
        return numbers.setdefault(bit, len(numbers))

    sides: dict[str, dict[str, tuple[int, ...]]] = {"input": {}, "output": {}}
    for port, description in module["ports"].items():
        nets = tuple(number(bit) for bit in description["bits"])
        sides[description["direction"]][port] = nets
    waiting: dict[int, Gate] = {}
    for name, cell in module["cells"].items():
        kind = _KINDS.get(cell["type"])
        if kind is None:
            raise NarrowgaugeError(f"cell {name} of type {cell['type']} is no simple gate")
        pins = cell["connections"]
        inputs = tuple(number(pins[pin][0]) for pin in "ABS" if pin in pins)
        gate = Gate(kind, number(pins["Y"][0]), inputs)
        waiting[gate.output] = gate
    names = {
        name: tuple(numbers[bit] for bit in description["bits"])
        for name, description in module["netnames"].items()
        if all(bit in numbers for bit in description["bits"])
    }
    return Gates(
        inputs=sides["input"],
        outputs=sides["output"],
        gates=tuple(_ordered(waiting)),
        names=names,
    )


def _ordered(drivers: dict[int, Gate]) -> list[Gate]:
    """Gates after those that drive them; depth first, without recursion."""
    done: set[int] = set()
    order = []
    for start in drivers:
        stack: list[tuple[int, bool]] = [(start, False)]
        open_: set[int] = set()
        while stack:
            net, finished = stack.pop()
            if net in done or net not in drivers:
                continue
            if finished:
                done.add(net)
                open_.discard(net)
                order.append(drivers[net])
                continue
            if net in open_:
                raise NarrowgaugeError("the design has a combinational loop")
            open_.add(net)
            stack.append((net, True))
            stack += [(source, False) for source in drivers[net].inputs if source not in done]
    return order
