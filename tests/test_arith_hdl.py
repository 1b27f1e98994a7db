"""Hardware of the components against the golden models, on gates: small formats exhaustively."""

import importlib
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from gates import Gates

from narrowgauge import registry
from narrowgauge.golden.arith import bfp_pack
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Batch, Field
from narrowgauge.hdl.arith.multiplier import multiply
from narrowgauge.hdl.arith.shifter import shift_right, window

Ints = npt.NDArray[np.int64]

MODES = list(product(("rne", "rtz", "rna"), ("nonfinite", "saturate")))
POINTS = [p for p in registry.points() if p.entry.layer == "arith"]

ADD = [(2, 1), (2, 4), (3, 2), (4, 3), (5, 1)]
MULTIPLY = [
    {"exp_bits": 2, "man_bits": 1},
    {"exp_bits": 3, "man_bits": 4},
    {"exp_bits": 2, "man_bits": 5},
    {"exp_bits": 4, "man_bits": 3, "out_exp_bits": 8, "out_man_bits": 23},
    {"exp_bits": 5, "man_bits": 2, "b_exp_bits": 4, "b_man_bits": 3, "out_man_bits": 1},
    {"exp_bits": 2, "man_bits": 2, "b_exp_bits": 3, "b_man_bits": 6, "out_exp_bits": 4},
    {"exp_bits": 6, "man_bits": 1, "out_exp_bits": 3, "out_man_bits": 2},
]
CONVERT = [
    {"int_width": 9, "exp_bits": 5, "man_bits": 2},
    {"int_width": 8, "exp_bits": 2, "man_bits": 4},
    {"int_width": 8, "exp_bits": 4, "man_bits": 3, "scale_width": 6},
    {"int_width": 7, "exp_bits": 3, "man_bits": 2, "scale_width": 7},
    {"int_width": 5, "exp_bits": 2, "man_bits": 7, "scale_width": 9},
    {"int_width": 12, "exp_bits": 3, "man_bits": 1, "scale_width": 4},
]
PRODUCTS = [(1, 1), (3, 5), (5, 5), (6, 6), (8, 7), (7, 8), (8, 8), (9, 5)]
RIGHT = [(8, 3, 8), (8, 4, 11), (5, 3, 9), (11, 2, 12)]
LEFT = [(10, 3, 4), (9, 4, 9), (6, 2, 8), (12, 4, 5)]


def laid_out(field: Field, batch: Batch) -> Ints:
    """A field's bits, lowest first, (beats, bits)."""
    codes = field.to_bits(batch[field.name])
    return (codes[..., None] >> np.arange(field.width) & 1).reshape(len(codes), -1)


def mismatches(unit: str, params: Any, batch: Batch, folder: Path, want: Batch) -> int:
    """Transactions in which hardware and model differ."""
    entry = registry.find(unit)
    gates = Gates(entry.component(params), folder)
    got = gates.bits({f.name: laid_out(f, batch) for f in params.input.fields})
    wrong = np.zeros(len(next(iter(batch.values()))), bool)
    assert set(got) == {f.name for f in params.output.fields}
    for field in params.output.fields:
        wrong |= (got[field.name] != laid_out(field, want)).any(axis=1)
    return int(wrong.sum())


def agrees(unit: str, folder: Path, **values: Any) -> None:
    """Every vector of level full gives the model's result."""
    golden = importlib.import_module(f"narrowgauge.golden.arith.{unit}")
    params = golden.Params(**values)
    batch = golden.vectors(params, "full", 1)
    assert mismatches(unit, params, batch, folder, golden.model(params, batch)) == 0


@pytest.mark.parametrize("width", [2, 3, 5, 8, 13, 16, 33])
def test_leading_zeros(width: int, tmp_path: Path) -> None:
    agrees("lzc", tmp_path, width=width)


@pytest.mark.parametrize(("exp_bits", "man_bits"), ADD)
def test_add(exp_bits: int, man_bits: int, tmp_path: Path) -> None:
    for rounding, overflow in MODES:
        sizes = {"exp_bits": exp_bits, "man_bits": man_bits}
        agrees("fp_add", tmp_path, **sizes, rounding=rounding, overflow=overflow)


@pytest.mark.parametrize("sizes", MULTIPLY, ids=lambda sizes: "_".join(map(str, sizes.values())))
def test_multiply(sizes: dict[str, int], tmp_path: Path) -> None:
    for rounding, overflow in MODES:
        agrees("fp_mul", tmp_path, **sizes, rounding=rounding, overflow=overflow)


@pytest.mark.parametrize("encoding", ["signed", "sign_magnitude", "unsigned"])
@pytest.mark.parametrize("sizes", CONVERT, ids=lambda sizes: "_".join(map(str, sizes.values())))
def test_convert(sizes: dict[str, int], encoding: str, tmp_path: Path) -> None:
    for rounding, overflow in MODES:
        modes = {"encoding": encoding, "rounding": rounding, "overflow": overflow}
        agrees("int_to_fp", tmp_path, **sizes, **modes)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("rounding", ["rne", "rtz", "rna"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"k": 1, "width": 6, "unit_bits": 5, "exp_bits": 3, "man_bits": 4},
        {"k": 3, "width": 3, "unit_bits": 2, "exp_bits": 2, "man_bits": 2},
        {"k": 2, "width": 40, "unit_bits": 10, "exp_bits": 8, "man_bits": 16},
        {"k": 5, "width": 9, "unit_bits": 6, "exp_bits": 4, "man_bits": 12},
        {"k": 2, "width": 17, "unit_bits": 9, "exp_bits": 5, "man_bits": 3},
    ],
    ids=lambda sizes: "_".join(map(str, sizes.values())),
)
def test_pack(sizes: dict[str, int], rounding: str, shared: bool, tmp_path: Path) -> None:
    agrees("bfp_pack", tmp_path, **sizes, rounding=rounding, shared=shared)


