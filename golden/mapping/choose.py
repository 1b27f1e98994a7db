"""The mapping of a pass that takes the fewest cycles."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from narrowgauge.golden.arith.fused_mul import FB12, FB16
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.mapping.compute import Choice
from narrowgauge.golden.mapping.layers import Convolution, Layer
from narrowgauge.golden.mapping.passes import parts
from narrowgauge.golden.mapping.plan import Plan, plans
from narrowgauge.golden.mapping.predict import Cost, Timer, bits, estimate, predict
from narrowgauge.golden.mapping.problem import Problem

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["MODES", "Mapped", "Mapper"]

MODES = ("fb12", "fb16", "fb24")
"""Names of the modes."""

_TRIED = 4
"""Plans that are followed, of those that look best."""


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """A pass that is mapped.

    Parameters
    ----------
    layer, direction : what
    choice : how
    cost : what it takes
    utilisation : useful products over those that the mode could have made in these cycles
    bits : through the ports of the core
    """

    layer: Layer
    direction: str
    choice: Choice
    cost: Cost
    utilisation: float
    bits: int


class Mapper:
    """Of a core; what it has found stays.

    Parameters
    ----------
    params : of the core
    private : whether elements may read a B of their own
    """

    def __init__(self, params: "Params", *, private: bool = True) -> None:
        self.params, self._private = params, private
        self._timer = Timer(params)
        self._plans: dict[tuple[Problem, int, int], tuple[Cost, Plan] | None] = {}
        self._passes: dict[tuple[Layer, str, int], tuple[Choice, Cost]] = {}

    def peak(self, mode: int) -> int:
        """Products a cycle."""
        each = self.params.pe.depth(mode) * (4 if mode == FB12 else 1)
        return each * self.params.pes

    def map(self, layer: Layer, direction: str, mode: int) -> Mapped:
        """The fastest mapping that was found; `UsageError` where nothing fits."""
        if direction not in layer.passes:
            raise UsageError(f"{layer.name}: no pass {direction!r} of a first layer")
        key = replace(layer, name=""), direction, mode
        if key not in self._passes:
            found = list(self._variants(layer, direction, mode))
            if not found:
                raise UsageError(
                    f"{layer.name}: {direction} in {MODES[mode]} does not fit into banks of "
                    f"{self.params.a_depth} and {self.params.b_depth} rows"
                )
            self._passes[key] = min(found, key=lambda each: each[1].cycles)
        choice, cost = self._passes[key]
        return Mapped(
            layer=layer, direction=direction, choice=choice, cost=cost,
            utilisation=layer.macs / (cost.cycles * self.peak(mode)),
            bits=bits(self.params, cost),
        )  # fmt: skip

    def _variants(self, layer: Layer, direction: str, mode: int) -> Iterator[tuple[Choice, Cost]]:
        shifts = [False]
        if (
            isinstance(layer, Convolution)
            and (direction, mode) == ("dw", FB12)
            and layer.outputs == layer.groups
            and layer.kernel[1] > 1 == layer.dilation[1]
        ):
            shifts.append(True)
        for shift in shifts:
            made = []
            for part in parts(layer, direction, shift=shift):
                found = [
                    best
                    for run_mode in ((FB12, FB16) if mode == FB12 else (mode,))
                    if (best := self._best(part.problem, mode, run_mode)) is not None
                ]
                if not found:
                    break
                made.append(min(found, key=lambda each: each[0].cycles)[1])
            else:
                choice = Choice(mode=mode, shift=shift, plans=tuple(made))
                yield choice, predict(self._timer, choice.plans)

    def _best(self, problem: Problem, mode: int, run_mode: int) -> tuple[Cost, Plan] | None:
        key = problem, mode, run_mode
        if key not in self._plans:
            made = (
                plan
                for plan in plans(self.params, problem, mode, run_mode)
                if self._private or plan.shared
            )
            rated = ((estimate(self.params, plan), n, plan) for n, plan in enumerate(made))
            listed = heapq.nsmallest(_TRIED, rated, key=lambda each: each[:2])
            tried = [(predict(self._timer, (plan,)), plan) for _, _, plan in listed]
            self._plans[key] = min(tried, key=lambda each: each[0].cycles) if tried else None
        return self._plans[key]
