"""Results for the tests of the page: areas as synthesised, all else made up in the right shape.

The made-up figures are for the tests alone; they say nothing of the units.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from narrowgauge import registry, tasks
from narrowgauge.store import Result, Store

__all__ = ["EVIL", "NASTY", "POINTS", "result", "results", "stored"]

EVIL = "</script><script>document.title='broken'</script><b>& \"'"
"""Text that is shown as it stands."""

NASTY = "</script><b>"
"""A module of that name."""

SYNTHESISED = ("lzc/w8", "fp_add/fp8_e5m2")
MADE_UP = {
    "mx_dot/w3a3_l32": 7800.0,
    "mx_dot/w4a4_l32": 9700.0,
    "bf16_dot/l32": 33000.0,
    "mx_dot/w4a4_l128": 20500.0,
    "bf16_dot/l128": 124000.0,
    "mx_quantize/mxfp4_l8": 1350.0,
}
"""Points that take too long for a test, with an area of the right size."""

SWEPT = "mx_dot/w3a3_l32 --set lanes=8 --set k=32"
POINTS = (*SYNTHESISED, *MADE_UP, SWEPT)


def _point(name: str) -> registry.Point:
    base, *overrides = name.split(" --set ")
    values = {key: int(value) for key, _, value in (each.partition("=") for each in overrides)}
    (point,) = registry.points(base, **values)
    return point


def result(name: str, measure: str, value: Any, library: str | None = "generic") -> Result:
    """A row of the store."""
    stamp: dict[str, Any] = {"arguments": {}, "sources": "5" * 64, "tools": {"pyosys": "0.70"}}
    if library is not None:
        stamp |= {"library": library, "library_digest": "6" * 64}
    point = _point(name)
    digest = hashlib.sha256(json.dumps([name, measure, library]).encode()).hexdigest()
    return Result(
        digest=digest,
        measure=measure,
        point=name.partition(" ")[0],
        name=name,
        parameters=point.parameters,
        value=value,
        stamp=stamp,
        seconds=1.0,
    )


def _area(name: str, cache: Path) -> dict[str, Any]:
    real = name if name in SYNTHESISED else SYNTHESISED[0]
    record = tasks.synthesize(name=real, overrides={}, liberty="generic", cache=cache, keep=None)
    sample: dict[str, Any] = json.loads(record.to_json())
    if name in SYNTHESISED:
        return sample | {"ge": record.ge, "ge_per_mac": record.ge_per_mac}
    macs = _point(name).macs
    ge = MADE_UP.get(name, 2500.0)
    parts = {"": 0.05, NASTY: 0.05, "accumulator.add": 0.15, "accumulator.convert": 0.05}
    parts |= {f"lane{i}": 0.7 / 8 for i in range(8)}
    return sample | {
        "name": name,
        "macs": macs,
        "ge": ge,
        "ge_per_mac": ge / macs if macs else None,
        "hierarchy": [{"path": path, "ge": ge * share} for path, share in parts.items()],
    }


def _delay(ge: float) -> dict[str, Any]:
    period = 200 + ge**0.5
    curve = [
        {"target_ps": None, "period_ps": 1.6 * period, "ge": ge, "met": True},
        {"target_ps": 1.2 * period, "period_ps": 1.19 * period, "ge": 1.1 * ge, "met": True},
        {"target_ps": 0.9 * period, "period_ps": period, "ge": 1.3 * ge, "met": False},
    ]
    return {
        "period_ps": period,
        "fmax_mhz": 1e6 / period,
        "group": "reg2reg",
        "start": "i",
        "end": "o",
        "path": [],
        "groups": {"reg2reg": period},
        "ge": 1.3 * ge,
        "goal": "speed",
        "curve": curve,
    }


def _estimate(pj: float, macs: int | None) -> dict[str, Any]:
    parts = {"switching": 0.4 * pj, "internal": 0.4 * pj, "clock": 0.15 * pj, "leakage": 0.05 * pj}
    return {"pj_per_op": pj, "pj_per_mac": pj / macs if macs else None, **parts}


def _energy(name: str, ge: float, *, real: bool) -> dict[str, Any]:
    point = _point(name)
    macs = None if point.macs is None else int(point.parameters.get("k", point.macs))
    beats = 1 if macs is None or point.macs is None else macs // point.macs
    found: dict[str, Any] = {}
    for kind, factor in (("random", 1.2e-3), ("real", 0.8e-3)):
        if kind == "random" or real:
            pj = factor * ge * beats
            found[kind] = {
                "operations": 1000,
                "macs_per_operation": macs,
                "zero_delay": _estimate(pj, macs),
                "glitch": _estimate(1.4 * pj, macs),
                "memory": None,
                "split": [
                    {"path": path, "pj_per_op": share * pj, "ge": share * ge}
                    for path, share in (("", 0.2), ("accumulator.add", 0.3), ("products", 0.5))
                ],
            }
    return {"period_ps": 2000.0, "library": "generic", "vectors": found}


def _claim(**changes: Any) -> dict[str, Any]:
    claim = {
        "claim": "equal to the specification",
        "method": "exhaustive",
        "size": "8 input bits",
        "status": "proved",
        "seconds": 0.25,
        "counterexample": None,
    }
    return claim | changes


def _run(name: str, **changes: Any) -> dict[str, Any]:
    run = {
        "name": name,
        "passed": True,
        "level": "smoke",
        "seed": 1,
        "simulator": "Verilator 5.48",
        "transactions": 300,
        "beats_in": 1000,
        "beats_out": 1000,
        "cycles": 4000,
        "patterns": ["throughput"],
        "latency": 3,
        "interval": 1.0,
        "bins": {"zero": 3, "negative": 7, "ties": 0, "overflow": 1},
        "missing": ["ties"],
        "mismatch": None,
        "failure": "",
        "seconds": 2.0,
    }
    return run | changes


def results(cache: Path) -> list[Result]:
    """Every measure of some points; lzc has only its area, and the rest has gaps too."""
    rows = []
    for name in POINTS:
        area = _area(name, cache)
        rows.append(result(name, "area", area))
        if name == "lzc/w8":
            continue
        unit = name.partition("/")[0]
        rows.append(result(name, "delay", _delay(area["ge"])))
        rows.append(result(name, "energy", _energy(name, area["ge"], real="dot" in unit)))
        rows.append(result(name, "verify", [_run(name)], library=None))
        gates = {"netlist": "area", "beats": 1234, "equal": True, "mismatch": None}
        rows.append(result(name, "gates", gates))
        claims = [_claim()]
        if unit == "fp_add":
            example = {"x": f"0x4d {EVIL}"}
            claims += [_claim(claim=EVIL, status="refuted", counterexample=example)]
            claims += [_claim(claim="a sum of its own", status="unknown")]
        rows.append(result(name, "proof", {"claims": claims}, library=None))
        survivors = [{"mutation": f"inv {EVIL}", "reason": ""}] if unit == "fp_add" else []
        mutation = {
            "mutants": 100,
            "killed": 98 - len(survivors),
            "equivalent": 2,
            "survivors": survivors,
            "score": (98 - len(survivors)) / 98,
        }
        rows.append(result(name, "mutation", mutation, library=None))
    return rows


def stored(path: Path, rows: list[Result]) -> Path:
    """A store of some rows."""
    store = Store(path)
    for row in rows:
        store.add(row)
    return path
