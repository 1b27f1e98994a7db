"""The converter: each code in fractions, groups, the pace, tensors; the bench red when broken."""

import importlib
import inspect
import sys
import types
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

from narrowgauge import registry
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import FB12, FB16, FB24, quantize_boxes, zero_setting
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.units.bfp_convert import Params, model, vectors
from narrowgauge.hdl.units.bfp_convert import BfpConvert
from narrowgauge.verify import runner

SMALL = {"lanes": 2, "group12": 12, "group16": 8, "group24": 4}
BITS = (4, 8, 16, 16)


def value(params: Params, code: int) -> Fraction | None:
    """A finite element exactly; None for NaN and Inf."""
    code <<= 16 * (params.source == "bf16")
    sign, field, fraction = code >> 31, code >> 23 & 255, code & 0x7FFFFF
    if field == 255:
        return None
    significand = fraction + (0x800000 if field else 0)
    return (-1) ** sign * significand * Fraction(2) ** (max(field, 1) - 150)


def plain_code(exact: Fraction, params: Params, most: int, word: int) -> int:
    """A magnitude by the rounding."""
    size = abs(exact)
    whole = int(size)
    if params.rounding == "rne":
        whole = round(size)
    elif params.rounding == "stochastic":
        whole += int((size - whole) * 256) + word >= 256
    whole = min(whole, most)
    return -whole if exact < 0 else whole


def plain(params: Params, batch: Batch) -> list[tuple[Any, ...]]:
    """Answers beat by beat, in Python alone."""
    answers: list[tuple[Any, ...]] = []
    count, group, mode, fresh = 0, [], 0, True
    cap = (1 << params.count_bits) - 1
    for beat, last in enumerate(batch["last"].tolist()):
        if not group:
            mode = int(batch["mode"][beat])
        if params.stochastic:
            if fresh:
                seed = int(batch["seed"][beat])
                bits = [seed >> i & 1 for i in range(16)]
                bits += [1 - (seed >> i & 1) for i in range(15)]
            words = [
                sum(bits[(5 * j + i) % 31] << i for i in range(8)) for j in range(params.lanes)
            ]
            for _ in range(8):
                bits = [bits[30] ^ bits[27], *bits[:30]]
        else:
            words = [0] * params.lanes
        fresh = bool(last)
        group.append((batch["x"][beat].tolist(), words, last))
        if (
            not last
            and len(group) * params.lanes
            < (params.group12, params.group16, params.group24, params.group24)[mode]
        ):
            continue
        shift = params.format.mantissa_bits
        fields = [x >> shift & 255 for row, _, _ in group for x in row]
        scale = max(1, *fields)
        step = Fraction(2) ** (scale - 127 - (BITS[mode] - 1))
        for number, (row, random, is_last) in enumerate(group):
            codes = [0] * params.lanes
            if scale < 255:
                for j, (x, word) in enumerate(zip(row, random, strict=True)):
                    exact = value(params, x)
                    assert exact is not None
                    codes[j] = plain_code(exact / step, params, (1 << BITS[mode]) - 1, word)
                    field = x >> shift & 255
                    count += field > 0 and scale - field + 1 > BITS[mode]
            count = min(count, cap)
            end = int(number == len(group) - 1)
            answers.append((codes, scale, min(mode, 2), end, count, is_last))
            if is_last:
                count = 0
        group = []
    return answers


@pytest.mark.parametrize("rounding", ["rtz", "rne", "stochastic"])
@pytest.mark.parametrize("source", ["fp32", "bf16"])
@pytest.mark.parametrize("sizes", [{**SMALL, "count_bits": 4}, {"lanes": 3, "count_bits": 24}])
def test_every_answer_in_fractions(source: str, rounding: str, sizes: dict[str, int]) -> None:
    params = Params(source=source, rounding=rounding, **sizes)
    batch = vectors(params, "smoke", 7)
    end = int(np.flatnonzero(batch["last"])[30])
    # What does not end is not answered.
    cut = {name: codes[: end + 2] for name, codes in batch.items()}
    cut["mode"][end + 1] = cut["last"][end + 1] = 0
    got = model(params, cut)
    assert len(got["last"]) == end + 1
    names = ("codes", "scale", "mode", "end", "zeroed", "last")
    for number, answer in enumerate(plain(params, cut)):
        assert tuple(got[name][number].tolist() for name in names) == answer


@pytest.mark.parametrize(("mode", "fmt"), list(enumerate((FB12, FB16, FB24))))
def test_tensors_are_those_of_the_format(mode: int, fmt: Any) -> None:
    rng = np.random.default_rng(8)
    x = (rng.standard_normal((2, 48, 6, 6)) * 2.0 ** rng.uniform(-5, 5, (2, 48, 6, 6))).astype(
        np.float32
    )
    params = Params()
    rows = fmt.split(x.view(np.uint32)).reshape(-1, params.lanes).astype(np.int64)
    batch = params.input.beats(len(rows), x=rows, mode=mode)
    batch["last"][-1] = 1
    got = model(params, batch)
    t = quantize_boxes(x, fmt)
    assert np.array_equal(got["codes"].reshape(-1, fmt.block.k), t.rows.codes[:, 0])
    assert np.array_equal(got["scale"][got["end"] == 1], t.rows.scales[:, 0])
    assert got["zeroed"][-1] == zero_setting(x, fmt).sum() > 0 or mode == 2


