"""An emitted stream design as AND gates and registers, memories included.

Registers have no initial value here: what the design does is claimed from the first cycle after a
reset of one cycle on, whatever its registers held before.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from narrowgauge.golden.errors import NarrowgaugeError, UsageError
from narrowgauge.hdl.emit import Emitted
from narrowgauge.verify.prove.yosys import run

__all__ = ["Netlist", "netlist", "read"]

_STEPS = (
    "read_rtlil in.il",
    "hierarchy -top @TOP@",
    "proc",
    "flatten",
    # What a register starts with must not be used by the optimisations below.
    "setattr -unset init w:*",
    "opt_clean",
    "memory -nomap",
    "memory_map",
    "setattr -unset init w:*",
    "opt -full",
    "dffunmap",
    "techmap",
    "opt_clean",
    # What `opt` found that nothing depends on; ABC takes 0 for it in synthesis as well.
    "setundef -zero",
    "aigmap",
    "opt_clean",
    "write_aiger -ascii -symbols out.aag",
)


@dataclass(frozen=True, kw_only=True)
class Netlist:
    """A design as gates; literals as in `stream_aig`, a gate's inputs come before it.

    Parameters
    ----------
    size : nodes, the constant included
    gates : (node, literal, literal)
    inputs, outputs : name of a port's bit -> literal, in the order of the ports
    registers : node -> literal of its next value
    names : node of a register -> its name
    """

    size: int
    gates: tuple[tuple[int, int, int], ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    registers: Mapping[int, int]
    names: Mapping[int, str]

    def port(self, name: str) -> list[int]:
        """Literals of a port, lowest bit first; none where there is no such port."""
        every = self.inputs | self.outputs  # type: ignore[operator]
        if name in every:
            return [every[name]]
        width = sum(1 for bit in every if bit.startswith(f"{name}["))
        return [every[f"{name}[{i}]"] for i in range(width)]

    @cached_property
    def after_reset(self) -> dict[int, int | None]:
        """What each register holds after a cycle of reset; None where that is unknown."""
        # Two rails: whether a node may be 0, and whether it may be 1.
        zero, one = [True] * self.size, [True] * self.size
        one[0] = False
        zero[self.inputs["rst"] >> 1] = False
        for node, a, b in self.gates:
            may = [(one, zero)[x & 1][x >> 1] for x in (a, b)]
            cannot = [(zero, one)[x & 1][x >> 1] for x in (a, b)]
            one[node] = all(may)
            zero[node] = any(cannot)
        found: dict[int, int | None] = {}
        for node, following in self.registers.items():
            high = (one, zero)[following & 1][following >> 1]
            low = (zero, one)[following & 1][following >> 1]
            found[node] = None if high and low else int(high)
        return found

    def influenced(self, sources: Iterable[int]) -> bytearray:
        """Flag of each node: whether it depends on one of the nodes, in any number of cycles."""
        flag = bytearray(self.size)
        for node in sources:
            flag[node] = 1
        grown = True
        while grown:
            for node, a, b in self.gates:
                if flag[a >> 1] or flag[b >> 1]:
                    flag[node] = 1
            grown = False
            for node, following in self.registers.items():
                if flag[following >> 1] and not flag[node]:
                    flag[node] = grown = True
        return flag

    def reads(self, roots: Iterable[int]) -> set[int]:
        """Leaves (inputs and registers) that literals depend on within a cycle."""
        fanins = self.fanins
        seen: set[int] = set()
        leaves: set[int] = set()
        work = [root >> 1 for root in roots]
        while work:
            node = work.pop()
            if node in seen:
                continue
            seen.add(node)
            pair = fanins.get(node)
            if pair is None:
                leaves.add(node)
            else:
                work += [pair[0] >> 1, pair[1] >> 1]
        return leaves - {0}

    def leaves(self, node: int, most: int) -> set[int] | None:
        """Leaves below one node within a cycle; None where there are more than `most`."""
        seen: set[int] = set()
        found: set[int] = set()
        work = [node]
        while work:
            node = work.pop()
            if node in seen or not node:
                continue
            seen.add(node)
            pair = self.fanins.get(node)
            if pair is None:
                found.add(node)
            else:
                work += [pair[0] >> 1, pair[1] >> 1]
            if len(found) > most or len(seen) > 32 * most:
                return None
        return found

    @cached_property
    def fanins(self) -> dict[int, tuple[int, int]]:
        """Gate -> its literals."""
        return {node: (a, b) for node, a, b in self.gates}

    @cached_property
    def fanouts(self) -> dict[int, list[int]]:
        """Node -> the gates that read it."""
        made: dict[int, list[int]] = {}
        for node, a, b in self.gates:
            made.setdefault(a >> 1, []).append(node)
            made.setdefault(b >> 1, []).append(node)
        return made

    def values(self, known: Mapping[int, int], mask: int) -> Callable[[int], int]:
        """Values of all literals in a cycle, each a word of independent runs.

        `known` is node -> word for inputs and registers, `mask` a word of ones.
        """
        word = [0] * self.size
        for node, value in known.items():
            word[node] = value
        for node, a, b in self.gates:
            word[node] = (word[a >> 1] ^ -(a & 1)) & (word[b >> 1] ^ -(b & 1)) & mask
        return lambda literal: (word[literal >> 1] ^ -(literal & 1)) & mask


def read(text: str) -> Netlist:
    """A netlist from ASCII AIGER with symbols, as Yosys writes it."""
    lines = text.splitlines()
    top, inputs, latches, outputs, gates = map(int, lines[0].split()[1:6])
    rows = iter(lines[1:])
    ins = [int(next(rows)) for _ in range(inputs)]
    regs = [tuple(map(int, next(rows).split()[:2])) for _ in range(latches)]
    outs = [int(next(rows)) for _ in range(outputs)]
    ands = []
    for _ in range(gates):
        made, a, b = map(int, next(rows).split())
        if max(a, b) > made:
            raise NarrowgaugeError("the gates are not in order")
        ands.append((made >> 1, a, b))
    symbols: dict[str, str] = {}
    for row in rows:
        if row == "c":
            break
        key, _, name = row.partition(" ")
        symbols[key] = name
    return Netlist(
        size=top + 1,
        gates=tuple(ands),
        inputs={symbols[f"i{i}"].split()[0]: literal for i, literal in enumerate(ins)},
        outputs={symbols[f"o{i}"].split()[0]: literal for i, literal in enumerate(outs)},
        registers={int(reg[0]) >> 1: int(reg[1]) for reg in regs},
        names={
            int(reg[0]) >> 1: _best(symbols.get(f"l{i}", f"l{i}")) for i, reg in enumerate(regs)
        },
    )


def _best(aliases: str) -> str:
    """The name that says most of those that one register has."""

    def badness(name: str) -> tuple[bool, bool, bool, int, str]:
        return ("$" in name, "axis" in name, "payload" in name, len(name), name)

    return min(aliases.split(), key=badness).removeprefix("core.")


def netlist(design: Emitted, folder: Path | None = None) -> Netlist:
    """The gates of a design; kept in `folder`, from where a later call takes them."""
    steps = [step.replace("@TOP@", design.name) for step in _STEPS]
    digest = hashlib.sha256("\n".join([*steps, design.text]).encode()).hexdigest()
    kept = None if folder is None else folder / f"stream-{digest[:16]}.aag"
    if kept is not None and kept.exists():
        return read(kept.read_text())
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        (place / "in.il").write_text(design.text)
        run(steps, place)
        made = place / "out.aag"
        found = read(made.read_text())
        if kept is not None:
            made.replace(kept)
    for port in ("rst", "s_axis_tvalid", "s_axis_tready", "m_axis_tvalid", "m_axis_tready"):
        if not found.port(port):
            raise UsageError(f"{design.name} has no port {port}: it is not a stream design")
    return found
