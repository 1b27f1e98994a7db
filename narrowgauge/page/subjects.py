"""The rows of a results store, gathered by point: what the page knows of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from narrowgauge import registry
from narrowgauge.golden.errors import UsageError

__all__ = ["BASELINE", "KINDS", "Row", "Subject", "Vectors", "collect", "same_lanes"]

BASELINE = "bf16_dot"
"""The unit that dot products are compared with, at the same number of lanes."""

Vectors = Literal["random", "real"]
KINDS: tuple[Vectors, ...] = ("random", "real")


class Row(Protocol):
    """One measure of one point, as the store keeps it."""

    @property
    def name(self) -> str:
        """`unit/point`, with overridden parameters as `Point.full_name` has them."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The point's parameters."""

    @property
    def measure(self) -> str:
        """What was measured: area, delay, energy, gates, proof, mutation, verify."""

    @property
    def value(self) -> Any:
        """The result, plain values."""

    @property
    def stamp(self) -> Mapping[str, Any]:
        """What it was made with."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One point and everything that was measured of it."""

    name: str
    unit: str
    macs: int | None
    measures: Mapping[str, Any] = field(default_factory=dict)
    stamps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name, overridden parameters in short."""
        return self.name.replace(" --set ", " ")

    @property
    def identifier(self) -> str:
        """The name for files and anchors."""
        plain = self.name.replace(" --set ", "_").replace("=", "")
        return "".join(c if c.isalnum() and c.isascii() else "_" for c in plain)

    @property
    def made_with(self) -> str:
        """Library and flow; figures of two points compare only where these are equal."""
        area = self.measures.get("area", {})
        return f"{area.get('library', '')} {area.get('flow_digest', '')}".strip()

    def get(self, measure: str, name: str) -> float | None:
        """A number of a measure, or None where there is none."""
        value = self.measures.get(measure)
        found = value.get(name) if isinstance(value, Mapping) else None
        return float(found) if isinstance(found, (int, float)) else None

    @property
    def ge(self) -> float | None:
        """Area of the area run in gate equivalents."""
        return self.get("area", "ge")

    @property
    def ge_per_mac(self) -> float | None:
        """The same a MAC, where the unit has any."""
        return None if self.ge is None or not self.macs else self.ge / self.macs

    def vectors(self, kind: Vectors) -> Mapping[str, Any] | None:
        """The energy measured with one kind of vectors."""
        found = self.measures.get("energy", {}).get("vectors", {}).get(kind)
        return found if isinstance(found, Mapping) else None

    def energy(self, kind: Vectors, estimate: str, share: str) -> float | None:
        """pJ: `estimate` is "zero_delay" or "glitch", `share` "pj_per_op" or "pj_per_mac"."""
        value = (self.vectors(kind) or {}).get(estimate) or {}
        found = value.get(share)
        return None if found is None else float(found)

    @property
    def memory(self) -> Mapping[Vectors, float]:
        """PJ an operation of memories, which are counted apart, by vectors."""
        found: dict[Vectors, float] = {}
        for kind in KINDS:
            memory = (self.vectors(kind) or {}).get("memory")
            if memory:
                found[kind] = float(memory["pj_per_op"])
        return found

    @property
    def energy_ge(self) -> float | None:
        """Area of the netlist whose energy was measured, which need not be that of the area run."""
        for kind in KINDS:
            split = (self.vectors(kind) or {}).get("split")
            if split:
                return sum(float(part["ge"]) for part in split)
        return self.ge

    @property
    def claims(self) -> Sequence[Mapping[str, Any]]:
        """What was to be proved."""
        return self.measures.get("proof", {}).get("claims", [])

    @property
    def runs(self) -> Sequence[Mapping[str, Any]]:
        """The runs of the bench."""
        return self.measures.get("verify", [])

    @property
    def bins(self) -> tuple[int, int] | None:
        """Coverage bins that some run hit, and all."""
        if not self.runs:
            return None
        known = {name for run in self.runs for name in run["bins"]}
        hit = {name for run in self.runs for name, count in run["bins"].items() if count}
        return len(hit), len(known)


def _macs(unit: str, parameters: Mapping[str, Any], measures: Mapping[str, Any]) -> int | None:
    recorded = measures.get("area", {}).get("macs")
    if recorded is not None:
        return int(recorded)
    for entry in registry.ENTRIES:
        if entry.name == unit and entry.dot_lanes is not None and entry.dot_lanes in parameters:
            return int(parameters[entry.dot_lanes])
    return None


def _order(name: str) -> tuple[int, int, str]:
    """Dot products, other units, arithmetic, each as the registry lists it; unknown ones last."""
    listed = sorted(registry.ENTRIES, key=lambda e: (e.layer != "units", e.dot_lanes is None))
    units = [entry.name for entry in listed]
    unit, _, point = name.partition(" ")[0].partition("/")
    if unit not in units:
        return len(units), 0, name
    points = list(registry.find(unit).points)
    return units.index(unit), points.index(point) if point in points else len(points), name


def _chosen(name: str, wanted: str) -> bool:
    """Whether `unit`, `unit/point` or a full name selects the point `name`."""
    return wanted in (name, name.partition(" ")[0], name.partition("/")[0])


def _current(row: Row) -> bool:
    """Whether the row was made with the parameters that its name has today."""
    name, *overrides = row.name.split(" --set ")
    unit, _, point = name.partition("/")
    for entry in registry.ENTRIES:
        if entry.name == unit and point in entry.points and not overrides:
            (found,) = registry.points(name)
            return found.parameters == dict(row.parameters)
    return True


def collect(rows: Iterable[Row], names: Sequence[str] = ()) -> list[Subject]:
    """One subject a point, in the order of the registry; no name is every point.

    Results of a point with parameters that the registry has changed since are left out, and of
    several results of one measure of a point the last is taken. A name that no result has is a
    `UsageError`.
    """
    kept: dict[str, list[Row]] = {}
    for row in rows:
        if _current(row):
            kept.setdefault(row.name, []).append(row)
    for wanted in names:
        if not any(_chosen(name, wanted) for name in kept):
            units = ", ".join(sorted({name.partition("/")[0] for name in kept}))
            raise UsageError(f"no results of {wanted!r}; there are results of {units or 'nothing'}")
    subjects = []
    for name, found in kept.items():
        if names and not any(_chosen(name, wanted) for wanted in names):
            continue
        unit = name.partition("/")[0]
        measures = {row.measure: row.value for row in found}
        subjects.append(
            Subject(
                name=name,
                unit=unit,
                macs=_macs(unit, found[0].parameters, measures),
                measures=measures,
                stamps={row.measure: row.stamp for row in found},
            )
        )
    return sorted(subjects, key=lambda subject: _order(subject.name))


def same_lanes(subjects: Sequence[Subject], subject: Subject) -> Subject | None:
    """The baseline with as many MACs a cycle, where it was measured in the same way."""
    for other in subjects:
        if (
            other.unit == BASELINE
            and subject.macs
            and other.macs == subject.macs
            and other.made_with == subject.made_with
        ):
            return other
    return None
