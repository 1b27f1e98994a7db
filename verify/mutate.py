"""A fault put into a design on purpose, so that a bench can be seen to fail.

Yosys's `mutate` picks one bit of one cell port and inverts it, ties it, or makes it depend on
another bit. Not every mutant behaves differently: a caller tries several seeds.
"""

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from narrowgauge.golden.errors import MissingToolError, NarrowgaugeError, UsageError

__all__ = ["break_design"]

# A Yosys error ends the whole Python process, so Yosys runs in one of its own.
_SCRIPT = """
import sys
import pyosys.libyosys as ys
design = ys.Design()
def run(command):
    design.run_pass("tee -q " + command)
run("read_rtlil in.il")
run("hierarchy -auto-top")
run("proc")
run("opt_clean")
run(f"mutate -list 1 -seed {sys.argv[1]} -o mutation.ys")
mutation = open("mutation.ys").read().strip()
if not mutation:
    sys.exit("the design has nothing to mutate")
run(mutation)
run("opt_clean")
run("write_verilog -noattr out.v")
"""


def break_design(rtlil: str, seed: int) -> str:
    """Verilog of a design given as RTLIL, with the fault that `seed` (0 or more) picks.

    The first line is a comment that tells the fault. Needs pyosys (`MissingToolError`).
    """
    if seed < 0:
        raise UsageError(f"mutation seed must be 0 or more, got {seed}")
    if importlib.util.find_spec("pyosys") is None:
        raise MissingToolError("pyosys is not installed: pip install 'narrowgauge[synth]'")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.il").write_text(rtlil)
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(seed + 1)],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        output = folder / "out.v"
        if done.returncode != 0 or not output.exists():
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise NarrowgaugeError(f"cannot mutate the design: {lines[-1]}")
        fault = (folder / "mutation.ys").read_text().strip()
        return f"// {fault}\n{output.read_text()}"
