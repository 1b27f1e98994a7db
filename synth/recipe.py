"""The fixed scripts of the flow, and the few switches that a sweep may turn."""

import hashlib
import json
from dataclasses import asdict, dataclass

from narrowgauge.golden.errors import UsageError

__all__ = ["AREA", "DEFAULT", "LOGIC", "SPEED", "Recipe"]

LOGIC = (
    "strash; &get -n; &fraig -x -C 100; &put;"
    " dc2; resub -K 10; dc2; resub -K 10; dc2; dc2; &get -n; &dch -f -x -C 50"
)
"""ABC: what both mappings start from. Its SAT steps are bounded by conflicts: unbounded, they run
for minutes on multiplier trees. docs/synthesis.md has what was tried."""

AREA = "&put; amap -m; topo; dnsize; stime -p"
"""ABC: least area; nothing is buffered."""

SPEED = "&put; map -B 0.9; topo; buffer -c; upsize -I 40; dnsize; stime -p"
"""ABC: least delay first, then buffers and drive strengths."""

_BOOTH = [
    "opt_expr",
    "opt_clean",
    "opt -nodffe -nosdff",
    "wreduce",
    "peepopt",
    "opt_clean",
    "select -set signed t:$mul r:A_SIGNED=1 %i",
    "select -set unsigned t:$mul r:A_SIGNED=0 %i",
    "select -set b5 r:A_WIDTH>=5 r:B_WIDTH>=5 %i",
    "select -set b7 r:A_WIDTH>=7 r:B_WIDTH>=7 %i",
    "select -set b4 r:A_WIDTH=4 r:B_WIDTH=4 %i",
    "booth @signed @b5 @b4 %u %i @unsigned @b7 %i %u",
]
"""Yosys: Booth where it is smaller, measured one multiplier at a time (docs/synthesis.md): signed
4 x 4 and from 5 x 5, unsigned from 7 x 7. Below, it costs up to 40 % (unsigned 24 x 4)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the flow does with a design.

    Parameters
    ----------
    booth : the wider multiplications become radix-4 Booth multipliers (Yosys `booth`)
    logic : ABC script that ends with the optimised logic in the &-space
    area, speed : ABC scripts of the two mappings of it; `speed` None leaves the second out
    memory_bits : memories of at most this many bits become flip-flops, larger ones are counted
    """

    booth: bool = True
    logic: str = LOGIC
    area: str = AREA
    speed: str | None = SPEED
    memory_bits: int = 256

    def __post_init__(self) -> None:
        for name in ("logic", "area"):
            if not getattr(self, name).strip():
                raise UsageError(f"{name} script must not be empty")
        if self.memory_bits < 0:
            raise UsageError(f"memory_bits must be at least 0, got {self.memory_bits}")

    @property
    def digest(self) -> str:
        """The first 12 digits of the sha256 of the switches and scripts."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def front(self, name: str) -> list[str]:
        """Yosys: from `design.il` to a flat netlist of gates and flip-flops of the library.

        Initial values are dropped: silicon has none. Read-only memories become logic.
        """
        return [
            "libcache -scl -disable",
            "read_rtlil design.il",
            f"hierarchy -check -top {name}",
            "proc",
            "flatten -noscopeinfo",
            "chformal -remove",
            "delete t:$print",
            "setattr -unset init w:*",
            # Sharing asks a SAT solver about pairs of shifters, which takes minutes and finds none.
            *(_BOOTH if self.booth else []),
            f"synth -top {name} -flatten -noabc -noshare -run begin:fine",
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
            # The design that the mapped ones are held against, with the names of the RTL. Written
            # at the end: writing sorts the cells, which alone moves small areas by 3 %.
            "design -save rtl",
            "opt_clean -purge",
            "design -save front",
        ]

    def back(self) -> list[str]:
        """Yosys: one ABC run that maps the saved front end twice; the netlists as JSON and Verilog.

        The area netlist is set aside as BLIF and read back, since Yosys takes over one network.
        """
        area = f"{self.logic}; {self.area}"
        rtl = ["design -load rtl", "write_json rtl.json"]
        if self.speed is None:
            return [_abc(area), *_write("area"), *rtl]
        return [
            _abc(f"{area}; write_blif area.blif; {self.speed}"),
            *_write("speed"),
            "design -load front",
            _abc("read_blif area.blif"),
            *_write("area"),
            *rtl,
        ]


def _abc(script: str) -> str:
    """Yosys takes a script on its command line with commas for spaces."""
    commands = [command.strip() for command in script.split(";") if command.strip()]
    return f"abc -liberty cells.lib -script +{';'.join(c.replace(' ', ',') for c in commands)}"


def _write(netlist: str) -> list[str]:
    return ["opt_clean -purge", f"write_json {netlist}.json", f"write_verilog -noattr {netlist}.v"]


DEFAULT = Recipe()
