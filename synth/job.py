"""One run of the flow in a folder of its own: Yosys and ABC in a subprocess, netlists out."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from narrowgauge.golden.errors import MissingToolError, UsageError
from narrowgauge.synth import netlist
from narrowgauge.synth.library import Library
from narrowgauge.synth.netlist import SynthesisError
from narrowgauge.synth.recipe import Recipe
from narrowgauge.synth.record import Record, Run
from narrowgauge.synth.repair import repair

__all__ = ["Job", "Netlists", "keep_files", "pyosys_version", "write"]

_DELAY = re.compile(r"ABC: WireLoad = .* Delay = *([\d.]+) ps")
_ERROR = re.compile(r"^ERROR: (.*)", re.M)


def pyosys_version() -> str:
    """Version of the installed Yosys; `MissingToolError` without one."""
    try:
        return importlib.metadata.version("pyosys")
    except importlib.metadata.PackageNotFoundError:
        raise MissingToolError("synthesis needs Yosys: pip install narrowgauge[synth]") from None


@dataclass(frozen=True, kw_only=True)
class Netlists:
    """A record with the netlists that it was read from.

    JSON as Yosys writes it, reduced to ports, cells, connections and public names: `rtl` is the
    flat design in simple gates before mapping, with the RTL's names; `area` and `speed` are the two
    mappings (`speed` None where the recipe leaves it out).
    """

    record: Record
    rtl: Mapping[str, Any]
    area: Mapping[str, Any]
    speed: Mapping[str, Any] | None

    def mapped(self, goal: str) -> Mapping[str, Any]:
        """The netlist of a goal, "area" or "speed"."""
        chosen = {"area": self.area, "speed": self.speed}.get(goal)
        if chosen is None:
            raise UsageError(f"goal must be area or speed, got {goal!r}")
        return chosen


def _reduce(document: Mapping[str, Any], top: str) -> dict[str, Any]:
    """A netlist without what nothing here reads: attributes, directions and hidden names."""
    module = document["modules"][top]
    cells = {
        name: {"type": cell["type"], "connections": cell["connections"]}
        | ({"parameters": cell["parameters"]} if cell["type"] == netlist.MEMORY else {})
        for name, cell in module["cells"].items()
    }
    names = {n: {"bits": e["bits"]} for n, e in module["netnames"].items() if not e["hide_name"]}
    return {"modules": {top: {"ports": module["ports"], "cells": cells, "netnames": names}}}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of the flow in a folder of its own; all names in its scripts are relative."""

    name: str
    rtlil: str
    library: Library
    recipe: Recipe
    logs: Path | None

    def run(
        self, folder: Path, macs: int | None, parameters: Mapping[str, object], stamp: str
    ) -> Netlists:
        """One Yosys process: front end, then one ABC run for each netlist."""
        (folder / "design.il").write_text(self.rtlil, encoding="utf-8")
        (folder / "cells.lib").write_text(self.library.text, encoding="utf-8")
        log = self._yosys(folder, [*self.recipe.front(self.name), *self.recipe.back()])
        delays = [float(text) for text in _DELAY.findall(log)]
        documents = {"area": self._document(folder, "area"), "speed": None}
        measured, area = self._read(documents["area"], "area", log, delays[:1])
        speed = None
        if self.recipe.speed is not None:
            documents["speed"] = self._repaired(folder)
            speed = self._read(documents["speed"], "speed", log, delays[1:2])[1]
        documents["rtl"] = self._document(folder, "rtl")
        creator = documents["area"]["creator"]
        pyosys = pyosys_version()
        version = re.match(r"Yosys (\S+ \(git sha1 \w+)", creator)
        record = Record(
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
        reduced = {goal: each and _reduce(each, self.name) for goal, each in documents.items()}
        return Netlists(record=record, **reduced)

    def _repaired(self, folder: Path) -> Any:
        """The netlist for speed with its buffer trees; the files of the folder have them too."""
        document = self._document(folder, "speed")
        repaired = repair(document, self.name, self.library)
        if repaired is not document:
            (folder / "speed.json").write_text(json.dumps(repaired), encoding="utf-8")
            commands = ["read_json speed.json", "write_verilog -noattr speed.v"]
            self._yosys(folder, commands, "repair")
        return repaired

    def _yosys(self, folder: Path, commands: list[str], stem: str = "flow") -> str:
        """Run a script; the log, or a `SynthesisError` that names the file it was kept in."""
        script = folder / f"{stem}.ys"
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
        (folder / f"{stem}.log").write_text(log, encoding="utf-8")
        if result.returncode:
            raise self._failure(log, result.returncode)
        return log

    def _failure(self, log: str, code: int) -> SynthesisError:
        """Keep the log of a failed run, and say where it is."""
        logs = self.logs or Path(tempfile.mkdtemp(prefix="narrowgauge-log-"))
        kept = logs / f"{self.name}.log"
        write(kept, log.encode())
        found = _ERROR.findall(log)
        reason = found[-1].strip() if found else f"ended with exit code {code}"
        return SynthesisError(f"{self.name}: Yosys: {reason} (log: {kept})")

    def _document(self, folder: Path, goal: str) -> Any:
        return json.loads((folder / f"{goal}.json").read_text(encoding="utf-8"))

    def _read(
        self, document: Any, goal: Literal["area", "speed"], log: str, delays: list[float]
    ) -> tuple[netlist.Netlist, Run]:
        try:
            measured = netlist.read(document, self.name, self.library)
        except SynthesisError as error:
            logs = self.logs or Path(tempfile.mkdtemp(prefix="narrowgauge-log-"))
            write(logs / f"{self.name}.log", log.encode())
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
        return measured, run


def keep_files(folder: Path, keep: Path, name: str) -> None:
    """Move what a run made to the folder the caller named."""
    keep.mkdir(parents=True, exist_ok=True)
    for file in ("flow.ys", "flow.log", "area.json", "area.v", "speed.json", "speed.v"):
        if (folder / file).exists():
            kept = keep / f"{name}.{file}"
            aside = kept.with_name(f"{kept.name}.{os.getpid()}")
            shutil.copyfile(folder / file, aside)
            aside.replace(kept)


def write(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(path)
