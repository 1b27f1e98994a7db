"""Tables and static timing against figures worked out by hand, and against a slow reference."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from timing_designs import mac

from narrowgauge import gates as netlists
from narrowgauge.golden.errors import UsageError
from narrowgauge.registry import points
from narrowgauge.synth.boundary import Boundary, Sram, fo4_ps, register
from narrowgauge.synth.gates import Gates, MemoryInstance, ReadPort, WritePort, build
from narrowgauge.synth.library import Library, load
from narrowgauge.synth.nldm import Table, tables
from narrowgauge.synth.sta import analyze


def grid(name: str, base: float, of_load: float, of_slew: float) -> str:
    """A table of base + of_load * load + of_slew * slew, load first as some libraries have it."""
    rows = (
        ", ".join(f"{base + of_load * load + of_slew * slew}" for slew in (0, 100))
        for load in (0, 10)
    )
    return f"{name} (grid) {{ values ({', '.join(chr(34) + row + chr(34) for row in rows)}); }}"


def arc(pin: str, kind: str, rise: str, fall: str, slews: str) -> str:
    return f"timing () {{ related_pin : {pin}; {kind} {rise} {fall} {slews} }}"


INVERTER = arc(
    "A",
    "timing_sense : negative_unate;",
    grid("cell_rise", 10, 2, 0.1),
    grid("cell_fall", 6, 1, 0.2),
    grid("rise_transition", 5, 3, 0) + grid("fall_transition", 4, 2, 0),
)
SECOND = INVERTER.replace("related_pin : A", "related_pin : B")
CLOCKED = arc(
    "CK",
    "timing_type : rising_edge;",
    grid("cell_rise", 30, 2, 0),
    grid("cell_fall", 28, 2, 0),
    grid("rise_transition", 8, 2, 0) + grid("fall_transition", 7, 2, 0),
)
SETUP = """timing () { related_pin : CK; timing_type : setup_rising;
  rise_constraint (setup) { values ("12, 112", "22, 122"); }
  fall_constraint (scalar) { values ("20"); } }"""
TEXT = f"""library (tiny) {{ time_unit : "1ps"; capacitive_load_unit (1, ff);
  lu_table_template (grid) {{ variable_1 : total_output_net_capacitance;
    variable_2 : input_net_transition; index_1 ("0, 10"); index_2 ("0, 100"); }}
  lu_table_template (setup) {{ variable_1 : constrained_pin_transition;
    variable_2 : related_pin_transition; index_1 ("0, 100"); index_2 ("0, 100"); }}
  cell (INV) {{ area : 1;
    pin (A) {{ direction : input; rise_capacitance : 1.5; fall_capacitance : 1.0; }}
    pin (Y) {{ direction : output; function : "!A"; {INVERTER} }} }}
  cell (NAND) {{ area : 2; pin (A) {{ direction : input; capacitance : 1; }}
    pin (B) {{ direction : input; capacitance : 1; }}
    pin (Y) {{ direction : output; function : "!(A & B)"; {INVERTER}
      {SECOND.replace("timing_sense : negative_unate;", "")} }} }}
  cell (XOR) {{ area : 2; pin (A) {{ direction : input; capacitance : 1; }}
    pin (B) {{ direction : input; capacitance : 1; }}
    pin (Y) {{ direction : output; function : "A ^ B"; {INVERTER.replace("negative", "non")}
      {SECOND.replace("negative", "non")} }} }}
  cell (FF) {{ area : 5; ff (IQ, IQN) {{ next_state : "D"; clocked_on : "CK"; }}
    pin (D) {{ direction : input; capacitance : 1.2; {SETUP} }}
    pin (CK) {{ direction : input; clock : true; capacitance : 1; }}
    pin (Q) {{ direction : output; function : "IQ"; {CLOCKED} }} }} }}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Library:
    file = tmp_path_factory.mktemp("tiny") / "tiny.lib"
    file.write_text(TEXT)
    return load(file)