def test_random_bits_are_even() -> None:
    """Half of a step goes up half of the time, a sixteenth as often as that says."""
    params = Params(rounding="stochastic", **SMALL)
    x = np.float32([[8, 8 / 8 * 0.5], [1.0625 * 1, 3.75]] * 4000).view(np.uint32)
    batch = params.input.beats(len(x), x=x.astype(np.int64), mode=0, seed=1)
    batch["last"][-1] = 1
    codes = model(params, batch)["codes"]
    assert abs(codes[::2, 1].mean() - 0.5) < 0.02
    assert abs(codes[1::2, 0].mean() - 1.0625) < 0.01
    assert abs(codes[1::2, 1].mean() - 3.75) < 0.02


def cycles(params: Params, batch: Batch) -> int:
    """Cycles in which a beat that was offered was not taken, with an output that never waits."""
    dut = BfpConvert(params)
    raw = params.input.pack(batch)
    waits = 0

    async def bench(ctx: Any) -> None:
        nonlocal waits
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        for row in raw:
            ctx.set(dut.i.payload.as_value(), int.from_bytes(row.tobytes(), "little"))
            while not ctx.get(dut.i.ready):
                waits += 1
                await ctx.tick()
            await ctx.tick()

    top = Module()
    top.domains.sync = ClockDomain()
    top.submodules.dut = dut
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return waits


@pytest.mark.parametrize(
    "sizes",
    [
        SMALL,
        {"lanes": 1, "group12": 5, "group16": 2, "group24": 1},
        {"lanes": 2, "group12": 4, "group16": 4, "group24": 4},
        {"lanes": 9},
    ],
    ids=str,
)
def test_no_bubble_whatever_groups_follow(sizes: dict[str, int]) -> None:
    params = Params(**sizes)
    modes = np.random.default_rng(9).integers(0, 3, 60)
    modes[:12] = [0, 2, 2, 2, 2, 2, 2, 0, 1, 1, 0, 2]
    lengths = np.array(params.beats)[modes]
    beats = int(lengths.sum())
    batch = params.input.beats(beats, mode=np.repeat(modes, lengths))
    batch["last"][np.cumsum(lengths)[20::20] - 1] = 1
    batch["last"][-1] = 1
    assert cycles(params, batch) == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source": "fp16"}, "source must be fp32 or bf16, got 'fp16'"),
        ({"rounding": "rna"}, "rounding must be rtz, rne or stochastic, got 'rna'"),
        ({"lanes": 8}, "group16 must be a multiple of lanes=8, got 108"),
        ({"lanes": 65}, "lanes must be 1..64, got 65"),
        ({"group24": 0}, "group24 must be a multiple of lanes=9, got 0"),
        (
            {"lanes": 54, "group12": 54, "group16": 54},
            "the largest group must be 2..1024 beats, got 1",
        ),
        ({"lanes": 1, "group12": 2000}, "the largest group must be 2..1024 beats, got 2000"),
        ({"count_bits": 4}, "count_bits must be more than those of lanes=9, got 4"),
        ({"count_bits": 33}, "count_bits must be 4..32, got 33"),
    ],
)
def test_impossible(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Params(**changed)
    assert str(caught.value) == message


FAULTS = (
    # A word is written over before it is read.
    ("bfp_convert", "(~full | fetch) & room", "room"),
    # More groups are noted than there is room for.
    ("bfp_convert", "room.eq(~full | get)", "room.eq(1)"),
    # What comes behind `last` is of the same group.
    ("bfp_convert", "done.eq(beat.last | ", "done.eq("),
    ("bfp_convert", "| top.all().replicate(9)", ""),
    ("bfp_convert", "~asked.any(), ~asked[1]", "~asked[1], ~asked[1]"),
    ("bfp_convert", "bit & ~nan", "bit"),
    ("bfp_convert", "high + ~high.all()", "high + 1"),
    ("bfp_convert", "before.eq(Mux(last, 0, count))", "before.eq(count)"),
    ("bfp_codes", "kept.field[0] | ~normal", "kept.field[0]"),
    ("bfp_codes", "(~widest | whole[8:].all())", "(~wide | whole[8:].all())"),
    ("bfp_codes", "sticky | kept.sticky.any() if", "sticky if"),
)


@pytest.mark.parametrize(("file", "old", "new"), FAULTS)
def test_bench_turns_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, old: str, new: str
) -> None:
    entry = registry.find("bfp_convert")
    params = entry.params("fp32_rne_l2")
    source = importlib.import_module(f"narrowgauge.hdl.units.{file}")
    text = inspect.getsource(source)
    assert text.count(old) == 1
    changed = types.ModuleType(source.__name__)
    monkeypatch.setitem(sys.modules, source.__name__, changed)
    exec(compile(text.replace(old, new), file, "exec"), vars(changed))
    made = BfpConvert
    if file == "bfp_convert":
        made = vars(changed)["BfpConvert"]
    else:
        home = importlib.import_module(BfpConvert.__module__)
        monkeypatch.setattr(home, "code", vars(changed)["code"])
    result = runner.verify(
        name="bfp_convert/fp32_rne_l2",
        component=made(params),
        golden=entry.golden,
        bench=entry.bench,
        params=params,
        build_dir=tmp_path,
        timeout=600,
    )
    assert result.failure.startswith("pattern ")
    assert result.beats_in > 0
