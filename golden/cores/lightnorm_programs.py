"""Programs for `lightnorm`: layers forward and backward in tiles, with errors, and a real layer.

A program begins with LAYER that forgets and writes what it will use, so that its answers depend on
nothing before it.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from narrowgauge.golden.cores import lightnorm_packets as host
from narrowgauge.golden.cores import packets
from narrowgauge.golden.cores.lightnorm_commands import Kind, Opcode, Table
from narrowgauge.golden.cores.lightnorm_random import Program
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.formats import bf16_values
from narrowgauge.golden.payload import Batch
from narrowgauge.golden.samples import norm
from narrowgauge.golden.units.range_bn import Blocks, Layer

if TYPE_CHECKING:
    from narrowgauge.golden.cores.lightnorm import Params

__all__ = ["make", "training_step"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def make(params: "Params", level: str, seed: int) -> list[Batch]:
    """Programs of as many beats each."""
    if level not in ("smoke", "full", "real"):
        raise UsageError(f"level must be smoke, full or real, got {level!r}")
    if level == "real":
        programs = _real(params)
    else:
        rng = np.random.default_rng(seed)
        beats = 14_000 if level == "smoke" else 200_000
        programs = [Program(params, rng).tour()]
        total = 0
        while total < beats or len(programs) < 8:
            programs.append(Program(params, rng).program(900))
            total += sum(len(part["last"]) for part in programs[-1])
    size = max(sum(len(part["last"]) for part in parts) for parts in programs)
    return [packets.program(params.input, parts, size) for parts in programs]


def tiles(
    params: "Params", opcode: Opcode, block: int, sizes: list[int], x: Blocks, g: Blocks
) -> list[Batch]:
    """A pass over all positions, in tiles of so many."""
    given = {
        Opcode.STATISTICS: (x, None),
        Opcode.NORMALIZE: (x, None),
        Opcode.GRADIENTS: (x, g),
        Opcode.PROPAGATE: (None, g),
    }[opcode]
    made = []
    start = 0
    for size in sizes:
        stop = start + size
        cut = [each and each.positions(start, stop) for each in given]
        made.append(host.tile(params, opcode, block, x=cut[0], g=cut[1], first=start == 0))
        start = stop
    return made


def training_step(
    params: "Params",
    layer: Layer,
    x: Blocks,
    g: Blocks,
    gamma: Ints,
    beta: Ints,
    size: int,
) -> list[Batch]:
    """The packets of a layer, forward and backward, all blocks of it in every pass.

    Parameters
    ----------
    x, g : (positions, channels)
    gamma, beta : (channels,), codes of FP10 and FP32
    size : positions of a tile
    """
    p = params
    count = x.codes.shape[1] // p.lanes
    base, gradient_base = (each.base + each.fmt.bias for each in (x, g))
    parts = [host.layer(p, layer, base, gradient_base, forget=True)]
    sizes = [size] * (layer.count // size)
    sizes += [layer.count % size] if layer.count % size else []

    def passed(opcode: Opcode, block: int) -> list[Batch]:
        own = (each.channels(block * p.lanes, (block + 1) * p.lanes) for each in (x, g))
        return tiles(p, opcode, block, sizes, *own)

    for block in range(count):
        lanes = slice(block * p.lanes, (block + 1) * p.lanes)
        parts.append(host.write(p, Table.WEIGHTS, block, gamma=gamma[lanes], beta=beta[lanes]))
        parts.append(host.write(p, Table.AVERAGES, block))
    for opcode, kind in ((Opcode.STATISTICS, Kind.FORWARD), (Opcode.GRADIENTS, Kind.BACKWARD)):
        then = Opcode.NORMALIZE if kind == Kind.FORWARD else Opcode.PROPAGATE
        for block in range(count):
            parts += passed(opcode, block)
            parts.append(host.constants(p, block, kind, average=kind == Kind.FORWARD))
        for block in range(count):
            parts += passed(then, block)
    parts += [host.read(p, table, block) for block in range(count) for table in _ALL]
    return parts


_ALL = (Table.SUMS, Table.AVERAGES, Table.PLACES, Table.RESULTS)


def _real(params: "Params") -> list[list[Batch]]:
    """The captured layer, as many channels of it as there is room for."""
    p = params
    most = 1 << p.position_bits
    programs = []
    layers = norm.load().blocks(p.lanes, most)
    each = min(p.blocks, len(layers))
    for start in range(0, len(layers) - each + 1, each):
        part = layers[start : start + each]
        x, g = (
            np.concatenate([bf16_values(getattr(one, name)) for one in part], axis=1)
            for name in ("x", "g")
        )
        gamma, beta = (
            np.concatenate([getattr(one, name) for one in part]).astype(np.int64)
            for name in ("gamma", "beta")
        )
        layer = Layer(count=len(x), chunks=min(p.chunks, len(x) // 2))
        blocks = (Blocks.of(x, p.array.forward), Blocks.of(g, p.array.backward))
        programs.append(training_step(p, layer, *blocks, gamma, beta, 1000))
        if len(programs) == 2:
            break
    return programs
