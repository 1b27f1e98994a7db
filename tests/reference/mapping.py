"""The tracked mappings, mapping.json, and the tables of docs/mapping.md made from them.

`python -m tests.reference.mapping maps` maps the nets, `costs` synthesises the elements, `energies`
measures them (minutes each), `banks` prices their memories, `render` writes the page.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from narrowgauge.console import Console, markdown
from narrowgauge.golden.mapping.choose import MODES, Mapper
from narrowgauge.golden.mapping.layers import PASSES
from narrowgauge.golden.mapping.nets import NETS
from narrowgauge.mapping import CORE, Report, Request, evaluate, geometric
from tests.reference.mapping_ratios import CHOSEN, Data, peak, ratios, step, total
from tests.reference.pages import put

__all__ = [
    "BEGIN",
    "CHOSEN",
    "DATA",
    "END",
    "NIBBLES",
    "PAGE",
    "groups",
    "load",
    "maps",
    "reduce",
    "render",
]

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = Path(__file__).with_name("mapping.json")
PAGE = ROOT / "docs" / "mapping.md"
BEGIN, END = "<!-- mapping:begin -->", "<!-- mapping:end -->"
NIBBLES = (16, 32, 48, 64, 144)
RIVAL = "bf16_dot/l32"
KINDS = ("first", "conv", "pointwise", "depthwise", "fc", "attention")


def load() -> Data:
    """The tracked figures."""
    data: Data = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def reduce(report: Report) -> Data:
    """By mode, pass and type of layer: layers, cycles, MACs, and what is used of what is possible
    (geometric mean, least, of all MACs); and bits.
    """
    made: Data = {}
    for row in report.rows:
        made.setdefault(row["mode"], {}).setdefault(row["pass"], {}).setdefault(
            row["kind"], []
        ).append(row)
    for passes in made.values():
        for kinds in passes.values():
            for kind, rows in kinds.items():
                used = [row["utilisation"] for row in rows]
                macs = sum(row["macs"] for row in rows)
                kinds[kind] = [
                    len(rows),
                    sum(row["cycles"] for row in rows),
                    macs,
                    round(geometric(used), 4),
                    round(min(used), 4),
                    sum(row["bits"] for row in rows),
                ]
    return made


def _nets(nibbles: int, shared: bool) -> Data:
    core = {"nibbles": nibbles}
    console = Console()
    mapper = Mapper(Request(core=core).params, private=not shared)
    found = {}
    for net in NETS:
        console.line(f"{net} nibbles={nibbles} shared={shared}")
        found[net] = reduce(evaluate(Request(net=net, core=core, shared=shared), mapper=mapper))
    return found


def maps(*which: int) -> Data:
    """All nets, on cores of all sizes; and of the chosen size with one B for all elements."""
    made: Data = {"nibbles": {str(n): _nets(n, False) for n in which or NIBBLES}}
    made["shared"] = _nets(int(CORE["nibbles"]), True)
    return made


def mean(groups: Iterable[list[Any]]) -> float:
    """Geometric mean of the layers of some groups."""
    listed = list(groups)
    return geometric(g for group in listed for g in [group[3]] * group[0])


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _used(nets: Data) -> str:
    """Utilisation by net, pass, mode and type."""
    rows = []
    for net in NETS:
        for direction in PASSES:
            for mode in MODES:
                kinds = nets[net][mode][direction]
                cells = [
                    f"{_percent(kinds[k][3])} ({_percent(kinds[k][4])})" if k in kinds else ""
                    for k in KINDS
                ]
                all_of = total(kinds, 2) / (total(kinds, 1) * peak(int(CHOSEN), mode))
                rows.append(
                    [net, direction, mode, *cells, _percent(mean(kinds.values())), _percent(all_of)]
                )
    head = ["net", "pass", "mode", *KINDS, "geometric mean", "of all MACs"]
    return markdown(head, rows)


def _sizes(data: Data) -> str:
    """The choice of multipliers of an element."""
    rows = []
    for nibbles in NIBBLES:
        nets = data["nibbles"][str(nibbles)]
        area = data["costs"]["area"].get(f"three_{nibbles}")
        cells = []
        for mode in MODES:
            groups = [
                g for net in NETS for kinds in nets[net][mode].values() for g in kinds.values()
            ]
            cells.append(_percent(mean(groups)))
        for mode in MODES:
            done = geometric(step(nets, net, mode, 2) / step(nets, net, mode) for net in NETS)
            cells.append(f"{1000 * done / (CORE['pes'] * area):.2f}" if area else "")
        rows.append([f"{nibbles}", f"{area:.0f}" if area else "", *cells])
    head = [
        "nibbles",
        "GE",
        *(f"{m} %" for m in MODES),
        *(f"{m} MACs / cycle / kGE" for m in MODES),
    ]
    return markdown(head, rows)


_LABELS = {
    "fb24": "FB24 alone",
    "bf16": "bf16, FP32 sums",
    "shared": "three modes, one B for all",
}


_RATIOS = {
    "multipliers": "speed, equal multipliers",
    "area": "speed, equal area",
    "logic": "energy, logic",
    "banks": "energy, logic and banks",
}


def _compared(data: Data) -> str:
    rows = []
    for key, modes in ratios(data).items():
        name, equal = key.split()
        for mode, by_net in modes.items():
            values = [by_net[net] for net in NETS]
            rows.append([
                _LABELS[name], _RATIOS[equal], mode,
                *(f"{value:.2f}" for value in values), f"{geometric(values):.2f}",
            ])  # fmt: skip
    return markdown(["against", "ratio", "mode", *NETS, "mean"], rows)


def _costs(data: Data) -> str:
    costs = data["costs"]
    area, delay, pj = costs["area"], costs["delay"], costs["energy"]
    size = int(CHOSEN)
    own = [pj[f"three_{mode}"] for mode in MODES]
    each = [x * CORE["pes"] / peak(size, m) for x, m in zip(own, MODES, strict=True)]
    rows = []
    for label, key, bank, cycle, mac in (
        ("three modes", f"three_{CHOSEN}", "three", own, each),
        ("FB24 alone", f"fb24_{CHOSEN}", "fb24", [pj["fb24"]], [pj["fb24"] * 16 / size]),
        (f"a lane of `{RIVAL}`", "bf16_lane", "bf16", [pj["bf16_mac"]], [pj["bf16_mac"]]),
    ):
        told = [" / ".join(f"{x:.1f}" for x in cycle), " / ".join(f"{x:.2f}" for x in mac)]
        reads = costs["banks"][bank]
        listed = [reads[mode] for mode in MODES] if bank == "three" else [reads]
        share = 4 / size if bank == "bf16" else 1
        told += [" / ".join(f"{x[side] * share:.1f}" for x in listed) for side in range(2)]
        rows.append([label, f"{area[key]:.0f}", f"{delay[key]:.0f}", *told])
    words = ["pJ a word of A", "pJ a word of B"]
    return markdown(["element", "GE", "ps", "pJ a cycle", "pJ a MAC", *words], rows)


def _traffic(nets: Data) -> str:
    rows = [
        [net, *(f"{step(nets, net, mode, 5) / 8e9:.2f}" for mode in MODES),
         *(f"{step(nets, net, mode, 5) / step(nets, net, mode, 2):.3f}" for mode in MODES)]
        for net in NETS
    ]  # fmt: skip
    head = ["net", *(f"{m} GB" for m in MODES), *(f"{m} bits a MAC" for m in MODES)]
    return markdown(head, rows)


def _depthwise(nets: Data) -> str:
    """What depthwise layers cost."""
    net, told = nets["mobilenet_v2"], []
    for mode in MODES:
        slow = sum(net[mode][d]["depthwise"][1] for d in ("forward", "dx"))
        told.append(f"{_percent(slow / step(nets, 'mobilenet_v2', mode))} % in {mode}")
    macs = sum(net["fb12"][d]["depthwise"][2] for d in ("forward", "dx"))
    share = macs / step(nets, "mobilenet_v2", "fb12", 2)
    return (
        "Of MobileNetV2's step depthwise layers, forward and dX, have "
        f"{_percent(share)} % of the MACs and take {', '.join(told)} of the cycles."
    )


def groups(nets: Data) -> list[tuple[str, Any]]:
    """Of all nets, modes and passes: the kinds of layers, and what was counted of them."""
    return [
        (kind, group)
        for net in NETS
        for passes in nets[net].values()
        for kinds in passes.values()
        for kind, group in kinds.items()
    ]


def render(data: Data, page: str) -> str:
    """The page with its tables."""
    nets = data["nibbles"][CHOSEN]
    told = " ".join(f"{name}={value}" for name, value in CORE.items())
    told += f" load={CORE['pes']} results={CORE['pes']}"
    kinds = groups(nets)
    every = [group for _, group in kinds]
    rest_of = [group for kind, group in kinds if kind != "depthwise"]
    parts = [
        f"`{told}`, batch 64. Geometric mean over the layers of a type (the least of them), in "
        "percent of the products that the mode could make.",
        _used(nets),
        f"All nets, passes and modes: {_percent(mean(every))} %; without depthwise layers "
        f"{_percent(mean(rest_of))} %. {_depthwise(nets)}",
        "Multipliers of an element: geometric mean of all layers and passes, area of an element, "
        "and what a step of training makes of it.",
        _sizes(data),
        "Elements of the comparison, `nibbles` = " + CHOSEN + ":",
        _costs(data),
        "A step of training against the same step on the other arrays; above 1 this is faster, or "
        "takes less energy.",
        _compared(data),
        "Words and results through the ports in a step:",
        _traffic(nets),
    ]
    tables = "\n\n".join(parts)
    return put(page, BEGIN, END, tables)


def main(what: str) -> None:
    """Take one part anew, and write the page."""
    data = load() if DATA.exists() else {}
    if what == "maps":
        data |= maps()
    elif what in ("costs", "energies", "banks"):
        from tests.reference import mapping_costs

        data["costs"] = data.get("costs", {}) | getattr(mapping_costs, what)()
    elif what != "render":
        raise SystemExit(__doc__)
    DATA.write_text(json.dumps(data, sort_keys=True) + "\n", encoding="utf-8")
    if "nibbles" in data and "costs" in data:
        PAGE.write_text(render(data, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2] or [""])
