"""The store of results: nothing twice, nothing half, the newest first, failures in one line."""

import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from narrowgauge.golden.errors import UsageError
from narrowgauge.store import Result, Store

RESULT = Result(
    digest="d0",
    measure="area",
    point="lzc/w8",
    name="lzc/w8",
    parameters={"width": 8},
    value={"ge": 13.5, "cells": [1, 2], "speed": None},
    stamp={"library": "generic", "tools": {"pyosys": "0.70"}},
    seconds=1.5,
)
WRITER = """
import sys
from dataclasses import replace
from narrowgauge.store import Result, Store
first, last, size, path = *map(int, sys.argv[1:4]), sys.argv[4]
store = Store(path)
for n in range(first, last):
    store.add(Result(
        digest=f"digest {n}", measure="area", point="lzc/w8", name=f"lzc/w8 --set width={n}",
        parameters={"width": n}, value={"ge": n, "ballast": "x" * size}, stamp={}, seconds=1.0,
    ))
"""


def made(**changes: Any) -> Result:
    """A result with some attributes changed."""
    return replace(RESULT, **changes)


def write(
    path: Path, first: int, last: int, size: int = 0, before: str = ""
) -> "subprocess.Popen[str]":
    """Another process that adds results `first`..`last`, `size` bytes each."""
    numbers = [str(number) for number in (first, last, size)]
    command = [sys.executable, "-c", before + WRITER, *numbers, str(path)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path / "below" / "results.sqlite")
    assert store.add(RESULT)
    assert store.rows() == [RESULT]
    assert store.recall(["d0", "none"]) == {"d0": RESULT}


def test_a_digest_is_stored_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.sqlite")
    assert store.add(RESULT)
    assert not store.add(made(value={"ge": 99}))
    assert store.rows() == [RESULT]


def test_rows_are_the_newest_of_what_is_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.sqlite")
    newer = made(digest="d1", value={"ge": 14}, stamp={"library": "generic", "sources": "new"})
    others = [
        made(digest="d2", measure="verify", stamp={}),
        made(digest="d3", stamp={"library": "nangate45"}),
        made(digest="d4", name="lzc/w8 --set width=9", parameters={"width": 9}),
        made(digest="d5", point="fp_add/fp32", name="fp_add/fp32"),
    ]
    for result in [RESULT, newer, *others]:
        store.add(result)
    assert {row.digest for row in store.rows()} == {"d1", "d2", "d3", "d4", "d5"}
    assert {row.digest for row in store.rows("area")} == {"d1", "d3", "d4", "d5"}
    assert {row.digest for row in store.rows(names=["lzc"])} == {"d1", "d2", "d3", "d4"}
    assert {row.digest for row in store.rows("area", ["fp_add/fp32"])} == {"d5"}
    assert {row.digest for row in store.rows(names=["lzc/w8 --set width=9"])} == {"d4"}
    assert {row.digest for row in store.rows(library="nangate45")} == {"d2", "d3"}
    # Sources that are as they were before make the older result the newest again.
    store.recall(["d0"])
    assert {row.digest for row in store.rows()} == {"d0", "d2", "d3", "d4", "d5"}
    assert [row.name for row in store.rows("area", library="generic")] == [
        "fp_add/fp32", "lzc/w8", "lzc/w8 --set width=9"
    ]  # fmt: skip


