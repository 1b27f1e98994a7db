"""Combinational hardware evaluated on whole arrays: Yosys makes gates, NumPy does 64 at a time."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.back import rtlil

Ints = npt.NDArray[np.int64]

_YOSYS = """
import sys, pyosys.libyosys as ys
design = ys.Design()
for command in sys.stdin.read().splitlines():
    ys.run_pass(command, design)
"""


class Gates:
    """An and-inverter graph of a component without state.

    Called with a batch of bit patterns, one array a port, it gives those of the outputs.
    """

    def __init__(self, component: Any, folder: Path) -> None:
        source, target = folder / "design.il", folder / "design.aag"
        source.write_text(rtlil.convert(component, emit_src=False), encoding="utf-8")
        commands = [
            f"read_rtlil {source}",
            "hierarchy -auto-top",
            "proc",
            "flatten",
            "opt",
            "techmap",
            "opt",
            "aigmap",
            f"write_aiger -ascii -symbols {target}",
        ]
        subprocess.run(
            [sys.executable, "-c", _YOSYS],
            input="\n".join(commands),
            stdout=subprocess.DEVNULL,
            text=True,
            check=True,
            timeout=120,
        )
        lines = target.read_text(encoding="utf-8").splitlines()
        self.size, inputs, latches, outputs, ands = map(int, lines[0].split()[1:])
        assert latches == 0
        literals = [
            [int(word) for word in line.split()] for line in lines[1 : 1 + inputs + outputs]
        ]
        first = 1 + inputs + outputs
        self.ands = [[int(w) for w in line.split()] for line in lines[first : first + ands]]
        self.inputs: list[tuple[int, str, int]] = []
        self.outputs: list[tuple[int, str, int]] = []
        for line in lines[first + ands :]:
            if match := re.fullmatch(r"([io])(\d+) (\S+?)(?:\[(\d+)\])?", line):
                kind, index, port, bit = match[1], int(match[2]), match[3], int(match[4] or 0)
                position = index if kind == "i" else inputs + index
                ports = self.inputs if kind == "i" else self.outputs
                ports.append((literals[position][0], port, bit))
        assert len(self.inputs) == inputs
        assert len(self.outputs) == outputs

    def __call__(self, batch: dict[str, Ints]) -> dict[str, Ints]:
        """The outputs' bit patterns for those of the inputs; `clk` and `rst` are left at 0."""
        places = np.arange(63)
        made = self.bits({name: codes[:, None] >> places & 1 for name, codes in batch.items()})
        return {name: (bits << places[: bits.shape[1]]).sum(axis=1) for name, bits in made.items()}

    def bits(self, batch: dict[str, Ints]) -> dict[str, Ints]:
        """The same bit by bit: every port (beats, bits), lowest first."""
        count = len(next(iter(batch.values())))
        words = -(-count // 64)
        nets: list[Any] = [None] * (2 * self.size + 2)

        def drive(literal: int, value: npt.NDArray[np.uint64]) -> None:
            nets[literal], nets[literal ^ 1] = value, ~value

        drive(0, np.zeros(words, np.uint64))
        for literal, port, bit in self.inputs:
            bits = np.zeros(words * 64, np.uint8)
            if port not in ("clk", "rst"):
                bits[:count] = batch[port][:, bit]
            drive(literal, np.packbits(bits, bitorder="little").view(np.uint64))
        for output, left, right in self.ands:
            drive(output, nets[left] & nets[right])
        sizes: dict[str, int] = {}
        for _, port, bit in self.outputs:
            sizes[port] = max(sizes.get(port, 0), bit + 1)
        result = {port: np.zeros((count, size), np.int64) for port, size in sizes.items()}
        for literal, port, bit in self.outputs:
            words_of = nets[literal].view(np.uint8)
            result[port][:, bit] = np.unpackbits(words_of, bitorder="little")[:count]
        return result
