"""The mapped netlist of a point against its golden model, beat by beat."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from narrowgauge import design
from narrowgauge.golden.payload import Batch
from narrowgauge.registry import Point
from narrowgauge.synth import flow, gates, library, stream
from narrowgauge.synth.job import Netlists
from narrowgauge.verify.beats import Beats, groups, stream_beats

__all__ = ["Stimulus", "compare", "netlists", "stimulus"]


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """A batch of transactions as beats of both sides; a group is what `verify.beats` makes one."""

    transactions: int
    input: Beats
    output: Beats


def stimulus(point: Point, batch: Batch) -> Stimulus:
    """Beats to send, and those that the golden model answers with."""
    golden, params = point.entry.golden, point.params
    ends = groups(batch)
    outputs: Batch = golden.model(params, batch)
    return Stimulus(
        transactions=int(ends[-1]),
        input=stream_beats(golden, params, batch, "input", len(ends)),
        output=stream_beats(golden, params, outputs, "output", len(ends)),
    )


def played(beats: Beats) -> stream.Beats:
    """The same beats for a netlist."""
    raw = beats.raw()
    last = np.ascontiguousarray(raw[:, -1]) if beats.last else None
    return stream.Beats(data=np.ascontiguousarray(raw[:, :-1]), last=last, ends=beats.ends)


def netlists(point: Point, liberty: str, cache: Path) -> Netlists:
    """The point's netlists, out of the cache where it has them."""
    return flow.netlists(
        name=point.identifier,
        rtlil=design.emitted(point, cache).text,
        library=library.load(liberty),
        macs=point.macs,
        parameters=point.parameters,
        cache_dir=cache / "synth",
    )


def compare(netlist: gates.Gates, sent: Stimulus, *, seed: int, streams: int = 64) -> str | None:
    """Play the stimulus with random gaps and stalls; the first difference, or None.

    Registers and memories hold random bits before reset, and the groups are cut into `streams`
    parts, each played from reset.
    """
    result = stream.play(
        netlist, played(sent.input), streams=streams, valid=0.8, ready=0.8, seed=seed
    )
    wanted = played(sent.output).rows
    if len(result.output) != len(wanted):
        return f"{len(result.output)} output beats, expected {len(wanted)}"
    wrong = np.flatnonzero((result.output != wanted).any(axis=1))
    if not len(wrong):
        return None
    beat = int(wrong[0])
    transaction, _ = sent.output.transaction(beat)
    return (
        f"{len(wrong)} of {len(wanted)} output beats differ; group {transaction}, beat {beat}: "
        f"expected {_hex(wanted[beat])}, got {_hex(result.output[beat])}"
    )


def _hex(row: Any) -> str:
    return "0x" + bytes(row[::-1]).hex()
