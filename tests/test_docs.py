"""What the documentation says is so: commands parse, targets and linked files exist."""

import ast
import importlib
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from narrowgauge import api
from narrowgauge.cli import parser
from narrowgauge.commands import COMMANDS as WORDS
from narrowgauge.golden.cores import packets
from narrowgauge.golden.cores.flexblock_machine import Machine
from narrowgauge.golden.payload import Batch
from narrowgauge.verify import driver

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}


def code(text: str) -> list[str]:
    """Lines of code, from fences and from indented blocks, and what stands in backticks."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    indented = re.findall(r"^(?: {4})(\S.*)$", text, re.M)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [line.strip() for block in fenced for line in block.splitlines()] + indented + inline


LINES = [(page, line) for page, text in TEXTS.items() for line in code(text)]
COMMANDS = [
    (page, re.sub(r"\s+#.*$", "", line))
    for page, line in LINES
    if re.match(r"(\.venv/bin/)?narrowgauge [a-z]", line)
]


def name(value: object) -> str:
    """A page by its path, a command as it is."""
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


def test_the_pages_hold_commands() -> None:
    assert len(COMMANDS) > 10


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=name)
def test_commands_are_accepted(page: Path, command: str) -> None:
    words = shlex.split(command.split("narrowgauge ", 1)[1])
    if any(word in ("STEM", "COMMAND", "FILE", "DIR") for word in words):
        words = ["lzc" if word == "STEM" else word for word in words]
    if "COMMAND" in words:
        return
    if "--help" in words:
        with pytest.raises(SystemExit, match=r"^0$"):
            parser().parse_args(words)
        return
    options = parser().parse_args(words)
    overrides = getattr(options, "overrides", None)
    assert api.points(getattr(options, "names", ()), overrides=overrides)


def test_every_command_has_its_line() -> None:
    page = TEXTS[ROOT / "docs" / "command-line.md"]
    for command in WORDS:
        assert re.search(rf"^\| `{command.name}` \|", page, re.M), command.name


PYTHON = [
    (page, block)
    for page, text in TEXTS.items()
    for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
]


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=name)
def test_what_pages_import_is_there(page: Path, block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if ".training" in node.module:
            pytest.importorskip("torch")
        module = importlib.import_module(node.module)
        for each in node.names:
            if not hasattr(module, each.name):
                importlib.import_module(f"{node.module}.{each.name}")


def program(page: str) -> str:
    """The page's only Python program."""
    (block,) = [block for where, block in PYTHON if where == ROOT / "docs" / page]
    return block


def test_the_program_of_a_lightnorm_runs() -> None:
    made: dict[str, Any] = {}
    exec(program("cores/lightnorm.md"), made)
    assert len(made["answers"]) == len(made["parts"])
    assert {status for _, status in made["answers"]} == {packets.Status.OK}


def test_the_program_of_a_system_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the golden core in place of the simulation, which other tests build."""

    class Golden:
        def __init__(self, name: str, verilog: str, *_: object, **__: object) -> None:
            assert f"module {name}(" in verilog

        def play(self, beats: Batch) -> SimpleNamespace:
            (point,) = api.points("flexblock_core/p2_n16")
            return SimpleNamespace(beats=Machine(point.params).run(beats))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(driver, "Driver", Golden)
    made: dict[str, Any] = {}
    exec(program("systems.md"), made)
    assert made["status"] == packets.Status.OK
    assert abs(made["y"] - made["x"] @ made["w"][:2].T).max() < 0.2


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    called = {
        match[1]
        for where, line in LINES
        if where == page and (match := re.match(r"make ([a-z]+)", line))
    }
    assert called <= targets
    if page.name == "README.md":
        assert {"flow", "test"} <= called


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXTS[page]):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.M)
            assert anchor in [head.lower().replace(" ", "-").replace("`", "") for head in heads]


def test_every_unit_is_found_from_the_index() -> None:
    """The pages of the units are where the index says."""
    for page in sorted((ROOT / "docs").glob("*/*.md")):
        assert page.parent.name in ("cores", "units", "arith", "reference"), page
    for entry in {point.entry.name: point.entry for point in api.points()}.values():
        page = f"{entry.layer}/{entry.name}.md"
        assert (ROOT / "docs" / page).is_file()
        assert f"[{entry.name}]({page})" in TEXTS[ROOT / "docs" / "index.md"], page


def test_pages_name_no_machine() -> None:
    for page, text in TEXTS.items():
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)/", text), page


def test_the_readme_has_a_place_for_the_table() -> None:
    readme = TEXTS[ROOT / "README.md"]
    assert readme.index("<!-- table:begin -->") < readme.index("<!-- table:end -->")
