"""Paths of a timing analysis: the worst one to each end, point by point, in the unit's names."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.synth.arcs import PORT, Graph, memory_number
from narrowgauge.synth.gates import Gates

__all__ = ["Path", "Paths", "Point"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_EDGES = ("rise", "fall")
_FROM = ("reg", "in")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One step of a path: a signal, the cell that drives it, and when it gets there.

    Attributes
    ----------
    point : the signal's name, in parentheses the cell's where the signal has no name
    cell : library cell and arc, as `NAND2_X1 A1 -> ZN`; for the last point the check
    edge : "rise" or "fall"
    delay_ps, arrival_ps, slew_ps : through the cell; since the clock's edge; of the signal
    load_ff : on the signal
    """

    point: str
    cell: str
    edge: str
    delay_ps: float
    arrival_ps: float
    slew_ps: float
    load_ff: float


@dataclass(frozen=True, kw_only=True)
class Path:
    """The worst path to one end; `period_ps` is its arrival and the setup time at its end."""

    group: str
    start: str
    end: str
    period_ps: float
    points: tuple[Point, ...]

    def to_json(self) -> dict[str, Any]:
        """The path as plain values; times to a thousandth of a ps."""
        plain = asdict(self)
        plain["period_ps"] = round(self.period_ps, 3)
        plain["points"] = [
            {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(p).items()}
            for p in self.points
        ]
        return plain


