"""The baseline cores' golden models: against floating point, by hand, and beside `opal_core`."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from narrowgauge.golden.cores import (
    baseline_programs,
    bf16_core,
    opal_core,
    packets,
    w4a16_core,
)
from narrowgauge.golden.cores.baseline_answers import parsed
from narrowgauge.golden.cores.opal_work import parsed as opal_parsed
from narrowgauge.golden.cores.packets import Header, Opcode, Status, responses
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_codes, bf16_values
from narrowgauge.golden.payload import Batch, join

CORES = {
    "bf16_core": (bf16_core, {"lanes": 4, "q_lanes": 2, "vector": 24, "head": 6, "length": 16}),
    "w4a16_core": (
        w4a16_core,
        {"lanes": 16, "q_lanes": 4, "vector": 64, "head": 24, "length": 32},
    ),
}
EACH = pytest.mark.parametrize(("core", "small"), CORES.values(), ids=CORES)


def codes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return bf16_codes(rng.standard_normal(shape).astype(np.float32)).astype(np.int64)


def values(array: np.ndarray) -> np.ndarray:
    return bf16_values(array.astype(np.uint16)).astype(np.float64)


def read(params: Any, data: Batch, rows: int, width: int) -> np.ndarray:
    """The numbers that data beats of rows stand for."""
    if isinstance(params, bf16_core.Params):
        made = values(data["word"])
    else:
        signed = params.dot.input["w"].from_bits(data["word"])
        made = signed * np.exp2(data["scale"] - 127.0 - (params.w_bits - 2))[:, None]
    return made.reshape(rows, -1)[:, :width]


def run(core: ModuleType, params: Any, *parts: Batch) -> list[tuple[Batch, Status]]:
    """The responses to packets."""
    joined = join(parts)
    batch = {name: field[None] for name, field in joined.items()}
    batch["final"] = batch.pop("last")
    return responses(core.output_beats(params, core.model(params, batch)))


def elements(response: tuple[Batch, Status], count: int) -> np.ndarray:
    flat: np.ndarray = response[0]["data"].reshape(-1)
    assert not flat[count:].any()
    return flat[:count]


@EACH
def test_rows_against_floating_point(core: ModuleType, small: dict[str, int]) -> None:
    p = core.Params(**small)
    rng = np.random.default_rng(1)
    x = codes(rng, p.vector - 3)
    rows = p.rows(codes(rng, 9, len(x)))
    scale = codes(rng, 9)
    if "row_scale" in rows:
        rows["row_scale"] = np.repeat(scale, len(rows["last"]) // 9)
    loaded, answered = run(
        core, p, baseline_programs.load(p, x), baseline_programs.matvec(p, rows, 9)
    )
    assert loaded[1] == answered[1] == Status.OK
    w = read(p, rows, 9, len(x))
    factor = values(scale) if "row_scale" in rows else np.ones(9)
    exact = w @ values(x) * factor
    size = np.abs(w) @ np.abs(values(x)) * np.abs(factor)
    assert np.all(np.abs(values(elements(answered, 9)) - exact) <= size * 2.0**-7)


@EACH
def test_attention_against_floating_point(core: ModuleType, small: dict[str, int]) -> None:
    p = core.Params(**small)
    rng = np.random.default_rng(2)
    count, width = p.lanes + 3, p.head
    query = codes(rng, width)
    keys, v = p.rows(codes(rng, count, width)), p.rows(codes(rng, width, count))
    answered = run(
        core,
        p,
        baseline_programs.load(p, query),
        baseline_programs.attend(p, keys, v, count, width),
    )[1]
    assert answered[1] == Status.OK
    score = read(p, keys, count, width) @ values(query)
    share = np.exp(score - score.max())
    share /= share.sum()
    exact = read(p, v, width, count) @ share
    # Scores are rounded to bf16, so the shares' logarithms are off by that much.
    bound = 2.0**-8 * (np.abs(score).max() + 8) * (np.abs(read(p, v, width, count)) @ share)
    assert np.all(np.abs(values(elements(answered, width)) - exact) <= bound)


@EACH
def test_statuses_by_hand(core: ModuleType, small: dict[str, int]) -> None:
    p = core.Params(**small)
    rng = np.random.default_rng(3)
    x = codes(rng, p.head)
    rows = p.rows(codes(rng, 3, p.head))
    load = baseline_programs.load(p, x)
    keep = baseline_programs.matvec(p, rows, 3, release=False)
    drop = baseline_programs.matvec(p, rows, 3)

    def cut(packet: Batch, count: int) -> Batch:
        made = {name: field[:count].copy() for name, field in packet.items()}
        made["last"][-1] = 1
        return made

    longer = join([drop, cut(drop, 1)])
    longer["last"][len(drop["last"]) - 1] = 0
    blocks = packets.packet(p.input, Header(opcode=Opcode.MATVEC, rows=3, out=1), rows)
    each = len(rows["last"]) // 3
    answers = run(
        core,
        p,
        *(drop, load, packets.nop(p.input), load, load, cut(load, 2), blocks, keep),
        *(cut(keep, 1), cut(keep, 1 + each), cut(keep, each), drop, longer, drop),
    )
    assert [status for _, status in answers] == [
        *(Status.ORDER, Status.OK, Status.OK, Status.ORDER, Status.ORDER, Status.ILLEGAL),
        *(Status.OK, Status.CUT, Status.CUT, Status.CUT, Status.OK, Status.OVERRUN, Status.ORDER),
    ]
    whole = elements(answers[6], 3)
    assert np.array_equal(elements(answers[10], 3), whole)
    assert np.array_equal(elements(answers[11], 3), whole)
    assert np.array_equal(elements(answers[8], 1), whole[:1])
    assert not answers[9][0]["data"].any()


@EACH
def test_attention_that_is_cut(core: ModuleType, small: dict[str, int]) -> None:
    p = core.Params(**small)
    rng = np.random.default_rng(4)
    keys, v = p.rows(codes(rng, 5, p.head)), p.rows(codes(rng, p.head, 5))
    attend = baseline_programs.attend(p, keys, v, 5, p.head, release=False)
    ends = baseline_programs.matvec(p, p.rows(codes(rng, 1, p.head)), 1)
    parts = [baseline_programs.load(p, codes(rng, p.head)), attend]
    for count in (len(keys["last"]), 1 + len(keys["last"]), len(attend["last"]) - 1):
        made = {name: field[:count].copy() for name, field in attend.items()}
        made["last"][-1] = 1
        parts.append(made)
    _, whole, early, between, late, _ = run(core, p, *parts, ends)
    assert [early[1], between[1], late[1]] == [Status.CUT] * 3
    for answer in (early, between):
        assert len(answer[0]["last"]) == 1
        assert not answer[0]["data"].any()
    assert np.array_equal(elements(late, p.head - 1), elements(whole, p.head)[:-1])


@EACH
def test_q_lanes_change_no_element(core: ModuleType, small: dict[str, int]) -> None:
    rng = np.random.default_rng(5)
    found = []
    for q_lanes in (1, 2):
        p = core.Params(**{**small, "q_lanes": q_lanes})
        rng = np.random.default_rng(5)
        x, rows = codes(rng, p.vector), p.rows(codes(rng, 7, p.vector))
        answers = run(core, p, baseline_programs.load(p, x), baseline_programs.matvec(p, rows, 7))
        found.append(elements(answers[1], 7))
    assert np.array_equal(*found)


@EACH
def test_real_programs_do_the_work_of_opal_core(core: ModuleType, small: dict[str, int]) -> None:
    theirs = opal_core.Params()
    p = core.Params()
    seed = 6
    ours = parsed(p, core.vectors(p, "real", seed))
    others = opal_parsed(theirs, opal_core.vectors(theirs, "real", seed))
    assert len(ours) == len(others)
    for mine, other in zip(ours, others, strict=True):
        assert len(mine) == len(other)
        for a, b in zip(mine, other, strict=True):
            wanted = b.command.header
            for name in ("opcode", "length", "rows", "release"):
                assert getattr(a.command.header, name) == getattr(wanted, name)
            if wanted.opcode == Opcode.LOAD:
                loaded = [
                    packets.from_words(q.input["word"], 16, q.q_lanes, w.command.data["word"])
                    for q, w in ((p, a), (theirs, b))
                ]
                assert np.array_equal(*loaded)


@pytest.mark.parametrize(
    ("core", "overrides", "message"),
    [
        (bf16_core, {"lanes": 96}, "lanes must be a power of two, got 96"),
        (bf16_core, {"q_lanes": 0}, "q_lanes must be a power of two, got 0"),
        (bf16_core, {"q_lanes": 256}, "q_lanes must not exceed lanes=128, got 256"),
        (
            w4a16_core,
            {"lanes": 8, "q_lanes": 1},
            "a word of 32 bits must hold a header of 56 and 1 elements of 16",
        ),
        (w4a16_core, {"q_lanes": 64}, "a word of 512 bits must hold a header of 56 and 64"),
        (bf16_core, {"vector": 100}, "vector must be a multiple of lanes=128 up to 32768, got 100"),
        (bf16_core, {"length": 64}, r"length must be a power of two, 128\.\.4096, got 64"),
        (bf16_core, {"head": 1}, r"head must be 2\.\.vector=1536, got 1"),
        (bf16_core, {"fraction": 13}, r"fraction must be 14\.\.32, got 13"),
        (w4a16_core, {"w_bits": 9}, r"w_bits must be 2\.\.8, got 9"),
    ],
)
def test_impossible_parameters(core: Any, overrides: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        core.Params(**overrides)


def test_a_program_ends_with_a_packet() -> None:
    p = bf16_core.Params(**CORES["bf16_core"][1])
    batch = bf16_core.vectors(p, "smoke", 0)
    batch["final"][1, -1] = 0
    with pytest.raises(UsageError, match="program 1 ends within a packet"):
        bf16_core.model(p, batch)
    with pytest.raises(UsageError, match="program 0 leaves 1 vectors loaded"):
        run(bf16_core, p, baseline_programs.load(p, [0x3F80]))
