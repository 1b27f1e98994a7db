"""Area and energy of memories that are kept apart: a stated model, no macro.

    area   = bits * 0.37 um2 / 0.5            six-transistor cells, half of the macro being cells
    energy = width * 156 fJ * sqrt(bits / 65536)    a read or a write of one word, at 0.9 V

both at 45 nm. The energies are those of Horowitz, Computing's Energy Problem, ISSCC 2014 (45 nm,
0.9 V): 64 bits from 8, 32 and 1024 KB cost 10, 20 and 100 pJ, which is 10 pJ times the square root
of the size over 8 KB (113 pJ for the last): bit lines and word lines grow with the square root. The
cell is 0.346 to 0.38 um2 in published 45 nm processes, 50 to 70 % of an array are cells.

The buffers here, 512 and 2048 bits, lie far below those points. What the law says down there was
compared with the 26 single-port macros of the FakeRAM45 set (OpenROAD-flow-scripts, made by CACTI,
1.1 V) of 448 to 79872 bits: a clock cycle takes 0.7 to 1.9 times the model in 24 of them, 2.9 and
3.9 times in two narrow ones (256 x 16, 64 x 7); area is 0.7 to 1.6 times the model in 25, and 2.8
times in 64 x 256. All have at least 32 words: a buffer of four words of 128 bits is outside all of
this, and a designer would build it of latches.

Other libraries: energy goes with C V^2, C the input of the smallest inverter (1.62 fF in
NanGate45), area with the NAND2 (0.798 um2 there). Leakage and idle cycles are left out.
"""

import math
from dataclasses import dataclass

from narrowgauge.synth import nldm
from narrowgauge.synth.boundary import inverter
from narrowgauge.synth.power import Power

__all__ = ["DESCRIPTION", "MemoryModel"]

DESCRIPTION = "156 fJ a bit at 64 Kb, 45 nm and 0.9 V, by the square root of the size (ISSCC 2014)"


@dataclass(frozen=True, kw_only=True)
class MemoryModel:
    """The model with its constants; see the module.

    Parameters
    ----------
    cell_um2, efficiency : area of a bit, and the share of the macro that is bits
    access_fj, bits, voltage : energy of a bit read or written in a memory of so many bits
    inverter_ff, nand2_um2 : what the other figures scale with, at their own 45 nm
    """

    cell_um2: float = 0.37
    efficiency: float = 0.5
    access_fj: float = 156.25
    bits: int = 65536
    voltage: float = 0.9
    inverter_ff: float = 1.62
    nand2_um2: float = 0.798

    def area_ge(self, bits: int) -> float:
        """Area of a memory in two-input NANDs."""
        return bits * self.cell_um2 / self.efficiency / self.nand2_um2

    def access(self, bits: int, width: int, power: Power) -> float:
        """Energy in fJ of a read or a write of `width` bits in a memory of `bits` bits."""
        cell = nldm.tables(power.library).cell(inverter(power.library))
        pin = next(p for p in cell.pins.values() if p.direction == "input")
        capacitance = (pin.rise + pin.fall) / 2 / self.inverter_ff
        scale = capacitance * (power.voltage / self.voltage) ** 2
        return width * self.access_fj * math.sqrt(bits / self.bits) * scale
