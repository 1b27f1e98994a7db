"""Mapped netlists: equal to the golden model, proved equal to the RTL; broken ones are found."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrowgauge import design, gates, registry
from narrowgauge.golden.errors import UsageError
from narrowgauge.registry import Point
from narrowgauge.synth import equivalence, library, origin, stream
from narrowgauge.synth.gates import Gates, Instance, build
from narrowgauge.synth.job import Netlists
from narrowgauge.synth.simulation import Simulator, columns, rows

LIBRARY = library.load("nangate45")
ARITH = [
    p
    for p in registry.points()
    # Of several cells the proof is that of each.
    if p.entry.layer == "arith" and p.parameters.get("cells", 1) == 1
]
# One point of every unit, the cheapest to map; of those that are nothing but a divider at work for
# hundreds of cycles none: they take minutes (`narrowgauge gates range_bn_constants/g2`).
UNITS = [
    *registry.points("mx_quantize/mxfp4_l8"),
    *registry.points("mx_quantize/opal3_l8", k=32, n=2),
    *registry.points("mx_dot/w3a3_l32", lanes=16, k=32),
    *registry.points("mx_dot/w4a4_n0_l128", lanes=16, k=16),
    *registry.points("bf16_dot/l32", lanes=8),
    *registry.points("w4a16_dot/l32", lanes=8),
    *registry.points("opal_dot/p47_l32", k=16, n=1, lanes=8, low=2, fp_units=1),
    *registry.points("log2_softmax/c3_t64", length=8),
    *registry.points("bf16_softmax/t64", length=8),
    *registry.points("shift_attend/c4_d8", lanes=4),
    *registry.points("shift_attend/c4_d8", lanes=4, share=2),
    *registry.points("range_bn_statistics/g2_l2", channels=4),
    *registry.points("range_bn_normalize/g2_l2", channels=4),
    *registry.points("range_bn_array/g2_l2"),
    *registry.points("bfp_convert/fp32_rne_l2"),
    *registry.points("bfp_convert/fp32_stochastic_l9", lanes=2, group12=8, group16=4, group24=4),
    *registry.points("precision_control/e4"),
    *registry.points("bfp_pe/n16_small"),
    *registry.points("guarded_memory/e5m2_k1"),
    *registry.points("word_pack/e3m2_k2_w16"),
    *registry.points("word_unpack/e3m2_k2_w16"),
    *registry.points("fp32_bn/l2", lanes=1),
    *registry.points("fp32_range_bn/l2", lanes=1),
]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Netlists that several tests take."""
    return tmp_path_factory.mktemp("gates")


def made(point: Point, cache: Path, goal: str = "area") -> tuple[Netlists, Gates]:
    """The netlists of a point, and one of them built."""
    found = gates.netlists(point, "nangate45", cache)
    return found, build(found.mapped(goal), point.identifier, LIBRARY)


def sent(point: Point) -> gates.Stimulus:
    """The point's smoke vectors."""
    return gates.stimulus(point, point.entry.golden.vectors(point.params, "smoke", 1))


def broken(netlist: Gates, change: Callable[[Instance], Instance | None]) -> Gates:
    """The netlist with the first cell changed that `change` gives another for."""
    cells = list(netlist.cells)
    for index, cell in enumerate(cells):
        other = change(cell)
        if other is not None:
            cells[index] = other
            return replace(netlist, cells=tuple(cells))
    raise AssertionError("nothing to break")


def test_every_unit_is_here() -> None:
    # Cores and dividers take minutes: `narrowgauge gates` has them.
    small = {e.name for e in registry.ENTRIES if e.layer != "cores"}
    small -= {"fp32_bn_constants", "range_bn_constants"}
    assert {p.entry.name for p in (*ARITH, *UNITS)} == small


@pytest.mark.parametrize("point", UNITS, ids=lambda point: point.identifier)
def test_netlists_of_units_equal_model_and_front_end(point: Point, cache: Path) -> None:
    (result,) = gates.gates(
        f"{point.entry.name}/{point.name}", overrides=point.overrides, cache=cache
    ).values()
    assert result["equal"] is True
    assert set(result["netlists"]) == {"area", "speed"}
    for each in result["netlists"].values():
        assert each["beats"] > 0
        assert each["proof"]["status"] == "proved"
        assert each["proof"]["against"] == "front end"


