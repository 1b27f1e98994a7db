"""Reference results of every measure: `measures.json`, and the page docs/measurements.md from it.

`make measure` sweeps over the registry into build/results.sqlite and writes both; a result that is
in the store already is not measured again. `python -m tests.reference.measures` alone writes them
from the store as it is, and with `--sweep NAME ...` measures the named points only; points that the
store has nothing of keep what is tracked, as long as the flow is the one that made it.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from narrowgauge import api, measures, registry
from narrowgauge.console import Console, markdown
from narrowgauge.store import DEFAULT, Result, Store
from narrowgauge.sweep import Progress
from narrowgauge.synth import origin
from tests.reference import README, UNMEASURED
from tests.reference.opal import CORES
from tests.reference.pages import Tables, update

__all__ = [
    "DATA",
    "MEASURED",
    "MUTATED",
    "PAGE",
    "SHOWN",
    "load",
    "reduce",
    "render",
    "summary",
    "sweep",
    "wanted",
]

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = Path(__file__).with_name("measures.json")
PAGE = ROOT / "docs" / "measurements.md"
MEASURED = ("area", "delay", "energy", "gates", "verify", "proof")
"""Of every point of the registry but `CORES`, which have figures of their own (`opal`)."""
LARGE = ("area", "delay", "energy", "verify")
"""Of `STOOD_FOR`: other points stand for them in the rest."""
STOOD_FOR = (
    *("opal_dot/p47_l128", "opal_dot/p35_l128", "w4a16_dot/l128", "log2_softmax/c4_t1024"),
    *("bf16_softmax/t1024", "shift_attend/c4_d64", "shift_attend/c4_d64_s4", "shift_attend/c3_d8"),
)
_KINDS = ("zero_delay", "glitch")
MUTATED = (
    *("lzc", "int_to_fp", "fp_add", "fp_mul", "multimode_mul", "bfp_pack"),
    *("mx_quantize/opal4_l8", "mx_quantize/mxint8_l8", "mx_quantize/mxfp4_l8"),
    *("mx_dot/w3a3_l32", "mx_dot/w4a4_l32", "bf16_dot/l32", "w4a16_dot/l32", "opal_dot/p47_l32"),
    *("log2_softmax/c3_t64", "shift_attend/c4_d8", "bf16_softmax/t64"),
    *("range_bn_statistics/g2_l2", "range_bn_normalize/g2_l2", "range_bn_array/g2_l2"),
    *("word_pack/e3m2_k2_w16", "word_unpack/e3m2_k2_w16"),
    *("fused_mul/c1", "bfp_pe/n16_small", "bfp_convert/fp32_rne_l2", "precision_control/e4"),
    *("word_guard/e5m2_k1", "guarded_memory/e5m2_k1"),
)
"""Points whose mutants are run; the others of these units differ in widths and lanes."""
CURVES = ("mx_dot/w4a4_l128", "bf16_dot/l128", "mx_dot/w4a4_l32", "bf16_dot/l32")
"""Points whose area-delay curve and energy by module the page shows."""


def sweep(named: Sequence[str] = ()) -> None:
    """Measure what the store does not hold yet, of the named points or of all."""
    console = Console(0)

    def progress(now: Progress) -> None:
        line = f"[{now.done}/{now.total}] {now.job.label} ({now.seconds:.1f} s)"
        console.line(line, last=now.done == now.total)

    chosen = api.points(named)
    for measure in (*MEASURED, "mutation"):
        names = [point.full_name for point in chosen if measure in wanted(point)]
        if names:
            api.sweep(names, measure=(measure,), store=ROOT / DEFAULT, jobs=2, progress=progress)


def wanted(point: registry.Point) -> tuple[str, ...]:
    """The measures that are taken of a point."""
    if point.full_name in CORES:
        return ()
    taken = LARGE if point.full_name in STOOD_FOR else MEASURED
    mutated = {point.entry.name, point.full_name} & {*MUTATED}
    return (*taken, "mutation") if mutated else taken


def load() -> dict[str, Any]:
    """The tracked figures."""
    data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def reduce(rows: list[Result], tracked: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is tracked of a store's rows: the figures that the page shows.

    Points that have no rows are taken over from `tracked`, figures of the same flow.
    """
    first = next(row for row in rows if row.measure == "area")
    stamp = {key: first.value[key] for key in ("library", "flow_digest", "tools")}
    same = tracked is not None and all(tracked[key] == stamp[key] for key in stamp)
    before = {point["name"]: point for point in tracked["points"]} if tracked and same else {}
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row.name, {})[row.measure] = row.value
    points = []
    for point in api.points():
        values = found.get(point.full_name, {})
        if "area" in values:
            entry = {"name": point.full_name, "macs": point.macs, "layer": point.entry.layer}
            # A measure that was not taken again is still the one of this point.
            points.append(before.get(point.full_name, {}) | entry | dict(_reduced(values)))
        elif point.full_name in before:
            points.append(before[point.full_name])
    return stamp | {"points": points}


