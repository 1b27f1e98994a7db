"""A pass of a layer on the golden core: packets of real tensors, answers as a tensor."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.arith.fused_mul import FB12
from narrowgauge.golden.cores import flexblock_packets as packets
from narrowgauge.golden.cores.flexblock_machine import Machine
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import Rounding
from narrowgauge.golden.mapping.layers import Layer
from narrowgauge.golden.mapping.passes import Part, parts, result_shape
from narrowgauge.golden.mapping.place import Answers, Blocks, blocks, words_of
from narrowgauge.golden.mapping.plan import Plan
from narrowgauge.golden.mapping.schedule import Step, steps
from narrowgauge.golden.payload import Batch

if TYPE_CHECKING:
    from narrowgauge.golden.cores.flexblock_core import Params

__all__ = ["Choice", "compute", "programs"]

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How a pass is mapped.

    Parameters
    ----------
    mode : of the codes
    shift : of `passes.parts`
    plans : one for each of the parts
    """

    mode: int
    shift: bool
    plans: tuple[Plan, ...]


def _operands(
    params: "Params", part: Part, plan: Plan, mode: int, tensors: Sequence[Floats],
    rounding: Rounding,
) -> tuple[Blocks, Blocks]:  # fmt: skip
    made = [blocks(params, mode, make(*tensors), rounding) for make in (part.a, part.b)]
    if mode == FB12 != plan.mode:
        made = [each.widened() for each in made]
    return (made[1], made[0]) if plan.swapped else (made[0], made[1])


def programs(
    params: "Params",
    layer: Layer,
    direction: str,
    choice: Choice,
    left: Floats,
    right: Floats,
    rounding: Rounding = Rounding.RTZ,
    *,
    wait: bool = False,
) -> Iterator[tuple[Part, Plan, Step, list[Batch]]]:
    """The packets of a pass, RUN by RUN, with what they are of.

    Parameters
    ----------
    left, right : float32, as `passes.Part` names them
    wait : whether a RUN of something else may still read the banks
    """
    found = parts(layer, direction, shift=choice.shift)
    for number, (part, plan) in enumerate(zip(found, choice.plans, strict=True)):
        data = _operands(params, part, plan, choice.mode, (left, right), rounding)
        for step in steps(params, plan, wait=wait or number > 0):
            made = [
                packets.packet(
                    params,
                    load,
                    words_of(params, plan, step, packets.Side(load.side), data[load.side]),
                )
                for load in step.loads
            ]
            yield part, plan, step, [*made, packets.packet(params, step.run)]


def compute(
    params: "Params",
    layer: Layer,
    direction: str,
    choice: Choice,
    left: Floats,
    right: Floats,
    rounding: Rounding = Rounding.RTZ,
) -> npt.NDArray[np.float32]:
    """The result of a pass, as the core gives it."""
    machine = Machine(params)
    out = np.zeros(result_shape(layer, direction), np.float32)
    gathered: list[tuple[Part, Answers]] = []
    for part, plan, step, beats in programs(
        params, layer, direction, choice, left, right, rounding
    ):
        if not gathered or gathered[-1][0] is not part:
            gathered.append((part, Answers(params, plan)))
        answers = [machine.packet(packet) for packet in beats]
        bad = [int(a["status"][-1]) for a in answers if a["status"][-1]]
        if bad:
            raise UsageError(f"{layer.name}: the core answers with status {bad[0]}")
        if not step.run.hold:
            gathered[-1][1].take(step, packets.results(params, step.run, answers[-1]))
    for part, answers_of in gathered:
        part.place(out, answers_of.values())
    return out
