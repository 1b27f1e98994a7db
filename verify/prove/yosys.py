"""Yosys on a list of commands, in a process of its own: its errors end a whole Python process."""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from narrowgauge.golden.errors import MissingToolError, NarrowgaugeError

__all__ = ["run"]

_SCRIPT = """
import sys
import pyosys.libyosys as ys
design = ys.Design()
for command in sys.stdin.read().splitlines():
    ys.run_pass("tee -q " + command, design)
"""


def run(commands: Sequence[str], folder: Path, *, timeout: float = 600.0) -> None:
    """Run Yosys commands in a folder.

    Raises `MissingToolError` without pyosys, `NarrowgaugeError` with Yosys's last line where it
    fails.
    """
    if importlib.util.find_spec("pyosys") is None:
        raise MissingToolError("pyosys is not installed: pip install 'narrowgauge[prove]'")
    try:
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            input="\n".join(commands),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise NarrowgaugeError(f"Yosys gave no result within {timeout:g} s") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise NarrowgaugeError(f"Yosys: {lines[-1]}")
