"""log2_softmax: its golden model against fractions, its accuracy, and what its netlist holds."""

import ast
import json
import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from narrowgauge import design, registry
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.units import log2_softmax
from narrowgauge.golden.units.log2_softmax import Params
from narrowgauge.golden.units.scores import from_bf16, rows_of, to_bf16
from narrowgauge.hdl.emit import rtlil

ROOT = Path(__file__).resolve().parent.parent
Row = tuple[list[int], list[int], list[int]]

FORBIDDEN = re.compile(r"\$(mul|div|mod|divfloor|modfloor|pow|macc|macc_v2|lut|sop|fa)")


def _floor_log2(value: Fraction) -> int:
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    return exponent if value >= Fraction(2) ** exponent else exponent - 1


def by_fractions(p: Params, codes: list[int], mask: list[int]) -> Row | None:
    """Codes, zeros and NaNs of one row, element by element, without a shift."""
    if len(codes) > p.length:
        return None
    unit = Fraction(1, 1 << p.fraction)
    t: list[Fraction | None] = []
    nan = False
    for code, masked in zip(codes, mask, strict=True):
        if masked or code == 0xFF80:
            t.append(None)
            continue
        if code & 0x7F80 == 0x7F80:
            nan = True
            t.append(None)
            continue
        value = Fraction(float(from_bf16(np.array([code]))[0]))
        most = Fraction(255, 128) * Fraction(2) ** (p.reach - 1)
        magnitude = min(abs(value), most) * Fraction(23, 16) / unit
        rounded = math.floor(magnitude + Fraction(1, 2)) * unit
        t.append(-rounded if value < 0 else rounded)
    last = Fraction(1, 1 << p.guard)
    largest, total = None, Fraction(0)
    for each in t:
        if each is None:
            continue
        whole = math.floor(each)
        if largest is None or whole > largest:
            if largest is not None:
                total = math.floor(total / Fraction(2) ** (whole - largest) / last) * last
            largest = whole
        term = (1 + each - whole) / Fraction(2) ** (largest - whole)
        total += math.floor(term / last) * last
    if nan or largest is None:
        return [p.most] * len(t), [int(x is None) for x in t], [int(nan)] * len(t)
    lead = _floor_log2(total)
    below = math.floor((total / Fraction(2) ** lead - 1) / unit) * unit
    level = largest + lead + below
    made = [p.most if x is None else min(math.floor(level - x + Fraction(1, 2)), p.most) for x in t]
    return made, [int(x is None) for x in t], [0] * len(t)


@pytest.mark.parametrize(
    "params",
    [
        Params(length=64),
        Params(bits=3, length=16, fraction=1, guard=1, reach=3),
        Params(bits=5, length=16, fraction=8, guard=24, reach=7),
    ],
    ids=str,
)
def test_model_against_fractions(params: Params) -> None:
    batch = log2_softmax.vectors(params, "smoke", 3)
    answers = log2_softmax.model(params, batch)
    rows, given = rows_of(batch["last"]), rows_of(answers["last"])
    assert len(rows.starts) == len(given.starts) > 100
    compared = 0
    for i in range(0, len(rows.starts), 1 + len(rows.starts) // 250):
        taken = slice(rows.starts[i], rows.starts[i] + rows.lengths[i])
        part = slice(given.starts[i], given.starts[i] + given.lengths[i])
        x, mask = batch["x"][taken].tolist(), batch["mask"][taken].tolist()
        want = by_fractions(params, x, mask)
        got = tuple(answers[name][part].tolist() for name in ("code", "zero", "nan"))
        # NaN of masked elements is not read, that of others marks the row and is no zero.
        if want is None:
            assert len(got[0]) == params.length
            assert set(got[2]) == {1}
            continue
        special = [
            c & 0x7F80 == 0x7F80 and c != 0xFF80 and not k for c, k in zip(x, mask, strict=True)
        ]
        zero = [z and not s for z, s in zip(want[1], special, strict=True)]
        assert got == (want[0], [int(z) for z in zero], want[2])
        compared += 1
    assert compared > 50


def codes_of(scores: npt.NDArray[np.float64], params: Params) -> npt.NDArray[np.int64]:
    rows, size = scores.shape
    last = np.zeros(scores.shape, np.int64)
    last[:, -1] = 1
    x = to_bf16(scores).reshape(-1)
    batch = {"x": x, "mask": np.zeros_like(x), "last": last.reshape(-1)}
    return log2_softmax.model(params, batch)["code"].reshape(rows, size)


@pytest.mark.parametrize("size", [64, 1024])
@pytest.mark.parametrize("spread", [1, 2, 4])
def test_codes_are_as_good_as_exact_ones(size: int, spread: int) -> None:
    rng = np.random.default_rng(size + spread)
    scores = from_bf16(to_bf16(rng.standard_normal((32, size)) * spread))
    exact = np.exp(scores - scores.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    code = codes_of(scores, Params())
    ideal = np.clip(np.rint(-np.log2(exact)), 0, 15)
    assert np.abs(code - ideal).max() <= 1
    assert (2.0**-code).sum(axis=1).max() < 1.7
    v = rng.standard_normal((size, 64))
    error = [
        np.linalg.norm(2.0**-c @ v - exact @ v) / np.linalg.norm(exact @ v) for c in (code, ideal)
    ]
    assert error[0] < 1.05 * error[1] < 0.25


def test_a_score_more_changes_all_codes_alike() -> None:
    scores = np.random.default_rng(1).standard_normal((20, 33)) * 3
    # Sixteen is 23 in the logarithm: whole, so that nothing is rounded anew.
    low = from_bf16(to_bf16(scores / 8)) * 8
    params = Params(fraction=8, guard=24)
    coarse = np.round(low * 4) / 4
    assert (codes_of(coarse, params) == codes_of(coarse + 16, params)).all()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"bits": 2}, "bits must be 3..5, got 2"),
        ({"length": 48}, "length must be a power of two, 2..4096, got 48"),
        ({"fraction": 9}, "fraction must be 1..8, got 9"),
        ({"guard": 2}, "guard must be 3..24, got 2"),
        ({"reach": 8}, "reach must be 3..7, got 8"),
    ],
)
def test_parameters(values: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=rf"^{re.escape(text)}$"):
        Params(**values)


