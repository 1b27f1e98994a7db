"""The commands that make, check and synthesise points, over the Python API."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge import api
from narrowgauge.api import SIMULATORS
from narrowgauge.console import Console, table
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.samples import DAMAGE
from narrowgauge.options import Command, output_option, shared

__all__ = ["COMMANDS", "doctor", "flow", "generate", "list_", "vectors", "verify"]


def _show(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _files(options: argparse.Namespace, written: Sequence[Path]) -> int:
    if options.json:
        _show([path.as_posix() for path in written])
    else:
        print("\n".join(path.as_posix() for path in written))
    return 0


def list_(options: argparse.Namespace) -> int:
    """Units, points and parameters."""
    points = api.points(options.names)
    if options.json:
        _show(
            [
                {
                    "name": point.full_name,
                    "layer": point.entry.layer,
                    "summary": point.entry.summary,
                    "parameters": point.parameters,
                }
                for point in points
            ]
        )
        return 0
    rows = [
        (point.full_name, " ".join(f"{k}={v}" for k, v in point.parameters.items()))
        for point in points
    ]
    print(table(("point", "parameters"), rows))
    return 0


def generate(options: argparse.Namespace) -> int:
    """Verilog and what comes with it."""
    console = Console(options.verbosity)
    written = api.generate(
        options.names,
        output=options.output,
        system=options.system,
        overrides=options.overrides,
        jobs=options.jobs,
        progress=console.progress,
    )
    return _files(options, written)


def _sentence(result: Any) -> str:
    return (
        f"{result.name} {result.level} seed {result.seed}: {result.transactions} transactions, "
        f"{result.beats_out} beats compared in {result.cycles} cycles, {result.simulator}"
    )


def verify(options: argparse.Namespace) -> int:
    """Hardware against golden model."""
    console = Console(options.verbosity)
    results = api.verify(
        options.names,
        level=options.level,
        seed=options.seed,
        simulator=options.simulator,
        waves=options.waves,
        batch=_read(options.input),
        overrides=options.overrides,
        build_dir=options.output,
        junit=options.junit,
        jobs=options.jobs,
        progress=console.progress,
    )
    if options.json:
        _show([result.to_json() for result in results])
    else:
        for result in results:
            print(f"{console.verdict(result.passed)}  {_sentence(result)}")
            for text in filter(None, [result.failure, result.mismatch]):
                print("\n".join(f"      {line}" for line in text.splitlines()))
        if options.waves:
            for point in api.points(options.names, overrides=options.overrides):
                for path in sorted(Path(options.output, point.identifier).glob("waves.*")):
                    print(f"waves: {path.as_posix()}")
    return 0 if all(result.passed for result in results) else 1


def flow(options: argparse.Namespace) -> int:
    """The main job."""
    console = Console(options.verbosity)
    report = api.flow(
        options.names,
        output=options.output,
        cache=options.cache,
        liberty=options.liberty,
        seed=options.seed,
        jobs=options.jobs,
        progress=console.progress,
    )
    if options.json:
        _show(report.to_json())
    else:
        print(report.to_terminal(console))
        print(f"\nreport: {(Path(options.output) / 'report.md').as_posix()}")
    return 0 if report.passed else 1


def _read(path: str | None) -> Mapping[str, npt.NDArray[Any]] | None:
    if path is None:
        return None
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise UsageError(f"{path!r} holds one array, expected an .npz of named fields")
        with stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise UsageError(f"no file {path!r}") from None
    except UsageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"cannot read {path!r} as .npz: {reason}") from None
    except DAMAGE:
        # What NumPy says here is of pickles, which nothing reads.
        raise UsageError(f"cannot read {path!r} as .npz: it is damaged, or another kind") from None


def vectors(options: argparse.Namespace) -> int:
    """Beats for another bench."""
    console = Console(options.verbosity)
    written = api.vectors(
        options.names,
        output=options.output,
        level=options.level,
        seed=options.seed,
        batch=_read(options.input),
        overrides=options.overrides,
        jobs=options.jobs,
        progress=console.progress,
    )
    return _files(options, written)


def doctor(options: argparse.Namespace) -> int:
    """Tools here and missing; 3 where a tool that the flow needs is missing."""
    checks = api.doctor()
    if options.json:
        _show(
            [
                {
                    "name": check.name,
                    "need": check.need,
                    "version": check.version,
                    "remedy": None if check.found else check.remedy,
                }
                for check in checks
            ]
        )
    else:
        rows = [
            (
                check.name,
                check.need,
                check.version or "missing",
                "" if check.found else check.remedy,
            )
            for check in checks
        ]
        print(table(("tool", "needed for", "version", "how to get it"), rows))
    missing = [check for check in checks if not check.found and check.need != "optional"]
    return 3 if missing else 0


def _list_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "json")


def _generate_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "set", "jobs", "json")
    sub.add_argument(
        "--system", action="store_true",
        help="cores behind AXI4-Lite registers, NAME_system; no name is every core",
    )  # fmt: skip
    output_option(sub, "build/rtl", "where the files go")


def _verify_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "set", "level", "seed", "jobs", "json")
    sub.add_argument(
        "--simulator", choices=SIMULATORS, default="verilator", help="what runs the hardware"
    )
    sub.add_argument(
        "--input", metavar="FILE.npz", help="transactions to use in place of generated ones"
    )
    sub.add_argument("--waves", action="store_true", help="keep waveforms (FST) in the folder")
    sub.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML")
    output_option(sub, "build/verify", "where simulations are built and waves are kept")


def _flow_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "seed", "liberty", "jobs", "cache", "json")
    output_option(sub, "build/flow", "where the report goes")


def _vectors_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "names", "set", "level", "seed", "jobs", "json")
    sub.add_argument(
        "--input", metavar="FILE.npz", help="transactions to use in place of generated ones"
    )
    output_option(sub, "build/vectors", "where the files go")


def _doctor_options(sub: argparse.ArgumentParser) -> None:
    shared(sub, "json")


COMMANDS = (
    Command(
        list_,
        "list units, points and parameters",
        "narrowgauge list mx_dot",
        _list_options,
    ),
    Command(
        generate,
        "write Verilog, metadata, FuseSoC core, aresetn wrapper and bench",
        "narrowgauge generate mx_dot/w4a4_l32 --set lanes=64 -o build/rtl",
        _generate_options,
    ),
    Command(
        verify,
        "compare hardware with its golden model, bit for bit",
        "narrowgauge verify mx_dot/w4a4_l32 --level full --seed 7",
        _verify_options,
    ),
    Command(
        flow,
        "generate, verify and synthesise; write the report",
        "narrowgauge flow mx_dot bf16_dot",
        _flow_options,
    ),
    Command(
        vectors,
        "write input and expected beats for a bench of your own",
        "narrowgauge vectors mx_dot/w4a4_l32 -o build/vectors",
        _vectors_options,
    ),
    Command(
        doctor,
        "tell which tools are here, which are missing and how to get them",
        "narrowgauge doctor --json",
        _doctor_options,
    ),
)
