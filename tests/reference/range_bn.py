"""Range batch normalisation beside FP32: the tables of docs/range_bn.md.

`python -m tests.reference.range_bn --measure` synthesises the arrays of eight lanes, plays the
captured layer through their netlists pass by pass (half an hour on two cores; netlists are kept in
build/cache) and writes `range_bn.json`; without the option the page alone is written from it. The
tests hold the page to the file.
"""

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from narrowgauge import api, design, energy
from narrowgauge.console import markdown
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units.scores import rows_of
from narrowgauge.registry import Point
from narrowgauge.synth.energy_record import STREAMS, Work
from tests.reference import README, ROOT
from tests.reference.pages import Tables, update

__all__ = ["DATA", "DESIGNS", "PAGES", "load", "measure", "ratio"]

PAGE = ROOT / "docs" / "range_bn.md"
DATA = Path(__file__).with_name("range_bn.json")

DESIGNS = {
    "fp32_bn/l8": "FP32, variance",
    "fp32_range_bn/l8": "FP32, range",
    "range_bn_array/g1_l8": "FP10, range",
    "range_bn_array/g4_l8": "FP10 in blocks of 4",
}
"""Arrays of eight lanes that make all passes, and what the page calls them."""

PASSES = {
    "fp32_bn": ("sum", "squares", "normalise", "gradients", "propagate"),
    "fp32_range_bn": ("statistics", "normalise", "gradients", "propagate"),
    "range_bn_array": ("statistics", "normalise", "gradients", "propagate"),
}
"""The passes of a layer in level `real`, each of which ends with `last`."""

BACKWARD = ("gradients", "propagate")

POSITIONS = 64
"""Of a pass that are played in each stream."""

BITS = {
    "fp32_bn/l8": (32, 32),
    "fp32_range_bn/l8": (32, 32),
    "range_bn_array/g1_l8": (10, 10),
    "range_bn_array/g4_l8": (29 / 4, 26 / 4),
}
"""Bits of an element of x and y, of g and dx, in memory. One element a block is FP10: its leading
one, which a block spells out, need not be stored."""

BASE = "fp32_bn/l8"