@pytest.mark.parametrize("point", ARITH, ids=lambda point: point.identifier)
def test_netlists_of_arithmetic_equal_model_and_rtl(point: Point, cache: Path) -> None:
    (result,) = gates.gates(point.full_name, cache=cache).values()
    assert result["equal"] is True
    for each in result["netlists"].values():
        assert each["proof"]["status"] == "proved"
        assert each["proof"]["against"] == "RTL"


@pytest.mark.parametrize("name", ["fp_add/fp8_e5m2", "mx_quantize/mxfp4_l8"])
def test_a_wrong_cell_is_found(name: str, cache: Path) -> None:
    (point,) = registry.points(name)
    found, netlist = made(point, cache)
    wrong = broken(netlist, lambda c: replace(c, kind="NOR2_X1") if c.kind == "NAND2_X1" else None)
    mismatch = gates.compare(wrong, sent(point), seed=1)
    assert re.match(r"\d+ (of \d+ )?output beats( differ; group|, expected)", str(mismatch))
    if point.entry.layer == "arith":
        text = design.emitted(point, cache).text
        reference = equivalence.plain(text, point.identifier, LIBRARY)
    else:
        reference = equivalence.simple(found.rtl, point.identifier, LIBRARY)
    assert equivalence.prove(reference, netlist).status == "proved"
    assert equivalence.prove(reference, wrong).status == "refuted"


