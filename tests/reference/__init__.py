"""Reference results: figures of one run of the flow, tracked, that pages show.

`make reference` runs the flow and writes `flow.json`, the tables of `SHOWN`, the costs on the pages
of the arithmetic components and `baseline.json` anew. The tests hold the tables to the file, the
file's stamp to the flow, and the pages and some of the file's figures to a synthesis of their own;
and the small units to the baseline, which is what `narrowgauge synth --record` writes for `SMALL`.
"""

import json
from pathlib import Path
from typing import Any

from narrowgauge import api, compare
from narrowgauge.console import markdown
from tests.reference.pages import Tables

__all__ = [
    "BASELINE",
    "PAGES",
    "README",
    "REFERENCE",
    "SHOWN",
    "SMALL",
    "UNMEASURED",
    "UNMUTATED",
    "cost_row",
    "load",
    "record_baseline",
    "reduce",
]

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = Path(__file__).with_name("flow.json")
BASELINE = Path(__file__).with_name("baseline.json")
SMALL = (
    "lzc",
    "int_to_fp",
    "fp_add/bf16",
    "fp_add/fp8_e5m2",
    "fp_mul/bf16",
    "fp_mul/fp8_e5m2",
    "mx_quantize/mxfp4_l8",
)
"""Points that are synthesised in seconds, of which `BASELINE` has the figures."""
UNMEASURED: tuple[str, ...] = (
    *("range_bn_array/g4_l8", "range_bn_array/g1_l8"),
    *("fp32_bn/l8", "fp32_range_bn/l8", "lightnorm/g4_l8"),
    *(f"range_bn_constants/{point}" for point in ("g4", "g2")),
    *(
        f"bfp_convert/{point}"
        for point in ("fp32_l9", "fp32_rne_l9", "fp32_stochastic_l9", "bf16_l9")
    ),
    "precision_control/e64",
    "fused_mul/c9",
    *("bfp_pe/n144", "bfp_pe/fb24_n144"),
    *("flexblock_core/p2_n16", "flexblock_core/p4_n48"),
)
"""Points that are not in `measures.json` yet."""
UNMUTATED = (
    *("opal_core", "bf16_core", "w4a16_core", "lightnorm"),
    *("range_bn_constants", "fp32_bn", "fp32_range_bn", "fp32_bn_constants"),
)
"""Units in `measures.json` of which no mutants have been run."""
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs" / "arith").glob("*.md"))
"""Pages with a row of cost for every point of their component."""


def load() -> dict[str, Any]:
    """The tracked figures."""
    data: dict[str, Any] = json.loads(REFERENCE.read_text(encoding="utf-8"))
    return data


def cost_row(name: str) -> str:
    """The row of a point on its page, synthesised now or in the flow's cache."""
    record = api.synthesize(name, cache=ROOT / "build" / "cache")[0]
    return f"| `{name}` | {record.ge:.0f} | {record.delay_ps:.0f} |"


def record_baseline() -> None:
    """Write `BASELINE`, as `narrowgauge synth --record` does."""
    records = api.synthesize(SMALL, cache=ROOT / "build" / "cache")
    text = compare.dump(compare.baseline(api.points(SMALL), records))
    BASELINE.write_text(text, encoding="utf-8")


def reduce(report: dict[str, Any]) -> dict[str, Any]:
    """What is tracked of a flow's report.json."""
    points = []
    for point in report["points"]:
        record = point["synthesis"]
        runs = point["verification"]
        area, speed = record["area"], record["speed"]
        points.append(
            {
                "name": point["name"],
                "macs": point["macs"],
                "ge": round(area["area"] / record["nand2_area"], 1),
                "flip_flops": record["flip_flops"],
                "memory_bits": sum(m["words"] * m["width"] for m in record["memories"]),
                "depth": area["depth"],
                "delay_ps": round((speed or area)["delay_ps"]),
                "delay_goal": (speed or area)["goal"],
                "latency": runs[0]["latency"],
                "interval": round(runs[0]["interval"]),
                # A dot product's transaction is a block, or a beat where it has no blocks.
                "block": point["parameters"].get("k", point["macs"]),
                "beats": sum(run["beats_out"] for run in runs),
                "passed": all(run["passed"] for run in runs),
            }
        )
    first = report["points"][0]["synthesis"]
    return {
        "flow_digest": first["flow_digest"],
        "library": first["library"],
        "tools": first["tools"],
        "points": points,
        "sqnr": report["sqnr"],
    }


