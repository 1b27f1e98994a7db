"""Buffer trees: what is repaired, that it computes the same, and that nothing else is touched."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.memory import Memory

from narrowgauge.synth import equivalence, job, liberty
from narrowgauge.synth.flow import synthesize
from narrowgauge.synth.gates import Gates, build
from narrowgauge.synth.library import Library, load
from narrowgauge.synth.nldm import tables
from narrowgauge.synth.recipe import DEFAULT
from narrowgauge.synth.repair import BEYOND, repair
from narrowgauge.synth.sta import analyze

LANES = 400


def broadcast() -> str:
    """A register, inputs and a bit of logic, each over many lanes; an address of many memories."""
    m = Module()
    mode = Signal()
    data = Signal(LANES)
    valid = Signal(2)
    held = Signal()
    chosen = Signal(LANES, reset_less=True)
    address = Signal(6)
    words = []
    for index in range(8):
        m.submodules[f"memory{index}"] = memory = Memory(shape=24, depth=64, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        every = valid.all()
        m.d.comb += [write.en.eq(every), write.addr.eq(address), read.addr.eq(address)]
        m.d.comb += write.data.eq(data[24 * index :][:24])
        words.append(read.data)
    kept = Signal(8 * 24, reset_less=True)
    m.d.sync += [
        held.eq(mode),
        address.eq(address + 1),
        kept.eq(Cat(words)),
        chosen.eq(data & held.replicate(LANES) ^ valid.xor().replicate(LANES)),
    ]
    ports = [mode, data, valid, chosen, kept]
    return rtlil.convert(m, name="broadcast", ports=ports, emit_src=False)


def mapped(library: Library, folder: Path) -> dict[str, dict[str, Any]]:
    """The documents of the flow, as `flow.netlists` has them."""
    made = job.Job(
        name="broadcast", rtlil=broadcast(), library=library, recipe=DEFAULT, logs=folder
    ).run(folder, None, {}, "")
    return {goal: made.mapped(goal) for goal in ("area", "speed")}


@pytest.fixture(scope="module")
def nangate45() -> Library:
    return load("nangate45")


@pytest.fixture(scope="module")
def before(nangate45: Library, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "repair", lambda document, top, library: document)
        return mapped(nangate45, tmp_path_factory.mktemp("before"))


def excess(gates: Gates) -> Iterator[float]:
    """Load over limit of the output of every cell."""
    known = tables(gates.library)
    load_of = analyze(gates).load.max(axis=1)
    for cell in gates.cells:
        for pin, _ in gates.library.cells[cell.kind].outputs:
            group = next(p for p in known.group(cell.kind).each("pin") if p.name == pin)
            limit = float(group.get("max_capacitance") or 0) * known.units.capacitance_ff
            if pin in cell.pins:
                yield load_of[cell.pins[pin]] / limit


def test_what_abc_leaves_is_repaired(before: dict[str, Any], nangate45: Library) -> None:
    document = before["speed"]
    repaired = repair(document, "broadcast", nangate45)
    old, new = (build(d, "broadcast", nangate45) for d in (document, repaired))
    assert max(excess(old)) > BEYOND
    assert max(excess(new)) < BEYOND
    assert analyze(new).period_ps < 0.7 * analyze(old).period_ps


def test_it_computes_the_same(before: dict[str, Any], nangate45: Library) -> None:
    repaired = repair(before["speed"], "broadcast", nangate45)
    area, speed = (build(d, "broadcast", nangate45) for d in (before["area"], repaired))
    assert equivalence.prove(area, speed).status == "proved"


def test_a_wrong_tree_is_found(before: dict[str, Any], nangate45: Library) -> None:
    """The proof above can fail: one buffer reads from another net."""
    repaired = repair(before["speed"], "broadcast", nangate45)
    cells = repaired["modules"]["broadcast"]["cells"]
    first = next(cell for name, cell in cells.items() if name.startswith("$repair$"))
    first["connections"]["A"] = repaired["modules"]["broadcast"]["ports"]["mode"]["bits"]
    area, speed = (build(d, "broadcast", nangate45) for d in (before["area"], repaired))
    assert equivalence.prove(area, speed).status == "refuted"


def test_the_document_given_is_left_alone(before: dict[str, Any], nangate45: Library) -> None:
    text = json.dumps(before["speed"])
    repair(before["speed"], "broadcast", nangate45)
    assert json.dumps(before["speed"]) == text


def test_nothing_to_do(before: dict[str, Any], nangate45: Library) -> None:
    repaired = repair(before["speed"], "broadcast", nangate45)
    assert repaired is not before["speed"]
    assert repair(repaired, "broadcast", nangate45) is repaired


@pytest.mark.parametrize("missing", ["max_capacitance", "buffers"])
def test_libraries_that_cannot(before: dict[str, Any], nangate45: Library, missing: str) -> None:
    if missing == "max_capacitance":
        text = re.sub(r"max_capacitance\s*:[^;]*;", "", nangate45.text)
        tree = liberty.parse(text, "without limits")
        library = replace(nangate45, text=text, tree=tree, digest="without limits")
    else:
        names = [name for name in nangate45.cells if name.startswith("BUF_")]
        library = replace(nangate45, dont_use=(*nangate45.dont_use, *names))
    assert repair(before["speed"], "broadcast", library) is before["speed"]


def test_the_flow_repairs_and_keeps_what_it_made(nangate45: Library, tmp_path: Path) -> None:
    record = synthesize(
        name="broadcast",
        rtlil=broadcast(),
        library=nangate45,
        macs=None,
        parameters={},
        cache_dir=None,
        keep=tmp_path,
    )
    assert record.speed is not None
    verilog = (tmp_path / "broadcast.speed.v").read_text()
    document = json.loads((tmp_path / "broadcast.speed.json").read_text())
    cells = document["modules"]["broadcast"]["cells"]
    trees = [cell["type"] for name, cell in cells.items() if name.startswith("$repair$")]
    assert trees
    for kind in set(trees):
        used = [cell["type"] for cell in cells.values()].count(kind)
        assert len(re.findall(rf"^\s*{kind} ", verilog, re.M)) == used == record.speed.cells[kind]
    assert "$repair$" not in (tmp_path / "broadcast.area.json").read_text()
