"""The page of results without a browser: what is gathered, drawn, written and refused."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from page_samples import EVIL, POINTS, result, results, stored

from narrowgauge import api
from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.page import build, error, headline, hierarchy, labels, markup, scatter, split
from narrowgauge.page.figure import Figure, front, number
from narrowgauge.page.sections import commands
from narrowgauge.page.subjects import Subject, collect, same_lanes
from narrowgauge.store import Result, Store

SVG = "{http://www.w3.org/2000/svg}"
ERRORS = [
    {"format": "mx_opal4", "bits_per_element": 4.78, "sqnr": {"a": 20.0, "b": 24.0, "c": 50.0}},
    {"format": "mx_opal4_n0", "bits_per_element": 4.06, "sqnr": {"a": 9.0, "b": 11.0, "c": 30.0}},
    {"format": "mxint8", "bits_per_element": 8.25, "sqnr": {"a": 23.0, "b": 22.0, "c": 50.0}},
]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """The sample, synthesised once."""
    return results(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def subjects(rows: list[Result]) -> list[Subject]:
    """The sample by point."""
    return collect(rows)


def named(subjects: list[Subject], name: str) -> Subject:
    """The subject of that name."""
    (found,) = [subject for subject in subjects if subject.name == name]
    return found


def test_points_are_gathered_in_the_order_of_readers(subjects: list[Subject]) -> None:
    assert sorted(subject.name for subject in subjects) == sorted(POINTS)
    units = list(dict.fromkeys(subject.unit for subject in subjects))
    assert units == ["mx_dot", "bf16_dot", "mx_quantize", "lzc", "fp_add"]
    assert named(subjects, "mx_dot/w3a3_l32 --set lanes=8 --set k=32").macs == 8
    assert named(subjects, "fp_add/fp8_e5m2").macs is None


def test_areas_are_those_of_the_synthesis(subjects: list[Subject]) -> None:
    assert named(subjects, "lzc/w8").ge == pytest.approx(13.3, abs=2)


def test_names_select_and_an_unknown_one_is_refused(rows: list[Result]) -> None:
    assert [s.name for s in collect(rows, ["bf16_dot/l32"])] == ["bf16_dot/l32"]
    assert {s.unit for s in collect(rows, ["bf16_dot", "lzc"])} == {"bf16_dot", "lzc"}
    assert len(collect(rows, ["mx_dot/w3a3_l32"])) == 2
    with pytest.raises(UsageError, match=r"^no results of 'fp_mul'; there are results of bf16"):
        collect(rows, ["fp_mul"])


def test_results_with_parameters_of_yesterday_are_left_out(rows: list[Result]) -> None:
    old = replace(rows[0], parameters={"width": 9}, value=rows[0].value | {"ge": 1e9})
    for listed in ([old, rows[0]], [rows[0], old]):
        (subject,) = collect(listed)
        assert subject.ge == rows[0].value["ge"]
    assert collect([old]) == []


def test_the_baseline_has_as_many_lanes_and_the_same_flow(rows: list[Result]) -> None:
    subjects = collect(rows)
    dot = named(subjects, "mx_dot/w4a4_l128")
    assert same_lanes(subjects, dot) is named(subjects, "bf16_dot/l128")
    other = [
        replace(row, value=row.value | {"flow_digest": "other"})
        if (row.name, row.measure) == ("bf16_dot/l128", "area")
        else row
        for row in rows
    ]
    assert same_lanes(collect(other), named(collect(other), "mx_dot/w4a4_l128")) is None


def test_the_headline_is_computed(subjects: list[Subject]) -> None:
    assert headline.sentence(subjects) == (
        "At 128 lanes, mx_dot takes 0.17 of the gates and 0.17 of the zero-delay energy of a bf16"
        " MAC."
    )
    assert headline.sentence(collect([result("lzc/w8", "verify", [])])) == (
        "1 point of 1 unit, measured."
    )
    shown = {fact.words: fact.figure for fact in headline.facts(subjects)}
    assert shown["claims proved"] == "8 of 10"
    assert shown["mapped netlists equal to the model"] == "8 of 8"


def test_numbers_for_readers() -> None:
    assert [number(v) for v in (0.000123, 0.5, 12.345, 123.4, 20489.3, 0)] == [
        "0.000123", "0.500", "12.3", "123", "20\u202f489", "0",
    ]  # fmt: skip
    assert number(None) == ""


def test_the_front_is_what_nothing_beats() -> None:
    points = [(1.0, 5.0, "a"), (2.0, 5.0, "b"), (2.0, 3.0, "c"), (3.0, 4.0, "d"), (4.0, 1.0, "e")]
    assert [name for _, _, name in front(points)] == ["a", "c", "e"]


def test_the_front_of_the_errors_goes_up() -> None:
    figure = error.error_storage([build_row(row) for row in ERRORS])
    assert figure is not None
    assert "On the Pareto front: MXINT4, MX-OPAL4." in figure.text


def build_row(row: dict[str, Any]) -> Any:
    """A row of the quantisation errors."""
    from narrowgauge import sqnr

    return sqnr.Row(**row)


def test_labels_keep_off_each_other_and_off_markers() -> None:
    found = [labels.Label(name=f"point {i}", x=0.4 + 0.01 * i, y=0.5) for i in range(9)]
    around = labels.Obstacles(markers=[(label.x, label.y) for label in found])
    placed = labels.place(found, around, 700, 400)
    boxes = [
        labels._box(label, spot, 700, 400)
        for label, spot in zip(found, placed, strict=True)
        if spot is not None
    ]
    assert len(boxes) >= 6
    for index, one in enumerate(boxes):
        assert not any(labels._touch(one, other) for other in boxes[index + 1 :])
        assert 0 <= one[0] < one[2] <= 700
        for x, y in around.markers:
            assert not labels._touch(one, (700 * x - 4, 400 * y - 4, 700 * x + 4, 400 * y + 4))


def test_equal_siblings_are_put_together() -> None:
    leaves = [{"path": f"lane{i}.mul", "ge": 1.0} for i in range(8)]
    leaves += [{"path": "", "ge": 3.0}, {"path": "sum.add", "ge": 2.0}, {"path": "sum", "ge": 1.0}]
    assert hierarchy.groups(leaves, "ge") == {
        "lane \u00d7 8": {"mul": 8.0},
        "own logic": {"own logic": 3.0},
        "sum": {"add": 2.0, "own logic": 1.0},
    }


def test_the_treemap_holds_the_whole_area(subjects: list[Subject]) -> None:
    subject = named(subjects, "mx_dot/w4a4_l128")
    nodes = hierarchy.tree(subject)
    assert sum(node.get("ge", 0) for node in nodes) == pytest.approx(subject.ge)
    assert len({node["id"] for node in nodes}) == len(nodes)


def test_the_split_holds_the_whole_energy(subjects: list[Subject]) -> None:
    figure = split.energy_split(subjects, dot=True)
    assert figure is not None
    for subject in subjects:
        shares = [row[4] for row in figure.rows if row[0] == subject.label]
        if subject.macs:
            assert sum(float(share or 0) for share in shares) == pytest.approx(100)
    total = sum(float(row[2] or 0) for row in figure.rows if row[0] == "bf16_dot/l128")
    zero = named(subjects, "bf16_dot/l128").energy("real", "zero_delay", "pj_per_mac")
    assert total == pytest.approx(zero)


def test_one_plot_mixes_no_vectors(rows: list[Result]) -> None:
    figure = scatter.area_energy(collect(rows), dot=True)
    assert figure is not None
    assert "on the real sample" in figure.text
    lacking = [
        replace(row, value=row.value | {"vectors": {"random": row.value["vectors"]["random"]}})
        if (row.name, row.measure) == ("bf16_dot/l32", "energy")
        else row
        for row in rows
    ]
    figure = scatter.area_energy(collect(lacking), dot=True)
    assert figure is not None
    assert "on random vectors" in figure.text


def test_commands_name_units_and_grids() -> None:
    text = commands(["area", "delay"], ["lzc/w8", "mx_dot/w3a3_l32 --set lanes=8 --set k=32"])
    assert re.findall(r"<code>(.*?)</code>", text) == [
        "narrowgauge sweep lzc --measure area,delay",
        "narrowgauge sweep mx_dot/w3a3_l32 --grid lanes=8 --grid k=32 --measure area,delay",
        "narrowgauge report lzc mx_dot",
    ]


def test_text_is_escaped() -> None:
    made = markup.element("p", EVIL, markup.Markup("<br>"), title=EVIL, hidden=True, id=None)
    root = ET.fromstring(made.replace("<br>", "<br/>").replace(" hidden>", ">"))
    assert root.text == EVIL
    assert root.attrib == {"title": EVIL}


@pytest.fixture(scope="module")
def whole(subjects: list[Subject]) -> tuple[str, list[Figure]]:
    """The page of the sample."""
    return build.page(subjects, ERRORS, library="generic")


def test_the_page_shows_every_figure(whole: tuple[str, list[Figure]]) -> None:
    text, figures = whole
    assert [figure.key for figure in figures] == [
        "area-delay-dot", "area-delay-units", "area-energy-dot", "area-energy-units",
        "energy-split-dot", "energy-split-units", "area-hierarchy", "error-storage",
    ]  # fmt: skip
    assert "Not measured yet" not in text
    assert EVIL not in text
    before = text[: text.index('<script type="module">')]
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=\"(?!data:,)", before)
    assert len(text) < 1_500_000


def test_the_same_results_make_the_same_bytes(
    rows: list[Result], whole: tuple[str, list[Figure]]
) -> None:
    again, figures = build.page(collect(rows), ERRORS, library="generic")
    assert again == whole[0]
    small = [figure for figure in figures if figure.key == "area-delay-dot"]
    assert build.plots(small) == build.plots(small)


def test_plots_for_papers_have_their_data(whole: tuple[str, list[Figure]]) -> None:
    files = build.plots(whole[1])
    for figure in whole[1]:
        stem = figure.key
        if figure.choices:
            stem += f"-{next(iter(figure.choices.values()))[0]}"
        assert files[f"plots/{stem}.png"].startswith(b"\x89PNG")
        assert b"var(" not in files[f"plots/{stem}.svg"]
        root = ET.fromstring(files[f"plots/{stem}.svg"])
        for mark, count in figure.marks.items():
            drawn = [g for g in root.iter(f"{SVG}g") if mark in g.get("class", "").split()]
            assert sum(len(g) for g in drawn) == count, (stem, mark)
            assert count > 0


def test_without_measures_the_page_says_what_makes_them(rows: list[Result]) -> None:
    alone = collect([row for row in rows if row.measure == "area" and row.name == "lzc/w8"])
    text, figures = build.page(alone, [], library=None)
    assert figures == []
    for measure in ("delay", "energy", "area", "proof", "mutation"):
        assert f"narrowgauge sweep --measure {measure}" in text


def test_the_command_writes_page_and_plots(
    narrowgauge: Run, tmp_path: Path, rows: list[Result]
) -> None:
    stored(tmp_path / "results.sqlite", [row for row in rows if row.name == "fp_add/fp8_e5m2"])
    done = narrowgauge("report", "fp_add", "--store", "results.sqlite", "-o", "out", "--json")
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)
    assert files[0] == "out/index.html"
    assert {"out/plots/area-delay-units.svg", "out/plots/area-delay-units.png"} < set(files)
    assert all((tmp_path / file).stat().st_size for file in files)


def test_what_cannot_be_shown_is_one_line(tmp_path: Path, rows: list[Result]) -> None:
    (tmp_path / "out").write_text("a file")
    path = stored(tmp_path / "results.sqlite", rows)
    empty = tmp_path / "empty.sqlite"
    Store(empty).check()
    for settings, said in (
        ({"store": tmp_path / "none.sqlite"}, "no results in .*none.sqlite"),
        ({"store": empty}, "no results in .*empty.sqlite"),
        ({"store": tmp_path / "out"}, "cannot read the results"),
        ({"store": path, "library": "sky130"}, "no results with library 'sky130'; .*: generic"),
        ({"store": path, "names": "mx"}, "no results of 'mx'"),
        ({"store": path, "output": tmp_path / "out"}, "cannot write to folder"),
    ):
        with pytest.raises(UsageError, match=said):
            api.report(**{"output": tmp_path / "page", "cache": tmp_path / "cache", **settings})
    assert not (tmp_path / "page" / "index.html").exists()


def test_one_library_at_a_time(tmp_path: Path) -> None:
    gates = {"netlist": "area", "beats": 5, "equal": True, "mismatch": None}
    rows = [result("lzc/w8", "gates", gates, library) for library in ("generic", "sky130")]
    with pytest.raises(UsageError, match="several libraries, name one: generic, sky130"):
        build._library(rows, None)
    assert build._library(rows, "sky130") == "sky130"
    assert build._library(rows[:1], None) == "generic"
    assert build._library([*rows, result("lzc/w8", "gates", gates, "nangate45")], None) == (
        "nangate45"
    )


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingToolError, match=r"pip install 'narrowgauge\[report\]'"):
        api.report(store=tmp_path / "none.sqlite", output=tmp_path)