class Paths:
    """Finds paths in the result of a propagation.

    Parameters
    ----------
    gates, graph : the netlist and its arcs
    slew : of all nodes, in ps
    arrivals : of all nodes, shape (2, nodes): from registers, and from ports
    delays : of all arcs
    """

    def __init__(
        self, gates: Gates, graph: Graph, slew: Floats, arrivals: Floats, delays: Floats
    ) -> None:
        self._gates, self._graph = gates, graph
        self._slew, self._arrivals, self._delays = slew, arrivals, delays
        self._ports = dict(_port_names(gates))
        self._checks = self._all_checks()
        self._by_target = np.argsort(graph.target, kind="stable")
        self._sorted_targets = graph.target[self._by_target]
        self.groups = self._periods()

    def _all_checks(self) -> npt.NDArray[np.void]:
        """Each edge at each end, from registers and from ports, that a path leads to."""
        kind = [("period", "f8"), ("setup", "f8"), ("node", "i8"), ("cell", "i8"), ("end", "i8")]
        parts = []
        for index, end in enumerate(self._graph.ends):
            for edge, table in enumerate((end.rise, end.fall)):
                nodes = 2 * end.nets + edge
                setup = np.zeros(len(nodes)) if table is None else table(self._slew[nodes])
                for origin in range(2):
                    rows = np.zeros(len(nodes), [*kind, ("origin", "i8")])
                    rows["period"] = self._arrivals[origin, nodes] + setup
                    rows["setup"], rows["node"], rows["cell"] = setup, nodes, end.cells
                    rows["end"], rows["origin"] = index, origin
                    parts.append(rows[rows["period"] > -np.inf])
        rows = np.concatenate(parts) if parts else np.zeros(0, [*kind, ("origin", "i8")])
        # Worst first; equal ones in an order that does not depend on how they were found.
        return rows[np.lexsort((rows["origin"], rows["cell"], rows["node"], -rows["period"]))]

    def _group(self, check: np.void) -> str:
        return f"{_FROM[check['origin']]}2{'out' if check['cell'] == PORT else 'reg'}"

    def _periods(self) -> dict[str, float]:
        checks = self._checks
        found = {}
        for origin, start in enumerate(_FROM):
            for to_port, finish in enumerate(("reg", "out")):
                member = (checks["origin"] == origin) & ((checks["cell"] == PORT) == bool(to_port))
                if member.any():
                    found[f"{start}2{finish}"] = float(checks["period"][member.argmax()])
        return found

    def worst(self, count: int, group: str | None, labels: Mapping[int, str]) -> list[Path]:
        """The worst path to each of the `count` worst ends, worst first."""
        paths: list[Path] = []
        seen: set[tuple[int, int, int]] = set()
        for check in self._checks:
            if len(paths) == count:
                break
            where = (int(check["node"]) // 2, int(check["cell"]), int(check["end"]))
            if where not in seen and group in (None, self._group(check)):
                seen.add(where)
                paths.append(self._path(check, labels))
        return paths

    def _path(self, check: np.void, labels: Mapping[int, str]) -> Path:
        arcs = self._trace(int(check["node"]), int(check["origin"]))
        points = [self._point(arc, int(check["origin"]), labels) for arc in arcs]
        start = self._start(arcs[0], labels)
        end, pin = self._end(check, labels), self._graph.ends[check["end"]].pin
        node = int(check["node"])
        last = Point(
            point=end,
            cell=f"{self._kind(int(check['cell']))} {pin} setup".strip(),
            edge=_EDGES[node % 2],
            delay_ps=float(check["setup"]),
            arrival_ps=float(check["period"]),
            slew_ps=float(self._slew[node]),
            load_ff=float(self._graph.load[node // 2, node % 2]),
        )
        return Path(
            group=self._group(check),
            start=start,
            end=end,
            period_ps=float(check["period"]),
            points=(*points, last),
        )

    def _trace(self, node: int, origin: int) -> list[int]:
        """The arcs of the worst path to a node, from the clock on."""
        graph = self._graph
        arcs: list[int] = []
        while node != 2 * graph.clock:
            low, high = np.searchsorted(self._sorted_targets, (node, node + 1))
            into = self._by_target[low:high]
            sources = graph.source[into]
            arrival = self._arrivals[origin, sources]
            clocked = sources == 2 * graph.clock
            matches = (graph.cell[into] == PORT) == bool(origin)
            arrival = np.where(clocked, np.where(matches, 0.0, -np.inf), arrival)
            arcs.append(int(into[np.argmax(arrival + self._delays[into])]))
            node = int(graph.source[arcs[-1]])
        return arcs[::-1]

    def _point(self, arc: int, origin: int, labels: Mapping[int, str]) -> Point:
        graph = self._graph
        node = int(graph.target[arc])
        pins = graph.pin_pairs[graph.pins[arc]]
        return Point(
            point=self._name(node // 2, labels),
            cell=f"{self._kind(int(graph.cell[arc]))} {' -> '.join(pins)}".rstrip(),
            edge=_EDGES[node % 2],
            delay_ps=float(self._delays[arc]),
            arrival_ps=float(self._arrivals[origin, node]),
            slew_ps=float(self._slew[node]),
            load_ff=float(graph.load[node // 2, node % 2]),
        )

    def _kind(self, cell: int) -> str:
        if cell == PORT:
            return self._graph.port_cell
        return self._gates.cells[cell].kind if cell >= 0 else "memory"

    def _name(self, net: int, labels: Mapping[int, str]) -> str:
        return self._gates.names.get(net) or labels.get(net) or f"({net})"

    def _start(self, arc: int, labels: Mapping[int, str]) -> str:
        cell, net = int(self._graph.cell[arc]), int(self._graph.target[arc]) // 2
        return self._ports[net] if cell == PORT else self._owner(cell, labels)

    def _end(self, check: np.void, labels: Mapping[int, str]) -> str:
        if check["cell"] == PORT:
            return self._ports[int(check["node"]) // 2]
        return self._owner(int(check["cell"]), labels)

    def _owner(self, cell: int, labels: Mapping[int, str]) -> str:
        """A register by the name of what it holds, or a memory."""
        if cell < 0:
            return f"memory {self._gates.memories[memory_number(cell)].name}"
        instance = self._gates.cells[cell]
        outputs = self._gates.library.cells[instance.kind].outputs
        nets = [instance.pins[pin] for pin, _ in outputs if pin in instance.pins]
        named = [self._gates.names.get(net) or labels.get(net) for net in nets]
        return f"register {next(filter(None, named), instance.name)}"


def _port_names(gates: Gates) -> Iterator[tuple[int, str]]:
    """Net -> the port that it is."""
    for ports in (gates.outputs, gates.inputs):
        for port, nets in ports.items():
            for index, net in enumerate(nets):
                yield net, f"port {port}[{index}]" if len(nets) > 1 else f"port {port}"
