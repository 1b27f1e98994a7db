"""What each command of the command line does: one function a command, options in, exit code out."""

from narrowgauge.commands.basic import doctor, flow, generate, list_, synth, vectors, verify
from narrowgauge.commands.gates import gates
from narrowgauge.commands.prove import prove
from narrowgauge.commands.sweep import sweep

__all__ = [
    "doctor",
    "flow",
    "gates",
    "generate",
    "list_",
    "prove",
    "sweep",
    "synth",
    "vectors",
    "verify",
]
