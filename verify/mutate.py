"""A fault put into a design on purpose, so that a bench can be seen to fail.

One mutant of those that `mutation` tries by the hundred. Not every one behaves differently: a
caller tries several seeds.
"""

import tempfile
from pathlib import Path

from narrowgauge.verify.mutation import faults
from narrowgauge.verify.prove import yosys

__all__ = ["break_design"]


def break_design(rtlil: str, seed: int) -> str:
    """Verilog of a design given as RTLIL, with the fault that `seed` (0 or more) picks.

    The first line is a comment that tells the fault. Needs pyosys (`MissingToolError`); a negative
    seed, or a design with nothing to mutate, is a `UsageError`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (fault,) = faults.sample(faults.flat(rtlil, folder), 1, seed, folder)
        # A fault may make two cases true of which one was: Verilator would stop there.
        commands = [f"mutate {fault.command}", "pmuxtree", "opt_clean"]
        commands.append("write_verilog -noattr out.v")
        yosys.run(["read_rtlil flat.il", *commands], folder)
        return f"// mutate {fault.command}\n{(folder / 'out.v').read_text()}"
