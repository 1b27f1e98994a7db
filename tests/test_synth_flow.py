"""The synthesis flow on small designs, with figures worked out beside it."""

import importlib.metadata
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib.memory import Memory

from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.synth import generic, liberty, netlist
from narrowgauge.synth.flow import CacheWarning, SynthesisError, flow_digest, synthesize
from narrowgauge.synth.library import Library, load
from narrowgauge.synth.recipe import Recipe
from narrowgauge.synth.record import Record

SHARED = Path(__file__).resolve().parents[2] / "shared" / "liberty"


@pytest.fixture(scope="module")
def library() -> Library:
    return load("generic")


def nand() -> str:
    """One NAND2 and one flip-flop, by any mapper."""
    m = Module()
    a = Signal()
    b = Signal()
    q = Signal(reset_less=True)
    m.d.sync += q.eq(~(a & b))
    return rtlil.convert(m, name="nand", ports=[a, b, q], emit_src=False)


def multiplier(width: int = 5) -> str:
    m = Module()
    a = Signal(width)
    b = Signal(width)
    o = Signal(2 * width)
    m.d.comb += o.eq(a * b)
    return rtlil.convert(m, name="multiplier", ports=[a, b, o], emit_src=False)


def dot() -> str:
    """Four signed 8-bit products, summed into a register."""
    m = Module()
    a = Signal(32)
    b = Signal(32)
    o = Signal(18, reset_less=True)
    lanes = [a[i : i + 8].as_signed() * b[i : i + 8].as_signed() for i in range(0, 32, 8)]
    m.d.sync += o.eq(lanes[0] + lanes[1] + lanes[2] + lanes[3])
    return rtlil.convert(m, name="dot", ports=[a, b, o], emit_src=False)


def memories() -> str:
    """512 bits of memory, 32 bits of memory, and a read-only table."""
    m = Module()
    m.submodules.large = large = Memory(shape=8, depth=64, init=[])
    m.submodules.small = small = Memory(shape=4, depth=8, init=[])
    m.submodules.table = table = Memory(shape=8, depth=16, init=[i * 37 % 256 for i in range(16)])
    ports: list[Any] = []
    for memory in (large, small):
        write, read = memory.write_port(), memory.read_port(domain="comb")
        ports += [write.addr, write.data, write.en, read.addr, read.data]
    read = table.read_port(domain="comb")
    ports += [read.addr, read.data]
    return rtlil.convert(m, name="memories", ports=ports, emit_src=False)


def run(name: str, text: str, library: Library, **options: Any) -> Record:
    arguments: dict[str, Any] = {"macs": None, "parameters": {}, "cache_dir": None, **options}
    return synthesize(name=name, rtlil=text, library=library, **arguments)


def test_figures_of_one_gate(library: Library) -> None:
    record = run("nand", nand(), library, macs=2, parameters={"width": 1})
    assert record.area.cells == {"DFF_1": 1, "NAND2_1": 1}
    assert record.ge == pytest.approx(1 + 17 / 3, abs=1e-5)
    assert record.sequential_ge == pytest.approx(17 / 3, abs=1e-5)
    assert record.ge_per_mac == pytest.approx((1 + 17 / 3) / 2, abs=1e-5)
    assert (record.cells, record.flip_flops, record.depth) == (2, 1, 1)
    assert (record.area.start, record.area.end) == ("port a", "register q")
    # a NAND2 without load: tau * p, with p = 2
    assert record.area.delay_ps == pytest.approx(20.0)
    assert record.speed is not None
    assert record.delay_goal == "speed"
    assert record.memories == ()


def test_area_is_the_sum_over_the_kept_netlist(library: Library, tmp_path: Path) -> None:
    record = run("dot", dot(), library, keep=tmp_path)
    areas = {cell.name: cell.area for cell in generic.CELLS}
    areas[generic.FLIP_FLOP[0]] = generic.FLIP_FLOP[1]
    text = (tmp_path / "dot.area.v").read_text()
    found = [kind for kind in re.findall(r"^  (\w+) \S+ \($", text, re.M) if kind in areas]
    assert len(found) == record.cells > 100
    assert sum(areas[kind] for kind in found) == pytest.approx(record.ge, abs=1e-2)
    assert found.count("DFF_1") == record.flip_flops == 18
    kept = ("flow.ys", "flow.log", "area.json", "area.v", "speed.json", "speed.v")
    assert {p.name for p in tmp_path.iterdir()} == {f"dot.{file}" for file in kept}


