"""Results kept by content: the key is a digest of everything that a result depends on."""

import functools
import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from narrowgauge import output, workers

__all__ = ["Cache", "DamagedWarning", "computed", "fingerprint", "version"]


class DamagedWarning(UserWarning):
    """A cached file could not be read, and its result is made anew."""


def version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def fingerprint(*packages: str) -> str:
    """Digest of all files of some sub-packages ("golden", "hdl", ...)."""
    digest = hashlib.sha256()
    for package in packages:
        module = import_module(f"narrowgauge.{package}")
        root = Path(next(iter(module.__path__)))
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                name = f"{package}/{path.relative_to(root).as_posix()}"
                digest.update(f"{name}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


class Cache:
    """JSON values in a folder, one file a key, each with its own checksum.

    A file that is damaged is named in one warning and treated as absent, so the result is made
    anew; a damaged cache never changes a result.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def file(self, key: Mapping[str, Any]) -> Path:
        """The file that holds the value of `key`."""
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode())
        return self._path / f"{digest.hexdigest()}.json"

    def get(self, key: Mapping[str, Any]) -> Any | None:
        """The value of `key`, or None."""
        path = self.file(key)
        try:
            stored = json.loads(path.read_text())
            value = stored["value"]
            whole = stored["sha256"] == _checksum(value)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if whole:
            return value
        message = f"cache file {path.name} is damaged; its result is made anew"
        warnings.warn(message, DamagedWarning, stacklevel=2)
        return None

    def put(self, key: Mapping[str, Any], value: Any) -> None:
        """Keep a JSON value under `key`."""
        path = self.file(key)
        stored = {"sha256": _checksum(value), "key": dict(key), "value": value}
        output.write(path.parent, {path.name: json.dumps(stored, default=str) + "\n"})


def computed(
    store: Cache,
    wanted: Sequence[tuple[Mapping[str, Any], workers.Task]],
    *,
    jobs: int | None,
    progress: workers.Progress | None,
) -> list[Any]:
    """The results of tasks, in their order; those that the store has are not made again.

    Parameters
    ----------
    store : gets each result as its task ends, so that what was stopped goes on where it was
    wanted : key and task of each
    jobs, progress : as of `workers.run`, for the tasks that are run

    The first error stops the rest and is raised.
    """
    found = [store.get(key) for key, _ in wanted]
    missing = [index for index, value in enumerate(found) if value is None]
    tasks = [wanted[index][1] for index in missing]
    with closing(workers.each(tasks, jobs=jobs)) as ending:
        for done, ended in enumerate(ending, start=1):
            if ended.error is not None:
                raise ended.error
            index = missing[ended.index]
            found[index] = ended.value
            store.put(wanted[index][0], ended.value)
            if progress is not None:
                progress(tasks[ended.index], done, len(tasks), ended.seconds)
    return found


def _checksum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
