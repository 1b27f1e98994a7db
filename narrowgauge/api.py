"""What the command line does, in Python.

Names are `unit` (all its points) or `unit/point`; `overrides` replaces parameters of every point
named. Each call checks its input before any work and raises a `NarrowgaugeError` of one line
(`UsageError`, `MissingToolError`). `jobs` is the number of worker processes; None, the default,
works in the calling process.

    from narrowgauge import api

    api.generate("mx_dot/w4a4_l32", output="rtl", overrides={"lanes": 64})
    api.verify("mx_dot/w4a4_l32", level="smoke")
    api.synthesize("mx_dot/w4a4_l32", liberty="nangate45")

Verification and synthesis are imported by the calls that need them: generating Verilog needs
Amaranth and NumPy only.
"""

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from narrowgauge import design, registry, tasks, workers
from narrowgauge import output as outputs
from narrowgauge.arguments import Level, Names, Overrides, one_of, seeded, select, stimuli
from narrowgauge.doctor import Check, doctor, require
from narrowgauge.golden.errors import MismatchError, NarrowgaugeError, UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.mutate import mutate
from narrowgauge.page import report
from narrowgauge.prove import prove
from narrowgauge.registry import Point
from narrowgauge.sweep import sweep
from narrowgauge.timing import timing

if TYPE_CHECKING:
    from narrowgauge.energy import energy
    from narrowgauge.gates import gates
    from narrowgauge.report import Report
    from narrowgauge.synth.record import Record
    from narrowgauge.verify.result import Result

__all__ = [
    "Check",
    "Level",
    "Names",
    "NarrowgaugeError",
    "Simulator",
    "doctor",
    "energy",
    "flow",
    "gates",
    "generate",
    "model",
    "mutate",
    "points",
    "prove",
    "report",
    "sweep",
    "synthesize",
    "timing",
    "vectors",
    "verify",
]

Simulator = Literal["verilator", "icarus"]
PathLike = str | os.PathLike[str]

SIMULATORS: tuple[Simulator, ...] = ("verilator", "icarus")


