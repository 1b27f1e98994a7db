"""What a layer costs on the core `lightnorm`: the table of docs/cores/lightnorm.md.

`python -m tests.reference.lightnorm --measure` synthesises the core, plays positions of the
captured layer through its netlist, pass by pass, with everything that stands around the lanes, and
writes `lightnorm.json`; without the option the page alone is written from it.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from narrowgauge import api, design, energy
from narrowgauge.console import markdown
from narrowgauge.golden.cores import lightnorm_packets as host
from narrowgauge.golden.cores.lightnorm_commands import Kind, Opcode, Table
from narrowgauge.golden.cores.lightnorm_programs import tiles
from narrowgauge.golden.cores.packets import batch, program
from narrowgauge.golden.formats import bf16_values
from narrowgauge.golden.payload import Batch, join
from narrowgauge.golden.samples import norm
from narrowgauge.golden.units.range_bn import Blocks, Layer
from narrowgauge.hdl import emit
from narrowgauge.hdl.systems.packet_system import PacketSystem
from narrowgauge.registry import Point
from narrowgauge.synth.energy_record import STREAMS, Work
from narrowgauge.verify.driver import Driver
from narrowgauge.verify.runner import cache_folder
from tests.reference import ROOT, range_bn
from tests.reference.pages import Tables, update

__all__ = ["DATA", "NAME", "PAGES", "load", "measure"]

PAGE = ROOT / "docs" / "cores" / "lightnorm.md"
DATA = Path(__file__).with_name("lightnorm.json")
NAME = "lightnorm/g4_l8"
POSITIONS, BEFORE = 64, 32
"""Of a pass that are played in each stream, and of the layer that its constants are made of."""
PASSES = (Opcode.STATISTICS, Opcode.NORMALIZE, Opcode.GRADIENTS, Opcode.PROPAGATE)
BACKWARD = PASSES[2:]
_KINDS = ("logic", "glitch")


def load() -> dict[str, Any]:
    """The tracked figures."""
    data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def _program(point: Point, opcode: Opcode, stream: int) -> tuple[list[Batch], Batch]:
    """Packets that lead to a pass over a block, and one with positions from within it."""
    p = point.params
    blocks = norm.load().blocks(p.lanes)
    block = blocks[stream % len(blocks)]
    start = stream // len(blocks) * 31
    x, g = (
        Blocks.of(bf16_values(each[start : start + POSITIONS]).astype(np.float64), fmt)
        for each, fmt in ((block.x, p.array.forward), (block.g, p.array.backward))
    )
    bases = [each.base + each.fmt.bias for each in (x, g)]
    few = [each.positions(0, BEFORE) for each in (x, g)]
    gamma, beta = block.gamma.astype(np.int64), block.beta.astype(np.int64)
    parts = [host.write(p, Table.WEIGHTS, 0, gamma=gamma, beta=beta)]
    parts.append(host.layer(p, Layer(count=BEFORE, chunks=2), *bases, forget=True))
    for gather, kind in ((Opcode.STATISTICS, Kind.FORWARD), (Opcode.GRADIENTS, Kind.BACKWARD)):
        if opcode != Opcode.STATISTICS and (gather == Opcode.STATISTICS or opcode == PASSES[3]):
            parts += tiles(p, gather, 0, [BEFORE], *few)
            parts.append(host.constants(p, 0, kind))
    # A tensor of many positions, so that they come from within a chunk.
    parts.append(host.layer(p, Layer(count=1 << 12, chunks=p.chunks), *bases))
    return parts, tiles(p, opcode, 0, [POSITIONS], x, g)[0]


def _work(point: Point, opcode: Opcode) -> Work:
    """A pass in so many streams; cycles before its positions do not count."""
    parts = [_program(point, opcode, stream) for stream in range(STREAMS)]
    size = sum(len(each["last"]) for each in (*parts[0][0], parts[0][1]))
    programs = [program(point.params.input, [*lead, tile], size) for lead, tile in parts]
    warm_up = _cycles(point, join([*parts[0][0], parts[0][1]]))
    made = batch(programs)
    return Work(beats=energy.beats(point, made), warm_up=warm_up, every=1.0)


def _cycles(point: Point, beats: Batch) -> int:
    """Cycles from reset to the first position that counts, in the generated Verilog."""
    name = f"{point.identifier}_system"
    system = PacketSystem(design.component(point), point.parameters)
    with TemporaryDirectory() as folder:
        driver = Driver(
            name,
            emit.verilog(system, name),
            point.params.input,
            point.params.output,
            folder=Path(folder),
            cache=cache_folder(),
            thorough=False,
        )
        taken = driver.play(beats).taken
    # States of the blocks are cleared first; the first positions find the lanes empty.
    return int(taken[-POSITIONS] - taken[0]) + int(point.params.blocks) + 2


def measure() -> None:
    """Synthesis, and the energy of every pass; writes `lightnorm.json`."""
    cache = ROOT / "build" / "cache"
    (record,) = api.synthesize(NAME, cache=cache, jobs=1)
    (point,) = api.points(NAME)
    subject = energy.subject(point, record.library, cache, "speed", None)
    passes = {}
    for opcode in PASSES:
        found = subject.record(_work(point, opcode), glitch=True, seed=1)
        passes[opcode.name.lower()] = {
            "logic": round(found["zero_delay"]["pj_per_op"] / point.params.lanes, 4),
            "glitch": round(found["glitch"]["pj_per_op"] / point.params.lanes, 4),
            "memory": round(found["memory"]["pj_per_op"] / point.params.lanes, 4),
        }
        print(opcode.name, passes[opcode.name.lower()], found["operations"], flush=True)
    data = {
        "library": record.library,
        "flow_digest": record.flow_digest,
        "tools": {**record.tools, "numpy": design.tools("numpy")["numpy"]},
        "parameters": point.parameters,
        "ge": round(record.ge, 1),
        "speed_ge": round(record.speed_ge or 0.0, 1),
        "flip_flops": record.flip_flops,
        "memory_bits": record.memory_bits,
        "period_ps": round(subject.period_ps, 1),
        "passes": passes,
    }
    DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _table(data: Mapping[str, Any]) -> str:
    passes, fp32 = data["passes"], range_bn.load()["designs"][range_bn.BASE]["passes"]
    lanes = range_bn.load()["designs"]["range_bn_array/g4_l8"]["passes"]
    rows = []
    for name, made in passes.items():
        alone = lanes["normalise" if name == "normalize" else name]
        rows.append([name, *(f"{made[kind]:.2f}" for kind in _KINDS), f"{alone[0]:.2f}", ""])
    for label, chosen in (("forward", PASSES[:2]), ("backward", BACKWARD)):
        sums = [sum(passes[each.name.lower()][kind] for each in chosen) for kind in _KINDS]
        back = label == "backward"
        others = [
            sum(each[0] for name, each in made.items() if (name in range_bn.BACKWARD) == back)
            for made in (lanes, fp32)
        ]
        rows.append([f"**{label}**", *(f"**{value:.2f}**" for value in (*sums, *others))])
    head = ["pJ an element", "core", "with glitches", "lanes alone", "FP32, variance, lanes alone"]
    tools = data["tools"]
    said = (
        f"`g4_l8` mapped for speed, {data['speed_ge']:.0f} GE (for area {data['ge']:.0f}), at its "
        f"shortest period, {data['period_ps']:.0f} ps; {data['flip_flops']} flip-flops. Positions "
        "from within a chunk, where no memory is read or written; loads, ends of chunks and "
        f"constants are not in it. {data['library']}, pyosys {tools['pyosys']}, flow "
        f"{data['flow_digest'][:12]}; `python -m tests.reference.lightnorm --measure`."
    )
    return f"{markdown(head, rows)}\n\n{said}"


PAGES: dict[Path, Tables] = {PAGE: {"core": lambda: _table(load())}}
"""What is written, and from what."""


def main() -> None:
    """Measure where asked to, and write the page."""
    if "--measure" in sys.argv[1:]:
        measure()
    update(PAGES)


if __name__ == "__main__":
    main()