def test_no_host_no_path_no_date(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    Store(path).add(RESULT)
    with sqlite3.connect(path) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(results)")]
    connection.close()
    assert names == ["digest", "turn", "measure", "point", "name", "library",
                     "parameters", "value", "stamp", "seconds"]  # fmt: skip
    assert str(tmp_path).encode() not in path.read_bytes()


def test_writers_at_the_same_time(tmp_path: Path) -> None:
    """Three processes, each of whose results another one has too."""
    path = tmp_path / "results.sqlite"
    writers = [write(path, first, first + 20) for first in (0, 10, 20)]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 3
    rows = Store(path).rows()
    assert sorted(row.parameters["width"] for row in rows) == list(range(40))
    assert all(row.value["ge"] == row.parameters["width"] for row in rows)


def test_no_file_no_rows(tmp_path: Path) -> None:
    store = Store(tmp_path / "none.sqlite")
    assert store.recall(["d0"]) == {}
    with pytest.raises(UsageError, match=r"^no results in '.*none.sqlite': narrowgauge sweep"):
        store.rows()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    before = path.read_bytes()
    store = Store(path)
    for call in (store.rows, store.check, lambda: store.add(RESULT), lambda: store.recall(["d0"])):
        with pytest.raises(UsageError, match=r"^cannot \w+.* in '.*': file is not a database$"):
            call()
    assert path.read_bytes() == before


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    store = Store(path)
    for number in range(50):
        store.add(made(digest=f"d{number}", value={"ballast": "x" * 1000}))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\x5a" * (len(whole) - 4096))
    for call in (store.rows, lambda: store.add(RESULT)):
        with pytest.raises(UsageError, match=r"^cannot .* image is malformed$"):
            call()


def test_a_damaged_row(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    Store(path).add(RESULT)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE results SET value = '{\"ge\": '")
    connection.close()
    with pytest.raises(UsageError, match=r"^cannot read the results in .*: result d0 is damaged$"):
        Store(path).rows()


def test_the_database_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE music (title TEXT)")
    connection.close()
    before = path.read_bytes()
    for call in (Store(path).check, Store(path).rows):
        with pytest.raises(
            UsageError, match=r"^cannot use .*: it is a database of something else$"
        ):
            call()
    assert path.read_bytes() == before


def test_another_schema(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    Store(path).add(RESULT)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UsageError, match=r"^cannot use .*: its schema is 99, this version has 1$"):
        Store(path).rows()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("kept")
    for call in (Store(tmp_path / "taken" / "r.sqlite").check, Store(tmp_path).check):
        with pytest.raises(UsageError, match=r"^cannot write to "):
            call()


def test_a_file_that_may_not_be_written(tmp_path: Path) -> None:
    """It can still be read, and a result that is there is no reason to write."""
    path = tmp_path / "results.sqlite"
    Store(path).add(RESULT)
    path.chmod(0o444)
    program = (
        "import sys\n"
        "from narrowgauge.store import Store\n"
        "store = Store(sys.argv[1])\n"
        "assert len(store.rows()) == len(store.recall(['d0'])) == 1\n"
        "store.check()\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    if os.geteuid() == 0:
        # Root writes to anything, unless it is told not to.
        command = ["setpriv", "--bounding-set", "-dac_override", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines()[-1]
    assert said.endswith(f"'{path}': attempt to write a readonly database"), done.stderr
    assert said.startswith("narrowgauge.golden.errors.UsageError: cannot write to the results in ")


def test_a_full_disk(tmp_path: Path) -> None:
    """What was stored before stays, the rest is refused in one line, and the file is whole."""
    path = tmp_path / "results.sqlite"
    store = Store(path)
    store.add(RESULT)
    most = path.stat().st_size + 40_000
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n"
    writer = write(path, 0, 50, 5000, before=limit)
    said = writer.communicate()[1].strip().splitlines()[-1]
    assert writer.returncode == 1
    assert said.startswith("narrowgauge.golden.errors.UsageError: cannot write to the results in ")
    rows = store.rows()
    assert 3 < len(rows) < 20
    assert {row.digest for row in rows} == {"d0", *(f"digest {n}" for n in range(len(rows) - 1))}
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert store.add(made(digest="later"))


def _can_mount() -> bool:
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, check=False).returncode


@pytest.mark.skipif("not _can_mount()", reason="only root may mount")
def test_a_full_file_system(tmp_path: Path) -> None:
    """A file system of 64 KiB, which only this test's processes see."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "write.py").write_text(WRITER)
    (tmp_path / "read.py").write_text(
        "from narrowgauge.store import Store\n"
        "print(*(row.value['ge'] for row in Store('disk/results.sqlite').rows()))\n"
    )
    program = (
        "mount -t tmpfs -o size=64k none disk && "
        f"{sys.executable} write.py 0 50 5000 disk/results.sqlite; {sys.executable} read.py"
    )
    command = ["unshare", "--mount", "sh", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("database or disk is full"), done.stderr
    kept = sorted(int(number) for number in done.stdout.split())
    assert len(kept) > 2
    assert kept == list(range(len(kept)))
