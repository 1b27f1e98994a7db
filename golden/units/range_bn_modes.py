"""Beats of `range_bn_array`: the modes of a beat, and the passes of a batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch

if TYPE_CHECKING:
    from narrowgauge.golden.units.range_bn_array import Params

__all__ = ["Mode", "Pass", "passes"]

Ints = npt.NDArray[np.int64]


class Mode(IntEnum):
    """What a beat is for."""

    LOAD = 0
    PLACES = 1
    STATISTICS = 2
    NORMALIZE = 3
    GRADIENTS = 6
    PROPAGATE = 7


@dataclass(frozen=True, kw_only=True, eq=False)
class Pass:
    """Beats of one pass, and what they meet.

    Parameters
    ----------
    mode : the pass
    beats : (positions,), their numbers in the batch
    constants : name -> (lanes,)
    largest, least : (positions, lanes), the positions that each beat finds loaded
    """

    mode: Mode
    beats: Ints
    constants: dict[str, Ints]
    largest: Ints
    least: Ints


def passes(params: "Params", batch: Batch) -> Iterator[Pass]:
    """The passes of a batch, in order; constants that are missing are a `UsageError`."""
    names = [field.name for field in params.constants.fields]
    held = {name: np.zeros(params.lanes, np.int64) for name in names}
    missing = set(range(params.lanes))
    mode, beats, places = Mode.LOAD, [0][:0], [(held["largest"], held["least"])][:0]
    fresh = True

    def made() -> Iterator[Pass]:
        if beats:
            yield Pass(
                mode=mode,
                beats=np.array(beats),
                constants={name: values.copy() for name, values in held.items()},
                largest=np.array([pair[0] for pair in places]),
                least=np.array([pair[1] for pair in places]),
            )
            beats.clear()
            places.clear()

    for number, code in enumerate(batch["mode"].tolist()):
        kind = Mode(code if code & 2 else code & 1)
        if kind in (Mode.LOAD, Mode.PLACES):
            if kind == Mode.LOAD:
                yield from made()
                fresh = True
            lane = int(batch["lane"][number])
            if lane >= params.lanes:
                raise UsageError(f"beat {number}: lane must be 0..{params.lanes - 1}, got {lane}")
            for name in names if kind == Mode.LOAD else names[-2:]:
                held[name] = held[name].copy()
                held[name][lane] = batch[name][number]
            if kind == Mode.LOAD:
                missing.discard(lane)
            continue
        if fresh or kind != mode:
            yield from made()
            mode, fresh = kind, False
        if kind != Mode.STATISTICS and missing and not beats:
            raise UsageError(f"beat {number}: {kind.name} before LOAD of lane {min(missing)}")
        beats.append(number)
        places.append((held["largest"], held["least"]))
        if kind in (Mode.STATISTICS, Mode.GRADIENTS):
            missing = set(range(params.lanes))
        fresh = bool(batch["last"][number])
    yield from made()
