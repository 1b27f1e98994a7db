"""Packets for `bfp_convert`: groups about every exponent, ties, corners, groups cut short."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.formats import FloatFormat, bf16_values
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units.stimuli import blocks as transactions
from narrowgauge.golden.units.stimuli import real_rows

if TYPE_CHECKING:
    from narrowgauge.golden.units.bfp_convert import Params

__all__ = ["some_packets"]

Ints = npt.NDArray[np.int64]


def some_packets(params: "Params", level: str, seed: int) -> Batch:
    """See `bfp_convert.vectors`."""
    rng = np.random.default_rng(seed)
    made: list[Batch] = []
    if level == "real":
        for rows, _ in real_rows(rng, 2):
            values = bf16_values(rows.reshape(-1))
            codes = rows.reshape(-1) if params.source == "bf16" else values.view(np.uint32)
            for mode in range(3):
                beats = len(codes) // params.lanes
                x = codes[: beats * params.lanes].reshape(beats, params.lanes)
                made.append(_packet(params, rng, x.astype(np.int64), np.full(beats, mode)))
        return join(made)
    size = transactions(level, smoke=4_000)
    count = 0
    while count < size:
        # Many short packets in a row: more groups than are noted.
        several = int(rng.integers(4, 13)) if rng.random() < 0.1 else 0
        packets = [_some_packet(params, rng, longest=2) for _ in range(several)]
        packets.append(_some_packet(params, rng))
        made += packets
        count += sum(len(packet["last"]) for packet in packets)
    return join(made)


def _packet(params: "Params", rng: np.random.Generator, x: Ints, mode: Ints) -> Batch:
    beats = len(x)
    seed = {"seed": rng.integers(0, 1 << 16, beats)} if params.stochastic else {}
    last = (np.arange(beats) == beats - 1).astype(np.int64)
    return params.input.beats(beats, x=x, mode=mode, last=last, **seed)


def _some_packet(params: "Params", rng: np.random.Generator, longest: int = 0) -> Batch:
    """One to five groups, the last of them often cut short; or one of `longest` beats at most."""
    groups = 1 if longest else int(rng.integers(1, 6))
    modes = rng.integers(0, 4, groups)
    if rng.random() < 0.3:
        modes[:] = modes[0]
    parts, asked = [], []
    for number, mode in enumerate(modes):
        length = params.beats[min(mode, 2)]
        if number == groups - 1 and rng.random() < 0.6:
            length = int(rng.integers(1, length + 1))
        if longest:
            length = int(rng.integers(1, min(length, longest) + 1))
        parts.append(_group(params.format, rng, (length, params.lanes), 4 << min(int(mode), 2)))
        # Behind a group's first beat the mode means nothing.
        shown = rng.integers(0, 4, length)
        shown[0] = mode
        asked.append(shown)
    return _packet(params, rng, np.concatenate(parts), np.concatenate(asked))


def _group(fmt: FloatFormat, rng: np.random.Generator, shape: tuple[int, int], bits: int) -> Ints:
    """Codes of a group whose magnitudes have so many bits."""
    size, width = fmt.mantissa_bits, fmt.width
    top = int(rng.integers(0, 255))
    if rng.random() < 0.3:
        top = int(rng.choice([rng.integers(0, 24), rng.integers(250, 255)]))
    spread = float(rng.choice([0, 1, 3, 8, 20]))
    below = (rng.exponential(1, shape) * spread).astype(np.int64)
    if rng.random() < 0.3:
        # About the distance at which nothing is left.
        below = np.where(rng.random(shape) < 0.5, bits + rng.integers(-2, 3, shape), below)
    below.flat[rng.integers(0, below.size)] = 0
    field = np.clip(top - below, 0, 254)
    mantissa = rng.integers(0, 1 << size, shape)
    kind = rng.integers(0, 7)
    if kind == 6:
        # Powers of two, at every place of a code.
        below = rng.integers(0, bits + 2, shape)
        below.flat[rng.integers(0, below.size)] = 0
        field = np.clip(top - below, 0, 254)
        mantissa[rng.random(shape) < 0.8] = 0
    elif kind == 0:
        mantissa |= (1 << size) - 1 >> rng.integers(0, 3)
        # One bit short of rounding over all of them.
        short = rng.random(shape) < 0.5
        mantissa = np.where(short, (1 << size) - 1 ^ 1 << rng.integers(0, size, shape), mantissa)
    elif kind in (1, 2):
        # Few bits, so that what is dropped is often a half, or a half and one bit.
        dropped = np.clip(size + 1 - bits + below, 1, size)
        half = np.int64(1) << (dropped - 1)
        mantissa = mantissa >> dropped << dropped | half
        odd = rng.random(shape) < 0.3
        mantissa = np.where(odd, mantissa ^ (np.int64(1) << rng.integers(0, size, shape)), mantissa)
    elif kind == 3:
        mantissa &= -1 << rng.integers(0, size + 1)
    sign = rng.integers(0, 2, shape) << (width - 1)
    x = sign | field << size | mantissa
    x[rng.random(shape) < rng.choice([0, 0, 0.1, 0.5])] &= 1 << (width - 1)
    corner = rng.random()
    if corner < 0.05:
        x &= 1 << (width - 1)
    elif corner < 0.1:
        # Zeros and subnormals alone.
        x &= ~fmt.exponent_mask
    elif corner < 0.2:
        special = fmt.exponent_mask | rng.choice([0, 1, 1 << (size - 1)])
        at = tuple(rng.integers(0, n) for n in shape)
        x[at] = special | sign[at]
    return x