def _dots(points: list[dict[str, Any]]) -> str:
    base = {p["macs"]: p["ge"] for p in points if p["name"].startswith("bf16_dot/")}
    rows = [
        [
            f"`{p['name']}`",
            str(p["macs"]),
            f"{p['ge'] / p['macs']:.1f}",
            f"{base[p['macs']] / p['ge']:.2f}x",
            str(p["depth"]),
            f"{p['delay_ps']}{'' if p['delay_goal'] == 'speed' else ' a'}",
            str(p["latency"]),
            f"{p['interval'] * 128 / p['block']:g}",
        ]
        for p in points
        if p["macs"]
    ]
    head = ["dot product", "lanes", "GE/MAC", "smaller than bf16", "depth", "delay ps"]
    return markdown([*head, "latency", "cycles for 128"], rows)


def _others(points: list[dict[str, Any]]) -> str:
    rows = [
        [
            f"`{p['name']}`",
            f"{p['ge']:.0f}",
            str(p["flip_flops"]),
            str(p["memory_bits"]),
            f"{p['delay_ps']}{'' if p['delay_goal'] == 'speed' else ' a'}",
            str(p["interval"]),
        ]
        for p in points
        if not p["macs"]
    ]
    head = ["unit", "GE", "flip-flops", "memory bits", "delay ps", "cycles"]
    return markdown(head, rows)


def _errors(rows: list[dict[str, Any]]) -> str:
    by_name = {row["format"]: row for row in rows}
    lines = []
    for b in (3, 4, 5, 7):
        opal, plain = by_name[f"mx_opal{b}"], by_name[f"mx_opal{b}_n0"]
        gains = [opal["sqnr"][t] - plain["sqnr"][t] for t in opal["sqnr"]]
        lines.append([f"MX-OPAL{b}", *_range(opal), f"{min(gains):+.1f}", f"{max(gains):+.1f}"])
        lines.append([f"MXINT{b}, k = 128", *_range(plain), "", ""])
    for name, label in (("mxfp4_e2m1", "MXFP4"), ("mxint8", "MXINT8")):
        lines.append([label, *_range(by_name[name]), "", ""])
    head = ["format", "bits/element", "lowest", "highest", "least gain", "most gain"]
    return markdown(head, lines)


def _range(row: dict[str, Any]) -> list[str]:
    values = row["sqnr"].values()
    return [f"{row['bits_per_element']:.2f}", f"{min(values):.1f}", f"{max(values):.1f}"]


def _largest(points: list[dict[str, Any]]) -> str:
    return _dots([point for point in points if point["macs"] == 128])


_DOTS = (
    "Whole units: multipliers, outliers, scales, conversion, FP32 accumulator, stream registers. "
    "GE: area in NAND2 of drive 1, from the run for area. Delay: ABC's figure without wires, from "
    "the run for speed (`a`: from the run for area)."
)


def _beats(data: dict[str, Any]) -> str:
    beats = sum(p["beats"] for p in data["points"])
    return (
        f"NanGate45, pyosys {data['tools']['pyosys']}, flow {data['flow_digest'][:12]}. "
        f"{beats} output beats of all points compared bit for bit."
    )


def _readme() -> str:
    data = load()
    return f"{_largest(data['points'])}\n\n{_DOTS} {_beats(data)}"


def _costs() -> str:
    data = load()
    said = f"{_DOTS} {_beats(data)}"
    return "\n\n".join([said, _dots(data["points"]), _others(data["points"])])


def _sqnr() -> str:
    data = load()
    tensors = len(data["sqnr"][0]["sqnr"])
    return (
        f"SQNR in dB over {tensors} captured activation tensors of SmolLM2-135M; the gain is "
        f"MX-OPAL's over plain MXINT of the same b, by tensor.\n\n{_errors(data['sqnr'])}"
    )


SHOWN: dict[Path, Tables] = {
    README: {"table": _readme},
    ROOT / "docs" / "costs.md": {"costs": _costs},
    ROOT / "docs" / "formats.md": {"sqnr": _sqnr},
}
"""What is written of the flow's figures, and where."""
