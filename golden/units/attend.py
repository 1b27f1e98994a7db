"""Stimuli for attention times V: codes of real and random scores, rows of V on shared scales."""

import numpy as np
import numpy.typing as npt

from narrowgauge.golden import samples
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import MXOpal, quantize
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units import log2_softmax
from narrowgauge.golden.units.scores import powers, rows_of

__all__ = ["attend_vectors"]

Ints = npt.NDArray[np.int64]


def _real(bits: int, v_bits: int, lanes: int, length: int) -> Batch:
    """Codes of the real scores, with the same tokens' activations as V, MXINT."""
    softmax = log2_softmax.Params(bits=bits, length=max(64, length))
    codes = log2_softmax.model(softmax, log2_softmax.vectors(softmax, "real", 0))
    # `score_vectors` takes the tensors in order, and all tokens but the first as rows.
    activations = samples.load().activations
    tokens = len(next(iter(activations.values()))) - 1
    rows = rows_of(codes["last"])
    names = np.repeat(sorted(activations), tokens)
    v, scale, reference = [], [], []
    for name, size in zip(names, rows.lengths, strict=True):
        head = activations[str(name)][1 : 1 + size, :lanes]
        block = quantize(head, MXOpal(k=128, n=0, b=v_bits), axis=1)
        v.append(block.codes[:, 0, :lanes].astype(np.int64))
        scale.append(block.scales[:, 0].astype(np.int64))
        reference.append(np.full(size, scale[-1].max()))
    return codes | {
        "v": np.concatenate(v),
        "scale": np.concatenate(scale),
        "reference": np.concatenate(reference),
    }


def attend_vectors(
    level: str, seed: int, *, bits: int, v_bits: int, lanes: int, length: int, sum_bits: int
) -> Batch:
    """Beats of rows; random levels have codes as a softmax makes them, and any others.

    Also terms that cancel, largest elements of one sign, sums of probabilities about their limit,
    scales far apart, above the reference and 255, `nan` and `zero` of every density.
    """
    if level == "real":
        return _real(bits, v_bits, lanes, length)
    if level not in ("smoke", "full"):
        raise UsageError(f"level must be smoke, full or real, got {level!r}")
    rng = np.random.default_rng(seed)
    goal = 2_500 if level == "smoke" else 100_000
    parts: list[Batch] = []
    beats = 0
    while beats < goal:
        made = _row(rng, bits, v_bits, lanes, length, sum_bits)
        parts.append(made)
        beats += len(made["code"])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _row(
    rng: np.random.Generator, bits: int, v_bits: int, lanes: int, length: int, sum_bits: int
) -> Batch:
    """One row: first its codes, then V, then what is wrong with it."""
    most = (1 << bits) - 1
    size = int(rng.integers(1, 1 + min(length, 24 if rng.random() < 0.9 else 200)))
    kind = rng.random()
    brink = kind < 0.2
    if brink:
        # Probabilities that reach the limit, or stop just short of it.
        code = powers(rng, (1 << (most + sum_bits)) - int(rng.integers(0, 2)), most)
        size = len(code)
    elif kind < 0.5:
        code = rng.integers(0, most + 1, size)
    else:
        share = rng.standard_normal(size) * rng.choice([0, 1, 3])
        share -= np.log2(np.exp2(share).sum())
        code = np.clip(np.rint(-share), 0, most).astype(np.int64)
    top = (1 << (v_bits - 1)) - 1
    v = rng.integers(-top, top + 1, (size, lanes))
    shape = rng.random()
    if shape < 0.15:
        # Few bits, so that rounding to bf16 meets ties and single ones.
        v = np.sign(v) << rng.integers(0, v_bits - 1, v.shape)
        v[rng.random(v.shape) < 0.5] = 0
    elif shape < 0.3:
        v = top * np.broadcast_to(rng.choice([-1, 1], lanes), v.shape).copy()
    reference = int(rng.choice([int(rng.integers(1, 255)), 127, int(rng.integers(0, 24)), 254]))
    near = np.minimum((rng.exponential(1, size) * rng.choice([0, 1, 4, 30])).astype(np.int64), 255)
    scale = np.maximum(reference - near, 0)
    if shape > 0.9 and size > 1 and not brink:
        # The second half takes back the first, but for a bit.
        half = size // 2
        v[half : 2 * half], code[half : 2 * half] = -v[:half], code[:half]
        scale[half : 2 * half] = scale[:half]
        v[half] = np.clip(v[half] + rng.integers(-1, 2, lanes), -top, top)
    zero = (rng.random(size) < rng.choice([0, 0, 0.3, 1], p=[0.4, 0.3, 0.2, 0.1])).astype(np.int64)
    if brink:
        zero[:] = 0
    nan = np.zeros(size, np.int64)
    marks = np.full(size, reference)
    fault = rng.random()
    at = int(rng.integers(0, size))
    if fault < 0.04:
        nan[at] = 1
    elif fault < 0.08 and reference < 254:
        scale[at] = reference + int(rng.integers(1, 255 - reference))
    elif fault < 0.12:
        scale[at] = 255
    elif fault < 0.14:
        marks[:] = 255
    last = np.zeros(size, np.int64)
    last[-1] = 1
    return {
        "code": code,
        "zero": zero,
        "nan": nan,
        "v": v,
        "scale": scale,
        "reference": marks,
        "last": last,
    }