@pytest.mark.parametrize("booth", [False, True])
def test_netlist_still_multiplies(library: Library, tmp_path: Path, booth: bool) -> None:
    run("multiplier", multiplier(), library, keep=tmp_path, recipe=Recipe(booth=booth))
    for goal in ("area", "speed"):
        document = json.loads((tmp_path / f"multiplier.{goal}.json").read_text())
        module = document["modules"]["multiplier"]
        cases = [(a, b) for a in range(32) for b in range(32)]
        values = {"0": 0, "1": (1 << len(cases)) - 1}
        for port, column in (("a", 0), ("b", 1)):
            for j, bit in enumerate(module["ports"][port]["bits"]):
                values[bit] = sum((case[column] >> j & 1) << k for k, case in enumerate(cases))
        result = _evaluate(module, library, values, len(cases))
        for k, (a, b) in enumerate(cases):
            assert sum((word >> k & 1) << j for j, word in enumerate(result)) == a * b


def _evaluate(
    module: dict[str, Any], library: Library, values: dict[Any, int], count: int
) -> list[int]:
    """The bits of port `o`, each an integer whose bit k is case k."""
    ones = (1 << count) - 1
    waiting = list(module["cells"].values())
    while waiting:
        later = []
        for cell in waiting:
            kind = library.cells[cell["type"]]
            pins = [cell["connections"][pin][0] for pin in kind.inputs]
            if any(pin not in values for pin in pins):
                later.append(cell)
                continue
            output, function = kind.outputs[0]
            table = liberty.truth_table(function, kind.inputs)
            word = 0
            for row in range(1 << len(pins)):
                if table >> row & 1:
                    term = ones
                    for j, pin in enumerate(pins):
                        term &= values[pin] if row >> j & 1 else ones & ~values[pin]
                    word |= term
            values[cell["connections"][output][0]] = word
        assert len(later) < len(waiting)
        waiting = later
    return [values[bit] for bit in module["ports"]["o"]["bits"]]


def test_memories_are_counted_apart(library: Library) -> None:
    record = run("memories", memories(), library)
    assert [(m.words, m.width, m.read_ports, m.write_ports) for m in record.memories] == [
        (64, 8, 1, 1)
    ]
    assert (record.memory_bits, record.memory_ports) == (512, 2)
    assert record.flip_flops == 32
    assert record.sequential_ge == pytest.approx(32 * 17 / 3, abs=1e-3)
    none_small = run("memories", memories(), library, recipe=Recipe(memory_bits=0))
    assert sorted(m.bits for m in none_small.memories) == [32, 512]
    assert none_small.flip_flops == 0
    assert none_small.ge > 10  # the table is logic


