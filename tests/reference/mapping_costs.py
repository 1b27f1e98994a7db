"""Areas and energies of what docs/mapping.md compares, measured or from other tracked figures."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from narrowgauge import api, energy, tasks
from narrowgauge.golden.arith.fused_mul import BITS, FB24
from narrowgauge.golden.mapping.choose import MODES
from narrowgauge.hdl.cores.flexblock_banks import Halves
from narrowgauge.mapping import Request
from narrowgauge.synth import library
from narrowgauge.synth.energy_record import Work
from narrowgauge.synth.memory_model import MemoryModel
from narrowgauge.synth.power import power
from tests.reference import load as flow
from tests.reference.mapping import CHOSEN, NIBBLES, RIVAL

__all__ = ["banks", "costs", "energies"]

CACHE = Path(__file__).resolve().parent.parent.parent / "build" / "cache"
MODEL = MemoryModel()
MEASURES = Path(__file__).with_name("measures.json")


def _area(name: str, nibbles: int) -> tuple[float, float]:
    """GE, and the delay in ps of the netlist for speed."""
    record = api.synthesize(name, overrides={"nibbles": nibbles}, cache=CACHE)[0]
    return round(record.ge, 1), round(record.delay_ps)


def _beats(name: str, nibbles: int, modes: tuple[int, ...]) -> tuple[dict[int, float], Any]:
    """Energy of a beat of captured tensors in pJ by mode, without glitches; the last record."""
    point = tasks.find(name, {"nibbles": nibbles})
    subject = energy.subject(point, "nangate45", CACHE, "speed", None)
    batch = point.entry.golden.vectors(point.params, "real", 1)
    found, record = {}, None
    for mode in modes:
        picked = batch
        if "mode" in batch:
            chosen = batch["mode"] == mode
            picked = {name: values[chosen] for name, values in batch.items()}
        ends = np.flatnonzero(picked["last"]) + 1
        sent = energy.beats(point, picked, ends)
        work = Work(beats=sent, warm_up=64, every=1)
        record = subject.record(work, glitch=False, seed=1)
        found[mode] = round(record["zero_delay"]["pj_per_op"], 3)
    return found, record


def costs() -> dict[str, Any]:
    """`area` in GE and `delay` in ps: of elements, and of a lane of bf16."""
    known = {p["name"]: p for p in flow()["points"]}
    area: dict[str, float] = {}
    delay: dict[str, float] = {}
    wanted = [(f"three_{n}", "bfp_pe/n48", f"bfp_pe/n{n}", n) for n in NIBBLES]
    wanted.append((f"fb24_{CHOSEN}", "bfp_pe/fb24_n48", f"bfp_pe/fb24_n{CHOSEN}", int(CHOSEN)))
    for key, name, point, nibbles in wanted:
        if point in known:
            area[key], delay[key] = known[point]["ge"], known[point]["delay_ps"]
        else:
            area[key], delay[key] = _area(name, nibbles)
    rival = known[RIVAL]
    area["bf16_lane"] = round(rival["ge"] / rival["macs"], 1)
    delay["bf16_lane"] = rival["delay_ps"]
    return {"area": area, "delay": delay}


def energies() -> dict[str, Any]:
    """`energy` in pJ a beat, or a MAC of bf16; `split` of an element in GE, by module."""
    three, record = _beats("bfp_pe/n48", int(CHOSEN), (0, 1, 2))
    alone, _ = _beats("bfp_pe/fb24_n48", int(CHOSEN), (2,))
    measured = json.loads(MEASURES.read_text(encoding="utf-8"))["points"]
    pj: dict[str, float] = {f"three_{m}": three[i] for i, m in enumerate(("fb12", "fb16", "fb24"))}
    pj["fb24"] = alone[2]
    pj["bf16_mac"] = _rival(measured)
    split = {part["path"]: round(part["ge"]) for part in record["split"]}
    return {"energy": pj, "split": split}


def banks() -> dict[str, Any]:
    """`banks`: pJ of reading a word of A and one of B, by the model of docs/energy.md.

    On the core by mode, of the memories that its banks have; the other arrays' banks are made of
    memories no wider than those, as few as can be.
    """
    core = Request().params
    depths = (core.a_depth, core.b_depth)
    drawn = power(library.load("nangate45"))

    def read(depth: int, widths: Iterable[int]) -> float:
        return round(sum(MODEL.access(w * depth, w, drawn) for w in widths) / 1000, 2)

    own = [
        [sum(high - low for low, high in parts) for parts in Halves(core, side).parts.values()]
        for side in range(2)
    ]
    found: dict[str, Any] = {
        "three": {
            mode: [
                read(depth, widths[:1] if number == FB24 else widths)
                for depth, widths in zip(depths, own, strict=True)
            ]
            for number, mode in enumerate(MODES)
        }
    }
    size, most = int(CHOSEN), max(own[0])
    for name, width in (("fb24", size // 16 * (BITS[FB24] + 1) + 8), ("bf16", size // 4 * 16)):
        count = -(-width // most)
        widths = [width // count + (number < width % count) for number in range(count)]
        found[name] = [read(depth, widths) for depth in depths]
    return {"banks": found}


def _rival(measured: Any) -> float:
    """Energy of a MAC of bf16 in pJ on captured tensors, without glitches."""
    point = next(point for point in measured if point["name"] == RIVAL)
    real = point["energy"]["real"]
    return round(real["zero_delay"] / real["macs"], 3)