def arithmetic(text: str, folder: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Cells that multiply, divide or look up, and the memories, after Yosys has read the RTL.

    `proc` makes a memory of every table that a switch spells out; those nobody writes are tables.
    """
    ys = pytest.importorskip("pyosys.libyosys")
    source, target = folder / "design.il", folder / "design.json"
    source.write_text(text, encoding="utf-8")
    made = ys.Design()
    steps = (f"read_rtlil {source}", "proc", "flatten", "opt_clean", "memory_collect")
    for step in (*steps, f"write_json {target}"):
        ys.run_pass(f"tee -q {step}", made)
    modules = json.loads(target.read_text(encoding="utf-8"))["modules"]
    cells = [cell for module in modules.values() for cell in module["cells"].values()]
    wrong = [cell["type"] for cell in cells if FORBIDDEN.fullmatch(cell["type"])]
    return wrong, [c["parameters"] for c in cells if c["type"].startswith("$mem")]


def closure(module: str) -> set[str]:
    """The modules of this project that one is made of."""
    found: set[str] = set()
    work = [module]
    while work:
        name = work.pop()
        path = ROOT.joinpath(*name.split(".")[1:]).with_suffix(".py")
        if name in found or not path.is_file():
            continue
        found.add(name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("narrowgauge."):
                work.append(str(node.module))
    return found


def offences(name: str, folder: Path) -> list[str]:
    """Why a point is no design of shifts and additions with one row memory."""
    point = registry.points(name)[0]
    wrong, memories = arithmetic(rtlil(design.component(point), point.identifier), folder)
    length = getattr(point.params, "length", 0)
    for memory in memories:
        size, ports = int(memory["SIZE"], 2), int(memory["WR_PORTS"], 2)
        if ports != 1 or size != length:
            wrong.append(f"memory of {size} words, {ports} write ports")
    if "narrowgauge.hdl.arith.multiplier" in closure(point.entry.component.__module__):
        wrong.append("multiplier")
    return wrong


@pytest.mark.parametrize("point", ["c4_t1024", "c3_t64"])
def test_shifts_and_additions_only(point: str, tmp_path: Path) -> None:
    assert offences(f"log2_softmax/{point}", tmp_path) == []


def test_a_table_and_a_multiplier_are_found(tmp_path: Path) -> None:
    found = offences("bf16_softmax/t64", tmp_path)
    assert "multiplier" in found
    assert "memory of 256 words, 0 write ports" in found


@pytest.mark.parametrize("operator", ["*", "//", "%"])
def test_an_operator_is_found(operator: str, tmp_path: Path) -> None:
    from amaranth.back.rtlil import convert
    from amaranth.hdl import Module, Signal

    a, b, o = Signal(8), Signal(8), Signal(16)
    m = Module()
    m.d.comb += o.eq({"*": a * b, "//": a // b, "%": a % b}[operator])
    wrong, memories = arithmetic(convert(m, ports=[a, b, o]), tmp_path)
    assert len(wrong) == 1
    assert memories == []


def test_no_cell_multiplies_after_mapping(tmp_path: Path) -> None:
    """The whole of Yosys's coarse synthesis finds no multiplier, divider or table either."""
    ys = pytest.importorskip("pyosys.libyosys")
    point = registry.points("log2_softmax/c3_t64")[0]
    source = tmp_path / "design.il"
    source.write_text(rtlil(design.component(point), point.identifier), encoding="utf-8")
    made = ys.Design()
    steps = (
        f"read_rtlil {source}",
        f"hierarchy -top {point.identifier}",
        "synth -run :fine -noalumacc",
        "memory_map",
        "simplemap",
        f"write_json {tmp_path / 'design.json'}",
    )
    for step in steps:
        ys.run_pass(f"tee -q {step}", made)
    text = (tmp_path / "design.json").read_text(encoding="utf-8")
    assert not re.findall(r'"type": "\$(mul|div|mod|divfloor|modfloor|pow|macc|mem\w*)"', text)