@pytest.mark.parametrize("first", [(5, 5), (4, 7), (8, 2)])
@pytest.mark.parametrize("second", [(6, 4), (4, 7), (2, 8)])
def test_pack_of_two_formats(
    first: tuple[int, int], second: tuple[int, int], tmp_path: Path
) -> None:
    sizes = {"exp_bits": first[0], "man_bits": first[1]}
    sizes |= {"alt_exp_bits": second[0], "alt_man_bits": second[1]}
    agrees("bfp_pack", tmp_path, k=2, width=12, unit_bits=7, shared=True, **sizes)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shared": False}, "two formats need a shared unit, got shared=False"),
        ({"alt_man_bits": 0}, "alt_exp_bits and alt_man_bits go together, got 6 and 0"),
        ({"alt_exp_bits": 9}, "exponent_bits must be 2..8, got 9"),
    ],
)
def test_pack_of_impossible_formats(changed: dict[str, int], message: str) -> None:
    sizes = {"exp_bits": 5, "man_bits": 5, "alt_exp_bits": 6, "alt_man_bits": 4, "shared": True}
    with pytest.raises(UsageError, match=message):
        bfp_pack.Params(**{"width": 12, "unit_bits": 7, **sizes, **changed})


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.full_name)
def test_points_at_level_full(point: registry.Point, tmp_path: Path) -> None:
    golden, params = point.entry.golden, point.params
    batch = golden.vectors(params, "full", 2)
    want = golden.model(params, batch)
    assert mismatches(point.entry.name, params, batch, tmp_path, want) == 0
    bins = point.entry.bench.coverage(params, batch, want)
    assert bins
    assert [name for name, hit in bins.items() if not hit.any()] == []
    assert all(hit.dtype == bool for hit in bins.values())
    assert {hit.shape for hit in bins.values()} == {(len(next(iter(batch.values()))),)}


@pytest.mark.parametrize("unit", ["fp_add", "fp_mul"])
def test_another_rounding_is_seen(unit: str, tmp_path: Path) -> None:
    """The comparison can fail: hardware that rounds otherwise is told from the model."""
    entry = registry.find(unit)
    params, other = entry.params("bf16"), entry.params("bf16", rounding="rna")
    batch = entry.golden.vectors(params, "smoke", 1)
    assert mismatches(unit, other, batch, tmp_path, entry.golden.model(params, batch)) > 10


class Parts(wiring.Component):
    """The shared functions, on ports."""

    def __init__(self, kind: str, widths: tuple[int, ...]) -> None:
        self._kind = kind
        ports: dict[str, Any] = {"a": In(widths[0]), "b": In(widths[1]), "o": Out(widths[2])}
        super().__init__({**ports, "sticky": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """One function."""
        m = Module()
        keep = len(self.o)
        if self._kind == "multiply":
            m.d.comb += self.o.eq(multiply(m, self.a, self.b, "product"))
            return m
        if self._kind == "right":
            kept, sticky = shift_right(m, self.a, self.b, keep=keep, name="right")
        else:
            most = (1 << len(self.b)) - 1
            kept, sticky = window(m, self.a, self.b, keep=keep, limit=most, name="left")
        m.d.comb += [self.o.eq(kept), self.sticky.eq(sticky)]
        return m


def grid(a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of words of these widths."""
    first, second = np.meshgrid(np.arange(1 << a), np.arange(1 << b), indexing="ij")
    return first.reshape(-1), second.reshape(-1)


@pytest.mark.parametrize(
    ("a", "b"), [(1, 1), (3, 5), (5, 5), (6, 6), (8, 7), (7, 8), (8, 8), (9, 5)]
)
def test_products(a: int, b: int, tmp_path: Path) -> None:
    x, y = grid(a, b)
    got = Gates(Parts("multiply", (a, b, a + b)), tmp_path)({"a": x, "b": y})["o"]
    assert np.array_equal(got, x * y)


def test_long_products(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).integers(0, 1 << 24, (2, 50_000))
    x[:4], y[:4] = [0xFFFFFF, 0xFFFFFF, 0, 0x800000], [0xFFFFFF, 0, 0xFFFFFF, 0x800000]
    got = Gates(Parts("multiply", (24, 24, 48)), tmp_path)({"a": x, "b": y})["o"]
    assert np.array_equal(got, x * y)


@pytest.mark.parametrize(
    ("width", "amount", "keep"), [(8, 3, 8), (8, 4, 11), (5, 3, 9), (11, 2, 12)]
)
def test_shift_right(width: int, amount: int, keep: int, tmp_path: Path) -> None:
    x, y = grid(width, amount)
    got = Gates(Parts("right", (width, amount, keep)), tmp_path)({"a": x, "b": y})
    whole = x << (keep - width)
    assert np.array_equal(got["o"], whole >> y)
    assert np.array_equal(got["sticky"], (whole & ((1 << y) - 1)) != 0)


@pytest.mark.parametrize(
    ("width", "amount", "keep"), [(10, 3, 4), (9, 4, 9), (6, 2, 8), (12, 4, 5)]
)
def test_window(width: int, amount: int, keep: int, tmp_path: Path) -> None:
    x, y = grid(width, amount)
    got = Gates(Parts("left", (width, amount, keep)), tmp_path)({"a": x, "b": y})
    moved = (x << y) & ((1 << width) - 1)
    below = max(0, width - keep)
    assert np.array_equal(got["o"], (moved << max(0, keep - width)) >> below)
    assert np.array_equal(got["sticky"], (moved & ((1 << below) - 1)) != 0)
