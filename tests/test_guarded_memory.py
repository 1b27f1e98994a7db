"""Guarded memories: a stored layer that is flipped and multiplied with; a broken one is red."""

import importlib
import inspect
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge import design, registry
from narrowgauge.golden import samples
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import get_block, quantize
from narrowgauge.golden.guard import Guard
from narrowgauge.golden.guard_words import BOUNDS
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units import guarded_memory, opal_dot
from narrowgauge.golden.units.guarded_memory import Params, model, vectors
from narrowgauge.verify import runner

FORMAT = "mx_opal4_k32_n2"
ROWS = 3
BLOCKS = 18
"""Of a row of the layer, 576 weights."""


def layer() -> tuple[np.ndarray, np.ndarray]:
    """Weights of a captured layer, and the activations of a token, as bf16 codes."""
    sample = samples.load()
    name = min(n for n, w in sample.weights.items() if w.shape[1] == 32 * BLOCKS)
    return sample.weights[name][:ROWS], sample.activations[name][5]


def bits_of(batch: Batch) -> np.ndarray:
    payload = get_block(FORMAT).payload
    packed = payload.pack(batch)
    return np.unpackbits(packed, axis=1, bitorder="little")[:, : payload.width]


def blocks_of(bits: np.ndarray) -> Batch:
    packed = np.packbits(bits.astype(np.uint8), axis=1, bitorder="little")
    return get_block(FORMAT).payload.unpack(packed)


def commands(params: Params, words: np.ndarray, flips: list[tuple[int, int]]) -> Batch:
    """Bounds, a layer's words, flips (word, stored bit), and each word read."""
    guard = params.word.guard
    found = guard.bounds(words)
    rows: list[tuple[int, int, dict[int, int]]] = []
    for i, name in enumerate(guard.limits):
        value = int(np.max(getattr(found, name)))
        rows.append((4, i, {bit: value >> bit & 1 for bit in range(8)}))
    rows += [(1, i, dict(enumerate(word.tolist()))) for i, word in enumerate(words)]
    rows += [(2, word, {bit: 1}) for word, bit in flips]
    rows += [(0, i, {}) for i in range(len(words))] + [(5, 0, {})]
    data = np.zeros((len(rows), guard.stored_bits), np.int64)
    for i, (_, _, given) in enumerate(rows):
        data[i, list(given)] = list(given.values())
    last = np.zeros(len(rows), np.int64)
    last[-1] = 1
    return params.input.beats(
        len(rows), op=[r[0] for r in rows], address=[r[1] for r in rows], data=data, last=last
    )


def products(p: opal_dot.Params, weights: Batch, token: np.ndarray) -> Batch:
    """Each row of weights times the token, as blocks of `opal_dot`."""
    x = quantize(token[None], get_block(FORMAT), axis=1).batch()
    last = np.zeros(ROWS * BLOCKS, np.int64)
    last[BLOCKS - 1 :: BLOCKS] = 1
    sides = {}
    for side, batch in (("a", {n: np.tile(v.T, ROWS).T for n, v in x.items()}), ("w", weights)):
        sides |= {side: batch["codes"], f"{side}_scale": batch["scale"]}
        sides |= {f"{side}_{name}": batch[name] for name in ("outliers", "positions")}
    return p.block.beats(ROWS * BLOCKS, size=32, last=last, **sides)


def played(name: str, given: Batch, folder: Path, **overrides: Any) -> Batch:
    """What the generated Verilog answers: the golden model's answer, or the bench is red."""
    (point,) = registry.points(name, **overrides)
    result = runner.verify(
        name=point.full_name,
        component=design.component(point),
        golden=point.entry.golden,
        bench=point.entry.bench,
        params=point.params,
        build_dir=folder,
        given=given,
        timeout=600,
    )
    assert result.passed, result.failure
    answers: Batch = point.entry.golden.model(point.params, given)
    return answers


