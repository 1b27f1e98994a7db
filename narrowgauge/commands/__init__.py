"""What each command of the command line does: one function a command, options in, exit code out."""

from narrowgauge.commands.basic import doctor, flow, generate, list_, synth, vectors, verify
from narrowgauge.commands.sweep import sweep

__all__ = ["doctor", "flow", "generate", "list_", "sweep", "synth", "vectors", "verify"]
