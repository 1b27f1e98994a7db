"""Synthesis of one design: RTLIL text in, a `Record` out, by Yosys and ABC in a subprocess."""

import gzip
import hashlib
import json
import re
import tempfile
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from narrowgauge.golden.errors import UsageError
from narrowgauge.synth.job import Job, Netlists, keep_files, pyosys_version, write
from narrowgauge.synth.library import Library
from narrowgauge.synth.netlist import SynthesisError
from narrowgauge.synth.recipe import DEFAULT, Recipe
from narrowgauge.synth.record import Record

__all__ = ["CacheWarning", "Netlists", "SynthesisError", "flow_digest", "netlists", "synthesize"]

_SOURCES = (
    *("boundary", "flow", "generic", "job", "liberty", "library", "netlist", "nldm", "recipe"),
    *("record", "repair", "runner"),
)
_KEPT = ("rtl", "area", "speed")


class CacheWarning(UserWarning):
    """An entry of the cache could not be read, and was computed again."""


def flow_digest(library: Library, recipe: Recipe = DEFAULT) -> str:
    """sha256 over recipe, source of the flow, library and Yosys version."""
    digest = hashlib.sha256()
    parts = [pyosys_version(), library.digest, recipe.digest]
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
    request = _Request(name, rtlil, library, macs, parameters, recipe)
    entry = None if cache_dir is None else cache_dir / f"synth-{request.key}.json"
    if entry is not None and keep is None and entry.exists():
        try:
            return Record.from_json(entry.read_text(encoding="utf-8"))
        except (UsageError, OSError, UnicodeDecodeError):
            message = f"{entry.name} in the cache is not a record; synthesising {name} again"
            warnings.warn(message, CacheWarning, stacklevel=2)
    return request.run(entry, cache_dir, keep).record


def netlists(
    *,
    name: str,
    rtlil: str,
    library: Library,
    macs: int | None,
    parameters: Mapping[str, object],
    cache_dir: Path,
    recipe: Recipe = DEFAULT,
) -> Netlists:
    """The same as `synthesize`, with the netlists; kept in the cache beside the record."""
    request = _Request(name, rtlil, library, macs, parameters, recipe)
    entry = cache_dir / f"synth-{request.key}.json"
    try:
        record = Record.from_json(entry.read_text(encoding="utf-8"))
        kept = {goal: _unpack(_beside(entry, goal)) for goal in _KEPT if goal != "speed"}
        kept["speed"] = None if recipe.speed is None else _unpack(_beside(entry, "speed"))
        return Netlists(record=record, **kept)
    except (UsageError, OSError, EOFError, ValueError, zlib.error):
        return request.run(entry, cache_dir, None)


def _beside(entry: Path, goal: str) -> Path:
    return entry.with_name(f"{entry.stem}.{goal}.json.gz")


def _unpack(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


class _Request:
    """What a synthesis is asked for, checked, and its key in the cache."""

    def __init__(
        self,
        name: str,
        rtlil: str,
        library: Library,
        macs: int | None,
        parameters: Mapping[str, object],
        recipe: Recipe,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UsageError(f"design name must be an identifier, got {name!r}")
        if macs is not None and macs < 1:
            raise UsageError(f"macs must be at least 1, got {macs}")
        try:
            self.parameters = json.loads(json.dumps(dict(parameters), sort_keys=True))
        except TypeError as error:
            raise UsageError(f"parameters of {name} must be JSON values: {error}") from None
        self.name, self.rtlil, self.library, self.macs = name, rtlil, library, macs
        self.recipe = recipe
        self.stamp = flow_digest(library, recipe)
        request = json.dumps([self.stamp, name, rtlil, macs, self.parameters], sort_keys=True)
        self.key = hashlib.sha256(request.encode()).hexdigest()

    def run(self, entry: Path | None, cache_dir: Path | None, keep: Path | None) -> Netlists:
        """Synthesise; keep record and netlists in the cache, and files where asked."""
        job = Job(
            name=self.name,
            rtlil=self.rtlil,
            library=self.library,
            recipe=self.recipe,
            logs=keep or cache_dir,
        )
        with tempfile.TemporaryDirectory(prefix="narrowgauge-") as folder:
            made = job.run(Path(folder), self.macs, self.parameters, self.stamp)
            if keep is not None:
                keep_files(Path(folder), keep, self.name)
        if entry is not None:
            for goal in _KEPT:
                if getattr(made, goal) is not None:
                    text = json.dumps(getattr(made, goal), separators=(",", ":"))
                    write(_beside(entry, goal), gzip.compress(text.encode(), 3, mtime=0))
            # The record comes last: where it is, the netlists are.
            write(entry, made.record.to_json().encode())
        return made
