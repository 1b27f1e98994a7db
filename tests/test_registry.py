"""The registry is complete: each entry has all its files, each stem file has an entry."""

import ast
import dataclasses
from pathlib import Path

import pytest

from narrowgauge import registry
from narrowgauge.golden.errors import UsageError
from narrowgauge.golden.payload import Payload

ROOT = Path(__file__).resolve().parent.parent
POINTS = registry.points()


def stems() -> list[tuple[str, str]]:
    """(layer, stem) of each golden file that defines `Params`."""
    found = []
    for layer in ("arith", "units", "cores"):
        for path in sorted((ROOT / "golden" / layer).glob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if any(isinstance(node, ast.ClassDef) and node.name == "Params" for node in tree.body):
                found.append((layer, path.stem))
    return found


def test_the_registry_holds_every_stem() -> None:
    assert stems()
    assert sorted((entry.layer, entry.name) for entry in registry.ENTRIES) == sorted(stems())


def test_names_are_unique() -> None:
    identifiers = [point.identifier for point in POINTS]
    assert len(set(identifiers)) == len(identifiers) > 0


@pytest.mark.parametrize("entry", registry.ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_has_all_its_files(entry: registry.Entry) -> None:
    for folder, suffix in (("golden", "py"), ("hdl", "py"), ("verify", "py"), ("docs", "md")):
        path = ROOT / folder / entry.layer / f"{entry.name}.{suffix}"
        assert path.is_file(), f"{path.relative_to(ROOT)} is missing"
    page = (ROOT / "docs" / entry.layer / f"{entry.name}.md").read_text(encoding="utf-8")
    for parameter in dataclasses.fields(entry.golden.Params):
        assert f"`{parameter.name}`" in page, f"its page does not name {parameter.name}"
    assert entry.points
    assert entry.summary
    assert entry.component.__name__.lower() == entry.name.replace("_", "")
    for function in ("vectors", "model"):
        assert callable(getattr(entry.golden, function))
    assert callable(entry.bench.coverage)


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.full_name)
def test_a_point_is_whole(point: registry.Point) -> None:
    assert isinstance(point.params.input, Payload)
    assert isinstance(point.params.output, Payload)
    assert point.identifier.isidentifier()
    assert point.full_name == f"{point.entry.name}/{point.name}"
    lanes = point.entry.dot_lanes
    assert point.macs == (None if lanes is None else getattr(point.params, lanes))


@pytest.mark.parametrize("entry", registry.ENTRIES, ids=lambda entry: entry.name)
def test_parameters_are_frozen_and_named(entry: registry.Entry) -> None:
    params = entry.golden.Params
    assert params.__dataclass_params__.frozen
    assert all(parameter.kw_only for parameter in dataclasses.fields(params))


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match=r"^no unit 'nonesuch'; units: "):
        registry.points("nonesuch")
    unit = registry.ENTRIES[0].name
    for wrong in ("", "nonesuch"):
        with pytest.raises(UsageError, match=rf"^unit {unit} has no point '{wrong}'; points: "):
            registry.points(f"{unit}/{wrong}")
    with pytest.raises(UsageError, match=rf"^unit {unit} has no parameter 'speed'; parameters: "):
        registry.points(unit, speed=1)


def test_selection() -> None:
    unit = registry.ENTRIES[0]
    first = next(iter(unit.points))
    assert [p.name for p in registry.points(unit.name)] == list(unit.points)
    twice = registry.points(f"{unit.name}/{first}", unit.name, unit.name)
    assert [p.name for p in twice] == list(unit.points)


def test_overrides_change_the_name() -> None:
    point = registry.points("lzc", width=5)[0]
    assert point.params.width == 5
    assert point.identifier == f"lzc_{point.name}_width5"
    assert point.full_name == f"lzc/{point.name} --set width=5"


@pytest.mark.parametrize("value", ["wide", 2.5, True])
def test_parameters_keep_their_kind(value: object) -> None:
    with pytest.raises(UsageError, match=r"^parameter width must be an integer, got "):
        registry.points("lzc", width=value)
