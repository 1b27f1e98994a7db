"""Blocks in memory: the layout to the bit, packing and unpacking, tensors cut short, the pace."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

from narrowgauge import api
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import BlockTensor, get_block, quantize
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.units import word_pack, word_unpack
from narrowgauge.hdl.units.word_pack import WordPack
from narrowgauge.hdl.units.word_unpack import WordUnpack

SIZES: list[dict[str, int]] = [
    {},
    {"exponent_bits": 6, "mantissa_bits": 4},
    {"group": 1},
    {"lanes": 4},
    {"exponent_bits": 3, "mantissa_bits": 2, "group": 2, "lanes": 2, "word": 16},
    # A beat as large as a word; words that beats divide, and that divide beats.
    {"exponent_bits": 8, "mantissa_bits": 6, "group": 8, "lanes": 8},
    {"exponent_bits": 4, "mantissa_bits": 2, "group": 4, "lanes": 4, "word": 64},
    {"exponent_bits": 8, "mantissa_bits": 2, "group": 8, "lanes": 8, "word": 8},
    # Many beats a word, many words a beat, words of three bytes.
    {"exponent_bits": 3, "mantissa_bits": 2, "group": 2, "lanes": 2, "word": 512},
    {"lanes": 32, "word": 16},
    {"word": 24},
]


def tensor(params: word_pack.Params, count: int, seed: int = 5) -> Batch:
    """Beats of any codes."""
    rng = np.random.default_rng(seed)
    most = (1 << params.mantissa_bits) - 1
    batch = params.input.beats(
        count,
        codes=rng.integers(-most, most + 1, (count, params.lanes)),
        scales=rng.integers(0, 1 << params.exponent_bits, (count, params.blocks)),
    )
    batch["last"][-1] = 1
    return batch


def back(params: word_pack.Params, words: Batch) -> Batch:
    """Words unpacked."""
    return word_unpack.model(word_unpack.Params(**asdict(params)), words)


def part(batch: Batch, chosen: slice) -> Batch:
    """Some beats, the last of which ends the tensor."""
    made = {name: values[chosen].copy() for name, values in batch.items()}
    made["last"][-1] = 1
    return made


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_layout_is_an_integer(sizes: dict[str, int]) -> None:
    params = word_pack.Params(**sizes)
    batch = tensor(params, 37)
    total, place = 0, 0
    for codes, scales in zip(batch["codes"].tolist(), batch["scales"].tolist(), strict=True):
        for j, scale in enumerate(scales):
            for code in codes[j * params.group :][: params.group]:
                total |= (abs(code) | (code < 0) << params.mantissa_bits) << place
                place += params.mantissa_bits + 1
            total |= scale << place
            place += params.exponent_bits
    words = word_pack.model(params, batch)
    count = -(-place // params.word)
    raw = total.to_bytes(count * params.word_bytes, "little")
    assert words["word"].astype(np.uint8).tobytes() == raw
    assert words["last"].tolist() == [0] * (count - 1) + [1]
    if params.word > 8:
        assert words["empty"].tolist() == [0] * (count - 1) + [len(raw) - -(-place // 8)]


@pytest.mark.parametrize("name", ["bfp_e5m5_k4", "bfp_e6m4_k4", "bfp_e5m5_k8", "bfp_e5m5_k1"])
def test_the_layout_is_that_of_the_format(name: str) -> None:
    """A tensor's blocks, in order, are what the units hold in memory, and no byte more."""
    fmt = get_block(name)
    x = np.random.default_rng(3).standard_normal((5, 3, 32)).astype(np.float32)
    made = quantize(x, fmt, axis=2)
    assert isinstance(made, BlockTensor)
    padded = np.unpackbits(made.pack(), axis=1, bitorder="little", count=fmt.payload.width)
    tight = made.pack_tight()
    assert np.array_equal(np.unpackbits(tight, count=made.bits, bitorder="little"), padded.ravel())
    assert len(tight) == -(-made.bits // 8)
    exponent, mantissa = fmt.payload["scale"].width, fmt.payload["codes"].width - 1
    params = word_pack.Params(exponent_bits=exponent, mantissa_bits=mantissa, group=fmt.k)
    assert params.format == fmt
    batch = params.input.beats(
        60, codes=made.codes.reshape(60, 8), scales=made.scales.reshape(60, params.blocks)
    )
    batch["last"][-1] = 1
    raw = word_pack.model(params, batch)["word"].astype(np.uint8).ravel()
    assert np.array_equal(raw[: len(tight)], tight)
    assert not raw[len(tight) :].any()
    assert len(raw) - len(tight) < params.word_bytes


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_unpacking_reverses_packing(sizes: dict[str, int]) -> None:
    params = word_pack.Params(**sizes)
    period = params.word // math.gcd(params.beat, params.word)
    lengths = [*range(1, 40), period, period + 1]
    tensors = [tensor(params, count, count) for count in lengths]
    words = [word_pack.model(params, each) for each in tensors]
    together = word_pack.model(params, join(tensors))
    assert all(np.array_equal(values, join(words)[name]) for name, values in together.items())
    beats = back(params, together)
    assert not beats.pop("cut").any()
    assert all(np.array_equal(values, join(tensors)[name]) for name, values in beats.items())


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_any_cut_ends_the_tensor(sizes: dict[str, int]) -> None:
    """Every number of bytes: whole beats as they were, one `last`, `cut` where bits are over."""
    params = word_pack.Params(**sizes)
    batch = tensor(params, 9)
    words = word_pack.model(params, batch)
    after = tensor(params, 3, 6)
    for size in range(1, 1 + -(-9 * params.beat // 8)):
        count = -(-size // params.word_bytes)
        cut = part(words, slice(count))
        if "empty" in cut:
            cut["empty"][-1] = count * params.word_bytes - size
        got = back(params, join([cut, word_pack.model(params, after)]))
        whole, rest = divmod(8 * size, params.beat)
        first = int(np.flatnonzero(got["last"])[0]) + 1
        broken = whole * params.beat <= (count - 1) * params.word
        assert first == whole + broken
        assert np.array_equal(got["codes"][:whole], batch["codes"][:whole])
        assert np.array_equal(got["scales"][:whole], batch["scales"][:whole])
        assert got["cut"][:first].tolist() == [0] * (first - 1) + [int(broken or rest >= 8)]
        for name, values in after.items():
            assert np.array_equal(got[name][first:], values)


def test_what_a_cut_beat_holds() -> None:
    """Of the word everything, then zeros."""
    params = word_pack.Params(group=1)
    batch = tensor(params, 2)
    words = part(word_pack.model(params, batch), slice(1))
    got = back(params, words)
    kept = params.to_memory({name: batch[name][:1] for name in ("codes", "scales")})
    kept[8:] = 0
    assert got["cut"].tolist() == got["last"].tolist() == [1]
    assert np.array_equal(params.to_memory(got), kept)
    words["empty"][:] = 7
    assert np.array_equal(back(params, words)["codes"], got["codes"])


def test_empty_counts_for_last_words_and_up_to_all_bytes_but_one() -> None:
    params = word_pack.Params(word=24)
    words = word_pack.model(params, tensor(params, 5))
    want = back(params, words)
    words["empty"][:-1] = 3
    assert all(np.array_equal(values, want[name]) for name, values in back(params, words).items())
    most = part(words, slice(4)), part(words, slice(4))
    most[0]["empty"][-1], most[1]["empty"][-1] = 2, 3
    got = [back(params, each) for each in most]
    assert all(np.array_equal(values, got[1][name]) for name, values in got[0].items())


def test_beats_after_the_last_tensor_are_none() -> None:
    params = word_pack.Params()
    batch = tensor(params, 4)
    batch["last"][:] = [0, 1, 0, 0]
    assert len(word_pack.model(params, batch)["last"]) == 2
    words = word_pack.model(params, tensor(params, 4))
    words["last"][-1] = 0
    assert not len(back(params, words)["last"])


def test_minus_zero_is_refused() -> None:
    params = word_pack.Params()
    words = word_pack.model(params, params.input.beats(1, codes=0, scales=1, last=1))
    words["word"][0, 0] |= 1 << params.mantissa_bits
    with pytest.raises(UsageError, match="tensor 0 has a code of -0, which no format makes"):
        back(params, words)


def cycles(dut: WordPack | WordUnpack, payload: Any, batch: Batch) -> tuple[int, int]:
    """Cycles to the last answer with `last` at full speed, and answers."""
    count = len(batch["last"])
    codes = payload.pack(batch)
    seen = {"cycles": 0, "answers": 0}

    async def bench(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        at = ends = 0
        for cycle in range(2000):
            bits = int.from_bytes(codes[at].tobytes(), "little")
            ctx.set(dut.i.payload, dut.i.payload.shape().from_bits(bits))
            ready, valid = ctx.get(dut.i.ready), ctx.get(dut.o.valid)
            if valid:
                seen["answers"] += 1
                ends += ctx.get(dut.o.payload.last)
            if ends == int(batch["last"].sum()):
                seen["cycles"] = cycle + 1
                return
            at = min(at + ready, count - 1)
            await ctx.tick()

    top = Module()
    top.domains.sync = ClockDomain()
    top.submodules.dut = dut
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen["cycles"], seen["answers"]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_beat_or_a_word_a_cycle(sizes: dict[str, int]) -> None:
    params = word_pack.Params(**sizes)
    batch = tensor(params, 50)
    words = word_pack.model(params, batch)
    count = len(words["last"])
    taken, answers = cycles(WordPack(params), params.input, batch)
    assert answers == count
    assert max(count, 50) <= taken <= max(count, 50) + 1
    reader = word_unpack.Params(**sizes)
    taken, answers = cycles(WordUnpack(reader), reader.input, words)
    assert (taken, answers) == (max(count, 50), 50)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("unit", ["word_pack", "word_unpack"])
def test_units_of_all_sizes(unit: str, sizes: dict[str, int], tmp_path: Any) -> None:
    result = api.verify(f"{unit}/e5m5_k4_w64", overrides=sizes, build_dir=tmp_path)[0]
    assert result.passed, f"{result.failure}\n{result.mismatch}"
    assert result.beats_out > 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lanes": 6}, "lanes must be a multiple of group=4 up to 256, got 6"),
        ({"lanes": 260}, "lanes must be a multiple of group=4 up to 256, got 260"),
        ({"group": 0}, "k must be 1..65536, got 0"),
        ({"mantissa_bits": 17}, "mantissa_bits must be 2..16, got 17"),
        ({"word": 520}, "word must be 8..512, got 520"),
        ({"word": 4}, "word must be 8..512, got 4"),
        ({"word": 20}, "word must be a multiple of 8, got 20"),
        (
            {"exponent_bits": 2, "mantissa_bits": 2, "group": 1, "lanes": 1},
            "a beat must have 8 bits at least, got 5",
        ),
    ],
)
def test_impossible(changed: dict[str, Any], message: str) -> None:
    for params in (word_pack.Params, word_unpack.Params):
        with pytest.raises(UsageError) as caught:
            params(**changed)
        assert str(caught.value) == message
