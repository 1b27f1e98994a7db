"""Plays beats through the AXI4-Stream ports of a mapped netlist, in many streams at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.errors import UsageError
from narrowgauge.synth.gates import Gates
from narrowgauge.synth.simulation import Simulator, Words, columns, rows

__all__ = ["Beats", "Observer", "Played", "play"]

Ints = npt.NDArray[np.int64]

RESET = 2
"""Cycles that reset is held."""


@dataclass(frozen=True, kw_only=True)
class Beats:
    """Beats of one side, cut into groups that do not touch each other.

    Attributes
    ----------
    data : TDATA, shape (beats, bytes), the least significant byte first
    last : TLAST of each beat, or None where the port has none
    ends : number of beats up to the end of each group
    """

    data: npt.NDArray[np.uint8]
    last: npt.NDArray[np.uint8] | None
    ends: Ints

    @property
    def rows(self) -> npt.NDArray[np.uint8]:
        """TDATA and TLAST as bytes, shape (beats, bytes [+ 1])."""
        if self.last is None:
            return self.data
        return np.concatenate([self.data, self.last[:, None]], axis=1)


Observer = Callable[[Words, Words, Words], None]
"""Called once a cycle with the settled values before and after its clock edge, inputs renewed, and
the streams that count: those which are past their warm-up and still have beats to offer."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """What a run did.

    Attributes
    ----------
    output : beats taken at the output, shape (beats, bytes [+ 1]), in the order of the groups
    cycles : clock cycles simulated, reset included
    counted : stream cycles that counted
    accepted : input beats accepted in them
    """

    output: npt.NDArray[np.uint8]
    cycles: int
    counted: int
    accepted: int


def play(
    gates: Gates,
    beats: Beats,
    *,
    streams: int = 64,
    warm_up: int = 8,
    valid: float = 1.0,
    ready: float = 1.0,
    seed: int | None = 0,
    observer: Observer | None = None,
    limit: int | None = None,
    drain: int = 64,
) -> Played:
    """Play all beats, a contiguous part of the groups in each stream.

    Parameters
    ----------
    gates : a netlist with the ports of `narrowgauge.hdl.emit`
    beats : of the input
    streams : a multiple of 64; no more are used than there are groups
    warm_up : cycles after reset that do not count
    valid, ready : chance in a cycle that a beat is offered, and that one is taken. Once offered it
        stays
    seed : of both, and of what registers and memories hold before reset; with None they hold 0
    observer : told every cycle after reset
    limit : cycles after which the run is given up; by default a generous multiple of the beats
    drain : cycles without any transfer after which a stream that is out of beats is done

    Raises
    ------
    UsageError : no beats, or beats of another width than the port
    """
    width = len(gates.inputs["s_axis_tdata"])
    if not len(beats.data) or beats.data.shape[1] * 8 != width:
        raise UsageError(f"beats must have {width // 8} bytes, got shape {beats.data.shape}")
    rng = np.random.default_rng(seed)
    simulator = Simulator(gates, streams, seed)
    values = simulator.values
    start, end = _cut(beats.ends, streams)
    position = start.copy()
    ports = {name: list(nets) for name, nets in {**gates.inputs, **gates.outputs}.items()}
    if limit is None:
        longest = int((end - start).max())
        limit = int(40 * (longest + 200) / min(valid, ready)) + 100

    def drive(port: str, bits: npt.NDArray[np.uint8]) -> None:
        if port in ports:
            values[ports[port]] = columns(bits.reshape(streams, -1))

    def offer(offered: npt.NDArray[np.bool_]) -> None:
        beat = np.minimum(position, end - 1)
        drive("s_axis_tdata", np.unpackbits(beats.data[beat], axis=1, bitorder="little"))
        if beats.last is not None:
            drive("s_axis_tlast", beats.last[beat])
        drive("s_axis_tvalid", offered.astype(np.uint8))
        drive("m_axis_tready", (rng.random(streams) < ready).astype(np.uint8))

    def flag(port: str) -> npt.NDArray[np.bool_]:
        return rows(values[ports[port]], streams)[:, 0].astype(bool)

    drive("rst", np.ones(streams, np.uint8))
    idle = np.zeros(streams, bool)
    for _ in range(RESET):
        offer(idle)
        simulator.evaluate()
        simulator.tick()
    drive("rst", np.zeros(streams, np.uint8))
    taken: list[tuple[npt.NDArray[np.bool_], Words]] = []
    offered = (position < end) & (rng.random(streams) < valid)
    offer(offered)
    simulator.evaluate()
    before = values.copy()
    counted = accepted = quiet = cycle = 0
    out = [*ports["m_axis_tdata"], *ports.get("m_axis_tlast", ())]
    while cycle < limit and quiet < drain:
        accept = offered & flag("s_axis_tready")
        emit = flag("m_axis_tvalid") & flag("m_axis_tready")
        if emit.any():
            taken.append((emit, values[out]))
        active = (position < end) & (cycle >= warm_up)
        counted += int(active.sum())
        accepted += int((accept & active).sum())
        quiet = 0 if accept.any() or emit.any() or (position < end).any() else quiet + 1
        position = position + accept
        offered = (offered & ~accept) | ((position < end) & (rng.random(streams) < valid))
        simulator.tick()
        offer(offered)
        simulator.evaluate()
        if observer is not None:
            observer(before, values, columns(active[:, None])[0])
            before[:] = values
        cycle += 1
    return Played(
        output=_collect(taken, streams, len(ports["m_axis_tdata"]) // 8),
        cycles=cycle + RESET,
        counted=counted,
        accepted=accepted,
    )


def _cut(ends: Ints, streams: int) -> tuple[Ints, Ints]:
    """First beat and end of each stream's part of the groups, of about equal length."""
    total = int(ends[-1])
    wanted = (np.arange(1, streams + 1) * total) // streams
    stops = ends[np.minimum(np.searchsorted(ends, wanted), len(ends) - 1)]
    starts = np.concatenate([[0], stops[:-1]])
    return starts.astype(np.int64), stops.astype(np.int64)


def _collect(
    taken: list[tuple[npt.NDArray[np.bool_], Words]], streams: int, size: int
) -> npt.NDArray[np.uint8]:
    """The beats taken, stream by stream."""
    parts = []
    for emit, words in taken:
        bits = rows(words, streams)[emit]
        data = np.packbits(bits[:, : 8 * size], axis=1, bitorder="little")
        parts.append(np.concatenate([data, bits[:, 8 * size :]], axis=1))
    if not parts:
        return np.zeros((0, size), np.uint8)
    whole = np.concatenate(parts)
    stream = np.concatenate([np.flatnonzero(emit) for emit, _ in taken])
    return whole[np.argsort(stream, kind="stable")]
