"""Nets on `flexblock_core`: cycles, utilisation and traffic of each layer, pass and mode."""

import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from narrowgauge import registry
from narrowgauge.arguments import once
from narrowgauge.console import table
from narrowgauge.golden.cores.flexblock_core import Params
from narrowgauge.golden.errors import NarrowgaugeError, UsageError
from narrowgauge.golden.mapping import nets
from narrowgauge.golden.mapping.choose import MODES, Mapper
from narrowgauge.golden.mapping.layers import PASSES, Layer
from narrowgauge.train import need_torch

__all__ = ["CORE", "Report", "Request", "evaluate", "geometric", "traced"]

CORE = {
    "pes": 16, "nibbles": 64, "a_depth": 1024, "b_depth": 2048, "sums": 1024,
}  # fmt: skip
"""Parameters of the core that are not its own defaults; `load` and `results` are as `pes`."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of `evaluate`.

    Parameters
    ----------
    net : of `golden.mapping.nets.NETS`, or what `layers` are of
    batch : images, or sequences
    modes : of `MODES`
    passes : of `PASSES`
    core : parameters of `flexblock_core`, over `CORE`
    layers : in place of a net's
    shared : whether all elements must read the same B
    """

    net: str = "resnet18"
    batch: int = 64
    modes: Sequence[str] = MODES
    passes: Sequence[str] = PASSES
    core: dict[str, Any] = field(default_factory=dict)
    layers: Sequence[Layer] | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        for one, given, known in (("mode", self.modes, MODES), ("pass", self.passes, PASSES)):
            if not given:
                raise UsageError(f"no {one} was given")
            for name in given:
                if name not in known:
                    raise UsageError(f"no {one} {name!r}, but {', '.join(known)}")
            once(one, given)
        if self.batch < 1:
            raise UsageError(f"batch must be at least 1, got {self.batch}")
        _ = self.params, self.table

    @property
    def params(self) -> Params:
        """Of the core."""
        made = CORE | self.core
        wide = {name: made["pes"] for name in ("load", "results") if name not in made}
        params: Params = registry.find("flexblock_core").params("p4_n48", **made, **wide)
        return params

    @property
    def table(self) -> list[Layer]:
        """The layers."""
        if self.layers is None:
            return nets.make(self.net, self.batch)
        if not self.layers:
            raise UsageError(f"{self.net} has no layers")
        return list(self.layers)


def geometric(values: Iterable[float]) -> float:
    """Geometric mean."""
    listed = list(values)
    return math.exp(sum(map(math.log, listed)) / len(listed))


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `evaluate` found.

    Parameters
    ----------
    configuration : what was asked, with the core's parameters
    rows : of each layer, pass and mode: `layer`, `kind`, `pass`, `mode`, `macs`, `cycles`,
        `utilisation`, `bits` through the ports, `elements` (the mode that they work in), `shared`
    """

    configuration: dict[str, Any]
    rows: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)

    def select(self, **wanted: str) -> list[dict[str, Any]]:
        """Rows of a `mode`, a `kind`, ..."""
        return [row for row in self.rows if all(row[k] == v for k, v in wanted.items())]

    def to_text(self, by: str = "layer") -> str:
        """A table of layers, or of types of layers."""
        if by == "layer":
            rows = [
                (
                    r["layer"], r["kind"], r["pass"], r["mode"], f"{r['macs'] / 1e6:.2f}",
                    f"{r['cycles']}", f"{100 * r['utilisation']:.1f}", f"{r['bits'] / 1e6:.2f}",
                )
                for r in self.rows
            ]  # fmt: skip
            head = ("layer", "type", "pass", "mode", "M MACs", "cycles", "used %", "Mbit")
            return f"{table(head, rows)}\n\n{self.to_text('type')}"
        rows = []
        for mode in dict.fromkeys(r["mode"] for r in self.rows):
            for direction in dict.fromkeys(r["pass"] for r in self.rows):
                found = self.select(**{"mode": mode, "pass": direction})
                for kind in (*dict.fromkeys(r["kind"] for r in found), "all"):
                    some = [r for r in found if kind in (r["kind"], "all")]
                    used = [r["utilisation"] for r in some]
                    whole = sum(r["macs"] for r in some)
                    possible = sum(r["macs"] / r["utilisation"] for r in some)
                    rows.append((
                        mode, direction, kind, f"{len(some)}",
                        f"{sum(r['cycles'] for r in some)}", f"{100 * geometric(used):.1f}",
                        f"{100 * min(used):.1f}", f"{100 * whole / possible:.1f}",
                    ))  # fmt: skip
        head = (
            *("mode", "pass", "type", "layers", "cycles", "geometric mean %", "least %"),
            "of all MACs %",
        )
        return table(head, rows)


def evaluate(
    request: Request,
    *,
    mapper: Mapper | None = None,
    tell: Callable[[str, bool], None] | None = None,
) -> Report:
    """Map every layer.

    Parameters
    ----------
    mapper : one of the same core, which knows what it has mapped before
    tell : is told of every layer, and whether it is the last
    """
    made = mapper or Mapper(request.params, private=not request.shared)
    layers = request.table
    rows = []
    for number, layer in enumerate(layers):
        for direction in layer.passes:
            if direction not in request.passes:
                continue
            for mode in request.modes:
                found = made.map(layer, direction, MODES.index(mode))
                plan = found.choice.plans[0]
                rows.append(
                    {
                        "layer": layer.name,
                        "kind": layer.kind,
                        "pass": direction,
                        "mode": mode,
                        "macs": layer.macs,
                        "cycles": found.cost.cycles,
                        "utilisation": round(found.utilisation, 6),
                        "bits": found.bits,
                        "elements": MODES[plan.mode],
                        "shared": plan.shared,
                    }
                )
        if tell is not None:
            tell(f"[{number + 1}/{len(layers)}] {layer.name}", number + 1 == len(layers))
    configuration = {
        "net": request.net,
        "batch": request.batch,
        "modes": list(request.modes),
        "passes": list(request.passes),
        "core": asdict(request.params),
        "shared": request.shared,
    }
    return Report(configuration=configuration, rows=rows)


def traced(model: str, sizes: Sequence[int]) -> list[Layer]:
    """The layers of a torch model.

    Parameters
    ----------
    model : `MODULE:NAME`, a model, or what makes one when it is called; modules of the folder that
        the call is made in are found
    sizes : of its input

    Raises
    ------
    UsageError : no such model, one that fails on such an input, a convolution of one axis
    MissingToolError : torch is not installed
    """
    need_torch()
    from narrowgauge.golden.training.shapes import trace_named

    # An installed program has its own folder there, in place of the user's.
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        return trace_named(model, sizes)
    except NarrowgaugeError:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        shape = "x".join(map(str, sizes))
        raise UsageError(
            f"{model} fails on an input of {shape}: {type(error).__name__}: {said}"
        ) from error
    finally:
        sys.path.remove(here)
