"""Sweeps on a real cluster: a scheduler and its workers as processes of this machine."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import psutil
import pytest
from conftest import Run

import narrowgauge as package
from narrowgauge.store import Store

LIMIT = 60.0
"""Seconds to wait for something that takes one or two."""
ARGUMENTS = ("sweep", "lzc/w8", "--liberty", "generic", "--grid")
# Written into the worker's folder, so that a test knows what it is at. A worker with a file "stuck"
# never ends its second job.
DIARY = """
import os, sys, time
def keep():
    from narrowgauge import area
    right = area.measure
    def measure(**arguments):
        def note(word):
            with open("diary", "a") as file:
                file.write(f"{word} {arguments['overrides'].get('width', 8)}\\n")
        stuck = os.path.exists("stuck") and os.path.exists("diary")
        note("begin")
        time.sleep(600 if stuck else 0)
        value = right(**arguments)
        note("end")
        return value
    area.measure = measure
if "narrowgauge.workers" in sys.orig_argv:
    keep()
"""


def until(condition: Callable[[], object], process: "subprocess.Popen[bytes]") -> None:
    """Wait for a condition while a process lives."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        assert time.monotonic() < end, f"waited {LIMIT} s"
        time.sleep(0.02)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it started, at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(process.pid).children(recursive=True)
        for each in [psutil.Process(process.pid), *below]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


class Cluster:
    """A scheduler, and workers that are started and killed one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self._file = folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(self._file)
        )
        until(self._file.exists, self.scheduler)

    def _start(
        self, what: str, *arguments: str, site: str | None = None, name: str = "scheduler"
    ) -> "subprocess.Popen[bytes]":
        place = self.folder / name
        place.mkdir(exist_ok=True)
        paths = [site or "", os.environ.get("PYTHONPATH", "")]
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{what}", "--host", "127.0.0.1",
                 *arguments],
                cwd=place,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                stdout=log,
                stderr=log,
            )  # fmt: skip
        self.processes.append(process)
        return process

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return str(json.loads(self._file.read_text())["address"])

    def worker(self, name: str, site: Path, stuck: bool = False) -> "subprocess.Popen[bytes]":
        """A worker of one task at a time, whose Python begins in the folder `site`."""
        if stuck:
            (self.folder / name).mkdir()
            (self.folder / name / "stuck").touch()
        process = self._start(
            "worker", "--nthreads", "1", "--no-nanny", "--no-dashboard",
            "--scheduler-file", str(self._file), site=str(site), name=name,
        )  # fmt: skip
        log = self.folder / name / "log"
        until(lambda: b"Registered to" in log.read_bytes(), process)
        return process

    def diary(self, name: str) -> list[tuple[str, int]]:
        """What a worker has begun and ended."""
        path = self.folder / name / "diary"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler; it and all workers end with the test."""
    (tmp_path / "cluster").mkdir()
    made = None
    try:
        made = Cluster(tmp_path / "cluster")
        yield made
    finally:
        for process in [] if made is None else made.processes:
            kill(process)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder that makes Python keep a diary."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(DIARY)
    return tmp_path / "site"


