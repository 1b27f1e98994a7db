"""What each command of the command line does: one function a command, options in, exit code out."""

from narrowgauge.commands.basic import doctor, flow, generate, list_, synth, vectors, verify
from narrowgauge.commands.energy import energy
from narrowgauge.commands.gates import gates
from narrowgauge.commands.layer import layer
from narrowgauge.commands.mutate import mutate
from narrowgauge.commands.perplexity import perplexity
from narrowgauge.commands.prove import prove
from narrowgauge.commands.report import report
from narrowgauge.commands.sensitivity import sensitivity
from narrowgauge.commands.sweep import sweep
from narrowgauge.commands.timing import timing

__all__ = [
    "doctor",
    "energy",
    "flow",
    "gates",
    "generate",
    "layer",
    "list_",
    "mutate",
    "perplexity",
    "prove",
    "report",
    "sensitivity",
    "sweep",
    "synth",
    "timing",
    "vectors",
    "verify",
]
