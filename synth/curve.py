"""The area-delay curve of a design: for each period the smallest netlist found that keeps it.

ABC maps the design in several ways, from least area to least delay, with and without buffers and
drive strengths; for each period it then sizes the promising ones to just that period. What counts
is the timing of `narrowgauge.synth.sta` alone: clock-to-output and setup included, which ABC does
not see. All mappings seen take part in every choice, so the curve never rises with the period.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from narrowgauge.golden.errors import UsageError
from narrowgauge.synth.boundary import Boundary
from narrowgauge.synth.gates import Gates, build
from narrowgauge.synth.job import Netlists
from narrowgauge.synth.library import Library
from narrowgauge.synth.mapping import Mapper
from narrowgauge.synth.recipe import LOGIC
from narrowgauge.synth.sta import analyze

__all__ = ["Curve", "Mapping", "Step", "explore"]

_OPTIMISED = LOGIC.rpartition("; &get -n; &dch")[0]
"""The flow's logic optimisation without its last step, the choices for the mapper."""

_CHOICES = "&dch -f -x -C 50"
_BALANCED = "if -g -K 6 -C 8; strash"

_STEMS = {
    "plain": f"&get -n; {_CHOICES}",
    "dsd": f"&get -n; &st; &dsdb; {_CHOICES}",
    "sop": f"&get -n; &st; &sopb; {_CHOICES}",
    "twice": f"{_BALANCED}; {_BALANCED}; &get -n; {_CHOICES}",
}
"""Restructuring for delay before the mapping, from none to the most."""

_MAPS = {
    "area": "amap -m",
    "fast area": "amap -m -Q 2",
    "small": "map -a",
    "fast": "map -B 0.7",
}

_USED = {
    "plain": ("area", "fast area", "small", "fast"),
    "dsd": ("fast area", "small", "fast"),
    "sop": ("fast area", "small", "fast"),
    "twice": ("fast",),
}
"""The pairs that were on the front of some unit; docs/timing.md."""

_LARGE = 40_000
"""From so many gates before mapping on, one mapping is sized for each period by default."""

_LOOSE = 1e6
"""A period in ps that every design keeps."""


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """One mapping that was tried: how it was made, its area in GE and its period in ps."""

    made: str
    ge: float
    period_ps: float
    source: str | None = field(repr=False)
    """Its file, or None for a netlist of the flow."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The smallest mapping found for a period; where none keeps it, the fastest (`met` false)."""

    target_ps: float
    met: bool
    mapping: Mapping
    document: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The steps, in the order of the targets, and the front: mappings that nothing beats in both.

    The front begins with the fastest; area falls as the period grows.
    """

    steps: tuple[Step, ...]
    front: tuple[Mapping, ...]
    tried: int


@dataclass
class _Base:
    """A mapped and buffered network: not sized, and sized for least delay; ABC's delays of both."""

    name: str
    file: str
    loose: Mapping
    tight: Mapping
    abc_ps: float

    def guess(self, target: float) -> float:
        """Area in GE that sizing to a period may need; infinite where it seems out of reach."""
        low, high = self.tight, self.loose
        if target < 0.97 * low.period_ps:
            return math.inf
        if high.period_ps <= low.period_ps:
            return low.ge
        share = (high.period_ps - target) / (high.period_ps - low.period_ps)
        return high.ge + max(0.0, min(1.0, share)) * (low.ge - high.ge)

    def required(self, target: float) -> float:
        """The delay that ABC must reach for a period."""
        return max(1.0, target - (self.tight.period_ps - self.abc_ps))


def explore(
    made: Netlists,
    top: str,
    library: Library,
    *,
    targets: Sequence[float] | None = None,
    points: int = 8,
    tries: int | None = None,
    boundary: Boundary | None = None,
) -> Curve:
    """The smallest netlist for each period.

    Parameters
    ----------
    made, top : the netlists of the flow, and the design's name
    targets : periods in ps; None takes `points` of them between the fastest mapping and the
        smallest, at equal ratios
    tries : mappings that are sized for each period; None is 3, or 1 in a large design
    boundary : as for `analyze`

    Raises
    ------
    UsageError : a period or count that is not positive, a library without timing
    MissingToolError, SynthesisError : ABC is not installed, or fails
    """
    for target in targets or ():
        if not 0 < target < math.inf:
            raise UsageError(f"a period must be more than 0 ps, got {target}")
    if tries is None:
        tries = 3 if len(made.rtl["modules"][top]["cells"]) < _LARGE else 1
    if points < 2 or tries < 1:
        raise UsageError(f"a curve needs 2 points and 1 try, got {points} and {tries}")
    with TemporaryDirectory(prefix="narrowgauge-") as folder:
        mapper = Mapper(Path(folder), made.rtl, top, library)
        search = _Search(mapper, made, top, library, boundary or Boundary())
        return search.run(targets, points, tries)


