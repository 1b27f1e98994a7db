"""The one list of what narrowgauge generates: units, and the named points of each.

An entry names a stem; its golden model, hardware and bench are found under that stem. A point is
a set of parameters that is generated, verified, synthesised and documented under one name.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Any, Literal

from narrowgauge.golden.errors import UsageError

__all__ = ["ENTRIES", "Entry", "Point", "find", "points"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One unit: its stem, its layer, and its points (name -> parameters)."""

    name: str
    layer: Literal["arith", "units", "cores"]
    points: Mapping[str, Mapping[str, Any]]
    dot_lanes: str | None = None
    """Parameter that counts the MACs a cycle, where the unit is a dot product (for GE a MAC)."""

    @property
    def golden(self) -> ModuleType:
        """The module with `Params`, `vectors` and `model`."""
        return importlib.import_module(f"narrowgauge.golden.{self.layer}.{self.name}")

    @property
    def bench(self) -> ModuleType:
        """The module with `coverage`."""
        return importlib.import_module(f"narrowgauge.verify.{self.layer}.{self.name}")

    @property
    def component(self) -> type:
        """The Amaranth component class."""
        module = importlib.import_module(f"narrowgauge.hdl.{self.layer}.{self.name}")
        return getattr(module, "".join(part.capitalize() for part in self.name.split("_")))

    @property
    def summary(self) -> str:
        """First line of the golden model's docstring."""
        return (self.golden.__doc__ or "").strip().split("\n")[0]

    def params(self, point: str, /, **overrides: Any) -> Any:
        """The parameters of a point, with some of them replaced."""
        if point not in self.points:
            raise UsageError(
                f"unit {self.name} has no point {point!r}; points: {', '.join(self.points)}"
            )
        known = [f.name for f in fields(self.golden.Params)]
        for name in overrides:
            if name not in known:
                raise UsageError(
                    f"unit {self.name} has no parameter {name!r}; parameters: {', '.join(known)}"
                )
        plain = self.golden.Params(**self.points[point])
        for name, value in overrides.items():
            _check_type(name, value, getattr(plain, name))
        return self.golden.Params(**{**self.points[point], **overrides})


