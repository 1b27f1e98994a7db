"""Tasks in processes of their own: several at once, none able to take the others down.

A task is a function named by its module, with arguments that can be pickled. It runs in a fresh
interpreter, so it needs no guard in the caller's main module, and what its tools print does not
reach the caller's standard output.
"""

import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from narrowgauge.golden.errors import NarrowgaugeError

__all__ = ["Ended", "Progress", "Task", "cpus", "each", "run"]

Progress = Callable[["Task", int, int, float], None]
"""Called as each task ends: task, tasks done, tasks in all, seconds that it took."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A call of `function` ("package.module:name") with keyword arguments."""

    label: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def call(self) -> Any:
        """Run it here."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)(**self.arguments)


def cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A task that has ended: its place among the tasks, its result or error, seconds it took."""

    index: int
    value: Any = None
    error: Exception | None = None
    seconds: float


def run(
    tasks: Sequence[Task], *, jobs: int | None = None, progress: Progress | None = None
) -> list[Any]:
    """The results of the tasks, in their order.

    Parameters
    ----------
    tasks : what to run
    jobs : worker processes at once; None runs everything in this process
    progress : told about each task that ends

    The first error stops the rest and is raised; an interrupt ends the workers with their tools.
    """
    outcome: dict[int, Any] = {}
    with closing(each(tasks, jobs=jobs)) as ending:
        for ended in ending:
            if ended.error is not None:
                raise ended.error
            outcome[ended.index] = ended.value
            if progress is not None:
                progress(tasks[ended.index], len(outcome), len(tasks), ended.seconds)
    return [outcome[index] for index in range(len(tasks))]


def each(tasks: Sequence[Task], *, jobs: int | None = None) -> Generator[Ended, None, None]:
    """Every task as it ends, with its error where it has one, which stops no other.

    `jobs` is as for `run`. Closing the generator ends the workers with their tools.
    """
    if jobs is None:
        for index, task in enumerate(tasks):
            yield _ended(index, task.call)
        return
    running = _Running()
    with closing(running), ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        pending = {
            pool.submit(_ended, index, partial(_in_worker, task, running))
            for index, task in enumerate(tasks)
        }
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            running.close()
            raise


def _ended(index: int, call: Callable[[], Any]) -> Ended:
    start = time.monotonic()
    value, error = None, None
    try:
        value = call()
    except Exception as raised:
        error = raised
    return Ended(index=index, value=value, error=error, seconds=time.monotonic() - start)


class _Running:
    """The workers at work, each the leader of its own process group."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """A worker has started; where the others have been ended meanwhile it ends at once."""
        with self._lock:
            self._processes.add(process)
            if self._closed:
                _end(process)

    def discard(self, process: subprocess.Popen[bytes]) -> None:
        """A worker has ended."""
        with self._lock:
            self._processes.discard(process)

    def close(self) -> None:
        """End the workers and what they started, also those that a thread is about to start."""
        with self._lock:
            self._closed = True
            for process in self._processes:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def _in_worker(task: Task, running: _Running) -> Any:
    with tempfile.TemporaryFile() as noise:
        process = subprocess.Popen(
            [sys.executable, "-m", "narrowgauge.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            start_new_session=True,
            # One BLAS thread a worker, unless the user says otherwise: workers fill the cores.
            env={"OPENBLAS_NUM_THREADS": "1", **os.environ},
        )
        running.add(process)
        try:
            answer, _ = process.communicate(pickle.dumps(task))
        finally:
            running.discard(process)
        if process.returncode or not answer:
            noise.seek(0)
            said = noise.read().decode(errors="replace").strip()[-2000:]
            raise RuntimeError(f"worker for {task.label} ended with {process.returncode}:\n{said}")
    kind, value, said = pickle.loads(answer)
    for warning in said:
        warnings.warn(warning, stacklevel=2)
    if kind == "error":
        raise value
    if kind == "crash":
        raise RuntimeError(f"{task.label} failed in its worker:\n{value}")
    return value


def _main() -> None:
    """Read a task from standard input, answer with its result on standard output."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    said: list[Warning] = []

    def keep(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        said.append(message if isinstance(message, Warning) else category(message))

    warnings.showwarning = keep
    # An exception, so that a runner can end the simulator that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    task: Task = pickle.load(sys.stdin.buffer)
    reply: tuple[str, Any, list[Warning]]
    try:
        reply = ("result", task.call(), said)
    except NarrowgaugeError as error:
        reply = ("error", error, said)
    except BaseException:
        reply = ("crash", traceback.format_exc(), said)
    with answer:
        pickle.dump(reply, answer)


if __name__ == "__main__":
    # The class of a task must be the importable one, not this module's `__main__` twin.
    importlib.import_module("narrowgauge.workers")._main()
