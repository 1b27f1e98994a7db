"""Records: their JSON, their page, and tables of them."""

import dataclasses

import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.synth.netlist import Memory
from narrowgauge.synth.record import Record, Run
from narrowgauge.synth.report import table


def record(name: str, area: float, macs: int | None = None, **changes: object) -> Record:
    run = Run(
        goal="area",
        cells={"DFF_X1": 2, "NAND2_X1": 5},
        area=area,
        sequential_area=4.0,
        depth=3,
        start="port a",
        end="register q",
        delay_ps=123.4,
    )
    made = Record(
        name=name,
        parameters={"lanes": 4},
        macs=macs,
        library="nangate45",
        library_digest="0" * 64,
        area_unit="um2",
        nand2="NAND2_X1",
        nand2_area=0.5,
        area=run,
        speed=dataclasses.replace(run, goal="speed", area=2 * area, delay_ps=60.0),
        flip_flops=2,
        memories=(),
        tools={"pyosys": "0.70"},
        recipe="abc",
        flow_digest="f" * 64,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


MEMORY = Memory(name="m", words=64, width=8, read_ports=2, write_ports=1)


def test_json_round_trip() -> None:
    for made in (record("a", 10.0), record("b", 10.0, 4, speed=None, memories=(MEMORY,))):
        text = made.to_json()
        assert Record.from_json(text) == made
        assert Record.from_json(text).to_json() == text


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"area": 1}', "nonsense"])
def test_bad_json_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="not a synthesis record"):
        Record.from_json(text)


def test_figures_follow_from_the_runs() -> None:
    made = record("a", 10.0, 4, memories=(MEMORY,))
    assert (made.ge, made.sequential_ge, made.speed_ge, made.ge_per_mac) == (20.0, 8.0, 40.0, 5.0)
    assert (made.cells, made.depth, made.delay_ps, made.delay_goal) == (7, 3, 60.0, "speed")
    assert (made.memory_bits, made.memory_ports) == (512, 3)
    assert record("a", 10.0, speed=None).delay_ps == 123.4


def test_page_has_figures_and_stamp() -> None:
    page = record("a", 10.0, 4, memories=(MEMORY,)).to_markdown()
    for line in (
        "| GE | 20, of which flip-flops 8 |",
        "| GE a MAC | 5.0 (4 MACs a cycle) |",
        "| depth | 3 cells, from port a to register q |",
        "| delay | 60 ps (ABC, speed run, no wires) |",
        "| memory `m` | 64 x 8 bits, 2R 1W |",
        "| lanes | 4 |",
        "| flow | ffffffffffff, recipe abc |",
        "| NAND2_X1 | 5 |",
    ):
        assert line in page.splitlines()


def test_tables() -> None:
    records = [record("base", 20.0, 4), record("half", 10.0, 4, speed=None)]
    assert table(records, baseline="base") == (
        "| point | GE | GE/MAC | FFs | depth | delay ps | x |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| base | 40 | 10.0 | 2 | 3 | 60 | 1.00 |\n"
        "| half | 20 | 5.0 | 2 | 3 | 123 a | 0.50 |\n"
    )
    made = [record("a", 1.0, memories=(MEMORY,))]
    assert table(made, columns={"lanes": lambda r: str(r.parameters["lanes"])}, style="text") == (
        "point  GE  FFs  depth  delay ps  memory bits  lanes\n"
        "a       2    2      3        60          512      4\n"
    )
    assert table([], style="text").startswith("point")


def test_tables_compare_only_equal_flows() -> None:
    with pytest.raises(UsageError, match="no record 'none' to compare with"):
        table([record("a", 1.0)], baseline="none")
    other = record("b", 1.0, flow_digest="e" * 64)
    with pytest.raises(UsageError, match="b and a come from different flows or libraries"):
        table([record("a", 1.0), other])
