"""The guarded operand memory of `opal_core`: a real program on Verilog whose memory flips bits."""

import importlib
import inspect
import types
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from narrowgauge import design, registry
from narrowgauge.golden.cores import opal_core, packets
from narrowgauge.golden.cores.opal_core import Upset
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.hdl import emit
from narrowgauge.hdl.cores import operands
from narrowgauge.hdl.systems import describe, registers
from narrowgauge.registry import Point
from narrowgauge.verify import runner
from narrowgauge.verify.driver import Driver, Expect, Idle, Read, Send

PROGRAMS = 2
"""Each loads three vectors, of 96, 96 and 8 elements, into places 0 and 1 by turns."""


def point_of(guard: str) -> Point:
    return registry.points("opal_core/p47_l16", guard=guard)[0]


def program(point: Point) -> Batch:
    """Some tokens of a captured layer."""
    real = opal_core.vectors(point.params, "real", 1)
    return {name: values[:PROGRAMS] for name, values in real.items()}


def places(point: Point) -> dict[int, int]:
    """Address in the memory -> bits of a scale that flip: block 1 of place 0, 2 of place 1."""
    depth = point.params.vector // point.params.k
    return {1: 1 << 7, depth + 2: 1 << 6 | 1 << 1}


UPSETS = (
    # Place 0 holds loads 0 and 2 of the first program and 1 of the second, place 1 the others.
    *(Upset(program=p, load=load, block=1, bit=7) for p, load in ((0, 0), (1, 1))),
    *(Upset(program=p, load=load, block=2, bit=b) for p, load in ((0, 1), (1, 0)) for b in (6, 1)),
)


def played(point: Point, upsets: Iterable[Upset], folder: Path) -> Batch:
    """What the Verilog answers, as `golden.model` predicts it: else the bench is red."""
    golden = types.ModuleType("golden")
    vars(golden).update(vars(opal_core))
    vars(golden)["model"] = lambda params, batch: opal_core.model(params, batch, upsets)
    given = program(point)
    result = runner.verify(
        name=point.full_name,
        component=design.component(point),
        golden=golden,
        bench=point.entry.bench,
        params=point.params,
        build_dir=folder,
        given=given,
        timeout=600,
    )
    assert result.passed, result.failure
    answers: Batch = vars(golden)["model"](point.params, given)
    return answers


def flipped(monkeypatch: pytest.MonkeyPatch, point: Point) -> None:
    """From now on words of the blocks' memory change as they are written."""
    text = inspect.getsource(operands)
    old = "write.data.eq(given),"
    assert text.count(old) == 1
    flips = " ^ ".join(
        f"Mux(write_word == {address}, {mask}, 0)" for address, mask in places(point).items()
    )
    width = point.params.stored.guard.word_bits
    new = f"write.data.eq(given ^ {flips} if self._width == {width} else given),"
    changed = types.ModuleType(operands.__name__)
    exec(compile(text.replace(old, new), "changed", "exec"), vars(changed))
    owner = importlib.import_module("narrowgauge.hdl.cores.opal_core")
    monkeypatch.setattr(owner, "Operands", vars(changed)["Operands"])


@pytest.mark.parametrize("guard", ["none", "secded_scale"])
def test_flips_in_the_memory_of_the_verilog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    point = point_of(guard)
    flipped(monkeypatch, point)
    got = played(point, UPSETS, tmp_path)
    clean = opal_core.model(point.params, program(point))
    differ = (got["data"] != clean["data"]).any(axis=1)
    assert differ.any()
    singles = opal_core.model(point.params, program(point), UPSETS[:2])
    restored = all(np.array_equal(singles[name], clean[name]) for name in clean)
    assert restored == guard.startswith("secded")
    if guard.startswith("secded"):
        # Two flips: scale 0 and no outliers, whichever they were.
        other = tuple(
            Upset(program=u.program, load=u.load, block=2, bit=u.bit - 1) for u in UPSETS[2:]
        )
        again = opal_core.model(point.params, program(point), other)
        assert all(np.array_equal(again[name], got[name]) for name in got)


def test_a_system_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over AXI4-Lite: a block is fetched once a row, so a flip of it counts as often."""
    point = point_of("secded_scale")
    flipped(monkeypatch, point)
    p = point.params
    given = {name: values[:1] for name, values in program(point).items()}
    first = tuple(upset for upset in UPSETS if upset.program == 0)
    driver = Driver(
        "guarded",
        emit.verilog(design.system(point), "guarded"),
        p.input,
        p.output,
        folder=tmp_path,
        cache=runner.cache_folder(),
        thorough=False,
    )
    beats = opal_core.input_beats(p, given)
    answers = opal_core.output_beats(p, opal_core.model(p, given, first))
    reads = [Read(address=register.address) for register in registers.GUARD]
    steps = [Send(beats=beats), Expect(packets=int(answers["last"].sum())), Idle(), *reads]
    log = driver.run(steps)
    assert all(np.array_equal(log.beats[name], answers[name]) for name in answers)
    # Of load 0 one bit flips, of load 1 two.
    assert [data for data, _ in log.answers[-2:]] == list(packets.REAL_ROWS)


def test_registers_of_the_guard() -> None:
    names = [r["name"] for r in describe.register_map(point_of("secded_scale").parameters)]
    assert {"CORRECTED", "DETECTED"} < set(names)
    plain = [r["name"] for r in describe.register_map(point_of("none").parameters)]
    assert [name for name in names if name not in ("CORRECTED", "DETECTED")] == plain


def test_without_flips_nothing_changes() -> None:
    point = point_of("secded_shared")
    got = opal_core.model(point.params, program(point))
    clean = opal_core.model(point_of("none").params, program(point))
    assert all(np.array_equal(got[name], clean[name]) for name in clean)


def test_no_guard_is_no_hardware() -> None:
    text = design.emitted(point_of("none")).text
    assert "syndrome" not in text
    assert "syndrome" in design.emitted(point_of("secded_scale")).text


def test_impossible() -> None:
    with pytest.raises(UsageError, match="guard must be one without bounds, got 'clamp'"):
        opal_core.Params(guard="clamp")
    with pytest.raises(UsageError, match="no guard 'crc'; guards: "):
        opal_core.Params(guard="crc")
