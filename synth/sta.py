"""Static timing of a mapped netlist over the tables of its library.

Slews and arrivals are propagated edge by edge in the order of levels, as OpenSTA does: an output
has the latest arrival and, apart from it, the largest slew that any input can give it, conditions
on other inputs left aside. The clock is ideal: it rises everywhere at time 0 with a slew of 0. Nets
have the capacitance of the pins on them and no wires.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from narrowgauge.synth.arcs import PORT, Graph, graph
from narrowgauge.synth.boundary import Boundary, Sram
from narrowgauge.synth.gates import Gates
from narrowgauge.synth.nldm import Table, Tables, tables
from narrowgauge.synth.paths import Path, Paths

__all__ = ["GROUPS", "Timing", "analyze"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GROUPS = ("reg2reg", "in2reg", "reg2out", "in2out")
"""Path groups, by where a path starts and ends; a memory counts as registers."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The timing of a netlist; times in ps, loads in fF.

    Attributes
    ----------
    load, slew, arrival : shape (nets, 2), of each net as it rises and as it falls; an arrival is
        -inf where no path from the clock or a port leads, and a slew is 0 there
    graph : the arcs
    delays : the delay of each arc, with the slews and loads that it meets; -inf where its source
        never moves
    """

    gates: Gates
    boundary: Boundary
    sram: Sram
    load: Floats = field(repr=False)
    slew: Floats = field(repr=False)
    arrival: Floats = field(repr=False)
    graph: Graph = field(repr=False)
    delays: Floats = field(repr=False)
    _paths: Paths = field(repr=False)
    _arcs_of: dict[tuple[int, str, str], list[int]] = field(default_factory=dict, repr=False)

    @property
    def groups(self) -> dict[str, float]:
        """Path group -> the shortest period its paths allow; groups without paths are absent."""
        return self._paths.groups

    @property
    def period_ps(self) -> float:
        """The shortest period of the clock; 0 where there is no path."""
        return max(self.groups.values(), default=0.0)

    @property
    def fmax_mhz(self) -> float:
        """The highest frequency of the clock; 0 where there is no path."""
        return 1e6 / self.period_ps if self.period_ps else 0.0

    @property
    def group(self) -> str:
        """The group that sets the period; empty where there is no path."""
        return max(self.groups, key=lambda g: self.groups[g], default="")

    def paths(
        self, count: int = 1, group: str | None = None, labels: Mapping[int, str] | None = None
    ) -> list[Path]:
        """The worst path to each of the `count` worst ends, worst first.

        Parameters
        ----------
        group : only the paths of this group
        labels : net -> a name for a net that has none of its own
        """
        return self._paths.worst(count, group, labels or {})

    def delay(self, cell: int, pin: str, output: str, edge: int) -> float:
        """The longest delay from a pin of a cell to an output that rises (0) or falls (1).

        -inf where there is no such arc, or nothing ever moves the pin. `cell` is an index of
        `gates.cells`.
        """
        if not self._arcs_of:
            pairs = self.graph.pin_pairs
            for index, (owner, pair) in enumerate(
                zip(self.graph.cell.tolist(), self.graph.pins.tolist(), strict=True)
            ):
                self._arcs_of.setdefault((owner, *pairs[pair]), []).append(index)
        found = self._arcs_of.get((cell, pin, output), [])
        edges = [i for i in found if self.graph.target[i] % 2 == edge]
        return max((float(self.delays[i]) for i in edges), default=-np.inf)


def analyze(
    gates: Gates,
    library_tables: Tables | None = None,
    *,
    boundary: Boundary | None = None,
    sram: Sram | None = None,
) -> Timing:
    """The timing of a netlist.

    Parameters
    ----------
    gates : from `narrowgauge.synth.gates.build`
    library_tables : from `narrowgauge.synth.nldm.tables`; None takes those of the gates' library
    boundary, sram : what stands at the ports, and the timing of memories

    Raises
    ------
    UsageError : the library has no timing tables for a cell
    """
    boundary, sram = boundary or Boundary(), sram or Sram()
    made = graph(gates, library_tables or tables(gates.library), boundary, sram)
    slew, arrivals, delays = _propagate(made)
    arrival = arrivals.max(axis=0)[: 2 * gates.nets].reshape(-1, 2)
    return Timing(
        gates=gates,
        boundary=boundary,
        sram=sram,
        load=made.load[: gates.nets],
        slew=slew[: 2 * gates.nets].reshape(-1, 2),
        arrival=arrival,
        graph=made,
        delays=delays,
        _paths=Paths(gates, made, slew, arrivals, delays),
    )


def _propagate(made: Graph) -> tuple[Floats, Floats, Floats]:
    """Slews of all nodes; arrivals from registers and from ports; delays of all arcs."""
    look = _Lookup(made.tables)
    nodes = 2 * len(made.load)
    load = made.load.reshape(-1)
    slew = np.zeros(nodes)
    arrivals = np.full((2, nodes), -np.inf)
    delays = np.full(len(made.source), -np.inf)
    # The clock starts both: at arcs of ports for paths from ports, at the others for the rest.
    starts = {True: np.array([[-np.inf], [0.0]]), False: np.array([[0.0], [-np.inf]])}
    for low, high in zip(made.bounds[:-1], made.bounds[1:], strict=True):
        source, target = made.source[low:high], made.target[low:high]
        before = arrivals[:, source]
        clocked = source == 2 * made.clock
        if clocked.any():
            from_port = made.cell[low:high] == PORT
            before = np.where(clocked & from_port, starts[True], before)
            before = np.where(clocked & ~from_port, starts[False], before)
        moving = np.flatnonzero(before.max(axis=0) > -np.inf)
        if not len(moving):
            continue
        source, target, before = source[moving], target[moving], before[:, moving]
        x, y = slew[source], load[target]
        arcs = low + moving
        delay = look(made.delay[arcs], x, y)
        delays[arcs] = delay
        first = np.flatnonzero(np.diff(target, prepend=-1))
        arrivals[:, target[first]] = np.maximum.reduceat(before + delay, first, axis=1)
        slews = np.maximum(look(made.slew[arcs], x, y), 0.0)
        slew[target[first]] = np.maximum.reduceat(slews, first)
    return slew, arrivals, delays


class _Lookup:
    """Many tables read at once: stacked, those with fewer entries filled up with infinity."""

    def __init__(self, listed: tuple[Table, ...]) -> None:
        n = max(len(t.x) for t in listed)
        m = max(len(t.y) for t in listed)
        self.x = np.full((len(listed), n), np.inf)
        self.y = np.full((len(listed), m), np.inf)
        self.values = np.zeros((len(listed), n, m))
        for index, table in enumerate(listed):
            self.x[index, : len(table.x)] = table.x
            self.y[index, : len(table.y)] = table.y
            self.values[index, : len(table.x), : len(table.y)] = table.values
        # What an index is counted from: the axes without their first and last entry.
        self.inner_x = self._inner(self.x, [len(t.x) for t in listed])
        self.inner_y = self._inner(self.y, [len(t.y) for t in listed])

    @staticmethod
    def _inner(axes: Floats, lengths: list[int]) -> Floats:
        inner = axes.copy()
        for row, length in enumerate(lengths):
            inner[row, length - 1 :] = np.inf
        return inner[:, 1:]

    def __call__(self, table: Ints, x: Floats, y: Floats) -> Floats:
        """The value of each table at its own x and y."""
        i = (x[:, None] >= self.inner_x[table]).sum(axis=1)
        j = (y[:, None] >= self.inner_y[table]).sum(axis=1)
        x0, y0 = self.x[table, i], self.y[table, j]
        s = (x - x0) / (self.x[table, i + 1] - x0)
        t = (y - y0) / (self.y[table, j + 1] - y0)
        v = self.values
        near = v[table, i, j] * (1 - t) + v[table, i, j + 1] * t
        far = v[table, i + 1, j] * (1 - t) + v[table, i + 1, j + 1] * t
        result: Floats = near * (1 - s) + far * s
        return result