def test_same_input_comes_from_the_cache(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run("nand", nand(), library, cache_dir=tmp_path)
    entries = list(tmp_path.glob("*.json"))
    assert len(entries) == 1

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("Yosys was run")

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", refuse)
        assert run("nand", nand(), library, cache_dir=tmp_path) == first
        with pytest.raises(AssertionError, match="Yosys was run"):
            run("nand", nand(), library, cache_dir=tmp_path, macs=3)
        with pytest.raises(AssertionError, match="Yosys was run"):
            run("nand", nand(), library, cache_dir=tmp_path, recipe=Recipe(booth=False))
    entries[0].write_text(entries[0].read_text()[:100])
    with pytest.warns(CacheWarning, match="is not a record; synthesising nand again"):
        assert run("nand", nand(), library, cache_dir=tmp_path) == first
    assert run("nand", nand(), library, cache_dir=tmp_path) == first
    assert list(tmp_path.glob("*.json")) == entries


def test_errors_name_the_design_and_the_log(library: Library, tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=r"^nand: Yosys: .* \(log: .*nand\.log\)$") as caught:
        run("nand", nand().replace("$and", "$nonsense"), library, cache_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert "ERROR" in (tmp_path / "nand.log").read_text()
    with pytest.raises(SynthesisError, match="other"):
        run("other", nand(), library, cache_dir=tmp_path)
    with pytest.raises(UsageError, match="design name must be an identifier, got 'a b'"):
        run("a b", nand(), library)
    with pytest.raises(UsageError, match="macs must be at least 1, got 0"):
        run("nand", nand(), library, macs=0)
    with pytest.raises(UsageError, match="parameters of nand must be JSON values"):
        run("nand", nand(), library, parameters={"x": {1, 2}})


def test_missing_yosys_says_how_to_get_it(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(MissingToolError, match=r"pip install narrowgauge\[synth\]"):
        run("nand", nand(), library)


def test_flow_digest_moves_with_its_parts(library: Library) -> None:
    digest = flow_digest(library)
    assert digest == flow_digest(library)
    assert digest != flow_digest(library, Recipe(booth=False))
    assert digest != flow_digest(load("nangate45"))


def chain(length: int) -> dict[str, Any]:
    """Inverters in a row from port `a` to flip-flop `q`, and one NAND2 beside them."""
    cells: dict[str, Any] = {
        f"i{k}": {"type": "INV_1", "connections": {"A": [k + 10], "Z": [k + 11]}}
        for k in range(length)
    }
    cells["ff"] = {"type": "DFF_1", "connections": {"D": [length + 10], "CK": [2], "Q": [3]}}
    cells["n"] = {"type": "NAND2_1", "connections": {"A": [3], "B": ["1"], "Z": [4]}}
    ports = {
        "clk": {"direction": "input", "bits": [2]},
        "a": {"direction": "input", "bits": [9, 10]},
        "o": {"direction": "output", "bits": [4]},
    }
    return {"modules": {"t": {"ports": ports, "cells": cells, "netnames": {"q": {"bits": [3]}}}}}


def test_depth_of_a_known_chain(library: Library) -> None:
    measured = netlist.read(chain(7), "t", library)
    assert (measured.depth, measured.start, measured.end) == (7, "port a[1]", "register q")
    assert measured.cells == {"DFF_1": 1, "INV_1": 7, "NAND2_1": 1}
    assert measured.area == pytest.approx(7 * 2 / 3 + 1 + 17 / 3, abs=1e-5)
    measured = netlist.read(chain(0), "t", library)
    assert (measured.depth, measured.start, measured.end) == (1, "register q", "port o")


def test_netlist_that_cannot_be_measured(library: Library) -> None:
    document = chain(3)
    document["modules"]["t"]["cells"]["i0"]["connections"]["A"] = [13]
    with pytest.raises(SynthesisError, match="combinational loop through cell i"):
        netlist.read(document, "t", library)
    document = chain(3)
    document["modules"]["t"]["cells"]["i0"]["type"] = "$_DLATCH_P_"
    with pytest.raises(SynthesisError, match=r"cell i0 of type .* has no match in the library"):
        netlist.read(document, "t", library)


def test_gate_equivalents_agree_with_nangate45(library: Library) -> None:
    ours = run("dot", dot(), library, recipe=Recipe(speed=None))
    real = run("dot", dot(), load("nangate45"), recipe=Recipe(speed=None))
    assert ours.flip_flops == real.flip_flops == 18
    assert real.ge == pytest.approx(ours.ge, rel=0.05)
    assert real.speed is None
    assert real.delay_goal == "area"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no folder ../shared/liberty with more libraries")
@pytest.mark.parametrize(
    ("file", "name", "nand2_area"),
    [
        ("sky130hd_tt.lib", "sky130hd", 3.7536),
        ("sg13g2_stdcell_typ_1p20V_25C.lib", "sg13g2", 7.2576),
        ("asap7", "asap7", 0.05832),
    ],
)
def test_other_libraries_agree(library: Library, file: str, name: str, nand2_area: float) -> None:
    real = load(SHARED / file)
    assert (real.name, real.nand2_area) == (name, nand2_area)
    record = run("dot", dot(), real)
    ours = run("dot", dot(), library, recipe=Recipe(speed=None))
    assert record.flip_flops == 18
    assert record.ge == pytest.approx(ours.ge, rel=0.12)
    assert record.speed is not None
    assert record.speed.delay_ps < record.area.delay_ps
