"""Sweeps: what they plan, that nothing is done twice, and that nothing finished is lost."""

import importlib
import inspect
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, interruptible

from narrowgauge import api, measures
from narrowgauge.cli import parser
from narrowgauge.golden.errors import NarrowgaugeError, UsageError
from narrowgauge.jobs import ChangedError
from narrowgauge.measures import MEASURES
from narrowgauge.plan import Plan, plan
from narrowgauge.store import Result, Store
from narrowgauge.sweep import Progress


def planned(*names: str, **options: Any) -> Plan:
    """The plan of a sweep of area, unless the options say otherwise."""
    given = {"grid": {}, "overrides": {}, "measure": ["area"], "liberty": "generic"}
    return plan(names, **given | options)


def labels(made: Plan) -> list[str]:
    """What is measured, in order."""
    return [job.label for job in made.jobs]


def site(folder: Path, program: str) -> dict[str, str]:
    """Environment in which every Python process begins with a program."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(program)
    paths = [str(folder / "site"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Widths of the leading-zero counters whose area was asked for, in place of synthesis."""
    asked: list[int] = []

    def area(*, name: str, overrides: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        width = api.points(name, overrides=overrides)[0].params.width
        asked.append(width)
        if width == 13:
            raise NarrowgaugeError("planted error")
        if width == 17:
            raise ZeroDivisionError("planted crash")
        return {"ge": 2 * width}

    monkeypatch.setattr("narrowgauge.area.measure", area)
    return asked


def sweep(folder: Path, widths: list[int], **options: Any) -> Any:
    """A sweep of the leading-zero counter in this process."""
    given = {"liberty": "generic", "store": folder / "r.sqlite", "cache": folder / "cache"}
    return api.sweep("lzc/w8", grid={"width": widths}, **given | options)


def test_every_combination_is_planned_once() -> None:
    made = planned("mx_dot/w4a4_l32", grid={"w_bits": [3, 4], "lanes": [32, 64]})
    assert labels(made) == [
        "area mx_dot/w4a4_l32 --set w_bits=3",
        "area mx_dot/w4a4_l32 --set w_bits=3 --set lanes=64",
        "area mx_dot/w4a4_l32",
        "area mx_dot/w4a4_l32 --set lanes=64",
    ]
    # Four points that differ in width alone, and twice the same value.
    made = planned("lzc", grid={"width": [9, 10, 9]})
    assert labels(made) == ["area lzc/w8 --set width=9", "area lzc/w8 --set width=10"]
    assert labels(planned("lzc", "lzc/w8")) == [f"area lzc/w{w}" for w in (8, 24, 32, 48)]


def test_a_combination_that_is_a_point_has_its_name() -> None:
    made = planned("mx_dot/w4a4_l32", grid={"lanes": [32, 128], "a_bits": [4, 7]})
    assert labels(made) == [
        f"area mx_dot/{name}" for name in ("w4a4_l32", "w4a7_l32", "w4a4_l128", "w4a7_l128")
    ]


def test_the_order_of_parameters_does_not_matter() -> None:
    grid = {"lanes": [64], "w_bits": [3]}
    first = planned("mx_dot/w4a4_l32", grid=grid).jobs
    other = planned("mx_dot/w4a4_l32", grid={"w_bits": [3]}, overrides={"lanes": 64}).jobs
    assert [job.digest for job in first] == [job.digest for job in other]
    assert labels(planned("mx_dot/w4a4_l32", grid=grid)) == [
        "area mx_dot/w4a4_l32 --set w_bits=3 --set lanes=64"
    ]


def test_measures_come_one_after_the_other() -> None:
    made = planned("lzc/w8", "lzc/w24", measure=["verify", "area", "verify"])
    assert labels(made) == [f"{m} lzc/{w}" for m in ("verify", "area") for w in ("w8", "w24")]


def test_what_a_unit_refuses_is_told() -> None:
    made = planned("lzc", grid={"width": [1, 8]})
    assert labels(made) == ["area lzc/w8"]
    assert [(each.name, each.reason) for each in made.refused] == [
        ("lzc/w8 width=1", "width must be 2..62, got 1")
    ]


def test_a_measure_that_a_point_has_not_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    only = {**MEASURES["area"].__dict__, "applies": lambda point: point.name == "w8"}
    monkeypatch.setitem(MEASURES, "area", measures.Measure(**only))
    made = planned("lzc/w8", "lzc/w24")
    assert labels(made) == ["area lzc/w8"]
    assert [(each.name, each.reason) for each in made.refused] == [
        ("lzc/w24", "has no measure area")
    ]


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (["lzc"], {"grid": {"widht": [8]}}, "unit lzc has no parameter 'widht'"),
        (["lzc", "fp_add"], {"grid": {"width": [8]}}, "unit fp_add has no parameter 'width'"),
        (["lzc"], {"grid": {"input": [8]}}, "unit lzc has no parameter 'input'"),
        (["lzc"], {"grid": {"width": [1]}}, "nothing to sweep; of 1 refused, the first is lzc/w8"),
        (["lzc"], {"grid": {"width": ["x"]}}, "parameter width must be an integer, got 'x'"),
        (["lzc"], {"grid": {"width": []}}, "the grid of width is empty"),
        (["lzc"], {"grid": {"width": range(30_000)}}, "the grid has 120000 combinations"),
        (["lzc"], {"grid": {"width": [8]}, "overrides": {"width": 9}}, "width has one value and a"),
        (["lzc"], {"measure": []}, "no measure named; measures: area, "),
        (["lzc"], {"measure": ["beauty"]}, "no measure 'beauty'; measures: area, "),
        (["nonesuch"], {}, "no unit 'nonesuch'"),
    ],
)
def test_impossible_plans(names: list[str], options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        planned(*names, **options)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("words", "grid"),
    [
        ("width=8", {"width": [8]}),
        ("width=2:8:2,11", {"width": [2, 4, 6, 8, 11]}),
        ("width=3:5", {"width": [3, 4, 5]}),
        ("a=true,x,1.5 b=1", {"a": [True, "x", 1.5], "b": [1]}),
    ],
)
def test_words_of_a_grid(words: str, grid: dict[str, Any]) -> None:
    arguments = [word for each in words.split() for word in ("--grid", each)]
    assert parser().parse_args(["sweep", *arguments]).grid == grid


