"""The result of one synthesis: figures with the stamp of what made them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from narrowgauge.golden.errors import UsageError
from narrowgauge.synth.netlist import Memory

__all__ = ["Record", "Run"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One mapping of the design: by the area script, or by the speed script.

    Attributes
    ----------
    goal : "area" or "speed"
    cells : number of cells of each type, memories apart
    area, sequential_area : in the library's unit (um2, or GE for the generic library)
    depth : cells on the longest path between registers, memories and ports
    start, end : where that path starts and ends
    delay_ps : ABC's figure for the longest combinational path, without wires, and without the
        flip-flops' clock-to-output and setup times; 0 without logic
    """

    goal: Literal["area", "speed"]
    cells: Mapping[str, int]
    area: float
    sequential_area: float
    depth: int
    start: str
    end: str
    delay_ps: float


@dataclass(frozen=True, kw_only=True)
class Record:
    """One design in one library.

    GE is the area in two-input NANDs of drive 1 (`nand2`, `nand2_area`). Two records compare only
    where `flow_digest` is equal; it covers scripts, the flow's source, library and Yosys version.

    Attributes
    ----------
    name, parameters : the design
    macs : multiply-accumulates a cycle, or None
    library, library_digest, area_unit, nand2, nand2_area : the library
    area : the area run; every area, count and GE below is of this one
    speed : the speed run, or None where it was left out
    flip_flops : number of flip-flops
    memories : kept apart, outside the area
    tools : tool -> version
    recipe, flow_digest : 12 digits of the recipe's sha256; sha256 of the flow
    """

    name: str
    parameters: Mapping[str, object]
    macs: int | None
    library: str
    library_digest: str
    area_unit: str
    nand2: str
    nand2_area: float
    area: Run
    speed: Run | None
    flip_flops: int
    memories: tuple[Memory, ...]
    tools: Mapping[str, str]
    recipe: str
    flow_digest: str

    @property
    def cells(self) -> int:
        """Number of cells, memories apart."""
        return sum(self.area.cells.values())

    @property
    def ge(self) -> float:
        """Area in gate equivalents."""
        return self.area.area / self.nand2_area

    @property
    def sequential_ge(self) -> float:
        """Area of the flip-flops in gate equivalents."""
        return self.area.sequential_area / self.nand2_area

    @property
    def speed_ge(self) -> float | None:
        """Area of the speed run in gate equivalents."""
        return None if self.speed is None else self.speed.area / self.nand2_area

    @property
    def ge_per_mac(self) -> float | None:
        """Gate equivalents a multiply-accumulate."""
        return None if self.macs is None else self.ge / self.macs

    @property
    def depth(self) -> int:
        """Logic depth of the area run."""
        return self.area.depth

    @property
    def delay_ps(self) -> float:
        """ABC's delay: of the speed run where there is one (`delay_goal` says)."""
        return (self.speed or self.area).delay_ps

    @property
    def delay_goal(self) -> str:
        """The run that `delay_ps` is of."""
        return (self.speed or self.area).goal

    @property
    def memory_bits(self) -> int:
        """Bits of all memories that were kept apart."""
        return sum(m.bits for m in self.memories)

    @property
    def memory_ports(self) -> int:
        """Read and write ports of all memories that were kept apart."""
        return sum(m.read_ports + m.write_ports for m in self.memories)

    def to_json(self) -> str:
        """The record as JSON text: sorted keys, no time, no path."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """The reverse of `to_json`; anything else is a `UsageError`."""
        try:
            data: dict[str, Any] = json.loads(text)
            data["area"] = Run(**data["area"])
            data["speed"] = None if data["speed"] is None else Run(**data["speed"])
            data["memories"] = tuple(Memory(**m) for m in data["memories"])
            return cls(**data)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"not a synthesis record: {error}") from None

    def to_markdown(self) -> str:
        """The record as a Markdown section: figures, longest path, cells and stamp."""
        rows = [
            ("area", f"{self.area.area:.1f} {self.area_unit}"),
            ("GE", f"{self.ge:.0f}, of which flip-flops {self.sequential_ge:.0f}"),
            ("cells", f"{self.cells}"),
            ("flip-flops", f"{self.flip_flops}"),
            ("depth", f"{self.depth} cells, from {self.area.start} to {self.area.end}"),
            ("delay", f"{self.delay_ps:.0f} ps (ABC, {self.delay_goal} run, no wires)"),
        ]
        if self.ge_per_mac is not None:
            rows.insert(2, ("GE a MAC", f"{self.ge_per_mac:.1f} ({self.macs} MACs a cycle)"))
        if self.speed is not None:
            rows.append(("speed run", f"{self.speed_ge:.0f} GE, depth {self.speed.depth}"))
        rows += [
            (f"memory `{m.name}`", f"{m.words} x {m.width} bits, {m.read_ports}R {m.write_ports}W")
            for m in self.memories
        ]
        rows += [(name, f"{value}") for name, value in sorted(self.parameters.items())]
        rows += [
            ("library", f"{self.library} ({self.library_digest[:12]}), GE = {self.nand2}"),
            ("tools", ", ".join(f"{k} {v}" for k, v in sorted(self.tools.items()))),
            ("flow", f"{self.flow_digest[:12]}, recipe {self.recipe}"),
        ]
        lines = [f"### {self.name}", "", "| | |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in rows]
        lines += ["", "| cell | count |", "| --- | --- |"]
        lines += [f"| {name} | {count} |" for name, count in sorted(self.area.cells.items())]
        return "\n".join(lines) + "\n"