def load() -> dict[str, Any]:
    """The tracked figures."""
    data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def _works(point: Point) -> dict[str, Work]:
    """Each pass of the captured layer as beats for so many streams, after its constants."""
    batch: Batch = point.entry.golden.vectors(point.params, "real", 1)
    names = PASSES[point.entry.name]
    rows = rows_of(batch["last"])
    made = {}
    for number, name in enumerate(names):
        parts, sizes, warm_up = [], [], 0
        starts = rows.starts[number :: len(names)]
        for stream in range(STREAMS):
            start = int(starts[stream % len(starts)])
            length = int(rows.lengths[number :: len(names)][stream % len(starts)])
            group = {field: values[start : start + length] for field, values in batch.items()}
            # Constants first; then positions from somewhere in the pass.
            data = group["load"] == 0 if "load" in group else (group["mode"] & 2) != 0
            loads = int(np.argmax(data))
            there = np.flatnonzero(data)
            first = (stream // len(starts)) * 31 % max(len(there) - POSITIONS, 1)
            chosen = np.concatenate([np.arange(loads), there[first : first + POSITIONS]])
            parts.append({field: values[chosen] for field, values in group.items()})
            for flag in ("last", "chunk_last"):
                if flag in parts[-1]:
                    parts[-1][flag] = np.zeros_like(parts[-1][flag])
            sizes.append(len(chosen))
            warm_up = loads
        beats = energy.beats(point, join(parts), np.cumsum(sizes))
        # The pipeline is full a few cycles after the constants.
        made[name] = Work(beats=beats, warm_up=warm_up + 4, every=1.0)
    return made


def measure() -> None:
    """Synthesis, and the energy of every pass; writes `range_bn.json`."""
    cache = ROOT / "build" / "cache"
    records = {r.name: r for r in api.synthesize(tuple(DESIGNS), cache=cache, jobs=1)}
    designs = {}
    for point in api.points(tuple(DESIGNS)):
        record = records[point.full_name]
        subject = energy.subject(point, record.library, cache, "speed", None)
        spent = {}
        for name, work in _works(point).items():
            found = subject.record(work, glitch=True, seed=1)
            lanes = point.params.lanes
            spent[name] = [
                round(found[kind]["pj_per_op"] / lanes, 4) for kind in ("zero_delay", "glitch")
            ]
            print(point.full_name, name, spent[name], flush=True)
        designs[point.full_name] = {
            "parameters": point.parameters,
            "ge": round(record.ge, 1),
            "speed_ge": round(record.speed_ge or 0.0, 1),
            "flip_flops": record.flip_flops,
            "period_ps": round(subject.period_ps, 1),
            "passes": spent,
        }
    first = next(iter(records.values()))
    data = {
        "library": first.library,
        "flow_digest": first.flow_digest,
        "tools": {**first.tools, "numpy": design.tools("numpy")["numpy"]},
        "designs": designs,
    }
    DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _spent(made: Mapping[str, Any], kind: int, passes: Sequence[str] | None = None) -> float:
    chosen = made["passes"] if passes is None else passes
    return float(sum(made["passes"][name][kind] for name in chosen))


def _traffic(name: str, *, backward: bool) -> float:
    """Bits an element that cross the memory's port: x or x and g in, y or dx out."""
    x, g = BITS[name]
    if backward:
        # x and g for the sums; for dx of the range g alone.
        again = x if name == BASE else 0.0
        return x + g + again + g + g
    return x * (len(PASSES[name.partition("/")[0]]) - len(BACKWARD)) + x


FIGURES = {
    "area": lambda name, made: made["ge"],
    "area x passes x period": lambda name, made: (
        made["ge"] * made["period_ps"] * len(made["passes"])
    ),
    "energy": lambda name, made: _spent(made, 0),
    "energy with glitches": lambda name, made: _spent(made, 1),
    "memory traffic": lambda name, made: (
        _traffic(name, backward=False) + _traffic(name, backward=True)
    ),
}
"""What the ratios are of; energy and traffic an element, forward and backward."""


def ratio(data: Mapping[str, Any], name: str, figure: str) -> float:
    """How many times more of it conventional batch normalisation in FP32 takes."""
    of = FIGURES[figure]
    designs = data["designs"]
    return float(of(BASE, designs[BASE]) / of(name, designs[name]))


def _designs(data: Mapping[str, Any]) -> str:
    designs = data["designs"]
    head = ["eight lanes", *DESIGNS.values()]
    rows = []

    def row(label: str, cells: Sequence[str]) -> None:
        rows.append([label, *cells])

    each = [(name, designs[name]) for name in DESIGNS]
    row("GE, mapped for area", [f"{made['ge']:.0f}" for _, made in each])
    row("GE, mapped for speed", [f"{made['speed_ge']:.0f}" for _, made in each])
    row("flip-flops", [str(made["flip_flops"]) for _, made in each])
    row("shortest period, ps", [f"{made['period_ps']:.0f}" for _, made in each])
    for name in ("sum", "squares", "statistics", "normalise", "gradients", "propagate"):
        cells = []
        for _, made in each:
            found = made["passes"].get(name)
            cells.append("" if found is None else f"{found[0]:.2f} / {found[1]:.2f}")
        row(f"pJ an element, {name}", cells)
    for label, back in (("forward", False), ("backward", True)):
        cells = []
        for _, made in each:
            chosen = [n for n in made["passes"] if (n in BACKWARD) == back]
            cells.append(f"**{_spent(made, 0, chosen):.2f}** / {_spent(made, 1, chosen):.2f}")
        row(f"pJ an element, {label}", cells)
        row(f"bits an element, {label}", [f"{_traffic(n, backward=back):.1f}" for n, _ in each])
    tools = data["tools"]
    said = (
        "Energy without / with glitches, each netlist mapped for speed at its own shortest "
        f"period. {data['library']}, pyosys {tools['pyosys']}, flow {data['flow_digest'][:12]}; "
        "`python -m tests.reference.range_bn --measure`."
    )
    return f"{markdown(head, rows)}\n\n{said}"


def _ratios(data: Mapping[str, Any]) -> str:
    others = [name for name in DESIGNS if name != BASE]
    rows = [
        [figure, *(f"{ratio(data, name, figure):.2f}x" for name in others)] for figure in FIGURES
    ]
    return markdown(["FP32 with variance takes", *(DESIGNS[name] for name in others)], rows)


def _summary() -> str:
    """The README's sentence."""
    data, blocks = load(), "range_bn_array/g4_l8"
    area, spent, time, traffic = (
        ratio(data, blocks, figure)
        for figure in ("area", "energy", "area x passes x period", "memory traffic")
    )
    words = (
        f"Training: [range batch normalisation](docs/range_bn.md) in blocks of four is {area:.1f} "
        "times smaller than conventional batch normalisation in FP32 of as many lanes, takes "
        f"{spent:.1f} times less energy, {traffic:.1f} times less memory traffic, and {time:.1f} "
        "times less area for as many elements a second."
    )
    return textwrap.fill(words, 100, break_long_words=False, break_on_hyphens=False)


PAGES: dict[Path, Tables] = {
    PAGE: {"ratios": lambda: _ratios(load()), "arrays": lambda: _designs(load())},
    README: {"norm": _summary},
}
"""What is written, and from what."""


def main() -> None:
    """Measure where asked to, and write the pages."""
    if "--measure" in sys.argv[1:]:
        measure()
    update(PAGES)


if __name__ == "__main__":
    main()
