"""The commands of the command line: a function each, options in, exit code out, and its options."""

from narrowgauge.commands import (
    attack,
    basic,
    energy,
    gates,
    layer,
    map,
    mutate,
    perplexity,
    prove,
    report,
    sensitivity,
    sweep,
    synth,
    timing,
    train,
)

__all__ = ["COMMANDS"]

_BY_NAME = {
    command.name: command
    for module in (
        *(basic, synth, gates, timing, energy, prove, mutate, sweep),
        *(perplexity, layer, sensitivity, train, attack, map, report),
    )
    for command in module.COMMANDS
}

COMMANDS = tuple(
    _BY_NAME[name]
    for name in (
        *("list", "generate", "verify", "synth", "gates", "timing", "energy", "prove", "mutate"),
        *(
            "flow",
            "sweep",
            "perplexity",
            "layer",
            "sensitivity",
            "train",
            "attack",
            "map",
            "report",
        ),
        *("vectors", "doctor"),
    )
)
"""All of them, in the order of the help."""
