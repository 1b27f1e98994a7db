"""One decoder layer for one token on a core's generated Verilog, bit for bit against the models.

The last token of a text, with the ones before it in the caches of keys and values, goes through one
layer of the language model: every matrix product and every head of attention is a packet that the
driver sends through the AXI ports of the core's system, simulated by Verilator. What stands between
(norms, rotation, gate, residual) is the host's, `golden.llm.elementwise`.

The host sends the commands of a stage at once, each vector ahead of the command before it, and
waits for the answers, which the next stage is made of. The models' answers stand in for the
core's there: where all bits are equal, that is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from narrowgauge import design, output, registry, tasks
from narrowgauge.doctor import require
from narrowgauge.golden.errors import MismatchError, UsageError
from narrowgauge.golden.llm.decoder import Decoder
from narrowgauge.golden.llm.scheme import get_scheme
from narrowgauge.golden.payload import Batch, join
from narrowgauge.language import Calibration, Language, load, passage

__all__ = ["Stage", "run"]

_STAGES = {
    "q, k, v": ("attn_q", "attn_k", "attn_v"),
    "attention": (),
    "output": ("attn_output",),
    "gate, up": ("ffn_gate", "ffn_up"),
    "down": ("ffn_down",),
}
"""Stage -> its matrices; the heads are the second stage."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Commands that do not wait for each other.

    Attributes
    ----------
    name : the stage
    commands : how many, LOADs not counted
    macs : multiply-accumulates, those of attention times V included
    beats_in, beats_out : beats of the streams
    cycles : from the first beat taken to the last given, both included
    utilisation : macs over those that as many cycles have room for in the commands' modes
    """

    name: str
    commands: int
    macs: int
    beats_in: int
    beats_out: int
    cycles: int
    utilisation: float


def run(
    name: str = "opal_core/p47_l128",
    *,
    layer: int = 1,
    positions: int = 64,
    cache: str = "build/cache",
    folder: str = "build/layer",
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run it; plain values for JSON.

    Parameters
    ----------
    name : a point of `opal_core` whose vectors and heads hold the model's
    layer : of the model, from 0; the ones before it compute in float32
    positions : of the caches, the token's own included
    cache, folder : results by content, and where the model of the Verilog is built
    say : told what goes on

    Raises
    ------
    UsageError : another unit, a layer or number of positions that is not there
    MissingToolError : no simulator, or a package of the language model is missing
    MismatchError : an output bit that differs, with the command it belongs to
    """
    chosen = registry.points(name)
    if len(chosen) != 1 or chosen[0].entry.name != "opal_core":
        raise UsageError(f"a layer is run by one point of opal_core, got {name!r}")
    point = chosen[0]
    require("verify")
    language = load()
    ids = language.tokens(passage())
    rest = ids[positions:]
    if not 2 <= positions <= min(point.params.length, len(ids) // 2):
        most = min(point.params.length, len(ids) // 2)
        raise UsageError(f"positions must be 2..{most}, got {positions}")
    if not 0 <= layer < language.shape.blocks:
        raise UsageError(f"layer must be 0..{language.shape.blocks - 1}, got {layer}")
    kept = output.folder(cache)
    say(f"weights of layer {layer}")
    stages = _stages(point, language, layer, ids[:positions], rest, kept)
    say("model of the Verilog")
    played = _played(point, [packets for _, _, packets in stages], kept, output.folder(folder))
    say("comparison")
    beats, given, taken, counters = played
    made: list[Stage] = []
    first_in = first_out = bits = 0
    for (stage, work, packets), answers in zip(stages, _answers(point, stages), strict=True):
        sent, got = len(packets["last"]), len(answers["last"])
        part = {field: values[first_out : first_out + got] for field, values in beats.items()}
        _compare(stage, part, answers)
        bits += got * point.params.output.width
        start, end = taken[first_in], given[first_out + got - 1]
        cycles = int(end - start) + 1
        macs = sum(each for each, _ in work)
        room = sum(each / rate for each, rate in work)
        made.append(
            Stage(
                name=stage,
                commands=int(packets["last"].sum()) // 2,
                macs=macs,
                beats_in=sent,
                beats_out=got,
                cycles=cycles,
                utilisation=round(room / cycles, 4),
            )
        )
        first_in, first_out = first_in + sent, first_out + got
    if first_out != len(beats["last"]):
        raise MismatchError(f"{len(beats['last'])} beats came out, expected {first_out}")
    total = sum(stage.cycles for stage in made)
    room = sum(stage.utilisation * stage.cycles for stage in made)
    return {
        "point": point.full_name,
        "model": language.name,
        "layer": layer,
        "positions": positions,
        "cycles": total,
        "macs": sum(stage.macs for stage in made),
        "utilisation": round(room / total, 4),
        "beats_out": first_out,
        "bits_compared": bits,
        "stages": [asdict(stage) for stage in made],
        "counters": counters,
        "tools": design.tools("amaranth", "verilator", "numpy"),
    }


Work = tuple[int, int]
"""Multiply-accumulates of a command, and how many a cycle its mode has room for."""


def _stages(
    point: registry.Point,
    language: Language,
    layer: int,
    ids: np.ndarray,
    rest: np.ndarray,
    kept: Path,
) -> list[tuple[str, list[Work], Batch]]:
    """Name, work and packets of each stage."""
    from narrowgauge.golden.llm.commands import Attend, layer_commands, packets_of
    from narrowgauge.golden.samples.llama import Llama

    params = point.params
    calibration = Calibration(rest[None], compensate=True)
    decoder = Decoder(
        language.shape,
        language.tensor,
        get_scheme(f"w{params.low}a{params.low}_{2 * params.low - 1}_log2"),
        language.weights(calibration, kept),
    )
    plain = Llama(language.shape, language.tensor)
    state = language.tensor("token_embd.weight")[ids].astype(np.float32)
    for number in range(layer):
        state = plain.layer(number, state).astype(np.float32)
    commands = layer_commands(decoder, layer, state).commands
    made = []
    for stage, names in _STAGES.items():
        chosen = [c for c in commands if (c.name in names if names else isinstance(c, Attend))]
        work: list[Work] = []
        parts: list[Batch] = []
        pairs = [packets_of(params, command) for command in chosen]
        for number, command in enumerate(chosen):
            if isinstance(command, Attend):
                # Keys on the array, a quarter of its products a cycle; values on the shifters.
                work.append((command.v.size, params.lanes // 4))
                work.append((command.v.size, params.head // params.share))
            else:
                rows, columns = len(command.expected), command.weights.columns
                work.append((rows * columns, params.lanes >> (command.high + command.w_high)))
            # Each vector ahead of the command before it: two fit.
            if number == 0:
                parts.append(pairs[0][0])
            if number + 1 < len(pairs):
                parts.append(pairs[number + 1][0])
            parts.append(pairs[number][1])
        made.append((stage, work, join(parts)))
    return made


def _answers(point: registry.Point, stages: Sequence[tuple[str, list[Work], Batch]]) -> list[Batch]:
    """What the core's golden model answers to each stage, as beats."""
    from narrowgauge.golden.cores import packets

    golden = point.entry.golden
    found = []
    for _, _, sent in stages:
        batch = packets.batch([sent])
        found.append(golden.output_beats(point.params, golden.model(point.params, batch)))
    return found


def _played(
    point: registry.Point, stages: Sequence[Batch], kept: Path, folder: Path
) -> tuple[Batch, np.ndarray, np.ndarray, dict[str, int]]:
    """Beats out, their cycles, the cycles of the beats in, and the system's counters."""
    from narrowgauge.hdl.systems import registers
    from narrowgauge.verify.driver import Driver, Expect, Idle, Read, Send, Step
    from narrowgauge.verify.runner import cache_folder

    name = f"{point.identifier}_system"
    files = tasks.generate(
        name=f"{point.entry.name}/{point.name}", overrides={}, cache=kept, system=True
    )
    driver = Driver(
        name,
        files[f"{name}.v"],
        point.params.input,
        point.params.output,
        folder=folder / point.identifier,
        cache=cache_folder(),
    )
    steps: list[Step] = []
    for packets in stages:
        # An answer to every packet: there are no NOPs.
        steps += [Send(beats=packets), Expect(packets=int(packets["last"].sum()))]
    names = [register.name for register in registers.COUNTERS]
    reads = [Read(address=registers.address(each)) for each in names]
    log = driver.run([*steps, Idle(), *reads])
    counts = [data for data, _ in log.answers[-len(reads) :]]
    return log.beats, log.given, log.taken, dict(zip(names, counts, strict=True))


def _compare(stage: str, got: Batch, wanted: Batch) -> None:
    """Every field of every beat."""
    for name, values in wanted.items():
        wrong = np.flatnonzero((got[name] != values).reshape(len(values), -1).any(axis=1))
        if len(wrong):
            beat = int(wrong[0])
            packet = int(wanted["last"][:beat].sum())
            raise MismatchError(
                f"stage {stage!r}, answer {packet}, beat {beat}: {name} is "
                f"{np.array2string(got[name][beat])}, expected {np.array2string(values[beat])}"
            )