def document(cells: dict[str, tuple[str, dict[str, int]]], **ports: list[int]) -> dict[str, Any]:
    """A JSON netlist; ports named o... are outputs, registers are named by their cells."""
    return {
        "modules": {
            "top": {
                "ports": {
                    name: {"direction": "output" if name[0] == "o" else "input", "bits": bits}
                    for name, bits in ports.items()
                },
                "cells": {
                    name: {"type": kind, "connections": {p: [b] for p, b in pins.items()}}
                    for name, (kind, pins) in cells.items()
                },
                "netnames": {
                    name: {"bits": [pins["Q"]]} for name, (_, pins) in cells.items() if "Q" in pins
                },
            }
        }
    }


CHAIN = document(
    {
        "first": ("FF", {"D": 14, "CK": 2, "Q": 10}),
        "u": ("INV", {"A": 10, "Y": 11}),
        "v": ("INV", {"A": 11, "Y": 12}),
        "second": ("FF", {"D": 12, "CK": 2, "Q": 13}),
    },
    clk=[2],
    i=[14],
    o=[13],
)


def test_a_chain_of_inverters_by_hand(tiny: Library) -> None:
    """The later edge is not the one that arrives last: the falling one needs more setup."""
    timing = analyze(build(CHAIN, "top", tiny))
    assert timing.groups == pytest.approx(
        {"reg2reg": 53.0 + 20.0, "in2reg": 30.4 + 20.0, "reg2out": 30.4 + 20.0}
    )
    assert timing.period_ps == pytest.approx(73.0)
    assert timing.fmax_mhz == pytest.approx(1e6 / 73.0)
    assert timing.group == "reg2reg"
    (path,) = timing.paths()
    assert (path.group, path.start, path.end) == ("reg2reg", "register first", "register second")
    expected = [
        ("first", "FF CK -> Q", "fall", 30.0, 30.0, 9.0, 1.0),
        ("INV A -> Y", "rise", 13.9, 43.9, 9.5, 1.5),
        ("INV A -> Y", "fall", 9.1, 53.0, 6.4, 1.2),
        ("register second", "FF D setup", "fall", 20.0, 73.0, 6.4, 1.2),
    ]
    for point, wanted in zip(path.points, expected, strict=True):
        assert (point.cell, point.edge) == wanted[-6:-4]
        figures = (point.delay_ps, point.arrival_ps, point.slew_ps, point.load_ff)
        assert figures == pytest.approx(wanted[-4:])
    named = timing.paths(labels={timing.graph.target[timing.graph.bounds[1]] // 2: "label"})
    assert "label" in [point.point for point in named[0].points]


def test_ideal_ports_and_delays_of_cells(tiny: Library) -> None:
    gates = build(CHAIN, "top", tiny)
    timing = analyze(gates, boundary=Boundary(kind="ideal"))
    assert timing.groups == pytest.approx({"reg2reg": 73.0, "in2reg": 20.0, "reg2out": 30.0})
    assert timing.delay(0, "A", "Y", 0) == pytest.approx(13.9)
    assert timing.delay(0, "A", "Y", 1) == pytest.approx(9.2)
    assert timing.delay(0, "B", "Y", 1) == -np.inf
    assert timing.slew[gates.cells[0].pins["Y"]].tolist() == pytest.approx([9.5, 6.0])
    assert timing.load[gates.cells[0].pins["Y"]].tolist() == pytest.approx([1.5, 1.0])
    assert timing.arrival[gates.cells[0].pins["Y"]].tolist() == pytest.approx([43.9, 42.2])


def test_the_largest_slew_and_the_latest_arrival_are_independent(tiny: Library) -> None:
    """One input of the NAND is late, the other slow; it is charged with both."""
    cells = {
        "late": ("INV", {"A": 20, "Y": 21}),
        "later": ("INV", {"A": 21, "Y": 22}),
        "gate": ("NAND", {"A": 22, "B": 23, "Y": 24}),
        "end": ("INV", {"A": 24, "Y": 25}),
        **{f"load{k}": ("INV", {"A": 23, "Y": 30 + k}) for k in range(20)},
    }
    timing = analyze(build(document(cells, i=[20, 23], o=[25]), "top", tiny))
    gates = timing.gates
    gate = next(i for i, c in enumerate(gates.cells) if c.name == "gate")
    pins = gates.cells[gate].pins
    late, slow = timing.arrival[pins["A"]], timing.slew[pins["B"]]
    assert late[0] < timing.arrival[pins["B"]][0]
    falls = [
        timing.arrival[pins[p]][0] + 6 + timing.load[pins["Y"]][1] + 0.2 * timing.slew[pins[p]][0]
        for p in "AB"
    ]
    assert timing.arrival[pins["Y"]][1] == pytest.approx(max(falls))
    assert slow[0] > timing.slew[pins["A"]][0]


def test_tied_inputs_and_unread_outputs_take_no_part(tiny: Library) -> None:
    cells = {
        "x": ("XOR", {"A": 20, "B": "1", "Y": 21}),
        "n": ("NAND", {"A": "0", "B": "1", "Y": 22}),
    }
    timing = analyze(build(document(cells, i=[20], o=[21, 22]), "top", tiny))  # type: ignore[arg-type]
    assert list(timing.groups) == ["in2out"]
    nothing = analyze(build(document({}, clk=[2], o=[2]), "top", tiny))
    assert (nothing.period_ps, nothing.fmax_mhz, nothing.group, nothing.paths(3)) == (0, 0, "", [])


def test_memories_have_a_stated_model(tiny: Library) -> None:
    """Reads from the clock and from the address, and everything else as an end."""
    fo4 = 18.2
    assert fo4_ps(tables(tiny)) == pytest.approx(fo4)
    clocked = ReadPort((2, 3), (4, 5), 6, True, (False,))
    direct = ReadPort((4, 5), (7, 8), 1, False, (False,))
    memory = MemoryInstance("m", 1024, 2, (clocked, direct), (WritePort((2, 3), (9, 10), (6, 6)),))
    gates = Gates(
        top="top",
        nets=12,
        names={},
        inputs={"i": (2, 3, 6, 9, 10), "clk": (11,)},
        outputs={"o": (7, 8)},
        clock=11,
        cells=(),
        levels=(),
        memories=(memory,),
        library=tiny,
    )
    timing = analyze(gates)
    assert timing.load[6].tolist() == pytest.approx([3 * 1.5 + 3 * 1.5, 3 * 1.0 + 3 * 1.0])
    access = (11 - 1) * fo4
    assert timing.arrival[4].tolist() == pytest.approx([access + 2 * 4.5, access + 2 * 3.0])
    assert timing.groups["reg2out"] == pytest.approx(2 * access + 2 * 4.5 + 2 * 1.2 + 20)
    assert timing.groups["in2reg"] == pytest.approx(30 + 2 * 9.0 + 2.5 * fo4)
    (path,) = timing.paths(1, "reg2out")
    assert [point.cell for point in path.points] == [
        "memory clock -> data",
        "memory address -> data",
        "FF D setup",
    ]
    assert (path.start, path.end[:6]) == ("memory m", "port o")
    slower = analyze(gates, sram=Sram(offset_fo4=0.0))
    assert slower.groups["reg2out"] == pytest.approx(timing.groups["reg2out"] + 2 * fo4)


def test_a_flip_flop_without_setup_needs_none() -> None:
    assert analyze(
        build(
            document({"r": ("DFF_1", {"D": 3, "CK": 2, "Q": 4})}, clk=[2], i=[3], o=[4]),
            "top",
            load("generic"),
        )
    ).groups == pytest.approx({"in2reg": 90.0, "reg2out": 90.0})


def test_tables_interpolate_and_go_on_beyond_their_ends() -> None:
    table = Table(
        np.array([0.0, 1.0, 4.0]), np.array([0.0, 2.0]), np.array([[0, 2], [1, 3], [7, 9.0]])
    )
    xs, ys = np.array([0.5, 2.5, 6.0, -1.0]), np.array([1.0, 1.0, 4.0, 0.0])
    assert table(xs, ys).tolist() == pytest.approx([1.5, 5.0, 15.0, -1.0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (INVERTER, "", "library tiny: cell INV has no timing tables for its output Y"),
        ('index_2 ("0, 100"); }', 'index_2 ("0, 50, 100"); }', "4 values do not fit its axes"),
        ("variable_2 : input_net_transition", "variable_2 : voltage", "read over voltage"),
        ('index_1 ("0, 10")', 'index_1 ("10, 0")', "an axis does not rise"),
        ("rise_capacitance : 1.5", "rise_capacitance : big", "capacitance of A"),
        ('time_unit : "1ps"', 'time_unit : "1 hour"', "no unit of a library: '1 hour'"),
    ],
)
def test_unusable_tables_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    file = tmp_path / "bad.lib"
    file.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(UsageError, match=message):
        analyze(build(CHAIN, "top", load(file)))


def test_wrong_settings() -> None:
    with pytest.raises(UsageError, match="boundary must be registers or ideal, got 'pads'"):
        Boundary(kind="pads")  # type: ignore[arg-type]
    none = replace(load("generic"), flip_flops=())
    with pytest.raises(UsageError, match="library generic has no flip-flop on a rising edge"):
        register(none)


def slow(gates: Gates) -> Iterator[tuple[str, float]]:
    """Period of every flip-flop, by recursion over Liberty's arcs, one edge at a time."""
    known = tables(gates.library)
    load_on = np.zeros((gates.nets, 2))
    driver = {}
    for cell in gates.cells:
        for pin, number in cell.pins.items():
            described = known.cell(cell.kind).pins[pin]
            if described.direction == "input":
                load_on[number] += (described.rise, described.fall)
            else:
                driver[number] = (cell, pin)
    flip_flop = known.cell(register(gates.library))
    for nets in gates.outputs.values():
        for number in nets:
            load_on[number] += (flip_flop.pins["D"].rise, flip_flop.pins["D"].fall)

    @cache
    def at(number: int, edge: int) -> tuple[float, float]:
        """Latest arrival and largest slew."""
        if number < 2:
            return -np.inf, 0.0
        cell, pin = driver.get(number, (None, "Q"))
        timing = flip_flop if cell is None else known.cell(cell.kind)
        pins = {} if cell is None else cell.pins
        best = [(-np.inf, 0.0)]
        for arc in timing.arcs:
            delay, slew = ((arc.rise, arc.rise_slew), (arc.fall, arc.fall_slew))[edge]
            if arc.pin != pin or delay is None or slew is None:
                continue
            y = load_on[number, edge]
            if arc.kind == "rising_edge":
                best.append((float(delay(0.0, y)), float(slew(0.0, y))))
            elif arc.kind == "combinational":
                causes = {"positive_unate": [edge], "negative_unate": [1 - edge]}
                for cause in causes.get(arc.sense, [0, 1]):
                    arrival, x = at(pins[arc.related], cause)
                    if arrival > -np.inf:
                        best.append((arrival + float(delay(x, y)), float(slew(x, y))))
        return max(a for a, _ in best), max(s for _, s in best)

    def needed(timing: Any, number: int) -> float:
        found = []
        for arc in timing.arcs:
            if arc.kind == "setup_rising":
                for edge, table in enumerate((arc.rise, arc.fall)):
                    arrival, x = at(number, edge)
                    found.append(arrival + float(table(x, 0.0)))
        return max(found)

    for cell in gates.flip_flops:
        yield cell.name, needed(known.cell(cell.kind), cell.pins["D"])
    for port, nets in gates.outputs.items():
        for index, number in enumerate(nets):
            yield f"{port}[{index}]", needed(flip_flop, number)


def test_a_slow_reference_agrees(tmp_path: Path) -> None:
    """Every cell of two designs in NanGate45, evaluated one edge at a time."""
    (point,) = points("fp_mul/fp8_e5m2")
    made = netlists.netlists(point, "nangate45", tmp_path)
    unit = build(made.mapped("area"), point.identifier, load("nangate45"))
    for gates in (unit, mac("nangate45", "speed", tmp_path)):
        expected = [period for _, period in slow(gates)]
        timing = analyze(gates)
        assert timing.period_ps == pytest.approx(max(expected), rel=1e-12)
        paths = timing.paths(10**6)
        listed = [path.period_ps for path in paths]
        assert listed == pytest.approx(sorted((v for v in expected if v > -np.inf), reverse=True))
        for path in paths[:20]:
            total = sum(point.delay_ps for point in path.points)
            assert total == pytest.approx(path.period_ps)
