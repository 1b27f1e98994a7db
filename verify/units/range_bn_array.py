"""Coverage of `range_bn_array`: passes, loads, windows, clips, patches, answers."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.range_bn_array import Params
from narrowgauge.golden.units.range_bn_modes import Mode, passes
from narrowgauge.verify.prove.stream import HANDSHAKE, StreamClaim
from narrowgauge.verify.prove.stream import claims as stream_claims
from narrowgauge.verify.units.dot import Bins

__all__ = ["claims", "coverage"]


def claims(params: Params) -> tuple[StreamClaim, ...]:
    """The handshake: beats are answered or not by their mode and flags."""
    return stream_claims(params, HANDSHAKE)


def coverage(params: Params, batch: Batch, outputs: Batch) -> Bins:
    """Bin name -> one bool a beat of the input."""
    p, count = params, len(batch["last"])
    bins: Bins = {}

    def mark(name: str, beats: npt.ArrayLike, hit: npt.ArrayLike = True) -> None:
        found = bins.setdefault(name, np.zeros(count, np.bool_))
        rows = np.asarray(beats, np.int64)
        found[rows] |= np.broadcast_to(np.asarray(hit, np.bool_), rows.shape)

    answer = 0
    for run in passes(p, batch):
        name, back = run.mode.name.lower(), run.mode in (Mode.GRADIENTS, Mode.PROPAGATE)
        beats, prefix, fmt = run.beats, "g_" if back else "x_", p.backward if back else p.forward
        codes, fields = batch[f"{prefix}codes"][beats], batch[f"{prefix}scales"][beats]
        last = batch["last"][beats] == 1
        ends = (batch["chunk_last"][beats] == 1) | last
        nan = fields == fmt.nan_field
        mark(f"{name}_last", beats, last)
        mark(f"{name}_cut", beats[-1:], not last[-1])
        mark(f"{name}_nan", beats, nan.any(axis=1))
        mark(f"{name}_zero", beats, (codes == 0).any(axis=1))
        mark(f"{name}_one_beat", beats[:1], len(beats) == 1)
        if run.mode != Mode.NORMALIZE:
            used = (codes != 0).reshape(len(beats), -1, p.group).any(axis=2) & ~nan
            below = np.maximum(batch["base"][beats], 1)[:, None] - np.maximum(fields, 1)
            window = p.gradient_window if back else p.window
            mark(f"{name}_at_top", beats, (used & (below == 0)).any(axis=1))
            mark(f"{name}_above", beats, (used & (below < 0)).any(axis=1))
            mark(f"{name}_vanishes", beats, (used & (below >= window)).any(axis=1))
            cut = (below > window - fmt.mantissa_bits) & (below < window)
            mark(f"{name}_cut_off", beats, (used & cut).any(axis=1))
        if run.mode == Mode.STATISTICS:
            mark("chunk_of_one", beats[1:], ends[1:] & ends[:-1])
            mark("chunks", beats, ends & ~last)
        if run.mode == Mode.PROPAGATE:
            position = np.arange(len(beats))[:, None]
            at = [position == run.largest, position == run.least]
            mark("at_largest", beats, (at[0] & ~at[1]).any(axis=1))
            mark("at_least", beats, (at[1] & ~at[0]).any(axis=1))
            mark("at_both", beats, (at[0] & at[1]).any(axis=1))
            mark("places_again", beats[1:], (run.largest[1:] != run.largest[:-1]).any(axis=1))
        # What the pass was answered with.
        if run.mode in (Mode.NORMALIZE, Mode.PROPAGATE):
            rows = slice(answer, answer + len(beats))
            made, scales = outputs["codes"][rows], outputs["scales"][rows]
            most = (1 << fmt.mantissa_bits) - 1
            mark(f"{name}_largest_code", beats, (np.abs(made) == most).any(axis=1))
            mark(f"{name}_subnormal", beats, (scales == 1).any(axis=1))
            mark(f"{name}_saturates", beats, (scales == fmt.nan_field - 1).any(axis=1))
            answer += len(beats)
        else:
            chunks = ends.sum() if run.mode == Mode.STATISTICS else last.sum()
            rows = slice(answer, answer + p.lanes * int(chunks))
            for field in ("clipped", "nan"):
                mark(f"{name}_answers_{field}", beats[-1:], outputs[field][rows].any())
            for field in ("total", "moment") if back else ("total",):
                mark(f"{name}_{field}_negative", beats[-1:], (outputs[field][rows] < 0).any())
            answer += p.lanes * int(chunks)
    load = batch["mode"] & 2 == 0
    mark("load", np.flatnonzero(load), batch["mode"][load] == Mode.LOAD)
    mark("places", np.flatnonzero(load), batch["mode"][load] == Mode.PLACES)
    return bins
