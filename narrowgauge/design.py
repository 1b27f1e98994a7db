"""One point made concrete: its component, its RTLIL, its transactions as beats."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from narrowgauge.cache import Cache, fingerprint, version
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch
from narrowgauge.registry import Point

if TYPE_CHECKING:
    from narrowgauge.hdl.emit import Emitted

__all__ = ["beats", "checked", "component", "emitted", "expected", "system", "tools"]


def component(point: Point) -> Any:
    """A new component with the streams `i` and `o`; an arith component is wrapped into one."""
    core = point.entry.component(point.params)
    if point.entry.layer == "arith":
        from narrowgauge.hdl.stream import Combinational

        return Combinational(core, point.params.input, point.params.output)
    return core


def emitted(point: Point, cache: Path | None = None) -> "Emitted":
    """The point written as RTLIL, once for each state of the sources that it depends on."""
    from narrowgauge.hdl import emit

    key = {
        "name": point.identifier,
        "parameters": point.parameters,
        "sources": fingerprint("golden", "hdl"),
        "amaranth": version("amaranth"),
    }
    kept = None if cache is None else Cache(cache / "rtlil")
    stored = None if kept is None else kept.get(key)
    if stored is None:
        made = component(point)
        stored = {
            "name": point.identifier,
            "text": emit.rtlil(made, point.identifier),
            "latency": made.latency,
            "interval": made.interval,
        }
        if kept is not None:
            kept.put(key, stored)
    return emit.Emitted(**stored)


def system(point: Point) -> Any:
    """A core of packets behind the ports of a system (`hdl.systems.packet_system`)."""
    from narrowgauge.hdl.systems.describe import words
    from narrowgauge.hdl.systems.packet_system import PacketSystem

    return PacketSystem(component(point), words(point.parameters))


def tools(*distributions: str) -> dict[str, str]:
    """Versions of narrowgauge and of the named distributions, as far as they are installed."""
    found = {name: version(name) for name in ("narrowgauge", *distributions)}
    return {name: number for name, number in found.items() if number is not None}


def checked(point: Point, batch: Mapping[str, npt.ArrayLike]) -> Batch:
    """A batch of transactions from outside; wrong names, shapes, dtypes or values are errors."""
    sample: Batch = point.entry.golden.vectors(point.params, "smoke", 0)
    if set(batch) != set(sample):
        raise UsageError(f"batch has fields {sorted(batch)}, expected {sorted(sample)}")
    arrays: Batch = {}
    length: int | None = None
    for name, like in sample.items():
        array = np.asarray(batch[name])
        if array.dtype.kind not in "iub":
            raise UsageError(f"field {name}: dtype must be integer, got {array.dtype}")
        if array.ndim != like.ndim or array.shape[1:] != like.shape[1:]:
            wanted = ", ".join(["transactions", *map(str, like.shape[1:])])
            raise UsageError(f"field {name}: shape must be ({wanted}), got {array.shape}")
        length = len(array) if length is None else length
        if len(array) != length:
            raise UsageError(f"field {name}: {len(array)} transactions, expected {length}")
        arrays[name] = array.astype(np.int64)
    if not length:
        raise UsageError("the batch has no transactions")
    point.params.input.pack(beats(point, arrays))
    return arrays


def beats(point: Point, batch: Batch) -> Batch:
    """Transactions as beats of the input stream."""
    convert = getattr(point.entry.golden, "input_beats", None)
    return batch if convert is None else convert(point.params, batch)


def expected(point: Point, outputs: Batch) -> Batch:
    """Results of the model as beats of the output stream."""
    convert = getattr(point.entry.golden, "output_beats", None)
    return outputs if convert is None else convert(point.params, outputs)
