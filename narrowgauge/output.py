"""Where results go: a folder checked before any work, files that appear whole."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from narrowgauge.golden.errors import UsageError

__all__ = ["buildable", "file", "folder", "locked", "record", "write"]


def folder(path: str | os.PathLike[str]) -> Path:
    """The folder at `path`, made if missing; one that cannot be written to is a `UsageError`."""
    made = Path(path)
    try:
        made.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=made):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to folder {str(path)!r}: {error.strerror}") from None
    return made


def buildable(path: str | os.PathLike[str]) -> None:
    """Refuse a folder that a simulator cannot be built in."""
    whole = str(Path(path).resolve())
    if " " in whole:
        shown = str(path) if " " in str(path) else whole
        raise UsageError(f"Verilator's makefiles take no folder with a space, got {shown!r}")


def file(path: str | os.PathLike[str]) -> Path:
    """A file that is to be written: its folder is made, one that cannot be is a `UsageError`."""
    made = Path(path)
    if made.is_dir():
        raise UsageError(f"cannot write to file {str(path)!r}: it is a folder")
    return folder(made.parent) / made.name


def write(into: str | os.PathLike[str], files: Mapping[str, str | bytes]) -> list[Path]:
    """Write files (relative name -> content) into a folder; each appears whole or not at all."""
    target = folder(into)
    aside = Path(tempfile.mkdtemp(prefix=".writing-", dir=target))
    try:
        for name, content in files.items():
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        for name in files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside / name, target / name)
    except OSError as error:
        raise UsageError(f"cannot write to folder {str(into)!r}: {error.strerror}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return [target / name for name in files]


def record(path: str | os.PathLike[str], text: str) -> None:
    """Write one file, which appears whole or not at all."""
    write(Path(path).parent, {Path(path).name: text})


@contextmanager
def locked(path: Path) -> Iterator[Path]:
    """A folder that one process at a time works in; others wait."""
    with (folder(path) / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield path
