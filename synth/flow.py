"""Synthesis of one design: RTLIL text in, a `Record` out, by Yosys and ABC in a subprocess."""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.synth import netlist
from narrowgauge.synth.library import Library
from narrowgauge.synth.netlist import SynthesisError
from narrowgauge.synth.recipe import DEFAULT, Recipe
from narrowgauge.synth.record import Record, Run

__all__ = ["CacheWarning", "SynthesisError", "flow_digest", "synthesize"]

_SOURCES = ("flow", "generic", "liberty", "library", "netlist", "recipe", "record", "runner")
_DELAY = re.compile(r"ABC: WireLoad = .* Delay = *([\d.]+) ps")
_ERROR = re.compile(r"^ERROR: (.*)", re.M)


class CacheWarning(UserWarning):
    """An entry of the cache could not be read, and was computed again."""


def _pyosys_version() -> str:
    try:
        return importlib.metadata.version("pyosys")
    except importlib.metadata.PackageNotFoundError:
        raise MissingToolError("synthesis needs Yosys: pip install narrowgauge[synth]") from None


def flow_digest(library: Library, recipe: Recipe = DEFAULT) -> str:
    """sha256 over recipe, source of the flow, library and Yosys version."""
    digest = hashlib.sha256()
    parts = [_pyosys_version(), library.digest, recipe.digest]
    parts += [Path(__file__).with_name(f"{s}.py").read_text(encoding="utf-8") for s in _SOURCES]
    for part in parts:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()