def test_a_proof_that_takes_too_long_is_unknown(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (point,) = registry.points("fp_mul/fp32")
    _, netlist = made(point, cache)
    reference = equivalence.plain(design.emitted(point, cache).text, point.identifier, LIBRARY)
    monkeypatch.setattr(equivalence, "_GRACE", -0.8)
    verdict = equivalence.prove(reference, netlist, seconds=1)
    assert (verdict.status, verdict.reason) == ("unknown", "no answer within 1 s")


def test_a_register_without_its_reset_is_found(cache: Path) -> None:
    # The reset is a gate before the register: tied off, random content stays in it.
    (point,) = registry.points("mx_quantize/mxfp4_l8")
    _, netlist = made(point, cache)
    reset = netlist.inputs["rst"][0]

    def deaf(cell: Instance) -> Instance:
        return replace(cell, pins={p: 0 if net == reset else net for p, net in cell.pins.items()})

    wrong = replace(netlist, cells=tuple(map(deaf, netlist.cells)))
    assert gates.compare(wrong, sent(point), seed=1) is not None


def test_a_lost_beat_is_counted(cache: Path) -> None:
    (point,) = registry.points("mx_quantize/mxfp4_l8")
    _, netlist = made(point, cache)
    stimulus = sent(point)
    short = replace(stimulus.output, ends=stimulus.output.ends[:-1])
    short = replace(short, batch={k: v[: short.count] for k, v in short.batch.items()})
    assert "output beats, expected" in str(
        gates.compare(netlist, replace(stimulus, output=short), seed=1)
    )


def test_streams_go_in_and_out_of_words() -> None:
    bits = np.random.default_rng(1).integers(0, 2, (128, 5), np.uint8)
    words = columns(bits)
    assert words.shape == (5, 2)
    assert words[3, 1] >> np.uint64(7) & np.uint64(1) == bits[71, 3]
    np.testing.assert_array_equal(rows(words, 128), bits)


def _memory(**changes: Any) -> Gates:
    """A memory of 4 words of 2 bits between ports, read and written in one cycle."""
    parameters = {
        "ABITS": "10",
        "SIZE": "100",
        "WIDTH": "10",
        "RD_PORTS": "1",
        "WR_PORTS": "1",
        "RD_CLK_ENABLE": "1",
        "RD_CLK_POLARITY": "1",
        "RD_TRANSPARENCY_MASK": "0",
        "WR_CLK_ENABLE": "1",
        "WR_CLK_POLARITY": "1",
    } | changes
    bits = iter(range(2, 40))
    ports: dict[str, Any] = {}

    def port(name: str, width: int, direction: str = "input") -> list[int]:
        nets = [next(bits) for _ in range(width)]
        ports[name] = {"direction": direction, "bits": nets}
        return nets

    clock = port("clk", 1)
    connections = {
        "RD_CLK": clock,
        "WR_CLK": clock,
        "RD_ADDR": port("ra", 2),
        "RD_EN": port("re", 1),
        "RD_DATA": port("rd", 2, "output"),
        "RD_ARST": ["0"],
        "RD_SRST": ["0"],
        "WR_ADDR": port("wa", 2),
        "WR_DATA": port("wd", 2),
        "WR_EN": port("we", 2),
    }
    cell = {"type": "$mem_v2", "parameters": parameters, "connections": connections}
    module = {"ports": ports, "cells": {"m": cell}, "netnames": {}}
    return build({"modules": {"top": module}}, "top", LIBRARY)


@pytest.mark.parametrize("clocked", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
def test_memory_against_a_plain_list(clocked: bool, transparent: bool) -> None:
    netlist = _memory(RD_CLK_ENABLE=str(int(clocked)), RD_TRANSPARENCY_MASK=str(int(transparent)))
    rng = np.random.default_rng(7)
    simulator = Simulator(netlist, 64, None)
    content, shown = [[0] * 4 for _ in range(64)], [0] * 64
    for _ in range(60):
        drawn = {p: rng.integers(0, 2, (64, len(n)), np.uint8) for p, n in netlist.inputs.items()}
        for name, nets in netlist.inputs.items():
            simulator.values[list(nets)] = columns(drawn[name])
        number = {p: (v.astype(int) << np.arange(v.shape[1])).sum(axis=1) for p, v in drawn.items()}
        simulator.evaluate()
        if not clocked:
            seen = rows(simulator.values[list(netlist.outputs["rd"])], 64).astype(int)
            for s in range(64):
                assert seen[s, 0] + 2 * seen[s, 1] == content[s][number["ra"][s]]
        simulator.tick()
        for s in range(64):
            old = content[s][number["ra"][s]]
            mask = number["we"][s]
            where = number["wa"][s]
            content[s][where] = content[s][where] & ~mask | number["wd"][s] & mask
            if number["re"][s]:
                shown[s] = content[s][number["ra"][s]] if transparent else old
        if clocked:
            seen = rows(simulator.values[list(netlist.outputs["rd"])], 64).astype(int)
            assert [a + 2 * b for a, b in seen] == shown


def test_names_of_the_rtl_are_found(cache: Path) -> None:
    (point,) = registry.points("mx_dot/w3a3_l32", lanes=16, k=32)
    found, netlist = made(point, cache)
    beats = gates.played(sent(point).input)
    text = design.emitted(point, cache).text
    traced = origin.trace(found.rtl, netlist, text, beats)
    assert len(traced.paths) == len(netlist.cells)
    assert traced.matched > len(netlist.cells) / 2
    modules = Counter(traced.paths)
    assert {"accumulator", "accumulator.add", "accumulator.convert"} <= set(modules)
    # The final sum's register and the signal that feeds it are in the accumulator.
    for cell, path in zip(netlist.cells, traced.paths, strict=True):
        label = traced.labels.get(cell.pins.get("Q", -1), "")
        if label.startswith("accumulator.total["):
            assert path == "accumulator"


def test_a_netlist_that_is_damaged_in_the_cache_is_made_anew(tmp_path: Path) -> None:
    (point,) = registry.points("lzc/w8")
    first = gates.netlists(point, "nangate45", tmp_path)
    (file,) = (tmp_path / "synth").glob("*.area.json.gz")
    whole = file.read_bytes()
    assert json.loads(gzip.decompress(whole)) == first.area
    file.write_bytes(whole[:50])
    assert gates.netlists(point, "nangate45", tmp_path) == first
    assert file.read_bytes() == whole


def test_what_cannot_be_played_is_an_error(cache: Path) -> None:
    (point,) = registry.points("lzc/w8")
    _, netlist = made(point, cache)
    beats = stream.Beats(data=np.zeros((4, 3), np.uint8), last=None, ends=np.arange(1, 5))
    with pytest.raises(UsageError, match=r"beats must have 1 bytes, got shape \(4, 3\)"):
        stream.play(netlist, beats)
    with pytest.raises(UsageError, match="streams must be a multiple of 64, got 100"):
        Simulator(netlist, 100)
    with pytest.raises(UsageError, match="goal must be area or speed, got 'size'"):
        gates.netlists(point, "nangate45", cache).mapped("size")
