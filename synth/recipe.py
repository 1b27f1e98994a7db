"""The fixed scripts of the flow, and the few switches that a sweep may turn."""

import hashlib
import json
from dataclasses import asdict, dataclass

from narrowgauge.golden.errors import UsageError

__all__ = ["AREA", "DEFAULT", "SPEED", "Recipe"]

_CLEAN = "strash; &get -n; &fraig -x -C 100; &put; dc2; dc2; dch -f -C 50"
# Both SAT steps are bounded by conflicts: unbounded, they run for minutes on multiplier trees.

AREA = f"{_CLEAN}; amap -m; topo; dnsize; stime -p"
"""ABC: least area; nothing is buffered."""

SPEED = f"{_CLEAN}; map -B 0.9; topo; buffer -c; upsize; dnsize; stime -p"
"""ABC: least delay first, then buffers and drive strengths."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the flow does with a design.

    Parameters
    ----------
    booth : multiplications become radix-4 Booth multipliers (Yosys `booth`)
    area, speed : ABC scripts of the two runs; `speed` None leaves the second run out
    speed_limit : cells; where the area run has more, the second run is left out
    memory_bits : memories of at most this many bits become flip-flops, larger ones are counted
    """

    booth: bool = True
    area: str = AREA
    speed: str | None = SPEED
    speed_limit: int = 400_000
    memory_bits: int = 256

    def __post_init__(self) -> None:
        if not self.area.strip():
            raise UsageError("area script must not be empty")
        for name in ("speed_limit", "memory_bits"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must be at least 0, got {getattr(self, name)}")

    @property
    def digest(self) -> str:
        """The first 12 digits of the sha256 of the switches and scripts."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def front(self, name: str) -> list[str]:
        """Yosys: from `design.il` to a flat netlist of gates and flip-flops of the library.

        Initial values are dropped: silicon has none. Read-only memories become logic.
        """
        booth = " -booth" if self.booth else ""
        synth = f"synth -top {name} -flatten -noabc{booth}"
        return [
            "libcache -scl -disable",
            "read_rtlil design.il",
            f"hierarchy -check -top {name}",
            "proc",
            "flatten -noscopeinfo",
            "chformal -remove",
            "delete t:$print",
            "setattr -unset init w:*",
            f"{synth} -run begin:fine",
            "select t:$mem_v2",
            "write_json -selected memories.json",
            "select -clear",
            "memory_map -rom-only",
            f"@map_small_memories memories.json {self.memory_bits}",
            "opt -fast -full",
            "opt -full",
            "techmap",
            "opt -fast",
            "check -assert",
            "dfflibmap -liberty cells.lib",
            "opt_clean -purge",
            "design -save front",
        ]

    @staticmethod
    def back(script: str, netlist: str) -> list[str]:
        """Yosys: one ABC run on the saved front end; the netlist as JSON and Verilog."""
        commands = ",".join(script.replace("; ", ";").split(" ")) if script else ""
        return [
            "design -load front",
            f"abc -liberty cells.lib -script +{commands}",
            "opt_clean -purge",
            f"write_json {netlist}.json",
            f"write_verilog -noattr {netlist}.v",
        ]


DEFAULT = Recipe()