def _check_type(name: str, value: Any, sample: Any) -> None:
    """A parameter keeps its kind; words from a command line come in as `str` or numbers."""
    kinds = {bool: "true or false", int: "an integer", str: "a word"}
    for kind, words in kinds.items():
        if type(sample) is kind and type(value) is not kind:
            raise UsageError(f"parameter {name} must be {words}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One configuration of one unit, ready to be built, modelled or measured."""

    entry: Entry
    name: str
    params: Any
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """`unit/point`, with the overridden parameters as the command line takes them."""
        return " ".join(
            [f"{self.entry.name}/{self.name}"]
            + [f"--set {name}={_word(value)}" for name, value in self.overrides.items()]
        )

    @property
    def identifier(self) -> str:
        """The same as an identifier, for module and file names."""
        parts = [f"{name}{_word(value)}" for name, value in self.overrides.items()]
        joined = "_".join([self.entry.name, self.name, *parts])
        return "".join(c if c.isalnum() and c.isascii() else "_" for c in joined)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters as plain values, in the order of their declaration."""
        values = {f.name: getattr(self.params, f.name) for f in fields(self.params)}
        return {name: _plain(value) for name, value in values.items()}

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates a cycle, or None where the unit is no dot product."""
        lanes = self.entry.dot_lanes
        return None if lanes is None else int(getattr(self.params, lanes))


def _plain(value: Any) -> Any:
    """A number or word as it is; a number format by its name."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(getattr(value, "name", value))


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_INTERLEAVED = {f"g{group}_l8": {"group": group, "lanes": 8, "channels": 64} for group in (4, 1)}
"""Points that both passes of range batch normalisation have."""

_MEMORY = {
    # Tensors of batch normalisation, forward and backward, and without blocks; and small.
    "e5m5_k4_w64": {"exponent_bits": 5, "mantissa_bits": 5, "group": 4, "lanes": 8, "word": 64},
    "e6m4_k4_w64": {"exponent_bits": 6, "mantissa_bits": 4, "group": 4, "lanes": 8, "word": 64},
    "e5m5_k1_w64": {"exponent_bits": 5, "mantissa_bits": 5, "group": 1, "lanes": 8, "word": 64},
    "e3m2_k2_w16": {"exponent_bits": 3, "mantissa_bits": 2, "group": 2, "lanes": 2, "word": 16},
}
"""Points of what packs a format's blocks to words and unpacks them."""

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="lzc",
        layer="arith",
        points={f"w{width}": {"width": width} for width in (8, 24, 32, 48)},
    ),
    Entry(
        name="int_to_fp",
        layer="arith",
        points={
            "int32_fp32": {"int_width": 32, "exp_bits": 8, "man_bits": 23},
            "int16_bf16": {"int_width": 16, "exp_bits": 8, "man_bits": 7},
            "int27_scaled_fp32": {
                "int_width": 27,
                "exp_bits": 8,
                "man_bits": 23,
                "scale_width": 10,
            },
            "int10_scaled_fp8_e5m2": {
                "int_width": 10,
                "exp_bits": 5,
                "man_bits": 2,
                "scale_width": 6,
            },
        },
    ),
    Entry(
        name="fp_add",
        layer="arith",
        points={
            "fp32": {"exp_bits": 8, "man_bits": 23},
            "bf16": {"exp_bits": 8, "man_bits": 7},
            "fp16": {"exp_bits": 5, "man_bits": 10},
            "fp8_e5m2": {"exp_bits": 5, "man_bits": 2},
        },
    ),
    Entry(
        name="fp_mul",
        layer="arith",
        points={
            "bf16": {"exp_bits": 8, "man_bits": 7},
            "bf16_fp32": {
                "exp_bits": 8,
                "man_bits": 7,
                "out_exp_bits": 8,
                "out_man_bits": 23,
            },
            "fp32": {"exp_bits": 8, "man_bits": 23},
            "fp16": {"exp_bits": 5, "man_bits": 10},
            "fp8_e5m2": {"exp_bits": 5, "man_bits": 2},
        },
    ),
    Entry(
        name="multimode_mul",
        layer="arith",
        points={"p35": {"low": 3}, "p47": {"low": 4}},
    ),
    Entry(
        name="fused_mul",
        layer="arith",
        points={f"c{cells}": {"cells": cells} for cells in (1, 9)},
    ),
    Entry(
        name="bfp_pack",
        layer="arith",
        points={
            # For what batch normalisation gives, each element on a grid of its own or all on one.
            **{
                f"e{e}m{m}_k4{'_shared' * shared}": {
                    **{"width": width, "unit_bits": unit, "shared": shared},
                    **{"exp_bits": e, "man_bits": m},
                }
                for shared in (False, True)
                for e, m, width, unit in ((5, 5, 24, 7), (6, 4, 26, 8))
            },
            # Forward and backward in one.
            "e5m5_e6m4_k4_shared": {
                **{"width": 27, "unit_bits": 8, "shared": True},
                **{"exp_bits": 5, "man_bits": 5, "alt_exp_bits": 6, "alt_man_bits": 4},
            },
            # All inputs can be tried.
            "e3m2_k2": {"k": 2, "width": 5, "unit_bits": 2, "exp_bits": 3, "man_bits": 2},
        },
    ),
    Entry(
        name="word_guard",
        layer="arith",
        points={
            # What blocks of MX-OPAL4 share, with each code, and whole blocks of other formats.
            "opal4": {},
            "opal4_clamp": {"kind": "clamp"},
            "opal4_parity": {"kind": "parity"},
            "opal4_shared": {"kind": "secded_shared_window", "recovery": "middle"},
            "fb16_k36": {"format": "fb16_k36", "elements": True, "kind": "secded_top_window"},
            "mxint8": {"format": "mxint8", "elements": True, "kind": "secded"},
            # All inputs can be tried.
            "e5m2_k1": {"format": "bfp_e5m2_k1", "elements": True, "kind": "secded_scale"},
        },
    ),
    Entry(
        name="mx_quantize",
        layer="units",
        points={
            **{f"opal{b}_l8": {"b": b, "lanes": 8} for b in (3, 4, 5, 7)},
            # Two widths in one, chosen block by block.
            "opal4_7_l8": {"b": 7, "b_low": 4, "lanes": 8},
            # The same without outliers, and the formats of OCP.
            "mxint4_k128_l8": {"b": 4, "n": 0, "lanes": 8},
            "mxint8_l8": {"k": 32, "n": 0, "b": 8, "lanes": 8},
            "mxfp4_l8": {"element": "fp4_e2m1", "k": 32, "n": 0, "b": 4, "lanes": 8},
        },
    ),
    Entry(
        name="mx_dot",
        layer="units",
        dot_lanes="lanes",
        points={
            **{
                f"w{w}a{a}_l{lanes}": {"w_bits": w, "a_bits": a, "lanes": lanes}
                for lanes in (32, 128)
                for w, a in ((3, 3), (3, 5), (4, 4), (4, 7))
            },
            # What the outliers cost: the same without them, plain MXINT4.
            "w4a4_n0_l128": {"w_bits": 4, "a_bits": 4, "n": 0, "lanes": 128},
        },
    ),
    Entry(
        name="opal_dot",
        layer="units",
        dot_lanes="lanes",
        points={
            "p47_l32": {"low": 4, "lanes": 32, "fp_units": 2},
            "p47_l128": {"low": 4, "lanes": 128},
            "p35_l128": {"low": 3, "lanes": 128},
        },
    ),
    Entry(
        name="bf16_dot",
        layer="units",
        dot_lanes="lanes",
        points={f"l{lanes}": {"lanes": lanes} for lanes in (32, 128)},
    ),
    Entry(
        name="w4a16_dot",
        layer="units",
        dot_lanes="lanes",
        points={f"l{lanes}": {"lanes": lanes} for lanes in (32, 128)},
    ),
    Entry(
        name="bfp_pe",
        layer="units",
        points={
            # Small groups; groups as published, and the same in FB24 alone to measure it by.
            "n16_small": {"nibbles": 16, "group12": 24, "group16": 12, "group24": 6},
            **{f"n{nibbles}": {"nibbles": nibbles} for nibbles in (48, 144)},
            **{f"fb24_n{nibbles}": {"nibbles": nibbles, "modes": 1} for nibbles in (48, 144)},
        },
    ),
    Entry(
        name="log2_softmax",
        layer="units",
        points={
            "c4_t1024": {"bits": 4, "length": 1024},
            "c3_t64": {"bits": 3, "length": 64},
        },
    ),
    Entry(
        name="bf16_softmax",
        layer="units",
        points={"t1024": {"length": 1024}, "t64": {"length": 64}},
    ),
    Entry(
        name="shift_attend",
        layer="units",
        points={
            "c4_d64": {"bits": 4, "lanes": 64},
            "c4_d64_s4": {"bits": 4, "lanes": 64, "share": 4},
            "c4_d8": {"bits": 4, "lanes": 8, "length": 64},
            "c3_d8": {"bits": 3, "v_bits": 5, "lanes": 8, "length": 64, "renormalise": True},
        },
    ),
    Entry(
        name="range_bn_statistics",
        layer="units",
        points={
            # With blocks and without, as floating point of ten bits; and small.
            **_INTERLEAVED,
            "g2_l2": {
                **{"group": 2, "lanes": 2, "channels": 8, "chunks": 4},
                **{"window": 10, "position_bits": 6},
            },
        },
    ),
    Entry(
        name="range_bn_normalize",
        layer="units",
        points={
            **_INTERLEAVED,
            "g2_l2": {
                **{"group": 2, "lanes": 2, "channels": 8},
                **{"fraction": 8, "precision": 7},
            },
        },
    ),
    # What range batch normalisation in blocks is measured against: FP32, conventional and range.
    Entry(
        name="fp32_bn",
        layer="units",
        points={f"l{lanes}": {"lanes": lanes} for lanes in (8, 2)},
    ),
    Entry(
        name="fp32_range_bn",
        layer="units",
        points={"l8": {"lanes": 8}, "l2": {"lanes": 2, "position_bits": 6}},
    ),
    Entry(name="fp32_bn_constants", layer="units", points={"fp32": {}}),
    Entry(
        name="range_bn_array",
        layer="units",
        points={
            # With blocks of four, and without, as floating point of ten bits; and small.
            "g4_l8": {"group": 4, "lanes": 8},
            "g1_l8": {"group": 1, "lanes": 8},
            "g2_l2": {
                **{"group": 2, "lanes": 2, "chunks": 4, "window": 10, "gradient_window": 8},
                **{"fraction": 8, "precision": 7, "position_bits": 6},
            },
        },
    ),
    Entry(
        name="range_bn_constants",
        layer="units",
        points={
            "g4": {},
            "g1": {"group": 1},
            "g2": {
                **{"group": 2, "window": 10, "gradient_window": 8, "fraction": 8},
                **{"precision": 7, "chunks": 4, "position_bits": 6},
            },
        },
    ),
    Entry(
        name="bfp_convert",
        layer="units",
        points={
            # A beat is a channel's 3 x 3 of FlexBlock's groups; the other roundings; and small.
            "fp32_l9": {},
            "fp32_rne_l9": {"rounding": "rne"},
            "fp32_stochastic_l9": {"rounding": "stochastic"},
            "bf16_l9": {"source": "bf16"},
            "fp32_rne_l2": {
                **{"rounding": "rne", "lanes": 2, "count_bits": 4},
                **{"group12": 12, "group16": 8, "group24": 4},
            },
        },
    ),
    Entry(
        name="precision_control",
        layer="units",
        points={
            "e64": {},
            "e4": {"entries": 4, "count_bits": 6, "interval_bits": 2, "fraction_bits": 4},
        },
    ),
    Entry(
        name="guarded_memory",
        layer="units",
        points={
            # What blocks of MX-OPAL4 share behind each guard, and behind none to measure them by.
            **{
                f"opal4_{name}": {"kind": kind, "recovery": recovery}
                for name, kind, recovery in (
                    ("none", "none", "zero"),
                    ("clamp", "clamp", "zero"),
                    ("window", "window", "zero"),
                    ("parity", "parity", "zero"),
                    ("secded_scale", "secded_scale", "zero"),
                    ("secded_window", "secded_scale_window", "middle"),
                    ("shared_window", "secded_shared_window", "middle"),
                )
            },
            # Check bits from a host; whole blocks; and small.
            "opal4_place_encoded": {
                **{"kind": "secded_place_window", "recovery": "middle", "encoded": True},
            },
            **{
                f"mxint8_{kind}": {"kind": kind, "format": "mxint8", "elements": True}
                for kind in ("none", "secded_top_window", "secded")
            },
            "e5m2_k1": {
                **{"kind": "secded", "format": "bfp_e5m2_k1", "elements": True},
                **{"depth": 8, "count_bits": 2},
            },
        },
    ),
    Entry(name="word_pack", layer="units", points=_MEMORY),
    Entry(name="word_unpack", layer="units", points=_MEMORY),
    Entry(
        name="opal_core",
        layer="cores",
        points={
            "p47_l16": {
                **{"k": 32, "n": 2, "lanes": 16, "fp_units": 2, "q_lanes": 4},
                **{"head": 8, "length": 32, "vector": 96},
            },
            **{
                # Elements that share a lane, and slow loads, cost few cycles and spare a third.
                f"p{low}{2 * low - 1}_l128": {"low": low, "share": 4, "q_lanes": 4}
                for low in (4, 3)
            },
        },
    ),
    # What it is measured against: the same commands on bf16, and on bf16 with INT weights.
    Entry(
        name="bf16_core",
        layer="cores",
        points={
            "l4": {"lanes": 4, "q_lanes": 2, "head": 6, "length": 16, "vector": 24},
            "l128": {"lanes": 128, "q_lanes": 4},
        },
    ),
    Entry(
        name="w4a16_core",
        layer="cores",
        points={
            "l16": {"lanes": 16, "q_lanes": 4, "head": 24, "length": 32, "vector": 64},
            "l128": {"lanes": 128, "q_lanes": 4},
        },
    ),
    Entry(
        name="lightnorm",
        layer="cores",
        points={
            "g2_l2": {
                **{"group": 2, "lanes": 2, "channels": 8, "chunks": 2, "position_bits": 6},
                **{"window": 12, "gradient_window": 10, "fraction": 8, "precision": 8},
            },
            "g4_l8": {"group": 4, "lanes": 8, "channels": 64},
        },
    ),
    Entry(
        name="flexblock_core",
        layer="cores",
        points={
            "p2_n16": {
                **{"pes": 2, "nibbles": 16, "group12": 24, "group16": 12, "group24": 6},
                **{"a_depth": 8, "b_depth": 32, "sums": 4, "load": 1, "results": 1},
            },
            "p4_n48": {"pes": 4, "nibbles": 48, "load": 4, "results": 4},
        },
    ),
)


def find(name: str) -> Entry:
    """The entry of a unit; an unknown name is a `UsageError` that lists the known ones."""
    for entry in ENTRIES:
        if entry.name == name:
            return entry
    raise UsageError(f"no unit {name!r}; units: {', '.join(e.name for e in ENTRIES)}")


def points(*names: str, **overrides: Any) -> list[Point]:
    """The points that names select: `unit` (all its points) or `unit/point`; none is all."""
    selected: list[Point] = []
    for name in names or tuple(e.name for e in ENTRIES):
        unit, slash, chosen = name.partition("/")
        entry = find(unit)
        for each in [chosen] if slash else list(entry.points):
            params = entry.params(each, **overrides)
            point = Point(entry=entry, name=each, params=params, overrides=overrides)
            if not any(s.full_name == point.full_name for s in selected):
                selected.append(point)
    return selected