def sweep(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """A sweep that runs beside the test."""
    return subprocess.Popen(
        [sys.executable, "-m", "narrowgauge", *ARGUMENTS, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_killed_worker_loses_nothing(
    cluster: Cluster, site: Path, tmp_path: Path, narrowgauge: Run
) -> None:
    """One of two workers is killed while it works: as many results as jobs, those of one host."""
    first = cluster.worker("first", site, stuck=True)
    cluster.worker("second", site)
    running = sweep(tmp_path, "width=8:11", "--scheduler", cluster.address)
    try:
        until(lambda: len(cluster.diary("first")) == 3, running)
        kill(first)
        out, said = running.communicate(timeout=LIMIT)
    finally:
        kill(running)
    assert running.returncode == 0, said
    assert b"4 new results, 0 that were there" in out
    # The job that died with its worker was done by the other one.
    diary = cluster.diary("first")
    assert [word for word, _ in diary] == ["begin", "end", "begin"]
    assert ("end", diary[-1][1]) in cluster.diary("second")
    rows = Store(tmp_path / "build" / "results.sqlite").rows()
    assert sorted(row.parameters["width"] for row in rows) == list(range(8, 12))
    # `rows` would hide an older one of the same point.
    with sqlite3.connect(tmp_path / "build" / "results.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM results").fetchone() == (4,)
    connection.close()
    (tmp_path / "here").mkdir()
    store = ("--store", "here/results.sqlite", "--cache", "here/cache")
    assert narrowgauge(*ARGUMENTS, "width=8:11", *store).returncode == 0
    alone = Store(tmp_path / "here" / "results.sqlite").rows()
    assert [(r.digest, r.name, r.value, r.stamp) for r in rows] == [
        (r.digest, r.name, r.value, r.stamp) for r in alone
    ]


def test_a_scheduler_that_goes(cluster: Cluster, site: Path, tmp_path: Path) -> None:
    """One line, what was finished is kept, and the sweep goes on without the cluster."""
    cluster.worker("only", site)
    running = sweep(tmp_path, "width=8:30", "--scheduler", cluster.address, "-q", "--timeout", "2")
    store = Store(tmp_path / "build" / "results.sqlite")
    try:
        until(lambda: store.path.exists() and len(store.rows()) >= 1, running)
        kill(cluster.scheduler)
        out, said = running.communicate(timeout=LIMIT)
    finally:
        kill(running)
    assert running.returncode == 2
    assert out == b""
    assert said.startswith(b"narrowgauge: error: the scheduler has gone")
    assert said.count(b"\n") == 1
    assert 1 <= len(store.rows()) < 23


def test_a_cluster_without_a_worker(cluster: Cluster, narrowgauge: Run) -> None:
    done = narrowgauge(*ARGUMENTS, "width=9", "--scheduler", cluster.address, "--timeout", "1")
    assert done.returncode == 2
    assert done.stderr == "narrowgauge: error: the scheduler has no worker (waited 1 s)\n"


def test_no_scheduler(narrowgauge: Run, tmp_path: Path) -> None:
    done = narrowgauge(*ARGUMENTS, "width=9", "--scheduler", "127.0.0.1:1", "--timeout", "1")
    assert done.returncode == 2
    assert done.stderr.startswith("narrowgauge: error: no scheduler at '127.0.0.1:1': ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_worker_with_other_sources(cluster: Cluster, tmp_path: Path, narrowgauge: Run) -> None:
    """A copy of the package with a changed comment: its result is not taken."""
    front = Path(package.__file__).parent
    copy = tmp_path / "other" / "narrowgauge"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(front, copy, ignore=ignored, dirs_exist_ok=True)
    for part in ("golden", "hdl", "synth", "verify"):
        source = next(iter(import_module(f"narrowgauge.{part}").__path__))
        shutil.copytree(source, copy / part, ignore=ignored, dirs_exist_ok=True)
    with (copy / "hdl" / "arith" / "lzc.py").open("a") as file:
        file.write("# changed\n")
    cluster.worker("other", tmp_path / "other")
    done = narrowgauge(*ARGUMENTS, "width=9", "--scheduler", cluster.address)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "narrowgauge: error: area lzc/w8 --set width=9: a worker would make another result than "
        "the one asked for: sources "
    )
    assert done.stderr.count("\n") == 1
    assert Store(tmp_path / "build" / "results.sqlite").rows() == []


def test_without_dask(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['distributed'] = None\n"
        "from narrowgauge.cli import main\n"
        f"arguments = {[*ARGUMENTS, 'width=9']!r}\n"
        "assert main([*arguments, '-q']) == 0\n"
        "sys.exit(main([*arguments[:-1], 'width=10', '--scheduler', '127.0.0.1:1']))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr == (
        "narrowgauge: error: a scheduler needs dask.distributed: pip install 'narrowgauge[sweep]'\n"
    )
