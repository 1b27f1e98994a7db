"""Error of attention times V with codes of `log2_softmax`, against exact softmax.

    python -m tests.benchmarks.attention [--model]

Root of the mean square of the difference over that of the exact result. Random scores are normal,
64 rows of them, V is normal and 64 wide. With `--model` also the queries, keys and values of
SmolLM2-135M-Instruct on the passage of `golden.samples`, causal, which takes the packages that
`narrowgauge.golden.samples.capture` names.
"""

import argparse
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from narrowgauge.golden import samples
from narrowgauge.golden.formats import MXOpal, quantize
from narrowgauge.golden.samples import capture
from narrowgauge.golden.samples.llama import Floats
from narrowgauge.golden.units import log2_softmax, shift_attend
from narrowgauge.golden.units.log2_softmax import Params
from narrowgauge.golden.units.scores import from_bf16, to_bf16

Bools = npt.NDArray[np.bool_]

KINDS = [(keys, spread) for keys in (64, 1024) for spread in (1, 2, 4)]


def codes_of(params: Params, scores: Floats, masked: Bools) -> dict[str, npt.NDArray[np.int64]]:
    """What the unit answers to rows of scores, field by field, each (rows, keys)."""
    last = np.zeros(scores.shape, np.int64)
    last[:, -1] = 1
    batch = {
        "x": to_bf16(np.where(masked, 0, scores)).reshape(-1),
        "mask": masked.astype(np.int64).reshape(-1),
        "last": last.reshape(-1),
    }
    made = log2_softmax.model(params, batch)
    return {name: array.reshape(scores.shape) for name, array in made.items()}


def exact(scores: Floats, masked: Bools) -> Floats:
    """Softmax in double."""
    e = np.where(masked, 0, np.exp(scores - np.where(masked, -np.inf, scores).max(1)[:, None]))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def error(made: Floats, want: Floats) -> float:
    """Relative, root of the mean square."""
    return float(np.linalg.norm(made - want) / np.linalg.norm(want))


def errors(params: Params, scores: Floats, masked: Bools, v: Floats) -> tuple[float, ...]:
    """Of the unit's codes, of exact ones, both renormalised; the mean row sum."""
    p = exact(scores, masked)
    with np.errstate(divide="ignore"):
        ideal = np.clip(np.rint(-np.log2(p)), 0, params.most)
    found: list[float] = []
    for code in (codes_of(params, scores, masked)["code"], ideal):
        q = np.where(masked, 0, 2.0**-code)
        total = q.sum(axis=1, keepdims=True)
        found += [error(q @ v, p @ v), error(q / total @ v, p @ v), float(total.mean())]
    return found[0], found[3], found[1], found[4], found[2]


def normal(keys: int, spread: float) -> tuple[Floats, Bools, Floats]:
    """Scores, as bf16 has them, no mask, V."""
    rng = np.random.default_rng(keys + int(spread))
    scores = from_bf16(to_bf16(rng.standard_normal((64, keys)) * spread))
    return scores, np.zeros(scores.shape, np.bool_), rng.standard_normal((keys, 64))


def cut(params: shift_attend.Params, keys: int, spread: float) -> float:
    """Error of `shift_attend` itself, V in MXINT."""
    scores, masked, v = normal(keys, spread)
    codes = codes_of(Params(bits=params.bits), scores, masked)
    block = quantize(to_bf16(v).astype(np.uint16), MXOpal(k=64, n=0, b=params.v_bits), axis=1)
    scale = block.scales[:, 0].astype(np.int64)
    rows = len(scores)
    batch = {name: array.reshape(-1) for name, array in codes.items()} | {
        "v": np.tile(block.codes[:, 0].astype(np.int64), (rows, 1)),
        "scale": np.tile(scale, rows),
        "reference": np.full(rows * keys, scale.max()),
    }
    made = from_bf16(shift_attend.model(params, batch)["result"])
    return error(made, exact(scores, masked) @ v)


def of_model(bits: int) -> tuple[float, ...]:
    """The mean over layers and heads, and the outermost scores."""
    model = capture.Model("float32").llama
    inputs: dict[int, Floats] = {}

    def observe(block: int, site: str, x: Floats) -> None:
        if site == "qkv":
            inputs[block] = x

    model.hidden(np.array(samples.load().provenance["token_ids"]), observe)
    found, low, high = [], 0.0, 0.0
    for block, x in inputs.items():
        size = model.shape.head
        q, k, v = (
            (x @ model._weight(f"blk.{block}.attn_{name}").T).reshape(len(x), -1, size)
            for name in "qkv"
        )
        q, k = model.rotate(q), model.rotate(k)
        masked = np.triu(np.ones((len(x), len(x)), np.bool_), 1)
        for head in range(model.shape.heads):
            source = head * model.shape.kv_heads // model.shape.heads
            scores = (q[:, head] @ k[:, source].T / np.sqrt(size)).astype(np.float64)
            low, high = min(low, scores.min()), max(high, scores.max())
            # The first rows have next to nothing to choose from.
            part = slice(8, None)
            found.append(errors(Params(bits=bits), scores[part], masked[part], v[:, source]))
    return (*np.mean(found, axis=0), low, high)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", action="store_true", help="scores of SmolLM2-135M as well")
    chosen = parser.parse_args()
    print("codes: bits, keys, spread: error, exact codes, renormalised, exact renormalised, sum")
    for bits in (3, 4, 5):
        for kind in KINDS:
            row = errors(Params(bits=bits), *normal(*kind))
            print(bits, *kind, *(f"{x:.3f}" for x in row))
    print("fraction, guard:", *KINDS)
    for fraction, guard in ((1, 16), (2, 16), (3, 12), (4, 8), (4, 12), (8, 16)):
        params = replace(Params(), fraction=fraction, guard=guard)
        print(fraction, guard, *(f"{errors(params, *normal(*kind))[0]:.3f}" for kind in KINDS))
    print("fraction of shift_attend, V in MXINT7:", *KINDS)
    for fraction in (10, 12, 13, 14, 16, 24):
        attend = shift_attend.Params(fraction=fraction)
        print(fraction, *(f"{cut(attend, *kind):.4f}" for kind in KINDS))
    attend = shift_attend.Params(renormalise=True)
    print("14, renormalised", *(f"{cut(attend, *kind):.4f}" for kind in KINDS))
    if chosen.model:
        print("model: bits: as above, lowest and highest score")
        for bits in (3, 4, 5):
            print(bits, *(f"{x:.3f}" for x in of_model(bits)))


if __name__ == "__main__":
    main()
