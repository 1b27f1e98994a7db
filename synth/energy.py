"""Energy of a mapped netlist from its activity: switching, internal, clock and leakage.

    switching = toggles * C V^2 / 2      of every net but the clock's, C the pins on it, no wires
    internal  = sum of events * energy   the library's tables at the net's own slew and load
    clock     = C V^2 + internal energy of the clock pins, every cycle
    leakage   = power of the states * period

Internal energy of an output's change is that of the arc from the input that caused it. Where
several inputs changed at once the change is shared among them. A net is charged to the cell that
drives it, the clock to the flip-flops, the nets of ports and memories to nobody: `Energy.ports`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from narrowgauge.synth.activity import Activity, Cells, by_kind
from narrowgauge.synth.gates import Gates
from narrowgauge.synth.power import Power
from narrowgauge.synth.sta import Timing

__all__ = ["PARTS", "Energy", "Model"]

Floats = npt.NDArray[np.float64]

PARTS = ("switching", "internal", "clock", "leakage")

_AJ = 1e-6
"""nW times ps in fJ."""


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy over the cycles that an activity counted, in fJ.

    Attributes
    ----------
    cycles : clock cycles counted
    cells : part (`PARTS`) -> energy of each cell of `Gates.cells`
    ports : switching of the nets that no cell drives: inputs, and what memories put out
    """

    cycles: float
    cells: Mapping[str, Floats] = field(repr=False)
    ports: float

    @property
    def parts(self) -> dict[str, float]:
        """The sum of each part, ports in switching."""
        sums = {part: float(self.cells[part].sum()) for part in PARTS}
        return sums | {"switching": sums["switching"] + self.ports}

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return sum(self.parts.values())

    def split(self, paths: Sequence[str]) -> dict[str, float]:
        """Energy by the path of each cell, ports at the path ""; sums to the total."""
        whole = sum(self.cells[part] for part in PARTS)
        found: dict[str, float] = {"": self.ports}
        for path, value in zip(paths, np.asarray(whole).tolist(), strict=True):
            found[path] = found.get(path, 0.0) + value
        return found


class Model:
    """A netlist with its energies an event, ready for any number of activities.

    Parameters
    ----------
    gates : the netlist
    power : of its library
    timing : its slews and loads

    Attributes
    ----------
    tables : kind -> energy of each event in fJ, shape (events, cells)
    """

    def __init__(self, gates: Gates, power: Power, timing: Timing) -> None:
        self.gates = gates
        self.power = power
        self.cells = by_kind(gates, power)
        # Over a rise and a fall the charge is that of both capacitances.
        self.load: Floats = timing.load.mean(axis=1)
        self.tables = {
            kind: self._energies(cells, timing.slew, timing.load)
            for kind, cells in self.cells.items()
        }

    def _energies(self, cells: Cells, slews: Floats, loads: Floats) -> Floats:
        energies = np.zeros((len(cells.power.events), len(cells.members)))
        for index, event in enumerate(cells.power.events):
            load: Floats = np.zeros(len(cells.members))
            if event.output is not None:
                nets = cells.outputs[event.output]
                # A pin that is not wired, such as the inverse of a register, moves all the same.
                load = np.where(nets >= 0, loads[nets, 0 if event.rise else 1], 0.0)
            energies[index] = event.energy(slews[cells.inputs[event.pin]], load)
        return energies

    def evaluate(self, activity: Activity, period_ps: float) -> Energy:
        """The energy of what an activity counted, at a period of the clock."""
        gates, volts = self.gates, self.power.voltage**2
        parts = {part: np.zeros(len(gates.cells)) for part in PARTS}
        charging = activity.toggles * self.load * volts / 2
        charged = np.zeros(gates.nets, bool)
        for kind, cells in self.cells.items():
            internal, clock = self._internal(kind, cells, activity)
            parts["internal"][cells.members] = internal
            for nets in cells.outputs:
                wired = nets >= 0
                parts["switching"][cells.members[wired]] += charging[nets[wired]]
                charged[nets[wired]] = True
            if cells.sequential:
                parts["clock"][cells.members] = clock + self._clock_pin(kind) * activity.cycles
            states = activity.states[kind]
            leakage = cells.power.leakage @ states
            parts["leakage"][cells.members] = leakage * period_ps * _AJ
        return Energy(cycles=activity.cycles, cells=parts, ports=float(charging[~charged].sum()))

    def _clock_pin(self, kind: str) -> float:
        """C V^2 of a flip-flop's clock pin: a rise and a fall of the clock."""
        cell = self.gates.library.cells[kind]
        pin = self.power.timing(kind).pins[cell.clock]
        return (pin.rise + pin.fall) / 2 * self.power.voltage**2

    def _internal(self, kind: str, cells: Cells, activity: Activity) -> tuple[Floats, Floats]:
        """Internal energy of each cell, and apart from it that of the clock pin."""
        counts, energies = activity.events[kind], self.tables[kind]
        events, cell = cells.power.events, cells.power.cell
        internal = np.zeros(len(cells.members))
        clock = np.zeros(len(cells.members))
        for index, event in enumerate(events):
            if event.output is None:
                own = bool(cell.clock) and cell.inputs[event.pin] == cell.clock
                (clock if own else internal)[:] += counts[index] * energies[index]
        for output in range(len(cells.outputs)):
            for rise in (True, False):
                chosen = [i for i, e in enumerate(events) if e.output == output and e.rise == rise]
                if not chosen:
                    continue
                causes = counts[chosen].sum(axis=0)
                changes = self._changes(cells, output, rise, activity, causes)
                spent = (counts[chosen] * energies[chosen]).sum(axis=0)
                shared = np.divide(
                    spent * changes, causes, out=np.zeros_like(spent), where=causes > 0
                )
                internal += shared
        return internal, clock

    def _changes(
        self, cells: Cells, output: int, rise: bool, activity: Activity, causes: Floats
    ) -> Floats:
        """Rises or falls of an output of each cell."""
        if cells.sequential:
            return causes  # the clock is the only cause
        nets = cells.outputs[output]
        rises = activity.rises[nets]
        return rises if rise else activity.toggles[nets] - rises
