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
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from narrowgauge.golden.errors import NarrowgaugeError

__all__ = ["Progress", "Task", "cpus", "run"]

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
    report = progress or (lambda *_: None)
    if jobs is None:
        results = []
        for done, task in enumerate(tasks, 1):
            start = time.monotonic()
            results.append(task.call())
            report(task, done, len(tasks), time.monotonic() - start)
        return results
    outcome: dict[int, Any] = {}
    with _processes() as processes, ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        pending: dict[Future[tuple[Any, float]], int] = {
            pool.submit(_in_worker, task, processes): index for index, task in enumerate(tasks)
        }
        try:
            while pending:
                done_now, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done_now:
                    index = pending.pop(future)
                    outcome[index], seconds = future.result()
                    report(tasks[index], len(outcome), len(tasks), seconds)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _end(processes)
            raise
    return [outcome[index] for index in range(len(tasks))]


@contextmanager
def _processes() -> Iterator[set[subprocess.Popen[bytes]]]:
    running: set[subprocess.Popen[bytes]] = set()
    try:
        yield running
    finally:
        _end(running)


def _end(processes: set[subprocess.Popen[bytes]]) -> None:
    """End the workers and what they started: each is the leader of its own process group."""
    for process in list(processes):
        if process.poll() is None:
            try:
                os.killpg(process.pid, signal.SIGTERM)
            except ProcessLookupError:
                continue


def _in_worker(task: Task, processes: set[subprocess.Popen[bytes]]) -> tuple[Any, float]:
    start = time.monotonic()
    with tempfile.TemporaryFile() as noise:
        process = subprocess.Popen(
            [sys.executable, "-m", "narrowgauge.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            start_new_session=True,
        )
        processes.add(process)
        try:
            answer, _ = process.communicate(pickle.dumps(task))
        finally:
            processes.discard(process)
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
    return value, time.monotonic() - start


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
