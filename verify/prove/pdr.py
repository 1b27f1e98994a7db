"""ABC's property-directed reachability: whether a circuit can ever raise its `bad` output."""

import importlib.util
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from narrowgauge.golden.errors import MissingToolError, NarrowgaugeError
from narrowgauge.verify.prove.claims import Status, Stopwatch
from narrowgauge.verify.prove.stream_aig import Aig

__all__ = ["Outcome", "reach"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it.

    Parameters
    ----------
    status : "proved": never, in any number of cycles
    frames : inputs cycle by cycle that raise it in the last one, where it is refuted
    """

    status: Status
    frames: tuple[dict[str, int], ...] = ()


_TRIALS = (
    ("", "", 0.05),
    ("scorr; dc2; ", " -s -f", 0.5),
    ("scorr; dc2; ", "", 0.3),
    # The sweep may leave a constant, which `pdr` does not settle.
    ("", "", 1.0),
)
"""What is done before, options of `pdr`, share of the time. Registers that are equal in every cycle
are merged by `scorr`; -s is the faster solver on what is left. ABC checks each invariant itself."""


def reach(aig: Aig, bad: int, limit: float) -> Outcome:
    """Settle whether `bad` can hold in any cycle, from the circuit's start, in `limit` seconds."""
    if bad < 2:
        return Outcome(status="refuted", frames=({},)) if bad else Outcome(status="proved")
    text, names = aig.aiger(bad)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.aig").write_bytes(text)
        for sweep, options, share in _TRIALS:
            left = round(min(max(1.0, share * limit), limit - watch.seconds))
            if left < 1:
                break
            script = f"read_aiger in.aig; {sweep}pdr{options} -T {left}; write_cex -n out.txt"
            said = _abc(script, folder)
            if "Property proved" in said:
                return Outcome(status="proved")
            found = re.search(r"was asserted in frame (\d+)", said)
            if found is not None:
                frames = _frames((folder / "out.txt").read_text(), names, int(found[1]) + 1)
                return Outcome(status="refuted", frames=frames)
    return Outcome(status="unknown")


def _abc(script: str, folder: Path) -> str:
    """What ABC says to a script."""
    spec = importlib.util.find_spec("pyosys")
    if spec is None or not spec.submodule_search_locations:
        raise MissingToolError("pyosys is not installed: pip install 'narrowgauge[prove]'")
    path = Path(next(iter(spec.submodule_search_locations))) / "yosys-abc"
    done = subprocess.run(
        [str(path), "-q", script],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    if "Verification of invariant" in said and "was successful" not in said:
        raise NarrowgaugeError("ABC: an invariant that it found does not hold")
    if done.returncode < 0 or not any(word in said for word in ("Property", "asserted", "solved")):
        lines = said.strip().splitlines() or [f"ended with {done.returncode}"]
        raise NarrowgaugeError(f"ABC: {lines[-1]}")
    return said


def _frames(text: str, names: list[str], count: int) -> tuple[dict[str, int], ...]:
    """Inputs by cycle, from ABC's `write_cex -n`, where inputs are called by number."""
    frames: tuple[dict[str, int], ...] = tuple(dict.fromkeys(names, 0) for _ in range(count))
    for number, frame, value in re.findall(r"^pi(\d+)@(\d+)=([01])$", text, re.MULTILINE):
        frames[int(frame)][names[int(number)]] = int(value)
    return frames