def _reduced(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "ge", round(values["area"]["ge"], 1)
    yield "memory_bits", sum(m["words"] * m["width"] for m in values["area"]["memories"])
    yield "modules", [[m["path"], round(m["ge"], 1)] for m in values["area"]["hierarchy"]]
    if "delay" in values:
        delay = values["delay"]
        yield "period_ps", round(delay["period_ps"], 1)
        yield "group", delay["group"]
        yield "speed_ge", round(delay["ge"], 1)
        yield (
            "curve",
            [[round(s["period_ps"], 1), round(s["ge"], 1), s["met"]] for s in delay["curve"]],
        )
    if "energy" in values:
        yield "energy", {kind: _energy(each) for kind, each in values["energy"]["vectors"].items()}
    if "gates" in values:
        gates = values["gates"]
        proofs = [each["proof"] for each in gates["netlists"].values()]
        yield (
            "gates",
            {
                "beats": gates["beats"],
                "equal": gates["equal"],
                "proved": sum(proof["status"] == "proved" for proof in proofs),
                "netlists": len(proofs),
                "against": proofs[0]["against"],
            },
        )
    if "verify" in values:
        yield "beats", sum(result["beats_out"] for result in values["verify"])
    if "proof" in values:
        kept = ("claim", "method", "size", "status")
        yield "claims", [{k: claim[k] for k in kept} for claim in values["proof"]["claims"]]
    if "mutation" in values:
        mutation = values["mutation"]
        yield (
            "mutation",
            {
                **{k: mutation[k] for k in ("mutants", "killed", "equivalent")},
                "survivors": len(mutation["survivors"]),
                "score": round(mutation["score"], 4),
            },
        )


def _energy(each: Mapping[str, Any]) -> dict[str, Any]:
    glitch = each["glitch"]
    return {
        "zero_delay": round(each["zero_delay"]["pj_per_op"], 4),
        "glitch": None if glitch is None else round(glitch["pj_per_op"], 4),
        "macs": each["macs_per_operation"],
        "memory": round(each["memory"]["pj_per_op"], 4) if each["memory"] else None,
        "split": _grouped(each["split"]) if glitch else [],
    }


def _grouped(split: list[Mapping[str, Any]]) -> list[list[Any]]:
    """Path, GE and energy of each module, siblings that differ by a number together."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for part in split:
        found.setdefault(origin.grouped(part["path"]), []).append(part)
    return [
        [
            path if len(parts) == 1 else f"{path} x {len(parts)}",
            round(math.fsum(part["ge"] for part in parts), 1),
            round(math.fsum(part["glitch_pj_per_op"] for part in parts), 4),
        ]
        for path, parts in found.items()
    ]


def render(data: Mapping[str, Any]) -> str:
    """The page."""
    points = data["points"]
    head = (
        "# Measurements\n\nWritten by `make measure` (hours on two cores); the tests hold it to "
        "`tests/reference/measures.json`. "
        f"{data['library']}, pyosys {data['tools']['pyosys']}, flow "
        f"`{data['flow_digest'][:12]}`, before layout: no wires, ideal clock.\n\n"
        "- **GE**: the netlist mapped for area. **Period**, **MHz** and **pJ**: the netlist mapped "
        "for speed, at its own shortest period, flip-flops' delay and setup included "
        "([timing](timing.md), [energy](energy.md)).\n"
        "- **pJ**: zero-delay / glitch-aware. Random vectors are those of level smoke, corner "
        "cases included; real ones the activations of SmolLM2-135M.\n"
        "- **Netlist**: both mapped netlists equal the golden model on the smoke vectors, and are "
        "proved equal to the RTL (components), or register by register to the design before "
        "mapping (units).\n"
        "- **Claims**: proved of all ([proofs](proofs.md)). **Mutants**: killed of those that are "
        "not equivalent ([mutation](mutation.md)); empty where another point of the unit stands "
        "for it."
    )
    parts = [head]
    if UNMEASURED:
        parts.append(f"Not measured yet: {', '.join(f'`{name}`' for name in UNMEASURED)}.")
    for title, chosen, per in (
        ("Dot products", [p for p in points if p["macs"]], "MAC"),
        ("Other units", [p for p in points if not p["macs"] and p["layer"] == "units"], "op"),
        ("Cores", [p for p in points if p["layer"] == "cores"], "op"),
        ("Arithmetic", [p for p in points if p["layer"] == "arith"], "op"),
    ):
        parts += [f"## {title}", _table(chosen, per)] if chosen else []
    by_name = {point["name"]: point for point in points}
    curves = [by_name[name] for name in CURVES if "curve" in by_name.get(name, {})]
    if curves:
        parts += ["## Area against delay", _CURVE, *map(_curve, curves)]
    splits = [by_name[name] for name in CURVES if by_name.get(name, {}).get("energy")]
    if splits:
        parts += ["## Energy by module", _SPLIT, *map(_split, splits)]
    parts += ["## Claims", *_claims(points)]
    return "\n\n".join(parts) + "\n"


_CURVE = (
    "Least area found for each period, by `narrowgauge timing STEM --curve`; the first row is the "
    "netlist mapped for area. Above 30 000 cells the flow's two netlists stand alone."
)
_SPLIT = "Glitch-aware, on the real sample, by `narrowgauge energy STEM --vectors real`."


def _table(points: list[dict[str, Any]], per: str, *, brief: bool = False) -> str:
    """One row a point; brief without what was checked of it."""
    real = any("real" in p.get("energy", {}) for p in points)
    head = ["point", f"GE{'/MAC' if per == 'MAC' else ''}", "period ps", "MHz"]
    head += [f"pJ/{per} random", *([f"pJ/{per} real"] if real else [])]
    head += ["real, less than bf16"] if per == "MAC" else []
    head += [] if brief else ["netlist", "claims", "mutants"]
    base = {p["macs"]: p for p in points if p["name"].startswith("bf16_dot/")}
    rows = []
    for point in points:
        macs = point["macs"] if per == "MAC" else None
        energy = point.get("energy", {})
        row = [f"`{point['name']}`", f"{point['ge'] / (macs or 1):.{1 if macs else 0}f}"]
        row += [f"{point['period_ps']:.0f}", f"{1e6 / point['period_ps']:.0f}"]
        row += [_pair(energy.get("random"), per)]
        row += [_pair(energy.get("real"), per)] if real else []
        if per == "MAC":
            other = base.get(point["macs"], {}).get("energy", {})
            row += [_ratio(energy.get("real"), other.get("real"))]
        row += [] if brief else [_netlist(point), _proved(point), _killed(point)]
        rows.append(row)
    return markdown(head, rows)


def summary(data: Mapping[str, Any]) -> str:
    """The README's table: dot products of 128 lanes, whole units."""
    chosen = [p for p in data["points"] if p["macs"] == 128]
    claims = [c for p in data["points"] for c in p.get("claims", ())]
    proved = sum(claim["status"] == "proved" for claim in claims)
    beats = sum(p["gates"]["beats"] for p in data["points"] if p.get("gates", {}).get("equal"))
    mutants = [p["mutation"] for p in data["points"] if "mutation" in p]
    killed = sum(m["killed"] for m in mutants)
    alive = sum(m["mutants"] - m["equivalent"] for m in mutants)
    return "\n\n".join(
        [
            _table(chosen, "MAC", brief=True),
            "Period by static timing analysis over Liberty tables, flip-flops included; energy a "
            "MAC without / with glitches, simulated on the mapped netlist: random vectors, and "
            "activations of SmolLM2-135M. Before layout: no wires. Over all points, both mapped "
            f"netlists give {beats} beats as the golden models do; {proved} of {len(claims)} "
            "claims are proved, from exhaustive and algebraic equality of the arithmetic to the "
            f"rules of the streams; the benches kill {killed} of {alive} mutants that are not "
            "equivalent. [All measurements](docs/measurements.md).",
        ]
    )


def _ratio(mine: Mapping[str, Any] | None, rival: Mapping[str, Any] | None) -> str:
    """How many times less energy a MAC takes, without and with glitches."""
    if not (mine and rival) or mine == rival:
        return ""
    spent = [[each[kind] / each["macs"] for each in (rival, mine)] for kind in _KINDS]
    return " / ".join(f"{theirs / ours:.1f}x" for theirs, ours in spent)


def _pair(energy: Mapping[str, Any] | None, per: str) -> str:
    if energy is None:
        return ""
    share = energy["macs"] if per == "MAC" else 1
    both = [energy[kind] for kind in _KINDS]
    return " / ".join("" if e is None else f"{e / share:.3g}" for e in both)


def _netlist(point: Mapping[str, Any]) -> str:
    gates = point.get("gates")
    if gates is None:
        return ""
    if not gates["equal"]:
        return "DIFFERS"
    return "proved" if gates["proved"] == gates["netlists"] else "equal"


def _proved(point: Mapping[str, Any]) -> str:
    claims = point.get("claims")
    if claims is None:
        return ""
    return f"{sum(c['status'] == 'proved' for c in claims)} of {len(claims)}"


def _killed(point: Mapping[str, Any]) -> str:
    mutation = point.get("mutation")
    if mutation is None:
        return ""
    return f"{mutation['killed']} of {mutation['mutants'] - mutation['equivalent']}"


def _curve(point: Mapping[str, Any]) -> str:
    steps = sorted({(period, ge) for period, ge, met in point["curve"] if met}, reverse=True)
    rows = [[f"{p:.0f}", f"{1e6 / p:.0f}", f"{g:.0f}"] for p, g in steps]
    return f"`{point['name']}`:\n\n" + markdown(["period ps", "MHz", "GE"], rows)


def _split(point: Mapping[str, Any]) -> str:
    energy = point["energy"].get("real") or point["energy"]["random"]
    total = sum(part[2] for part in energy["split"])
    rows = [
        [
            f"`{path}`" if path else "the unit's own",
            f"{ge:.0f}",
            f"{spent / (energy['macs'] or 1):.4f}",
            f"{100 * spent / total:.1f} %",
        ]
        for path, ge, spent in sorted(energy["split"], key=lambda part: -part[2])
    ]
    head = ["module", "GE (speed)", "pJ/MAC", "share"]
    return f"`{point['name']}`:\n\n" + markdown(head, rows)


def _claims(points: list[dict[str, Any]]) -> Iterator[str]:
    """A table a layer: points that share a claim, method and size share a row."""
    for title, layer in (("Components", "arith"), ("Streams", "units"), ("Cores", "cores")):
        rows: dict[tuple[str, ...], list[str]] = {}
        for point in points:
            if point["layer"] != layer:
                continue
            for claim in point.get("claims", ()):
                key = (claim["claim"], claim["method"], claim["size"], claim["status"])
                rows.setdefault(key, []).append(f"`{point['name']}`")
        if rows:
            table = [
                [claim, ", ".join(names), method, size, status]
                for (claim, method, size, status), names in rows.items()
            ]
            yield f"### {title}"
            head = ["claim", "points", "method", "size", "status"]
            yield markdown(head, table).replace("--:", ":--", len(head) - 1)


SHOWN: dict[Path, Tables] = {README: {"measures": lambda: summary(load())}}
"""What is written beside `PAGE`."""


def main() -> None:
    """Measure where asked to (`--sweep`), then write both files."""
    assert set(MEASURED) < set(measures.MEASURES)
    if "--sweep" in sys.argv[1:]:
        sweep([word for word in sys.argv[1:] if word != "--sweep"])
    data = reduce(Store(ROOT / DEFAULT).rows(), load())
    DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render(data), encoding="utf-8")
    update(SHOWN)


if __name__ == "__main__":
    main()