def synthesize(
    *,
    name: str,
    rtlil: str,
    library: Library,
    macs: int | None,
    parameters: Mapping[str, object],
    cache_dir: Path | None,
    recipe: Recipe = DEFAULT,
    keep: Path | None = None,
) -> Record:
    """Synthesise one design to the cells of a library.

    Parameters
    ----------
    name : the top module of `rtlil`
    rtlil : the design, as `amaranth.back.rtlil.convert` writes it
    library : from `narrowgauge.synth.library.load`
    macs : multiply-accumulates a cycle, for GE a MAC, or None
    parameters : what the design was made with; copied to the record, values must be JSON
    cache_dir : folder of results by content, made when absent; None keeps no results
    recipe : switches and scripts
    keep : folder for the mapped netlists (`NAME.area.json`, `NAME.area.v`, `NAME.speed...`), the
        script and the log (`NAME.flow.ys`, `.log`); with it the flow always runs

    Raises
    ------
    UsageError : a name, count or parameter that cannot be used
    MissingToolError : pyosys is not installed
    SynthesisError : Yosys fails, or a cell has no match in the library; the log is kept
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise UsageError(f"design name must be an identifier, got {name!r}")
    if macs is not None and macs < 1:
        raise UsageError(f"macs must be at least 1, got {macs}")
    try:
        parameters = json.loads(json.dumps(dict(parameters), sort_keys=True))
    except TypeError as error:
        raise UsageError(f"parameters of {name} must be JSON values: {error}") from None
    stamp = flow_digest(library, recipe)
    request = json.dumps([stamp, name, rtlil, macs, parameters], sort_keys=True)
    key = hashlib.sha256(request.encode()).hexdigest()
    entry = None if cache_dir is None else cache_dir / f"synth-{key}.json"
    if entry is not None and keep is None and entry.exists():
        try:
            return Record.from_json(entry.read_text(encoding="utf-8"))
        except (UsageError, OSError, UnicodeDecodeError):
            message = f"{entry.name} in the cache is not a record; synthesising {name} again"
            warnings.warn(message, CacheWarning, stacklevel=2)
    job = _Job(name=name, rtlil=rtlil, library=library, recipe=recipe, logs=keep or cache_dir)
    with tempfile.TemporaryDirectory(prefix="narrowgauge-") as folder:
        record = job.run(Path(folder), macs, parameters, stamp)
        if keep is not None:
            _keep(Path(folder), keep, name)
    if entry is not None:
        _write(entry, record.to_json())
    return record


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One run of the flow in a folder of its own; all names in its scripts are relative."""

    name: str
    rtlil: str
    library: Library
    recipe: Recipe
    logs: Path | None

    def run(
        self, folder: Path, macs: int | None, parameters: Mapping[str, object], stamp: str
    ) -> Record:
        """One Yosys process: front end, then one ABC run for each netlist."""
        (folder / "design.il").write_text(self.rtlil, encoding="utf-8")
        (folder / "cells.lib").write_text(self.library.text, encoding="utf-8")
        log = self._yosys(folder, [*self.recipe.front(self.name), *self.recipe.back()])
        delays = [float(text) for text in _DELAY.findall(log)]
        measured, area, creator = self._read(folder, "area", log, delays[:1])
        speed = None
        if self.recipe.speed is not None:
            speed = self._read(folder, "speed", log, delays[1:2])[1]
        pyosys = _pyosys_version()
        version = re.match(r"Yosys (\S+ \(git sha1 \w+)", creator)
        return Record(
            name=self.name,
            parameters=parameters,
            macs=macs,
            library=self.library.name,
            library_digest=self.library.digest,
            area_unit=self.library.area_unit,
            nand2=self.library.nand2,
            nand2_area=self.library.nand2_area,
            area=area,
            speed=speed,
            flip_flops=measured.flip_flops,
            memories=measured.memories,
            tools={
                "pyosys": pyosys,
                "yosys": f"{version.group(1)})" if version else creator,
                "abc": f"of pyosys {pyosys}",
            },
            recipe=self.recipe.digest,
            flow_digest=stamp,
        )

    def _yosys(self, folder: Path, commands: list[str]) -> str:
        """Run a script; the log, or a `SynthesisError` that names the file it was kept in."""
        script = folder / "flow.ys"
        script.write_text("\n".join(commands) + "\n", encoding="utf-8")
        result = subprocess.run(
            # -P: the neighbours of the runner must not shadow other modules
            [sys.executable, "-P", str(Path(__file__).with_name("runner.py")), script.name],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        log = result.stdout + result.stderr
        (folder / "flow.log").write_text(log, encoding="utf-8")
        if result.returncode:
            raise self._failure(log, result.returncode)
        return log

    def _failure(self, log: str, code: int) -> SynthesisError:
        """Keep the log of a failed run, and say where it is."""
        logs = self.logs or Path(tempfile.mkdtemp(prefix="narrowgauge-log-"))
        kept = logs / f"{self.name}.log"
        _write(kept, log)
        found = _ERROR.findall(log)
        reason = found[-1].strip() if found else f"ended with exit code {code}"
        return SynthesisError(f"{self.name}: Yosys: {reason} (log: {kept})")

    def _read(
        self, folder: Path, goal: Literal["area", "speed"], log: str, delays: list[float]
    ) -> tuple[netlist.Netlist, Run, str]:
        document = json.loads((folder / f"{goal}.json").read_text(encoding="utf-8"))
        try:
            measured = netlist.read(document, self.name, self.library)
        except SynthesisError as error:
            logs = self.logs or Path(tempfile.mkdtemp(prefix="narrowgauge-log-"))
            _write(logs / f"{self.name}.log", log)
            raise SynthesisError(f"{error} (log: {logs / self.name}.log)") from None
        run = Run(
            goal=goal,
            cells=measured.cells,
            area=measured.area,
            sequential_area=measured.sequential_area,
            depth=measured.depth,
            start=measured.start,
            end=measured.end,
            delay_ps=delays[0] if delays else 0.0,
        )
        return measured, run, document["creator"]


def _keep(folder: Path, keep: Path, name: str) -> None:
    """Move what a run made to the folder the caller named."""
    keep.mkdir(parents=True, exist_ok=True)
    for file in ("flow.ys", "flow.log", "area.json", "area.v", "speed.json", "speed.v"):
        if (folder / file).exists():
            kept = keep / f"{name}.{file}"
            aside = kept.with_name(f"{kept.name}.{os.getpid()}")
            shutil.copyfile(folder / file, aside)
            aside.replace(kept)


def _write(path: Path, text: str) -> None:
    """Write a file so that it appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
