"""Runs one Yosys script in a process of its own: `python runner.py SCRIPT`.

A Yosys error ends the whole Python process, so it must not be the caller's. Beside Yosys commands,
one a line, a script may hold `@map_small_memories FILE BITS`: the memories listed in FILE, a JSON
netlist of the memory cells alone, become flip-flops where they hold at most BITS bits.
"""

import json
import sys
from pathlib import Path

__all__ = ["main"]


def _small_memories(netlist: Path, bits: int) -> list[str]:
    """Selections of the memory cells that hold at most so many bits."""
    small = []
    for module, content in json.loads(netlist.read_text())["modules"].items():
        for cell, description in content["cells"].items():
            parameters = description["parameters"]
            if int(parameters["SIZE"], 2) * int(parameters["WIDTH"], 2) <= bits:
                small.append(f"{module}/c:{cell}")
    return small


def main() -> None:
    """Run the script named on the command line."""
    import pyosys.libyosys as yosys

    design = yosys.Design()
    for line in Path(sys.argv[1]).read_text().splitlines():
        if line.startswith("@map_small_memories "):
            _, file, bits = line.split()
            for selection in _small_memories(Path(file), int(bits)):
                yosys.run_pass(f"memory_map {selection}", design)
        elif line.strip():
            yosys.run_pass(line, design)


if __name__ == "__main__":
    main()
