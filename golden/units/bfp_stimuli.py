"""Stimuli of `bfp_pe`: dot products of random groups, and groups of captured tensors."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.fused_mul import BITS, FB12, FB24
from narrowgauge.golden.formats import bf16_values
from narrowgauge.golden.formats.bfp import BFP, encode_values
from narrowgauge.golden.formats.element import Rounding
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units.stimuli import real_rows

if TYPE_CHECKING:
    from narrowgauge.golden.units.bfp_pe import Params

__all__ = ["dot", "real"]

Ints = npt.NDArray[np.int64]

_EDGES = (0, 1, 2, 253, 254, 255)
_CENTRES = (127, 127, 2, 40, 60, 190, 250)
"""Fields about which those of a dot product lie: sums from below the least subnormal to Inf."""


def _modes(params: "Params") -> tuple[int, ...]:
    return (0, 1, 2, 3) if params.modes == 3 else (FB24,)


def _group(params: "Params", rng: np.random.Generator, mode: int, centre: int) -> Batch:
    """The beats of one group, `end` on its last."""
    bits = BITS[min(mode, FB24)]
    most, whole = (1 << bits) - 1, params.beats(mode)
    kind = rng.integers(0, 40)
    count = int(rng.integers(1, min(whole, 4) + 1))
    if kind < 3:
        count = whole
    elif kind == 3:
        # Longer than the sums have room for.
        count = whole + int(rng.integers(1, whole + 1))
    size = count * params.depth(mode)
    shape = (1, 2, size) if mode == FB12 else (1, size)
    right = [int(rng.choice([0, 0, int(rng.integers(0, bits + 1))])) for _ in range(2)]
    a, b = (rng.integers(-most, most + 1, shape) >> shift for shift in right)
    if kind in (1, 3, 4):
        a, b = np.full(shape, most) * rng.choice([-1, 1]), np.full(shape, most)
    elif kind in (5, 6):
        a[rng.random(shape) < (1.0 if kind == 5 else 0.9)] = 0
    slots = [x[0] for x in params.pack(mode, a, b)]
    if kind == 7:
        top = 15 if params.modes == 3 else most
        slots = [rng.integers(-top, top + 1, x.shape) for x in slots]
    fields = {}
    for name in ("a_scale", "b_scale"):
        each = (count, params.input[name].count or 1)
        field = np.clip(rng.normal(centre, 6, each).astype(np.int64), 0, 254)
        edge = rng.random(each) < 0.06
        fields[name] = np.where(edge, rng.choice(_EDGES, each), field)
    if params.modes == 3:
        fields["mode"] = np.full(count, mode)
        if kind == 8:
            fields["mode"] = rng.integers(0, 4, count)
    end = np.arange(count) == count - 1
    return params.input.beats(count, a=slots[0], b=slots[1], end=end, **fields)


def dot(params: "Params", rng: np.random.Generator) -> Batch:
    """The beats of one dot product of 1 to 6 groups."""
    mode = int(rng.choice(_modes(params)))
    centre = int(rng.choice(_CENTRES))
    groups: list[Batch] = []
    for _ in range(int(rng.integers(1, 7))):
        own = mode if rng.random() < 0.85 else int(rng.choice(_modes(params)))
        if groups and rng.random() < 0.2:
            # What takes back the group before, but for one code at most.
            other = {name: values.copy() for name, values in groups[-1].items()}
            other["a"] = -other["a"]
            if rng.random() < 0.5:
                i = rng.integers(other["b"].size)
                other["b"].flat[i] = other["b"].flat[i] // 2
            groups.append(other)
        else:
            groups.append(_group(params, rng, own, centre))
    made = join(groups)
    made["last"][-1] = 1
    broken = rng.integers(0, 12)
    if broken == 0:
        made["end"][:] = 0
    elif broken == 1:
        made["end"][-1] = 0
    elif broken == 2:
        made["end"] |= rng.integers(0, 2, len(made["end"]))
    return made


def real(params: "Params", rng: np.random.Generator) -> Iterator[Batch]:
    """Dot products of captured activations and weights in each mode, whole groups, cut off."""
    for activations, weights in real_rows(rng, 4):
        for mode in sorted(set(_modes(params)) - {3}):
            size = params.sizes[mode]
            fmt = BFP(exponent_bits=8, mantissa_bits=BITS[mode], k=size, rounding=Rounding.RTZ)
            sides = []
            for x in (activations, weights):
                values = bf16_values(x)
                whole = np.pad(values, ((0, 0), (0, -values.shape[1] % size)))
                codes, fields = encode_values(fmt, whole.reshape(-1, size))
                # (dot products, groups, rows, elements), and a field for each row of a group.
                rows = (len(x) // 2, 2) if mode == FB12 else (len(x), 1)
                codes = np.swapaxes(codes.reshape(*rows, -1, size), 1, 2)
                scales = np.swapaxes(fields.reshape(*rows, -1), 1, 2)
                each = (*scales.shape[:2], params.input["a_scale"].count or 1)
                sides.append((codes, np.broadcast_to(scales, each)))
            (a, a_scale), (b, b_scale) = sides
            for i in range(len(a)):
                pair = (a[i], b[i]) if mode == FB12 else (a[i][:, 0], b[i][:, 0])
                words = params.pack(mode, *pair)
                groups, beats = words[0].shape[:2]
                count = groups * beats
                given = {} if params.modes == 1 else {"mode": mode}
                yield params.input.beats(
                    count,
                    a=words[0].reshape(count, -1),
                    b=words[1].reshape(count, -1),
                    a_scale=a_scale[i].repeat(beats, axis=0),
                    b_scale=b_scale[i].repeat(beats, axis=0),
                    end=np.arange(count) % beats == beats - 1,
                    last=np.arange(count) == count - 1,
                    **given,
                )
