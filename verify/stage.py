"""What a run needs before a simulator starts: vectors as beats, patterns, limits, files."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import MismatchError
from narrowgauge.golden.payload import Batch
from narrowgauge.verify.beats import Beats, groups, stream_beats, to_hex
from narrowgauge.verify.harness import Ports, harness
from narrowgauge.verify.patterns import plan

__all__ = ["Stage", "stage"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Stimulus, answers and patterns of one design at one level and seed.

    Parameters
    ----------
    batch, want : transactions in and out
    ends : transactions of the batch at the end of each group that makes an output
    inputs, outputs : the same as beats
    runs : the patterns, as the bench reads them
    limits : cycles of silence after the last beat, without a transfer, and in all
    """

    batch: Batch
    want: Batch
    ends: npt.NDArray[np.int64]
    inputs: Beats
    outputs: Beats
    runs: list[dict[str, Any]]
    limits: dict[str, int]

    @property
    def transactions(self) -> int:
        """Transactions in the batch."""
        return len(next(iter(self.batch.values())))

    def write(self, folder: Path, top: str, text: str, *, select: int = 0) -> dict[str, str]:
        """Write design, harness and input into a folder; the paths of these and of what comes.

        `select` is the width of the input that switches mutants, 0 where the design has none.
        """
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            "dut": folder / f"{top}.v",
            "harness": folder / "harness.v",
            "input": folder / "in.hex",
            "output": folder / "out.hex",
            "status": folder / "status.json",
            "results": folder / "results.xml",
        }
        for path in files.values():
            path.unlink(missing_ok=True)
        ports = Ports(
            s_width=self.inputs.width,
            s_last=self.inputs.last,
            m_width=self.outputs.width,
            m_last=self.outputs.last,
        )
        files["dut"].write_text(text)
        files["harness"].write_text(harness(top, ports, select))
        rows = self.inputs.raw()
        rows[self.inputs.ends - 1, -1] |= 2
        files["input"].write_text(to_hex(rows))
        return {name: str(path) for name, path in files.items()}


def stage(
    component: Any,
    golden: ModuleType,
    params: Any,
    level: str,
    seed: int,
    given: Batch | None = None,
) -> Stage:
    """The vectors of a level and seed as beats; `component` tells latency and interval.

    `given` are the transactions to use in place of those of level and seed. A golden model without
    vectors is a `MismatchError`.
    """
    batch: Batch = golden.vectors(params, level, seed) if given is None else given
    if not batch or not len(next(iter(batch.values()))):
        raise MismatchError("the golden model gave no vectors")
    want: Batch = golden.model(params, batch)
    ends = groups(batch)
    inputs = stream_beats(golden, params, batch, "input", len(ends))
    outputs = stream_beats(golden, params, want, "output", len(ends))
    pace = int(component.latency or 0) + int(component.interval or 1)
    longest = int(np.diff(inputs.ends, prepend=0).max() + np.diff(outputs.ends, prepend=0).max())
    limits = {"drain": pace + 16, "stuck": 4 * (pace + longest) + 1000}
    limits["cycles"] = 64 * (inputs.count + outputs.count + 1000) * max(1, pace)
    return Stage(
        batch=batch,
        want=want,
        ends=ends,
        inputs=inputs,
        outputs=outputs,
        runs=plan(inputs.ends.tolist(), outputs.ends.tolist(), level, seed),
        limits=limits,
    )