@pytest.mark.parametrize(
    "words",
    ["width", "width=", "=3", "width=3,,4", "width=5:3", "width=1:9:0", "width=1:2:3:4",
     "width=a:b", "width=0:999999999", "width=1 --grid width=2"],
)  # fmt: skip
def test_words_that_are_no_grid(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        parser().parse_args(["sweep", *shlex.split(f"--grid {words}")])
    assert "argument --grid: " in capsys.readouterr().err


@pytest.mark.parametrize("name", MEASURES)
def test_the_function_of_a_measure_takes_what_it_is_given(name: str) -> None:
    measure = MEASURES[name]
    module, _, function = measure.function.partition(":")
    call = inspect.signature(getattr(importlib.import_module(module), function))
    call.bind(name="", overrides={}, **dict.fromkeys(measure.takes), **measure.arguments)
    json.dumps(measure.arguments)
    assert len(measure.source()) == 64
    assert set(measure.takes) <= {"liberty", "cache", "build_dir"}


def test_what_is_in_the_store_is_not_computed_again(tmp_path: Path, calls: list[int]) -> None:
    first = sweep(tmp_path, [8, 9])
    assert [(r.name, r.value) for r in first.results] == [
        ("lzc/w8", {"ge": 16}),
        ("lzc/w8 --set width=9", {"ge": 18}),
    ]
    again = sweep(tmp_path, [10, 9, 8], cache=tmp_path / "another")
    assert calls == [8, 9, 10]
    assert (len(again.results), again.reused, again.passed) == (3, 2, True)
    assert [r.value["ge"] for r in again.results] == [20, 18, 16]
    assert len(Store(tmp_path / "r.sqlite").rows()) == 3


def test_what_is_in_the_cache_is_not_computed_again(tmp_path: Path, calls: list[int]) -> None:
    sweep(tmp_path, [8, 9])
    assert len(sweep(tmp_path, [8, 9], store=tmp_path / "new.sqlite").results) == 2
    assert calls == [8, 9]
    assert len(Store(tmp_path / "new.sqlite").rows()) == 2


@pytest.mark.parametrize("change", ["sources", "library", "arguments", "tools"])
def test_what_decides_a_result_is_in_its_key(
    change: str, tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(tmp_path, [8])
    options = {}
    if change == "sources":
        monkeypatch.setattr(measures, "fingerprint", lambda *_: "other sources")
    elif change == "library":
        options["liberty"] = "nangate45"
    elif change == "tools":
        monkeypatch.setattr("narrowgauge.design.tools", lambda *_: {"pyosys": "1.0"})
    else:
        other = {**MEASURES["area"].__dict__, "arguments": {"seed": 2}}
        monkeypatch.setitem(MEASURES, "area", measures.Measure(**other))
    assert sweep(tmp_path, [8], **options).reused == 0
    assert calls == [8, 8]


def test_each_result_is_stored_as_it_comes(tmp_path: Path, calls: list[int]) -> None:
    seen = []

    def look(now: Progress) -> None:
        seen.append((now.done, now.total, len(Store(tmp_path / "r.sqlite").rows())))

    sweep(tmp_path, [8, 9, 10], progress=look)
    assert seen == [(1, 3, 1), (2, 3, 2), (3, 3, 3)]


def test_a_failure_stops_no_other(tmp_path: Path, calls: list[int]) -> None:
    for _ in range(2):
        made = sweep(tmp_path, [12, 13, 17, 18])
        assert [r.value["ge"] for r in made.results] == [24, 36]
        assert [(each.name, each.reason) for each in made.failed] == [
            ("area lzc/w8 --set width=13", "planted error"),
            ("area lzc/w8 --set width=17", "planted crash"),
        ]
        assert not made.passed
    # What failed is tried again.
    assert calls == [12, 13, 17, 18, 13, 17]


def test_a_red_verdict_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [
        {"passed": True, "level": "smoke", "failure": "", "mismatch": None, "beats_out": 9},
        {"passed": False, "level": "real", "failure": "stuck\nmore", "mismatch": None},
    ]
    monkeypatch.setattr("narrowgauge.tasks.verify", lambda **_: failing)
    made = sweep(tmp_path, [8], measure=["verify"])
    assert [each.reason for each in made.failed] == ["verify lzc/w8: real: stuck"]
    monkeypatch.setattr("narrowgauge.tasks.verify", lambda **_: [])
    made = sweep(tmp_path, [8], measure=["verify"])
    assert [each.reason for each in made.failed] == ["verify lzc/w8: nothing was verified"]
    assert Store(tmp_path / "r.sqlite").rows() == []
    assert not (tmp_path / "cache" / "measures").exists()


def test_sources_that_change_in_the_middle(
    tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(now: Progress) -> None:
        monkeypatch.setattr(measures, "fingerprint", lambda *_: "edited")

    with pytest.raises(ChangedError, match=r"width=9: a worker would make another.*: sources "):
        sweep(tmp_path, [8, 9], progress=edit)
    assert [row.value["ge"] for row in Store(tmp_path / "r.sqlite").rows()] == [16]
    assert calls == [8]


def test_the_command(narrowgauge: Run, tmp_path: Path) -> None:
    """Real areas, those of `synth`; the second time nothing is left to do."""
    arguments = ("sweep", "lzc/w8", "--grid", "width=1,8,9", "--liberty", "generic")
    done = narrowgauge(*arguments)
    assert done.returncode == 0, done.stderr
    assert [line.partition(" (")[0] for line in sorted(done.stderr.splitlines())] in (
        ["[1/2] area lzc/w8", "[2/2] area lzc/w8 --set width=9"],
        ["[1/2] area lzc/w8 --set width=9", "[2/2] area lzc/w8"],
    )
    assert "1 refused:\n  lzc/w8 width=1: width must be 2..62, got 1\n" in done.stdout
    assert done.stdout.endswith("\n2 new results, 0 that were there, in build/results.sqlite\n")
    kept = (tmp_path / "build" / "results.sqlite").read_bytes()
    again = narrowgauge(*arguments, "--json")
    assert again.stderr == ""
    assert (tmp_path / "build" / "results.sqlite").read_bytes() == kept
    data = json.loads(again.stdout)
    assert (data["reused"], data["failed"], len(data["refused"])) == (2, [], 1)
    records = json.loads(
        narrowgauge("synth", "lzc/w8", "--set", "width=9", "--liberty", "generic", "--json").stdout
    )
    assert len(records) == 1
    value = data["results"][1]["value"]
    assert value["ge"] == records[0]["area"]["area"] / records[0]["nand2_area"]
    assert {name: value[name] for name in records[0]} == records[0]
    assert sum(leaf["ge"] for leaf in value["hierarchy"]) == pytest.approx(value["ge"])


def test_the_command_with_failures(narrowgauge: Run, tmp_path: Path) -> None:
    """One job fails on purpose, the process of another one ends: both are named, the rest is."""
    environment = site(
        tmp_path,
        "from narrowgauge import area\n"
        "from narrowgauge.golden.errors import NarrowgaugeError\n"
        "def measure(*, overrides, **_):\n"
        "    width = overrides.get('width', 8)\n"
        "    if width == 9: raise NarrowgaugeError('planted')\n"
        "    if width == 10:\n"
        "        import os; os._exit(9)\n"
        "    return {'ge': width, 'ge_per_mac': None, 'flip_flops': 0, 'speed': None,\n"
        "        'area': {'depth': 1, 'delay_ps': 2.0}}\n"
        "area.measure = measure\n",
    )
    done = narrowgauge("sweep", "lzc/w8", "--grid", "width=8:11", **environment)
    assert done.returncode == 1
    assert "2 failed" in done.stderr
    assert "2 failed:\n  area lzc/w8 --set width=9: planted\n" in done.stdout
    assert "worker for area lzc/w8 --set width=10 ended with 9" in done.stdout
    assert "2 new results, 0 that were there" in done.stdout
    rows = Store(tmp_path / "build" / "results.sqlite").rows()
    assert sorted(row.value["ge"] for row in rows) == [8, 11]


def test_an_interrupt_keeps_what_is_finished(tmp_path: Path) -> None:
    arguments = ["sweep", "lzc/w8", "--grid", "width=8:40", "--liberty", "generic", "--jobs", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "narrowgauge", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    store = Store(tmp_path / "build" / "results.sqlite")
    while not (store.path.exists() and len(store.rows()) >= 2):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    rows = store.rows()
    assert 2 <= len(rows) < 33
    assert said.splitlines()[-2:] == [
        f"{len(rows)} of 33 results are in build/results.sqlite; the same command goes on there",
        "narrowgauge: interrupted",
    ]


def test_a_disk_that_fills_up_in_the_middle(narrowgauge: Run, tmp_path: Path) -> None:
    """One line, exit code 2; what was stored stays, what was computed is not computed again."""
    store = Store(tmp_path / "build" / "results.sqlite")
    ballast = Result(
        digest="ballast", measure="ballast", point="x", name="x", parameters={},
        value="x" * 1_000_000, stamp={}, seconds=0.0,
    )  # fmt: skip
    store.add(ballast)
    most = store.path.stat().st_size + 6_000
    limit = site(
        tmp_path,
        f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n",
    )
    arguments = ("sweep", "lzc/w8", "--grid", "width=8:15", "--liberty", "generic")
    done = narrowgauge(*arguments, "-q", **limit)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "narrowgauge: error: cannot write to the results in 'build/results.sqlite': "
    )
    finished = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "build/cache/measures").iterdir()
    }
    kept = len(store.rows("area"))
    assert 1 <= kept < 8
    assert len(finished) > kept
    assert f"; {kept} results of this sweep are in it, what else was finished is in the" in line
    again = narrowgauge(*arguments)
    assert again.returncode == 0, again.stderr
    assert f"{8 - kept} new results, {kept} that were there" in again.stdout
    assert len(store.rows("area")) == 8
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lzc", "--grid", "width=1"], "nothing to sweep; of 1 refused, the first is lzc/w8 width"),
        (["lzc", "--measure", "area,beauty"], "no measure 'beauty'; measures: area, "),
        (["lzc", "--liberty", "none.lib"], "none.lib"),
        (
            ["lzc", "--measure", "verify", "--cache", "a b"],
            "take no folder with a space, got 'a b'",
        ),
        (["lzc", "--store", "/dev/null/r.sqlite"], "cannot write to folder '/dev/null': "),
        (["lzc", "--scheduler", "nowhere"], "expected HOST:PORT of a scheduler, got 'nowhere'"),
    ],
)
def test_one_line_and_nothing_written(
    arguments: list[str], said: str, narrowgauge: Run, tmp_path: Path
) -> None:
    done = narrowgauge("sweep", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("narrowgauge: error: ")
    assert said in line
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_store_that_is_no_database(narrowgauge: Run, tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("hello, this is text\n" * 100)
    done = narrowgauge("sweep", "lzc/w8", "--store", "text.sqlite")
    assert done.returncode == 2
    assert done.stderr == (
        "narrowgauge: error: cannot read the results in 'text.sqlite': file is not a database\n"
    )
