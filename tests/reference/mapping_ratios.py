"""Speed and energy of a step of training on flexblock_core over other arrays."""

from typing import Any

from narrowgauge.golden.mapping.choose import MODES
from narrowgauge.golden.mapping.nets import NETS
from narrowgauge.mapping import CORE

__all__ = ["CHOSEN", "Data", "peak", "ratios", "step", "total"]

CHOSEN = str(CORE["nibbles"])

Data = dict[str, Any]


def total(kinds: Data, index: int) -> int:
    """Of all types of layers."""
    return sum(values[index] for values in kinds.values())


def step(nets: Data, net: str, mode: str, index: int = 1) -> int:
    """Cycles (1), MACs (2) or bits (5) of a step of training."""
    return sum(total(kinds, index) for kinds in nets[net][mode].values())


def peak(nibbles: int, mode: str) -> int:
    """MACs a cycle of all elements."""
    each = {"fb12": nibbles, "fb16": nibbles // 4, "fb24": nibbles // 16}[mode]
    return int(CORE["pes"]) * each


def _energy(data: Data, array: str, net: str, mode: str, banks: bool) -> float:
    """Energy of a step in pJ, on the core or on a rival; `mode` is the one it is mapped in."""
    nets = data["shared" if array == "shared" else "nibbles"]
    nets = nets if array == "shared" else nets[CHOSEN]
    pj, spent = data["costs"]["energy"], 0.0
    banked = data["costs"]["banks"]
    for direction, kinds in nets[net][mode].items():
        for kind, (_, cycles, macs, *_rest) in kinds.items():
            elements = _elements(mode, direction, kind)
            if array == "bf16":
                spent += macs * pj["bf16_mac"]
            else:
                each = pj["fb24" if array == "fb24" else f"three_{elements}"]
                spent += cycles * CORE["pes"] * each
            reads = banked[array] if array in ("fb24", "bf16") else banked["three"][elements]
            if banks:
                # Depthwise layers read a B of each element, the others one for all.
                private = kind == "depthwise" and array != "shared"
                spent += cycles * (
                    CORE["pes"] * reads[0] + reads[1] * (CORE["pes"] if private else 1)
                )
    return spent


def ratios(data: Data) -> dict[str, dict[str, dict[str, float]]]:
    """Speed and energy over the baselines, by baseline, by what is equal, by mode and net."""
    nets, area = data["nibbles"][CHOSEN], data["costs"]["area"]
    own = area[f"three_{CHOSEN}"]
    # A product of 8 x 8 bits is four of 4 x 4.
    sizes = {"fb24": area[f"fb24_{CHOSEN}"] / own, "shared": 1.0}
    sizes["bf16"] = int(CHOSEN) // 4 * area["bf16_lane"] / own
    made: dict[str, dict[str, dict[str, float]]] = {}
    for name in ("fb24", "bf16", "shared"):
        for equal in ("multipliers", "area", "logic", "banks"):
            found = made.setdefault(f"{name} {equal}", {})
            for mode in MODES:
                rival = {"fb24": "fb24", "bf16": "fb16"}.get(name, mode)
                for net in NETS:
                    if equal in ("logic", "banks"):
                        both = equal == "banks"
                        value = _energy(data, name, net, rival, both)
                        value /= _energy(data, "three", net, mode, both)
                    else:
                        value = step(data["shared"] if name == "shared" else nets, net, rival)
                        value *= (sizes[name] if equal == "area" else 1) / step(nets, net, mode)
                    found.setdefault(mode, {})[net] = value
    return made


def _elements(mode: str, direction: str, kind: str) -> str:
    """The mode that elements work in: depthwise windows of FB12 are run as codes of FB16."""
    return "fb16" if (mode, kind) == ("fb12", "depthwise") and direction != "dw" else mode
