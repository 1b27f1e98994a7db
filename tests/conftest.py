"""What several tests use: the command line in a process of its own, and a registered point."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def interruptible() -> None:
    """In a new process, before it starts: SIGINT ends it, also where the tests were started deaf.

    A shell that puts a command in the background has it ignore SIGINT, and children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def beginning(request: pytest.FixtureRequest) -> Any:
    """The state of the module's `RNG`, where it has one, before its first test."""
    rng = getattr(request.module, "RNG", None)
    return None if rng is None else rng.bit_generator.state


@pytest.fixture(autouse=True)
def from_the_beginning(request: pytest.FixtureRequest, beginning: Any) -> None:
    """A test draws the same whichever ran before it in its process."""
    if beginning is not None:
        request.module.RNG.bit_generator.state = beginning


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def narrowgauge(tmp_path: Path) -> Run:
    """Runs `narrowgauge ARGUMENTS` in an empty folder, without a terminal."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "narrowgauge", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
