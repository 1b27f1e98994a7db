"""Delay of a point's mapped netlists: shortest period, path groups, worst paths, area-delay curve.

`docs/timing.md` says what the figures mean.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrowgauge import design, tasks, workers
from narrowgauge import output as outputs
from narrowgauge.arguments import Names, one_of, select
from narrowgauge.cache import Cache, fingerprint
from narrowgauge.doctor import require
from narrowgauge.golden.errors import UsageError
from narrowgauge.registry import Point

if TYPE_CHECKING:
    from narrowgauge.synth.curve import Step
    from narrowgauge.synth.gates import Gates
    from narrowgauge.synth.job import Netlists
    from narrowgauge.synth.library import Library
    from narrowgauge.synth.sta import Timing

__all__ = ["delay", "timing", "unmet"]

GOALS = ("area", "speed")
"""The mappings of a design."""

_OPERATIONS = 512
"""Transactions by which the RTL's names are found in a netlist."""

_CYCLES = 400
"""And cycles, of which a program of a core would take thousands: 64 streams are played at once."""


def timing(
    names: Names = (),
    *,
    liberty: str = "nangate45",
    goal: str = "speed",
    periods: Sequence[float] = (),
    points: int = 0,
    paths: int = 1,
    boundary: str = "registers",
    overrides: Mapping[str, Any] | None = None,
    cache: Any = "build/cache",
    output: Any = None,
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure the delay of each point; name of the point -> what `delay` returns.

    Parameters
    ----------
    goal : the mapping, "speed" or "area"; with one period the mapping for that period is measured
    periods : periods in ps to map for, each with the least area
    points : a curve of that many periods, between the fastest mapping and the smallest; 0 is none
    paths : worst paths that are listed, each to another end
    boundary : what stands at the ports, "registers" or "ideal"

    A period that cannot be met is in the results (`unmet`), not an exception.

    Raises
    ------
    UsageError : a library without timing, a period that is not positive, periods and a curve both
    MissingToolError : no Yosys
    """
    from narrowgauge.synth import boundary as model
    from narrowgauge.synth import library, nldm

    selected = select(names, overrides)
    one_of("goal", goal, GOALS)
    for period in periods:
        if not 0 < period < math.inf:
            raise UsageError(f"a period must be more than 0 ps, got {period:g}")
    if periods and points:
        raise UsageError("give periods or a number of points, not both")
    if points and not 2 <= points <= 100:
        raise UsageError(f"a curve has 2 to 100 points, got {points}")
    if paths < 1:
        raise UsageError(f"paths must be at least 1, got {paths}")
    model.Boundary(kind=boundary)  # type: ignore[arg-type]
    require("synth")
    cells = library.load(liberty)
    model.fo4_ps(nldm.tables(cells))
    model.register(cells)
    target = None if output is None else outputs.folder(output)
    arguments = {
        "liberty": liberty,
        "goal": goal,
        "periods": tuple(float(period) for period in periods),
        "points": points,
        "paths": paths,
        "boundary": boundary,
        "cache": outputs.folder(cache),
    }
    work = [
        tasks.task("timing", point, "narrowgauge.timing:delay", **arguments) for point in selected
    ]
    found = workers.run(work, jobs=jobs, progress=progress)
    results = {point.full_name: value for point, value in zip(selected, found, strict=True)}
    if target is not None:
        for point in selected:
            text = json.dumps(results[point.full_name], indent=2) + "\n"
            outputs.write(target, {f"{point.identifier}.timing.json": text})
    return results


def unmet(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each period that no mapping keeps."""
    return [
        f"{name}: a period of {step['target_ps']:g} ps cannot be met in {result['library']};"
        f" the best is {step['period_ps']:.1f} ps with {step['ge']:.0f} GE"
        for name, result in results.items()
        for step in result["curve"]
        if not step["met"]
    ]


def delay(
    *,
    name: str,
    overrides: Mapping[str, Any],
    liberty: str,
    cache: Path,
    goal: str = "speed",
    periods: Sequence[float] = (),
    points: int = 0,
    paths: int = 1,
    boundary: str = "registers",
    curve_cells: int | None = None,
) -> dict[str, Any]:
    """The delay of one point as plain JSON, from the cache where it has been measured.

    "period_ps", "fmax_mhz", "group", "start", "end", "path", "groups" and "ge" are of the netlist
    that "goal" names: "area", "speed", or "period" where one period is asked for. "paths" are the
    next worst, "netlists" the figures of the flow's two netlists, "curve" the netlist of least area
    and one for each period; "memory" is the model of memories, or None. A netlist for speed of more
    than `curve_cells` cells gets no mappings of its own, which would take an hour: its curve is of
    the flow's two netlists.
    """
    from narrowgauge.gates import netlists
    from narrowgauge.synth import flow, library

    point, cells = tasks.find(name, overrides), library.load(liberty)
    kept = Cache(cache / "timing")
    key = {
        "name": point.full_name,
        "parameters": point.parameters,
        "flow": flow.flow_digest(cells),
        "asked": [goal, list(periods), points, paths, boundary, curve_cells],
        "sources": fingerprint("golden", "hdl", "synth"),
        "tools": design.tools("amaranth", "numpy", "pyosys"),
    }
    stored: dict[str, Any] | None = kept.get(key)
    if stored is None:
        made = netlists(point, liberty, cache)
        asked = _Asked(point, cells, made, boundary, cache)
        size = sum((made.record.speed or made.record.area).cells.values())
        large = curve_cells is not None and size > curve_cells
        stored = asked.measure(goal, tuple(periods), points, paths, large=large)
        kept.put(key, stored)
    return stored


class _Asked:
    """One point in one library."""

    def __init__(
        self, point: Point, cells: "Library", made: "Netlists", boundary: str, cache: Path
    ) -> None:
        from narrowgauge.synth.boundary import Boundary

        self._point, self._cells, self._made, self._cache = point, cells, made, cache
        self._boundary = Boundary(kind=boundary)  # type: ignore[arg-type]

    def measure(
        self, goal: str, periods: tuple[float, ...], points: int, count: int, *, large: bool
    ) -> dict[str, Any]:
        """Everything that was asked for; of a large design no curve of its own."""
        from narrowgauge.synth import curve, nldm
        from narrowgauge.synth.boundary import fo4_ps, register
        from narrowgauge.synth.gates import build

        top, record = self._point.identifier, self._made.record
        analysed = {g: self._analyze(build(self._made.mapped(g), top, self._cells)) for g in GOALS}
        steps: list[Step] = []
        if periods or (points and not large):
            found = curve.explore(
                self._made,
                top,
                self._cells,
                targets=periods or None,
                points=max(points, 2),
                boundary=self._boundary,
            )
            steps = list(found.steps)
        seen = analysed[goal]
        if len(periods) == 1:
            goal, seen = "period", self._analyze(build(steps[0].document, top, self._cells))
        listed = [path.to_json() for path in seen.paths(count, labels=self._labels(seen.gates))]
        first = listed[0] if listed else {"start": "", "end": "", "points": []}
        figures = {g: {**_figures(t), "ge": _ge(t.gates)} for g, t in analysed.items()}
        whole = {g: {"target_ps": None, **f, "met": True, "made": g} for g, f in figures.items()}
        shown = list(whole.values()) if points and large else [whole["area"]]
        return {
            "goal": goal,
            "library": record.library,
            "boundary": self._boundary.kind,
            "register": register(self._cells),
            "fo4_ps": fo4_ps(nldm.tables(self._cells)),
            **_figures(seen),
            "ge": _ge(seen.gates),
            "start": first["start"],
            "end": first["end"],
            "path": first["points"],
            "paths": listed[1:],
            "netlists": figures,
            "memory": asdict(seen.sram) if seen.gates.memories else None,
            "curve": [
                *(
                    {k: each[k] for k in ("target_ps", "period_ps", "ge", "met", "made")}
                    for each in shown
                ),
                *(
                    {
                        "target_ps": step.target_ps,
                        "period_ps": step.mapping.period_ps,
                        "ge": step.mapping.ge,
                        "met": step.met,
                        "made": step.mapping.made,
                    }
                    for step in steps
                ),
            ],
        }

    def _analyze(self, gates: "Gates") -> "Timing":
        from narrowgauge.synth import sta

        return sta.analyze(gates, boundary=self._boundary)

    def _labels(self, gates: "Gates") -> Mapping[int, str]:
        """Names of the RTL for nets of the mapped netlist."""
        from narrowgauge.energy import work
        from narrowgauge.synth import origin

        emitted = design.emitted(self._point, self._cache)
        beats = work(self._point, emitted, "random", _OPERATIONS, 1).beats
        return origin.trace(self._made.rtl, gates, emitted.text, beats, limit=_CYCLES).labels


def _figures(seen: "Timing") -> dict[str, Any]:
    return {
        "period_ps": seen.period_ps,
        "fmax_mhz": seen.fmax_mhz,
        "group": seen.group,
        "groups": seen.groups,
    }


def _ge(gates: "Gates") -> float:
    area = math.fsum(gates.library.cells[cell.kind].area for cell in gates.cells)
    return area / gates.library.nand2_area
