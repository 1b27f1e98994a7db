"""Runs of a stream design on its gates, many at once, and payloads for runs that have none yet."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from narrowgauge.verify.prove.stream_netlist import Netlist
from narrowgauge.verify.prove.stream_shape import Shape
from narrowgauge.verify.prove.stream_trace import Drive, Row

__all__ = ["Frame", "beats", "fill", "observe"]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A cycle of a run without its payload.

    Parameters
    ----------
    valid, last, ready : what is driven
    taken : whether the offered beat is taken
    own : whether it belongs to the watched transaction
    bits : bits of TDATA that are settled
    """

    valid: int
    last: int
    ready: int
    taken: int
    own: int = 0
    bits: Mapping[int, int] = field(default_factory=dict)


def beats(shape: Shape, count: int, rng: random.Random) -> list[int]:
    """TDATA of so many beats, whole blocks of the unit's vectors."""
    found: list[int] = []
    while len(found) < count:
        found += rng.choice(shape.pool)
    return found[:count]


def fill(
    shape: Shape,
    frames: Sequence[Frame],
    words: Sequence[int],
    rng: random.Random,
    *,
    settled: Callable[[Frame], int] = lambda frame: 1,
) -> tuple[Drive, ...]:
    """A run with the given beats; between them TDATA is anything.

    Bits of frames that are `settled` are as the frame says.
    """
    made = []
    number = 0
    for frame in frames:
        data = words[number] if frame.valid else rng.choice(rng.choice(shape.pool))
        for bit, value in frame.bits.items() if settled(frame) else ():
            data = data & ~(1 << bit) | value << bit
        made.append(Drive(valid=frame.valid, last=frame.last, data=data, ready=frame.ready))
        number += frame.taken
    return tuple(made)


def observe(
    net: Netlist,
    runs: Sequence[Sequence[Drive]],
    start: Mapping[str, int],
    rng: random.Random | None,
) -> list[list[Row]]:
    """What the gates answer to runs of any length, each from the first cycle after reset.

    Registers that neither reset nor `start` (name -> bit) sets hold 0, or with `rng` random bits,
    other ones in each run.
    """
    mask = (1 << len(runs)) - 1
    state = {}
    for node, known_bit in net.after_reset.items():
        name = net.names[node]
        bit = start.get(name) if known_bit is None else known_bit
        if bit is None:
            state[node] = rng.getrandbits(len(runs)) if rng else 0
        else:
            state[node] = -bit & mask
    rows: list[list[Row]] = [[] for _ in runs]
    idle = Drive(valid=0, last=0, data=0, ready=0)
    ports = {
        "ready": net.port("s_axis_tready"),
        "valid": net.port("m_axis_tvalid"),
        "last": net.port("m_axis_tlast"),
        "data": net.port("m_axis_tdata"),
    }
    for cycle in range(max(len(run) for run in runs)):
        drives = [run[cycle] if cycle < len(run) else idle for run in runs]
        known = dict(state)
        known[net.inputs["s_axis_tvalid"] >> 1] = _across([d.valid for d in drives])
        known[net.inputs["m_axis_tready"] >> 1] = _across([d.ready for d in drives])
        for literal in net.port("s_axis_tlast"):
            known[literal >> 1] = _across([d.last for d in drives])
        for i, literal in enumerate(net.port("s_axis_tdata")):
            known[literal >> 1] = _across([d.data >> i & 1 for d in drives])
        value = net.values(known, mask)
        words = {name: [value(x) for x in literals] for name, literals in ports.items()}
        for lane, run in enumerate(runs):
            if cycle < len(run):
                numbers = {
                    name: sum((word >> lane & 1) << i for i, word in enumerate(bits))
                    for name, bits in words.items()
                }
                rows[lane].append(Row(**numbers))
        state = {node: value(following) for node, following in net.registers.items()}
    return rows


def _across(bits: Sequence[int]) -> int:
    return sum(bit << lane for lane, bit in enumerate(bits))
