"""The OPAL core beside its baselines: the tables of docs/opal.md.

`python -m tests.reference.opal --measure` synthesises the cores of 128 lanes, measures what their
real programs take (an hour on two cores; results are kept in build/cache) and writes `cores.json`;
without the option the page alone is written, from `cores.json`, `layer.json` (which
`narrowgauge layer --record` writes) and `perplexity.json`. The tests hold the page to these files.
"""

import json
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from narrowgauge import api
from narrowgauge.console import Console, markdown
from narrowgauge.synth.memory_model import MemoryModel
from tests.reference import README, ROOT, perplexity
from tests.reference.pages import Tables, update

__all__ = ["CORES", "PAGE", "PAGES", "load", "measure", "part", "ratio", "whole"]

PAGE = ROOT / "docs" / "opal.md"
CORES_FILE = Path(__file__).with_name("cores.json")
LAYER_FILE = Path(__file__).with_name("layer.json")

CORES = {
    "opal_core/p47_l128": "OPAL 4/7",
    "opal_core/p35_l128": "OPAL 3/5",
    "w4a16_core/l128": "W4A16",
    "bf16_core/l128": "BF16",
}
PAIRS = (
    ("bf16_core/l128", "opal_core/p47_l128"),
    ("bf16_core/l128", "opal_core/p35_l128"),
    ("w4a16_core/l128", "opal_core/p47_l128"),
)
"""Baseline and OPAL core that the claims compare."""

PARTS = ("array", "floating point", "quantiser", "softmax and V", "control and buffers")
_PREFIXES = {
    "dot.int_array": "array",
    "dot.lane": "array",
    "dot.sum": "array",
    "dot.largest": "array",
    "dot": "floating point",
    "scale": "floating point",
    "collector.quantise": "quantiser",
    "softmax": "softmax and V",
    "attend": "softmax and V",
    "": "control and buffers",
}
"""Module path -> part; the longest that fits counts. A baseline's lanes are its array."""


def part(path: str) -> str:
    """The part that a module belongs to."""
    return _PREFIXES[max((p for p in _PREFIXES if path.startswith(p)), key=len)]


def load() -> dict[str, Any]:
    """The tracked figures of the cores."""
    data: dict[str, Any] = json.loads(CORES_FILE.read_text(encoding="utf-8"))
    return data


def measure() -> None:
    """Synthesis and energy of every core; writes `cores.json`."""
    cache = ROOT / "build" / "cache"
    records = {r.name: r for r in api.synthesize(tuple(CORES), cache=cache, jobs=2)}
    spent = api.energy(
        tuple(CORES), vectors=("real",), cache=cache, jobs=2, progress=Console(0).progress
    )
    cores = {}
    for point in api.points(tuple(CORES)):
        record, energy = records[point.full_name], spent[point.full_name]
        real = energy["vectors"]["real"]
        parts = {name: [0.0, 0.0] for name in PARTS}
        for row in real["split"]:
            found = parts[part(row["path"])]
            found[0] += row["ge"]
            found[1] += row["pj_per_op"]
        cores[point.full_name] = {
            "parameters": point.parameters,
            "ge": round(record.ge, 1),
            "speed_ge": round(record.speed_ge or 0.0, 1),
            "memory_bits": record.memory_bits,
            "period_ps": round(energy["period_ps"], 1),
            "cycles": round(real["cycles_per_operation"], 1),
            "programs": real["operations"],
            "pj": round(real["zero_delay"]["pj_per_op"], 1),
            "pj_glitch": round(real["glitch"]["pj_per_op"], 1),
            "pj_memory": round(real["memory"]["pj_per_op"], 1),
            "parts": {name: [round(x, 1) for x in each] for name, each in parts.items()},
        }
    first = next(iter(records.values()))
    data = {
        "library": first.library,
        "flow_digest": first.flow_digest,
        "tools": dict(first.tools),
        "cores": cores,
    }
    CORES_FILE.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _memory_ge(core: Mapping[str, Any]) -> float:
    return MemoryModel().area_ge(core["memory_bits"])


FIGURES: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "area": lambda c: c["ge"],
    "area with memories": lambda c: c["ge"] + _memory_ge(c),
    "energy": lambda c: c["pj"],
    "energy with glitches": lambda c: c["pj_glitch"],
    "energy with memories": lambda c: c["pj"] + c["pj_memory"],
    "area x cycles": lambda c: c["ge"] * c["cycles"],
    "area x time": lambda c: c["ge"] * c["cycles"] * c["period_ps"],
}
"""Whole figures: GE of the netlist mapped for area, pJ a program of the one mapped for speed.

Cycles are those of a program, time is cycles times the core's own shortest period.
"""


def whole(data: Mapping[str, Any], name: str, figure: str) -> float:
    """A whole figure of a core."""
    return FIGURES[figure](data["cores"][name])


def ratio(data: Mapping[str, Any], rival: str, core: str, figure: str) -> float:
    """How many times more of it a baseline has than an OPAL core."""
    return whole(data, rival, figure) / whole(data, core, figure)


