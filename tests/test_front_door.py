"""The parts that the commands share: files that appear whole, the cache, workers, error tables."""

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from narrowgauge import output, sqnr, workers
from narrowgauge.cache import Cache, DamagedWarning, fingerprint
from narrowgauge.console import table
from narrowgauge.golden.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent


def test_files_appear_whole(tmp_path: Path) -> None:
    written = output.write(tmp_path, {"a.txt": "one\n", "below/b.bin": b"\0"})
    assert [path.relative_to(tmp_path).as_posix() for path in written] == ["a.txt", "below/b.bin"]
    assert (tmp_path / "a.txt").read_bytes() == b"one\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "below"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """A folder stands where the second file should go: the first keeps its old content."""
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(UsageError, match=r"^cannot write to folder '.*': "):
        output.write(tmp_path, {"b" * 300: "long name", "a.txt": "new"})
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_is_no_folder(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UsageError, match=r"^cannot write to folder '.*': (File exists|Not a dir)"):
        output.folder(tmp_path / place)


def test_the_cache_gives_back_what_it_got(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    key = {"name": "x", "seed": 1}
    assert cache.get(key) is None
    cache.put(key, {"area": 1.5, "cells": [1, 2]})
    assert cache.get(key) == {"area": 1.5, "cells": [1, 2]}
    assert cache.get({**key, "seed": 2}) is None


@pytest.mark.parametrize("change", ["1.5->2.5", "truncate", "empty", "other"])
def test_a_changed_entry_is_found_out(change: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put({"name": "x"}, {"area": 1.5})
    (path,) = tmp_path.iterdir()
    text = path.read_text()
    changed = {
        "1.5->2.5": text.replace("1.5", "2.5"),
        "truncate": text[: len(text) // 2],
        "empty": "",
        "other": json.dumps([1]),
    }[change]
    path.write_text(changed)
    with pytest.warns(DamagedWarning, match=rf"^cache file {path.name} is damaged"):
        assert cache.get({"name": "x"}) is None


def test_the_fingerprint_follows_the_sources() -> None:
    assert fingerprint("golden") != fingerprint("hdl") != fingerprint("golden", "hdl")
    program = "from narrowgauge.cache import fingerprint; print(fingerprint('golden', 'hdl'))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert seen == {fingerprint("golden", "hdl")}


def task(function: str, **arguments: object) -> workers.Task:
    """A task under its function's name."""
    return workers.Task(label=function, function=function, arguments=arguments)


def test_a_worker_that_starts_as_the_others_are_ended_ends_as_well() -> None:
    """An interrupt must not wait for a task that a thread had just taken."""
    running = workers._Running()
    before, after = (
        subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
        )
        for _ in range(2)
    )
    running.add(before)
    running.close()
    running.add(after)
    for process in (before, after):
        assert process.wait(20) == -signal.SIGTERM
        process.communicate()


@pytest.mark.parametrize("jobs", [None, 1, 3])
def test_results_come_in_order(jobs: int | None) -> None:
    tasks = [task("textwrap:shorten", text=f"a{n} b", width=9) for n in range(4)]
    told: list[tuple[int, int]] = []
    results = workers.run(
        tasks, jobs=jobs, progress=lambda _, done, total, __: told.append((done, total))
    )
    assert results == ["a0 b", "a1 b", "a2 b", "a3 b"]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("jobs", [None, 1])
def test_errors_of_tasks(jobs: int | None) -> None:
    with pytest.raises(UsageError, match=r"^no unit 'x'; units: "):
        workers.run([task("narrowgauge.registry:find", name="x")], jobs=jobs)


def test_a_crash_keeps_its_traceback() -> None:
    with pytest.raises(
        RuntimeError, match=r"(?s)json:loads failed in its worker:.*Traceback.*JSON"
    ):
        workers.run([task("json:loads", s="{")], jobs=1)
    with pytest.raises(RuntimeError, match=r"^worker for os:_exit ended with 7:"):
        workers.run([task("os:_exit", status=7)], jobs=1)


def test_what_a_task_prints_stays_out_of_the_results(capfd: pytest.CaptureFixture[str]) -> None:
    workers.run([task("subprocess:run", args=["echo", "noise"])], jobs=1)
    assert capfd.readouterr() == ("", "")


def test_warnings_of_tasks_arrive() -> None:
    with pytest.warns(UserWarning, match=r"^planted$"):
        workers.run([task("warnings:warn", message="planted")], jobs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        workers.run([task("os:getpid")], jobs=1)


def test_mx_opal_beats_mxint_of_the_same_width_on_the_real_sample() -> None:
    rows = sqnr.measure()
    assert [row.format for row in rows] == list(sqnr.FORMATS)
    assert len(rows[0].sqnr) == 9
    assert sqnr.losses(rows) == []
    assert "in all 9 tensors" in sqnr.verdict(rows)
    assert len(sqnr.markdown(rows).splitlines()) == len(rows) + 2


def test_a_loss_is_named() -> None:
    rows = sqnr.measure(["mx_opal4", "mx_opal4_n0"])
    worse = sqnr.Row(format="mx_opal4", bits_per_element=4.8, sqnr={"layer01.qkv": 1.0})
    better = sqnr.Row(format="mx_opal4_n0", bits_per_element=4.1, sqnr={"layer01.qkv": 1.0})
    others = [
        sqnr.Row(format=name, bits_per_element=1, sqnr={"layer01.qkv": value})
        for b in (3, 5, 7)
        for name, value in ((f"mx_opal{b}", 2.0), (f"mx_opal{b}_n0", 1.0))
    ]
    assert sqnr.losses([worse, better, *others]) == [(4, "layer01.qkv")]
    assert sqnr.verdict([worse, better, *others]).endswith("in: b=4 layer01.qkv")
    assert min(rows[0].sqnr.values()) > 15


def test_numbers_of_a_table_stand_to_the_right() -> None:
    text = table(("name", "n"), [("a", "1"), ("bb", "100")])
    assert text.splitlines() == ["name    n", "----  ---", "a       1", "bb    100"]


def make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`make` in a folder that holds the Makefile and nothing made yet."""
    for name in ("Makefile", "pyproject.toml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    environment = {name: v for name, v in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_make_names_its_targets(tmp_path: Path) -> None:
    done = make(tmp_path, "help")
    assert done.returncode == 0
    for target in ("flow", "test", "lint", "bench", "clean"):
        assert f"make {target} " in done.stdout


@pytest.mark.parametrize("target", ["flow", "test"])
def test_make_says_which_python_it_needs(target: str, tmp_path: Path) -> None:
    done = make(tmp_path, target, "PYTHON=python9.99")
    assert done.returncode != 0
    assert "no 'python9.99': install Python 3.11 or newer" in done.stderr
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.2 && exit\nexit 1\n')
    old.chmod(0o755)
    done = make(tmp_path, target, "PYTHON=./old")
    assert done.returncode != 0
    assert "Python 3.8.2 is too old: Python 3.11 or newer is needed" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_takes_no_path_with_a_space(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    done = make(tmp_path / "a b", "flow")
    assert done.returncode == 2
    assert "the path of this folder holds a space" in done.stderr