class _Search:
    """The mappings tried so far, and what to try next."""

    def __init__(
        self, mapper: Mapper, made: Netlists, top: str, library: Library, boundary: Boundary
    ) -> None:
        self._mapper, self._made, self._top = mapper, made, top
        self._library, self._boundary = library, boundary
        self._tried: list[Mapping] = []
        for goal in ("area", "speed"):
            if goal == "area" or made.speed is not None:
                netlist = build(made.mapped(goal), top, library)
                self._judge(f"the flow's {goal} netlist", netlist, None)
        self._flow = {m.made: g for m, g in zip(self._tried, ("area", "speed"), strict=False)}

    def run(self, targets: Sequence[float] | None, points: int, tries: int) -> Curve:
        bases = self._bases()
        if targets is None:
            fast = min(m.period_ps for m in self._tried)
            slow = max(m.period_ps for m in self.front())
            targets = [fast * (slow / fast) ** (i / (points - 1)) for i in range(points)]
        wanted = []
        for target in targets:
            order = sorted(bases, key=lambda base: (base.guess(target), base.name))
            chosen = [b for b in order if b.guess(target) < math.inf][:tries] or order[-1:]
            wanted += [(target, b, b.required(target)) for b in chosen]
        sized = self._size(wanted)
        again = [
            (target, base, required - 1.2 * (mapping.period_ps - target))
            for (target, base, required), mapping in zip(wanted, sized, strict=True)
            if mapping.period_ps > target and mapping.ge < self._best(target).ge
        ]
        self._size([(t, b, r) for t, b, r in again if r > 0])
        steps = tuple(self._step(target) for target in targets)
        return Curve(steps=steps, front=tuple(self.front()), tried=len(self._tried))

    def _judge(self, made: str, netlist: Gates, source: str | None) -> Mapping:
        area = math.fsum(self._library.cells[cell.kind].area for cell in netlist.cells)
        mapping = Mapping(
            made=made,
            ge=area / self._library.nand2_area,
            period_ps=analyze(netlist, boundary=self._boundary).period_ps,
            source=source,
        )
        self._tried.append(mapping)
        return mapping

    def _bases(self) -> list[_Base]:
        """Every restructuring with every mapping that goes with it, not sized and sized."""
        commands = ["read_blif design.blif", _OPTIMISED, "write_blif optimised.blif"]
        names: list[tuple[str, str]] = []
        for stem, restructure in _STEMS.items():
            commands += ["read_blif optimised.blif", "strash", restructure]
            for kind in _USED[stem]:
                file = f"base{len(names)}.blif"
                names.append((f"{stem}, {kind}", file))
                commands += [f"&put; {_MAPS[kind]}; topo; buffer -c", f"write_blif {file}"]
        for _, file in names:
            commands += [
                f"read_blif {file}; topo; dnsize -D {_LOOSE:.0f}; write_blif loose-{file}",
                f"read_blif {file}; topo; upsize -I 100; dnsize; stime; write_blif tight-{file}",
            ]
        delays = self._mapper.run(_split(commands))
        bases = []
        for (name, file), delay in zip(names, delays, strict=True):
            loose = self._from_file(f"{name}, not sized", f"loose-{file}")
            tight = self._from_file(f"{name}, sized", f"tight-{file}")
            bases.append(_Base(name, file, loose, tight, delay))
        return bases

    def _size(self, wanted: Sequence[tuple[float, _Base, float]]) -> list[Mapping]:
        """Size networks to a delay in ABC each."""
        if not wanted:
            return []
        files = [f"sized{len(self._tried) + i}.blif" for i in range(len(wanted))]
        commands = [
            f"read_blif {base.file}; topo; upsize -D {required:.0f}; dnsize -D {required:.0f};"
            f" write_blif {file}"
            for (_, base, required), file in zip(wanted, files, strict=True)
        ]
        self._mapper.run(_split(commands))
        return [
            self._from_file(f"{base.name}, sized to {target:.0f} ps", file)
            for (target, base, _), file in zip(wanted, files, strict=True)
        ]

    def _from_file(self, made: str, file: str) -> Mapping:
        return self._judge(made, self._mapper.gates(file), file)

    def front(self) -> list[Mapping]:
        """The mappings that none beats in area and period."""
        found: list[Mapping] = []
        for mapping in sorted(self._tried, key=lambda m: (m.period_ps, m.ge)):
            if not found or mapping.ge < found[-1].ge:
                found.append(mapping)
        return found

    def _best(self, target: float) -> Mapping:
        """The smallest that keeps a period, or the fastest."""
        keeping = [m for m in self._tried if m.period_ps <= target]
        if keeping:
            return min(keeping, key=lambda m: (m.ge, m.period_ps))
        return min(self._tried, key=lambda m: (m.period_ps, m.ge))

    def _step(self, target: float) -> Step:
        best = self._best(target)
        if best.source is None:
            document = dict(self._made.mapped(self._flow[best.made]))
        else:
            document = self._mapper.document(best.source)
        met = best.period_ps <= target
        return Step(target_ps=target, met=met, mapping=best, document=document)


def _split(commands: Sequence[str]) -> list[str]:
    """One command a line, as ABC's scripts have them."""
    return [each.strip() for line in commands for each in line.split(";") if each.strip()]