def _cores(data: Mapping[str, Any]) -> str:
    cores = data["cores"]
    head = ["", *(CORES[name] for name in cores)]

    def row(label: str, figure: Callable[[Mapping[str, Any]], str]) -> list[str]:
        return [label, *(figure(core) for core in cores.values())]

    areas = [row(p, lambda c, p=p: f"{c['parts'][p][0]:.0f}") for p in PARTS]  # type: ignore[misc]
    areas += [
        row("all, mapped for speed", lambda c: f"{c['speed_ge']:.0f}"),
        row("**all, mapped for area**", lambda c: f"**{c['ge']:.0f}**"),
        row("memories, bits", lambda c: str(c["memory_bits"])),
        row("memories, GE by the model", lambda c: f"{_memory_ge(c):.0f}"),
        row("period, ps", lambda c: f"{c['period_ps']:.0f}"),
        row("cycles a program", lambda c: f"{c['cycles']:.0f}"),
    ]
    spent = [row(p, lambda c, p=p: f"{c['parts'][p][1] / 1e3:.2f}") for p in PARTS]  # type: ignore[misc]
    spent += [
        row("**all, without glitches**", lambda c: f"**{c['pj'] / 1e3:.2f}**"),
        row("all, with glitches", lambda c: f"{c['pj_glitch'] / 1e3:.2f}"),
        row("memories, by the model", lambda c: f"{c['pj_memory'] / 1e3:.2f}"),
    ]
    tools = data["tools"]
    said = (
        f"{data['library']}, pyosys {tools['pyosys']}, flow {data['flow_digest'][:12]}; "
        "`python -m tests.reference.opal --measure`."
    )
    return "\n\n".join(
        [
            markdown(["GE", *head[1:]], areas),
            markdown(["nJ a program", *head[1:]], spent),
            said,
        ]
    )


def _rise(known: dict[str, Any]) -> float:
    """What narrow activations add to the perplexity, with the same weights."""
    return perplexity.perplexity(known, "w4a4_7") - perplexity.perplexity(known, "w4a16")


def _claims(data: Mapping[str, Any]) -> str:
    rows = []
    for claim, figures in (
        ("area 2.4-3.1 times smaller", ("area", "area with memories")),
        ("energy 1.6-2.2 times better", ("energy", "energy with memories", "energy with glitches")),
        ("not said", ("area x cycles", "area x time")),
    ):
        for figure in figures:
            against = [f"{ratio(data, rival, core, figure):.2f}" for rival, core in PAIRS]
            rows.append([claim, figure, *against])
            claim = ""
    known = perplexity.load()
    windows = known["configuration"]["windows"]
    rows.append(
        [
            "perplexity up by less than 1",
            f"W4A4/7 over W4A16, {windows} windows",
            "",
            "",
            f"{_rise(known):+.2f} on {perplexity.perplexity(known, 'w4a16'):.2f}",
        ]
    )
    heads = [f"{CORES[core]} against {CORES[rival]}" for rival, core in PAIRS]
    return markdown(["the paper's abstract", "ours", *heads], rows)


def _layer() -> str:
    made = json.loads(LAYER_FILE.read_text(encoding="utf-8"))
    rows = [
        [
            stage["name"],
            str(stage["commands"]),
            str(stage["macs"]),
            str(stage["beats_in"]),
            str(stage["cycles"]),
            f"{100 * stage['utilisation']:.1f} %",
        ]
        for stage in made["stages"]
    ]
    rows.append(
        [
            "all",
            "",
            str(made["macs"]),
            "",
            str(made["cycles"]),
            f"{100 * made['utilisation']:.1f} %",
        ]
    )
    head = ["stage", "commands", "MACs", "beats in", "cycles", "utilisation"]
    said = (
        f"`{made['point']}`, layer {made['layer']} of {made['model']}, {made['positions']} "
        f"positions in the caches, Verilator {made['tools']['verilator']}: "
        f"{made['bits_compared']} output bits compared, all equal."
    )
    return f"{markdown(head, rows)}\n\n{said}"


_TABLES: Tables = {
    "claims": lambda: _claims(load()),
    "cores": lambda: _cores(load()),
    "layer": _layer,
}


def _summary() -> str:
    """The README's sentences."""
    data, known = load(), perplexity.load()
    bf16, four, three = "bf16_core/l128", "opal_core/p47_l128", "opal_core/p35_l128"
    area, small = (ratio(data, bf16, core, "area") for core in (four, three))
    energy, late = (ratio(data, bf16, four, f) for f in ("energy", "energy with glitches"))
    time = ratio(data, bf16, four, "area x time")
    words = (
        f"Cores: [OPAL](docs/opal.md) with 4 and 7 bits is {area:.1f} times smaller than the same "
        f"core in bf16 ({small:.1f} times with 3 and 5), takes {energy:.1f} times less energy for "
        f"real programs ({late:.1f} times with glitches), and {time:.1f} times less area for as "
        "many programs a second. The [perplexity](docs/perplexity.md) of SmolLM2-135M is "
        f"{_rise(known):.1f} higher than with the same weights and bf16 activations."
    )
    return textwrap.fill(words, 100, break_long_words=False, break_on_hyphens=False)


PAGES: dict[Path, Tables] = {PAGE: _TABLES, README: {"cores": _summary}}
"""What is written, and from what."""


def main() -> None:
    """Measure where asked to, and write the page."""
    if "--measure" in sys.argv[1:]:
        measure()
    update(PAGES)


if __name__ == "__main__":
    main()
