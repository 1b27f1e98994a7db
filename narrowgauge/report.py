"""The report of the main job: a short table in the terminal, Markdown and JSON in a folder."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from narrowgauge import sqnr
from narrowgauge.console import Console, markdown, table
from narrowgauge.registry import Point

if TYPE_CHECKING:
    from narrowgauge.synth.record import Record
    from narrowgauge.verify.result import Result

__all__ = ["BASELINE", "Report"]

BASELINE = "bf16_dot"
"""The unit that dot products are compared with, at the same number of lanes."""

_DOT = ("point", "lanes", "GE/MAC", "vs bf16", "depth", "delay ps", "latency", "interval")
_UNIT = ("point", "GE", "flip-flops", "depth", "delay ps", "latency", "interval")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the main job found; the tuples run along `points`."""

    command: str
    versions: dict[str, str]
    points: tuple[Point, ...]
    verification: "tuple[tuple[Result, ...], ...]"
    synthesis: "tuple[Record, ...]"
    sqnr: tuple[sqnr.Row, ...]

    @property
    def passed(self) -> bool:
        """Whether every point was verified and every run passed."""
        return bool(self.points) and all(
            results and all(result.passed for result in results) for results in self.verification
        )

    def ratio(self, index: int) -> float | None:
        """GE a MAC over that of the baseline at the same number of lanes, if it is here."""
        point, record = self.points[index], self.synthesis[index]
        for other, reference in zip(self.points, self.synthesis, strict=True):
            if other.entry.name == BASELINE and other.macs == point.macs and point.macs:
                return float(record.ge / reference.ge)
        return None

    def _timing(self, index: int) -> tuple[str, str]:
        """Latency and interval in cycles, as measured."""
        latency = [r.latency for r in self.verification[index] if r.latency is not None]
        interval = [r.interval for r in self.verification[index] if r.interval is not None]
        return (
            str(latency[0]) if latency else "",
            f"{interval[0]:.4g}" if interval else "",
        )

    def _verdict(self, index: int) -> bool:
        results = self.verification[index]
        return bool(results) and all(result.passed for result in results)

    def dot_rows(self) -> list[tuple[str, ...]]:
        """Rows of the dot products."""
        rows: list[tuple[str, ...]] = []
        for index, (point, record) in enumerate(zip(self.points, self.synthesis, strict=True)):
            if point.macs:
                ratio = self.ratio(index)
                rows.append(
                    (
                        point.full_name,
                        str(point.macs),
                        f"{record.ge / point.macs:.1f}",
                        "" if ratio is None else f"{ratio:.3f}",
                        str(record.depth),
                        _delay(record),
                        *self._timing(index),
                    )
                )
        return rows

    def unit_rows(self) -> list[tuple[str, ...]]:
        """Rows of the other units."""
        return [
            (
                point.full_name,
                f"{record.ge:.0f}",
                str(record.flip_flops),
                str(record.depth),
                _delay(record),
                *self._timing(index),
            )
            for index, (point, record) in enumerate(zip(self.points, self.synthesis, strict=True))
            if not point.macs
        ]

    def _tables(self) -> list[tuple[tuple[str, ...], list[tuple[str, ...]], list[bool]]]:
        verdicts = [self._verdict(index) for index in range(len(self.points))]
        dots = [v for v, p in zip(verdicts, self.points, strict=True) if p.macs]
        units = [v for v, p in zip(verdicts, self.points, strict=True) if not p.macs]
        listed = [(_DOT, self.dot_rows(), dots), (_UNIT, self.unit_rows(), units)]
        return [each for each in listed if each[1]]

    def summary(self) -> str:
        """One line on verification."""
        results = [result for each in self.verification for result in each]
        failed = [result.name for result in results if not result.passed]
        beats = sum(result.beats_out for result in results)
        said = f"{len(results)} runs, {beats} beats compared bit for bit"
        return (
            f"{said}, {len(failed)} failed: {', '.join(failed)}" if failed else f"{said}, all equal"
        )

    def to_terminal(self, console: Console) -> str:
        """The short table."""
        parts = []
        for head, rows, verdicts in self._tables():
            marked = [(*row, console.verdict(v)) for row, v in zip(rows, verdicts, strict=True)]
            parts.append(table((*head, "verified"), marked))
        parts.append(table(sqnr.HEAD, sqnr.summary(self.sqnr)))
        parts.append(f"{self.summary()}\n{sqnr.verdict(self.sqnr)}")
        return "\n\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "command": self.command,
            "passed": self.passed,
            "versions": self.versions,
            "points": [
                {
                    "name": point.full_name,
                    "parameters": point.parameters,
                    "macs": point.macs,
                    "ratio_to_bf16_dot": self.ratio(index),
                    "verification": [result.to_json() for result in self.verification[index]],
                    "synthesis": json.loads(self.synthesis[index].to_json()),
                }
                for index, point in enumerate(self.points)
            ],
            "sqnr": [row.to_json() for row in self.sqnr],
        }

    def to_markdown(self) -> str:
        """The report for readers."""
        parts = [f"# narrowgauge flow\n\n`{self.command}`: {'PASS' if self.passed else 'FAIL'}"]
        for head, rows, verdicts in self._tables():
            marked = [
                (*row, "PASS" if v else "FAIL") for row, v in zip(rows, verdicts, strict=True)
            ]
            parts.append(markdown((*head, "verified"), marked))
        parts.append(
            "GE: area in two-input NANDs of drive 1, and depth: cells on the longest path, both of "
            "the run for area. Delay: ABC's figure for the run for speed, after buffering and "
            "sizing, or of the run for area where marked `a`. Latency and interval (between "
            "transactions: blocks of mx_dot, beats of bf16_dot) in clock cycles, as measured."
        )
        parts.append(f"## Verification\n\n{self.summary()}.")
        parts.append(
            markdown(
                ("run", "transactions", "beats", "cycles", "coverage", "verdict"),
                [
                    (
                        f"{result.name} {result.level}, seed {result.seed}",
                        str(result.transactions),
                        str(result.beats_out),
                        str(result.cycles),
                        f"{len(result.bins) - len(result.missing)} of {len(result.bins)} bins",
                        "PASS" if result.passed else f"FAIL: {result.failure}".replace("\n", "; "),
                    )
                    for results in self.verification
                    for result in results
                ],
            )
        )
        parts.append(
            "## Quantisation error\n\nSQNR in dB on activations of SmolLM2-135M; bits an element "
            "as stored, scales, outliers and positions included.\n\n"
            f"{sqnr.markdown(self.sqnr)}\n\n{sqnr.verdict(self.sqnr)}."
        )
        versions = "\n".join(f"- {name} {number}" for name, number in self.versions.items())
        parts.append(f"## Versions\n\n{versions}")
        return "\n\n".join(parts) + "\n"

    def files(self) -> dict[str, str]:
        """Name -> text of the report's files."""
        files = {
            "report.md": self.to_markdown(),
            "report.json": json.dumps(self.to_json(), indent=2) + "\n",
        }
        for point, record in zip(self.points, self.synthesis, strict=True):
            files[f"synth/{point.identifier}.json"] = record.to_json()
            files[f"synth/{point.identifier}.md"] = record.to_markdown()
        return files


def _delay(record: "Record") -> str:
    """ABC's delay, marked where no run for speed was made."""
    return f"{record.delay_ps:.0f}{' a' if record.delay_goal == 'area' else ''}"