@pytest.mark.parametrize(
    ("kind", "recovery"),
    [("none", "zero"), ("secded_scale_window", "middle")],
)
def test_a_flipped_layer_on_the_dot_product(tmp_path: Path, kind: str, recovery: str) -> None:
    """Verilog of the memory, then of the array: one flip is as none, two as the recovery says."""
    weights, token = layer()
    clean = quantize(weights, get_block(FORMAT), axis=1).batch()
    words = bits_of(clean)
    options = {"kind": kind, "recovery": recovery, "format": FORMAT, "elements": True}
    (point,) = registry.points("guarded_memory/opal4_none", **options)
    guard = point.params.word.guard
    scale = next(p.low for p in guard.parts if p.name == "scale")
    exponent = next(p.low for p in guard.parts if p.name == "exponent")
    # Row 0 gets a flip in a scale and one in an outlier, row 1 two in one word, row 2 none.
    flips = [(2, scale + 7), (7, exponent + 7), (BLOCKS + 4, scale + 7), (BLOCKS + 4, scale + 2)]
    answers = played(
        "guarded_memory/opal4_none", commands(point.params, words, flips), tmp_path, **options
    )
    read = blocks_of(answers["word"][:-1])
    corrected, detected = (answers[n][-1] for n in ("corrections", "detections"))
    assert (corrected, detected) == ((0, 0) if kind == "none" else (2, 1))

    array = {"k": 32, "n": 2, "lanes": 8, "fp_units": 1}
    (dot,) = registry.points("opal_dot/p47_l32", **array)
    got = played("opal_dot/p47_l32", products(dot.params, read, token), tmp_path, **array)

    # What was meant to happen, without a guard: by hand.
    meant = {name: values.copy() for name, values in clean.items()}
    if kind == "none":
        meant["scale"][[2, BLOCKS + 4]] ^= 0x80
        meant["scale"][BLOCKS + 4] ^= 4
        meant["outliers"][7, 0] ^= 0x4000
    else:
        place = BLOCKS + 4
        meant["outliers"][place] = meant["positions"][place] = 0
        middle = int(np.sort(clean["scale"])[(len(words) - 1) // 2])
        meant["scale"][place] = middle if recovery == "middle" else 0
        if recovery == "zero":
            meant["codes"][place] = 0
    want = opal_dot.model(dot.params, products(dot.params, meant, token))["result"]
    assert np.array_equal(got["result"], want)
    right = opal_dot.model(dot.params, products(dot.params, clean, token))["result"]
    assert got["result"][2] == right[2]
    assert (got["result"][0] == right[0]) == (kind != "none")
    assert got["result"][1] != right[1]
    values = np.array([want, right], np.uint32).view(np.float32)
    if kind == "none":
        assert np.abs(values[0, :2]).min() > 1e20
    else:
        assert np.abs(values[0] - values[1]).max() < 2 * np.abs(values[1]).max()


def test_scrubbing_keeps_single_flips_single() -> None:
    """A flip, a scrub and another flip are two that are taken back; without the scrub, lost."""
    (point,) = registry.points("guarded_memory/e5m2_k1")
    p = point.params
    word = np.zeros((4, p.word.guard.stored_bits), np.int64)
    word[:, 2], flips = 1, np.eye(p.word.guard.stored_bits, dtype=np.int64)
    for scrub in (False, True):
        data = [*(np.resize(word[0], (8, word.shape[1]))), flips[1], word[0], flips[6], word[0]]
        ops = [1] * 8 + [2, 3 if scrub else 0, 2, 5]
        batch = p.input.beats(
            12,
            op=ops,
            address=[*range(8), 5, 5, 5, 5],
            data=np.array(data),
            last=np.eye(12)[11].astype(int),
        )
        out = model(p, batch)
        assert out["corrected"][-1] == scrub
        assert out["detected"][-1] == (not scrub)
        assert out["corrections"][-1] == 1
        assert out["detections"][-1] == 0
        assert (out["word"][-1] == word[0, : p.word.guard.word_bits]).all() == scrub


def test_groups_are_apart() -> None:
    """What a group writes is all that it needs."""
    (point,) = registry.points("guarded_memory/e5m2_k1")
    batch = vectors(point.params, "smoke", 3)
    whole = model(point.params, batch)
    first = int(np.flatnonzero(batch["last"])[10]) + 1
    alone = model(point.params, {name: codes[first:] for name, codes in batch.items()})
    count = len(alone["last"])
    assert count > 100
    assert all(np.array_equal(whole[name][-count:], alone[name]) for name in alone)


def test_bounds_are_numbered() -> None:
    guard = Guard.of("secded_scale_window", get_block("mx_opal4").payload, recovery="middle")
    assert guard.limits == ("low", "high", "exponent_low", "exponent_high", "middle")
    assert set(guard.limits) == set(BOUNDS)
    assert guard_limits("clamp") == ("high", "exponent_high")
    assert guard_limits("secded_scale") == ()


def guard_limits(kind: str) -> tuple[str, ...]:
    return Guard.of(kind, get_block("mx_opal4").payload).limits


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Params(depth=12), "depth must be a power of two, got 12"),
        (lambda: Params(depth=4), "depth must be 8..65536, got 4"),
        (lambda: Params(count_bits=1), "count_bits must be 2..32, got 1"),
        (lambda: Params(blocks=65), "blocks must be 1..64, got 65"),
        (
            lambda: Params(kind="none", format="bfp_e5m2_k1"),
            "a word must have 8 bits, got 5",
        ),
    ],
)
def test_impossible(call: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == message


FAULTS = (
    ("(command.address < pointer)", "(command.address <= pointer)"),
    ("~(counts | scrubs | bounds)", "~(scrubs | bounds)"),
    ("& ~(fixing & writes)", ""),
    ("(fixing & found.corrected)", "(fixing & found.detected)"),
    ("& counted.replicate(p.count_bits)", ""),
    ("(taken | fixing) & flag", "taken & flag"),
    ("& ~counter.all()", ""),
    ("Mux(scrub, pointer, command.address)", "command.address"),
    ("(free | ~(asks | flips | bounds))", "(free | ~(asks | flips))"),
)


@pytest.mark.parametrize(("old", "new"), FAULTS)
def test_bench_turns_red(tmp_path: Path, old: str, new: str) -> None:
    entry = registry.find("guarded_memory")
    params = entry.params("e5m2_k1")
    if "bounds))" in new or "flips))" in new:
        params = entry.params("opal4_window", format="mx_opal4_k16_n1", depth=8)
    source = importlib.import_module("narrowgauge.hdl.units.guarded_memory")
    text = inspect.getsource(source)
    assert text.count(old) == 1
    changed = types.ModuleType(source.__name__)
    exec(compile(text.replace(old, new), "changed", "exec"), vars(changed))
    result = runner.verify(
        name="guarded_memory/e5m2_k1",
        component=vars(changed)["GuardedMemory"](params),
        golden=guarded_memory,
        bench=entry.bench,
        params=params,
        build_dir=tmp_path,
        timeout=600,
    )
    assert result.failure.startswith("pattern "), result.failure
    assert result.beats_in > 0
