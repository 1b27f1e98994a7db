"""Tasks on the workers of a dask scheduler: several machines, any of which may go in the middle.

The scheduler gives a task whose worker is lost to another one; a task is known by its key, so that
two clients which ask for the same one share its result. A worker needs narrowgauge with the same
sources, and the tools of what it is to measure.
"""

import logging
import queue
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from narrowgauge import workers
from narrowgauge.golden.errors import MissingToolError, NarrowgaugeError, UsageError
from narrowgauge.workers import Ended, Task

__all__ = ["carry_out", "connected", "each"]

_RETRIES = 2
"""How often a task that ended in an unexpected exception is tried again."""
_LOOK = 1.0
"""Seconds without a result after which the cluster is looked at."""


def carry_out(task: Task) -> Ended:
    """On a worker: a task in a fresh process, as at home; an unexpected exception is raised."""
    (ended,) = workers.each([task], jobs=1)
    if ended.error is not None and not isinstance(ended.error, NarrowgaugeError):
        raise ended.error
    return ended


@contextmanager
def connected(address: str, timeout: float) -> Iterator[Any]:
    """A client of the scheduler at an address; on leaving, what it asked for is given up.

    Parameters
    ----------
    address : `HOST:PORT` or `tcp://HOST:PORT`
    timeout : seconds to wait for it

    Raises
    ------
    UsageError : an address that is none, or where no scheduler answers
    MissingToolError : dask.distributed is not installed
    """
    try:
        import distributed
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        raise MissingToolError(
            "a scheduler needs dask.distributed: pip install 'narrowgauge[sweep]'"
        ) from None
    try:
        get_address_host_port(address)
    except ValueError as error:
        raise UsageError(f"expected HOST:PORT of a scheduler, got {address!r}: {error}") from None
    _hush()
    try:
        client = distributed.Client(address, timeout=timeout, set_as_default=False)
    except OSError as error:
        raise UsageError(f"no scheduler at {address!r}: {error}") from None
    with client:
        yield client


def each(
    client: Any, tasks: Sequence[Task], keys: Sequence[str], *, timeout: float
) -> Generator[Ended, None, None]:
    """Every task as it ends on some worker, as `narrowgauge.workers.each` here.

    Parameters
    ----------
    client : from `connected`
    tasks : what to run
    keys : for each the digest of all that decides its result
    timeout : seconds to wait for a worker where there is none

    Raises
    ------
    UsageError : there is no worker, or no scheduler any more
    """
    ending: queue.Queue[tuple[int, Any]] = queue.Queue()
    # Held until the end: the scheduler forgets a task that no client holds.
    futures = [
        client.submit(carry_out, task, key=f"narrowgauge-{key}", pure=True, retries=_RETRIES)
        for task, key in zip(tasks, keys, strict=True)
    ]
    for index, future in enumerate(futures):
        future.add_done_callback(lambda done, index=index: ending.put((index, done)))
    seen = time.monotonic()
    for _ in futures:
        while True:
            try:
                index, future = ending.get(timeout=_LOOK)
                break
            except queue.Empty:
                seen = _look(client, timeout, seen)
        yield _ended(index, future)


def _hush() -> None:
    """What goes wrong is said once, by the errors raised here, not by dask's loggers as well."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _look(client: Any, timeout: float, seen: float) -> float:
    """When a worker was last there; an error where scheduler or workers are gone."""
    if client.status != "running":
        raise UsageError("the scheduler has gone")
    if client.scheduler_info(n_workers=-1)["workers"]:
        return time.monotonic()
    if time.monotonic() - seen > timeout:
        raise UsageError(f"the scheduler has no worker (waited {timeout:g} s)")
    return seen


def _ended(index: int, future: Any) -> Ended:
    if future.status == "finished":
        return replace(future.result(), index=index)
    if future.status == "error":
        return Ended(index=index, error=future.exception(), seconds=0.0)
    raise UsageError(f"the scheduler has gone (its tasks are {future.status})")