def __getattr__(name: str) -> Any:
    """`energy` and `gates`, whose modules need verification and synthesis, when first asked for."""
    if name in ("energy", "gates"):
        return getattr(importlib.import_module(f"narrowgauge.{name}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def points(names: Names = (), *, overrides: Overrides = None) -> list[Point]:
    """The points that the names select; no name is every point."""
    return select(names, overrides)


def _given(
    selected: Sequence[Point], level: str, seed: int, batch: Mapping[str, npt.ArrayLike] | None
) -> Batch | None:
    """The transactions of a caller as arrays, checked, or None; level and seed are checked too."""
    stimuli(selected if batch is None else (), level, seed)
    if batch is None:
        return None
    given = {name: np.asarray(array) for name, array in batch.items()}
    for point in selected:
        design.checked(point, given)
    return given


def generate(
    names: Names = (),
    *,
    output: PathLike,
    system: bool = False,
    overrides: Overrides = None,
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> list[Path]:
    """Write Verilog, metadata, FuseSoC core, `aresetn` wrapper and bench of each point.

    With `system`, of each core behind AXI4-Lite registers (docs/systems.md), `NAME_system`; no name
    is then every core. Returns the written files, five a point, `NAME.v` first.
    """
    if system and not names:
        names = tuple(entry.name for entry in registry.ENTRIES if entry.layer == "cores")
    selected = points(names, overrides=overrides)
    for point in selected if system else ():
        if point.entry.layer != "cores":
            raise UsageError(f"only cores have a system, got {point.full_name}")
    target = outputs.folder(output)
    work = [tasks.task("generate", point, system=system) for point in selected]
    bundles = workers.run(work, jobs=jobs, progress=progress)
    return [path for files in bundles for path in outputs.write(target, files)]


def verify(
    names: Names = (),
    *,
    level: Level = "smoke",
    seed: int = 1,
    simulator: Simulator = "verilator",
    waves: bool = False,
    batch: Mapping[str, npt.ArrayLike] | None = None,
    overrides: Overrides = None,
    build_dir: PathLike = "build/verify",
    junit: PathLike | None = None,
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> "list[Result]":
    """Compare hardware with golden model, bit for bit, and return one result a point.

    A mismatch is in the results (`passed` is false), not an exception. `batch` gives the
    transactions in place of those of `level` and `seed`. `junit` names an XML file.
    """
    one_of("simulator", simulator, SIMULATORS)
    selected = points(names, overrides=overrides)
    given = _given(selected, level, seed, batch)
    require("verify")
    outputs.buildable(build_dir)
    report = None if junit is None else outputs.file(junit)
    target = outputs.folder(build_dir)
    from narrowgauge.verify import junit as xml

    arguments = {
        "levels": (level,),
        "seed": seed,
        "simulator": simulator,
        "waves": waves,
        "build_dir": target,
        "batch": given,
    }
    work = [tasks.task("verify", point, **arguments) for point in selected]
    results = [r for each in workers.run(work, jobs=jobs, progress=progress) for r in each]
    if len(results) != len(selected):
        raise MismatchError(f"{len(results)} results for {len(selected)} points")
    if report is not None:
        xml.write(results, report)
    return results


def synthesize(
    names: Names = (),
    *,
    liberty: str = "nangate45",
    overrides: Overrides = None,
    output: PathLike | None = None,
    cache: PathLike = "build/cache",
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> "list[Record]":
    """Map each point to cells and return its record; `output` also gets it as JSON and Markdown.

    `liberty` is the name of a library or the path of a Liberty file.
    """
    selected = points(names, overrides=overrides)
    require("synth")
    from narrowgauge.synth import library

    library.load(liberty)
    target = None if output is None else outputs.folder(output)
    kept = outputs.folder(cache)
    arguments = {"liberty": liberty, "cache": kept, "keep": None}
    work = [tasks.task("synthesize", point, **arguments) for point in selected]
    records = workers.run(work, jobs=jobs, progress=progress)
    if target is not None:
        for point, record in zip(selected, records, strict=True):
            outputs.write(
                target,
                {
                    f"{point.identifier}.json": record.to_json(),
                    f"{point.identifier}.md": record.to_markdown(),
                },
            )
    return list(records)


def vectors(
    names: Names = (),
    *,
    output: PathLike,
    level: Level = "smoke",
    seed: int = 1,
    batch: Mapping[str, npt.ArrayLike] | None = None,
    overrides: Overrides = None,
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> list[Path]:
    """Write input and expected beats of each point for a bench of one's own.

    `batch` gives the transactions (field name -> integers, first axis the transaction) in place of
    those of `level` and `seed`. Returns the written files, four a point.
    """
    selected = points(names, overrides=overrides)
    given = _given(selected, level, seed, batch)
    target = outputs.folder(output)
    arguments = {"level": level, "seed": seed, "batch": given}
    work = [tasks.task("vectors", point, **arguments) for point in selected]
    written = workers.run(work, jobs=jobs, progress=progress)
    return [path for files in written for path in outputs.write(target, files)]


def model(name: str, batch: Mapping[str, npt.ArrayLike], *, overrides: Overrides = None) -> Batch:
    """What the point `unit/point` computes for a batch of transactions: the golden model."""
    selected = points(name, overrides=overrides)
    if len(selected) != 1:
        raise UsageError(f"name one point, {name!r} has {len(selected)}")
    point = selected[0]
    result: Batch = point.entry.golden.model(point.params, design.checked(point, batch))
    return result


def flow(
    names: Names = (),
    *,
    output: PathLike = "build/flow",
    cache: PathLike = "build/cache",
    liberty: str = "nangate45",
    seed: int = 1,
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> "Report":
    """Generate, verify and synthesise the points, measure quantisation error, write the report.

    No name is every point of the units and the first of each arithmetic component.
    A mismatch is in the report (`passed` is false), not an exception.
    """
    seeded(seed)
    selected = points(names)
    require("verify", "synth")
    from narrowgauge import flow as main
    from narrowgauge.synth import library

    library.load(liberty)
    outputs.buildable(cache)
    target, kept = outputs.folder(output), outputs.folder(cache)
    selected = selected if names else main.default()
    settings = main.Settings(output=target, cache=kept, liberty=liberty, seed=seed)
    return main.run(selected, settings, jobs=jobs, progress=progress)
